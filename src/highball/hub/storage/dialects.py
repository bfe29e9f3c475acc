"""The two databases, SQLite and PostgreSQL: how each is opened, begins a transaction, and says what went wrong.

Both give the same: a reading transaction sees one moment, and writing transactions come one after the other, so
that what one has read still holds when it writes. SQLite does it by BEGIN IMMEDIATE under WAL. PostgreSQL does
it by an advisory lock that a writing transaction takes before anything else, and REPEATABLE READ for reading.
SERIALIZABLE would let writers run side by side, but it refuses some of them at the commit, and a `with` block
cannot be repeated. Measured on two cores, every commit on disk: 1,700 small writing transactions a second from one
thread and 700 from eight (SQLite: 750 and 200). An address may hold a password: no message tells it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

from highball.errors import HighballError, StateUnusable

BUSY_SECONDS = 30
"""How long a writer waits for another before it gives up."""

READING: dict[str, dict[str, Any]] = {
    "sqlite": {},
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}
"""What makes a transaction one that reads, by dialect."""

WRITING: dict[str, Any] = {"highball_writes": True}
"""What makes a transaction one that writes."""

WRITERS_LOCK = 0x48696768_77726974
SERVING_LOCK = 0x48696768_73657276
"""PostgreSQL's advisory locks are numbers, one space for each database: these spell `Highwrit` and `Highserv`."""

BACKUPS = "backups"
"""The folder beside an SQLite database where the hub's copies of itself lie."""

BACKUP_NAMES = "hub-*.jsonl.gz"

_LEAST_ROOM_BYTES = 64 * 1024

_CONNECTIONS_KEPT, _CONNECTIONS_MORE = 10, 40
"""A web server's 40 threads may each wait for the one writer, which must not be left without a connection."""

_SERVER_SETTINGS = {
    "lock_timeout": f"{BUSY_SECONDS}s",
    "tcp_keepalives_idle": "30",  # the server ends the locks of a hub that lost its network after a minute
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_CLIENT_SETTINGS = {
    "application_name": "highball",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def is_address(where: Path | str | None) -> bool:
    """Whether this names a database on a server, not a file."""
    return isinstance(where, str)


def open_engine(where: Path | str | None, *, keeps_connections: bool = False) -> sa.Engine:
    """The engine on an SQLite file, on a `postgresql://` address, or (None) on a database in memory.

    A file is opened anew for each transaction unless connections are kept for the next one.
    """
    if where is None or isinstance(where, Path):
        return _sqlite(where, keeps_connections=keeps_connections)
    return _postgresql(where)


# --- SQLite --------------------------------------------------------------------------------------


def keep_private(path: Path) -> None:
    """Let nobody but its owner read a database, whatever its folder allows: SQLite makes what lies beside it alike."""
    with contextlib.suppress(OSError):  # a disk may be read-only, and opening it says what is wrong
        if path.parent.is_dir():
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        with contextlib.suppress(OSError):
            beside = path.with_name(name)
            if beside.stat().st_mode & 0o077:
                beside.chmod(0o600)


def _sqlite(path: Path | None, *, keeps_connections: bool) -> sa.Engine:
    url = sa.URL.create("sqlite", database=str(path) if path else ":memory:")
    arguments = {"timeout": BUSY_SECONDS, "check_same_thread": False}
    told: dict[str, Any] = {"poolclass": NullPool if path else StaticPool}
    if path and keeps_connections:
        told = {
            "poolclass": QueuePool,
            "pool_size": _CONNECTIONS_KEPT,
            "max_overflow": -1,
            "pool_use_lifo": True,
        }
    engine = sa.create_engine(url, **told, connect_args=arguments, hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("highball_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


class Watch:
    """Sees that a database was changed, without looking at what it holds."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._kept: sa.PoolProxiedConnection | None = None
        self._opened = 0
        self._one_at_a_time = Lock()

    def mark(self) -> str:
        """Another one after every commit; it may be another one without."""
        return self._of_server() if self._engine.dialect.name == "postgresql" else self._of_file()

    def _of_server(self) -> str:
        with self._engine.connect() as connection:
            return str(connection.execute(sa.select(sa.func.pg_current_snapshot().cast(sa.Text))).scalar())

    def _of_file(self) -> str:
        """By one connection that is kept: `data_version` counts what others changed since it was opened, and
        `total_changes` what it did itself, which is everything where the database lies in memory."""
        with self._one_at_a_time:
            if self._kept is None:
                self._kept, self._opened = self._engine.raw_connection(), self._opened + 1
            own: Any = self._kept.driver_connection
            (others,) = own.execute("PRAGMA data_version").fetchone()
            return f"{self._opened}.{others}.{own.total_changes}"

    def close(self) -> None:
        """Let go of what is kept for it."""
        with self._one_at_a_time:
            if self._kept is not None:
                self._kept.close()
                self._kept = None


# --- PostgreSQL ----------------------------------------------------------------------------------


def _postgresql(address: str) -> sa.Engine:
    url = _read_address(address)
    settings = " ".join(f"-c {name}={value}" for name, value in _SERVER_SETTINGS.items())
    own = url.query.get("options", "")
    told = " ".join(own) if isinstance(own, tuple) else own
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg").difference_update_query(["options"]),
        isolation_level="READ COMMITTED",  # each statement after the writers' lock sees all that came before it
        connect_args={**_CLIENT_SETTINGS, "options": f"{settings} {told}".strip()},
        pool_size=_CONNECTIONS_KEPT,
        max_overflow=_CONNECTIONS_MORE,
        pool_timeout=BUSY_SECONDS,
        pool_pre_ping=True,  # a server that was restarted is no reason to fail
        hide_parameters=True,
    )

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("highball_writes"):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})")

    return engine


def _read_address(address: str) -> sa.URL:
    try:
        url = sa.make_url(address)
        whole = bool(url.database)
    except (sa.exc.ArgumentError, ValueError):
        whole = False
    if not whole or url.drivername not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise StateUnusable(
            "the address of the database is none that Highball knows",
            code="database_address_invalid",
            hint="write it like postgresql://highball@db.example.org/highball, a password's odd characters as %40",
        )
    return url


# --- rows that are asked with ---------------------------------------------------------------------


def as_rows(connection: sa.Connection, names: Sequence[str], rows: Sequence[Sequence[str]]) -> sa.Subquery:
    """Texts as a table to join with: one parameter, however many rows there are, and one statement to prepare."""
    told: sa.ColumnElement[Any] = sa.literal(json.dumps([list(row) for row in rows]))
    each = sa.func.json_each(told)
    if connection.dialect.name == "postgresql":
        each = sa.func.json_array_elements(sa.cast(told, sa.JSON))
    value = each.table_valued(sa.column("value", sa.JSON)).c.value
    columns = [value[place].as_string().label(name) for place, name in enumerate(names)]
    return sa.select(*columns).subquery()


def bytewise(connection: sa.Connection, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A text compared byte by byte: the rules of a language, by which PostgreSQL compares, are ten times as slow."""
    return column.collate("C") if connection.dialect.name == "postgresql" else column


# --- in words ------------------------------------------------------------------------------------


def name_of(engine: sa.Engine) -> str:
    """The database for people: its file, or its name and server; never its password."""
    url = engine.url
    if engine.dialect.name == "sqlite":
        return str(url.database)
    at = url.host or url.query.get("host") or "this machine"
    return f"the database {url.database} at {at if isinstance(at, str) else ', '.join(at)}" + (
        f":{url.port}" if url.port else ""
    )


@contextmanager
def told(engine: sa.Engine) -> Iterator[None]:
    """Say what went wrong with the database in words that help.

    A row that is refused (IntegrityError, DataError) is the caller's matter and goes through.
    """
    try:
        yield
    except (sa.exc.IntegrityError, sa.exc.DataError):
        raise
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        tell = _tell_of_sqlite if engine.dialect.name == "sqlite" else _tell_of_postgresql
        raise tell(engine, getattr(error, "orig", None) or error) from None
    except sa.exc.TimeoutError:
        raise _busy(engine) from None


def _tell_of_sqlite(engine: sa.Engine, error: BaseException) -> HighballError:
    cause, where = str(error), name_of(engine)
    if "full" in cause or ("disk I/O" in cause and _is_full(where)):
        return _full(engine)
    if "malformed" in cause or "not a database" in cause:
        return _damaged(engine, cause)
    if "locked" in cause:
        return _busy(engine)
    if "readonly" in cause or "unable to open" in cause:
        return StateUnusable(
            f"{where} cannot be written: {cause}",
            hint="check who owns it, and that its disk is not mounted read-only",
        )
    return StateUnusable(
        f"{where} cannot be used: {cause}", hint="check who owns it, or name another with HIGHBALL_STATE"
    )


def _tell_of_postgresql(engine: sa.Engine, error: BaseException) -> HighballError:
    state = getattr(error, "sqlstate", None)
    if state == "53100":
        return _full(engine)
    if state in {"XX001", "XX002"}:
        return _damaged(engine, _cause(engine, error))
    if state == "55P03":
        return _busy(engine)
    return StateUnusable(
        f"{name_of(engine)} cannot be used: {_cause(engine, error)}",
        hint="check that its server runs, and the address by which it is reached",
    )


def _cause(engine: sa.Engine, error: BaseException) -> str:
    """What the server or its library said, on one line, without the password in any of its spellings."""
    cause = " ".join(str(error).split())
    queried = engine.url.query.get("password", ())
    given = [engine.url.password, *((queried,) if isinstance(queried, str) else queried)]
    for password in filter(None, given):
        for spelling in {password, quote(password, safe=""), quote(password)}:
            cause = re.sub(re.escape(spelling), "***", cause)
    return cause


def _full(engine: sa.Engine) -> StateUnusable:
    hint = "make room on its disk"
    if engine.dialect.name == "sqlite":
        cache = Path(name_of(engine)).with_name("cache")
        hint += f": what lies in {cache} may be removed, it is fetched again"
    return StateUnusable(
        f"{name_of(engine)} cannot be written: the disk is full", code="state_full", hint=hint
    )


def _busy(engine: sa.Engine) -> StateUnusable:
    return StateUnusable(
        f"{name_of(engine)} is busy: another process has been writing for {BUSY_SECONDS} s",
        code="database_busy",
        hint="try it again; if it stays so, end the process that holds it",
    )


def _damaged(engine: sa.Engine, cause: str) -> StateUnusable:
    newest = find_newest_backup(Path(name_of(engine)).parent) if engine.dialect.name == "sqlite" else None
    if newest is not None:
        hint = f"bring back its newest backup with: highball hub restore-backup {newest}"
    else:
        hint = (
            "move it aside and put a backup of it in its place; without one Highball starts a new record,"
            " and the snapshots stay in their repositories"
        )
    return StateUnusable(f"{name_of(engine)} is damaged: {cause}", code="database_damaged", hint=hint)


def find_newest_backup(state: Path) -> Path | None:
    """The newest copy of itself that a hub left in its state directory; their names are sorted by time."""
    return max((state / BACKUPS).glob(BACKUP_NAMES), default=None, key=lambda path: path.name)


def _is_full(path: str) -> bool:
    """Whether there is no room beside the database: then SQLite speaks of its shared memory's I/O only."""
    try:
        room = os.statvfs(Path(path).parent)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < _LEAST_ROOM_BYTES
