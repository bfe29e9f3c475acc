"""The hub's copies of itself: a whole, consistent one in a file, and the way back from it.

One form for both databases, so that a copy made on SQLite restores on PostgreSQL: lines of JSON, compressed; a
head, each table's rows, and a last line that proves that nothing is missing. Declared things, the record and the
sealed vault are in it. Sessions and what is used once are not: nobody is let in by a copy. A copy is read back
before it counts, and again before anything is restored.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa

from highball import __version__
from highball.errors import Conflict, Problem, StateUnusable, Unknown
from highball.hub.audit import COMMAND, Actor, write_down
from highball.hub.runs.subjects import HUB_COPIES_KEPT
from highball.hub.storage.database import Database
from highball.hub.storage.dialects import (
    BACKUP_NAMES,
    BACKUPS,
    WRITING,
    find_newest_backup,
    keep_private,
    name_of,
    open_engine,
    told,
)
from highball.hub.storage.leader_lock import (
    END_FIRST,
    lease_on,
    refuse_if_served,
)
from highball.hub.storage.schema import (
    REVISION,
    create_schema,
    metadata,
    schema_version,
)

FORMAT = 1

LEFT_OUT = frozenset({"sessions", "throttles", "idempotency", "enrolments"})
"""A session that was ended, or a token that was used, must not come back with an older copy."""

_ROWS_AT_ONCE = 100

LONGEST_LINE = 64 * 1024 * 1024
"""A row holds at most what was declared or printed at once."""

MOST_TIMES = 400
LEAST_UNPACKED = 64 * 1024 * 1024
"""What is written shrinks by less than MOST_TIMES, where it is more than this."""

Line = dict[str, Any] | list[Any]


@dataclass(frozen=True)
class Manifest:
    """What a copy says about itself."""

    schema: str
    made_at: datetime
    program: str
    rows: dict[str, int]


@dataclass(frozen=True)
class Restored:
    """What was brought back; `aside` is where the former database lies now, if there was one."""

    manifest: Manifest
    aside: str | None


# --- making --------------------------------------------------------------------------------------


def back_up(database: Database, state: Path, now: datetime, kept: int = HUB_COPIES_KEPT) -> Path:
    """Write a copy into the state directory and remove the oldest beyond `kept`; raises StateUnusable."""
    folder = state / BACKUPS
    path = folder / f"hub-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}.jsonl.gz"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        write_backup(database, path, now)
        for old in list_backups(state)[kept:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritten(path, error) from None
    return path


def list_backups(state: Path) -> list[Path]:
    """The copies in a state directory, the newest first."""
    return sorted((state / BACKUPS).glob(BACKUP_NAMES), key=lambda path: path.name, reverse=True)


def write_backup(database: Database, path: Path, now: datetime) -> Manifest:
    """Write a copy of the whole database into a file of the owner's; it stands there whole or not at all.

    Raises StateUnusable and OSError.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as opened:
            _write(database, opened, now)
            opened.flush()
            os.fsync(opened.fileno())
        manifest = examine(unfinished)
        unfinished.replace(path)
        _sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)
    return manifest


def _write(database: Database, opened: BinaryIO, now: datetime) -> None:
    digest = hashlib.sha256()
    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=opened, mtime=0) as packed:

        def put(line: Line) -> None:
            text = json.dumps(line, separators=(",", ":")).encode() + b"\n"
            digest.update(text)
            packed.write(text)

        at = now.astimezone(UTC).isoformat()
        put({"highball_backup": FORMAT, "schema": REVISION, "made_at": at, "program": __version__})
        rows = {}
        with database.read() as connection:
            for table in _tables_there(connection, set(metadata.tables) - LEFT_OUT):
                put({"table": table.name, "columns": [column.name for column in table.columns]})
                rows[table.name] = 0
                for row in _rows_of(connection, table):
                    put(row)
                    rows[table.name] += 1
        put({"end": True, "rows": rows, "sha256": digest.hexdigest()})


def _tables_there(connection: sa.Connection, names: set[str]) -> list[sa.Table]:
    """The tables as the database has them, without our types for their values; what others refer to first."""
    found = sa.MetaData()
    found.reflect(connection, only=lambda name, _: name in names)
    return found.sorted_tables


def _rows_of(connection: sa.Connection, table: sa.Table) -> Iterator[list[Any]]:
    holds_json = [isinstance(column.type, sa.JSON) for column in table.columns]
    # JSON as its text: null within it and no value at all are two things
    asked = [
        sa.cast(column, sa.Text) if is_json else column
        for column, is_json in zip(table.columns, holds_json, strict=True)
    ]
    for row in connection.execute(sa.select(*asked).execution_options(yield_per=_ROWS_AT_ONCE)):
        yield [_as_plain(value, is_json) for value, is_json in zip(row, holds_json, strict=True)]


def _as_plain(value: Any, is_json: bool) -> Any:
    if value is None:
        return None
    if is_json:
        return {"json": json.loads(value)}
    if isinstance(value, bytes | memoryview):
        return {"b64": base64.b64encode(value).decode()}
    return value


def _from_plain(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "b64" in value:
        return base64.b64decode(value["b64"])
    return sa.JSON.NULL if value["json"] is None else value["json"]


# --- looking -------------------------------------------------------------------------------------


def examine(path: Path) -> Manifest:
    """Read a copy from its head to its end and say what it holds.

    Raises Unknown where there is none, StateUnusable where it is damaged or of a newer Highball.
    """
    rows: dict[str, int] = {}
    table: str | None = None
    head: dict[str, Any] | None = None
    ended = False
    width = 0
    for line, digest in _read(path):  # to the last byte: the compressed file has its own end
        if ended:
            raise _damaged(path, "something stands behind its end")
        if head is None:
            head = _read_head(path, line)
        elif isinstance(line, list):
            if table is None:
                raise _damaged(path, "rows stand in it before any table")
            if len(line) != width or not all(map(_is_cell, line)):
                raise _damaged(path, f"a row of {table} is none")
            rows[table] += 1
        elif not isinstance(line, dict):
            raise _damaged(path, "it holds a line that means nothing")
        elif "table" in line:
            table, width = _read_table(path, line, rows)
            rows[table] = 0
        elif line.get("end") is True:
            _compare(path, line, rows, digest)
            ended = True
        else:
            raise _damaged(path, "it holds a line that means nothing")
    if head is None or not ended:
        raise _damaged(path, "its end is missing")
    return Manifest(head["schema"], datetime.fromisoformat(head["made_at"]), str(head.get("program")), rows)


def _read_table(path: Path, line: dict[str, Any], rows: Mapping[str, int]) -> tuple[str, int]:
    """The name of a table, and how many columns it has."""
    name, columns = line["table"], line.get("columns")
    named = isinstance(columns, list) and bool(columns) and all(isinstance(one, str) for one in columns)
    if not isinstance(name, str) or name in rows or not named or columns is None:
        raise _damaged(path, "it names a table as no hub does")
    return name, len(columns)


def _is_cell(value: Any) -> bool:
    """Whether this is a value as `_as_plain` writes it."""
    if not isinstance(value, dict):
        return not isinstance(value, list)
    if set(value) == {"b64"} and isinstance(value["b64"], str):
        with contextlib.suppress(ValueError):
            base64.b64decode(value["b64"], validate=True)
            return True
    return set(value) == {"json"}


def _read_lines(packed: gzip.GzipFile, path: Path) -> Iterator[bytes]:
    """Each line; what a small file unpacks to without end is none of ours."""
    size, most = 0, max(LEAST_UNPACKED, path.stat().st_size * MOST_TIMES)
    while text := packed.readline(LONGEST_LINE + 1):
        size += len(text)
        if len(text) > LONGEST_LINE or size > most:
            raise _damaged(path, "it unpacks to more than any hub wrote")
        yield text


def _read(path: Path) -> Iterator[tuple[Line, str]]:
    """Each line of a copy with the digest of all that came before it."""
    digest = hashlib.sha256()
    try:
        with gzip.open(path) as packed:
            for text in _read_lines(packed, path):
                before = digest.hexdigest()
                digest.update(text)
                yield json.loads(text), before
    except FileNotFoundError:
        raise Unknown(f"there is no backup {path}", code="backup_unknown") from None
    except EOFError:
        raise _damaged(path, "it was cut short") from None
    except gzip.BadGzipFile as error:
        raise _damaged(path, str(error)) from None
    except (zlib.error, ValueError) as error:
        raise _damaged(path, f"it cannot be read: {error}") from None
    except RecursionError:
        raise _damaged(path, "it is nested deeper than anything of ours") from None
    except OSError as error:
        raise StateUnusable(f"{path} cannot be read: {error.strerror}", code="backup_unreadable") from None


def _read_head(path: Path, line: Line) -> dict[str, Any]:
    if not isinstance(line, dict) or not {"highball_backup", "schema", "made_at"} <= set(line):
        raise _damaged(path, "it is no backup of a hub")
    if not isinstance(line["schema"], str) or not _is_moment(line["made_at"]):
        raise _damaged(path, "it does not say what it is of")
    if not isinstance(line["highball_backup"], int) or line["highball_backup"] > FORMAT:
        raise StateUnusable(
            f"a newer Highball wrote {path} (format {line['highball_backup']}; this one knows {FORMAT})",
            code="database_newer",
            hint="use the newer Highball",
        )
    return line


def _is_moment(text: Any) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _compare(path: Path, end: dict[str, Any], rows: dict[str, int], digest: str) -> None:
    if not isinstance(end.get("rows"), dict):
        raise _damaged(path, "its end is missing")
    problems = [
        Problem(name, f"{rows.get(name, 0)} rows of {count}")
        for name, count in end["rows"].items()
        if rows.get(name) != count
    ]
    if problems or set(rows) != set(end["rows"]):
        raise _damaged(path, "rows are missing", problems)
    if end.get("sha256") != digest:
        raise _damaged(path, "its content is not what was written")


# --- the way back --------------------------------------------------------------------------------


def restore_backup(path: Path, where: Path | str, now: datetime, actor: Actor = COMMAND) -> Restored:
    """Put a copy in the place of the database; the former one is moved aside and never touched.

    Nothing is changed unless all of the copy could be read and written. Raises Conflict while a hub serves,
    StateUnusable and Unknown.
    """
    manifest = examine(path)
    _demand_known(path, manifest)
    refuse_if_served(where, END_FIRST)
    lease = lease_on(where)
    if not lease.take():
        raise Conflict("a hub began to serve this database just now", code="hub_is_serving", hint=END_FIRST)
    try:
        if isinstance(where, Path):
            aside = _into_file(path, where, manifest, now, actor)
        else:
            aside = _into_server(path, where, manifest, now, actor)
    finally:
        lease.release()
    return Restored(manifest, aside)


def _into_file(path: Path, where: Path, manifest: Manifest, now: datetime, actor: Actor) -> str | None:
    fresh = where.with_name(f"{where.name}.restoring")
    _remove(fresh)
    engine = open_engine(fresh)
    try:
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with told(engine), engine.execution_options(**WRITING).begin() as connection:
            _fill(connection, path, manifest, now, actor)
        if fresh.with_name(f"{fresh.name}-wal").exists():  # its last connection takes it in when it is closed
            raise StateUnusable(f"{fresh} is used by another program", hint="end it, and try again")
        return _put_in_place(fresh, where, now)
    except OSError as error:
        raise _unwritten(where, error) from None
    finally:
        engine.dispose()
        _remove(fresh)


def _put_in_place(fresh: Path, where: Path, now: datetime) -> str | None:
    """Move the former database aside and the new one in; at no moment is there none."""
    aside = None
    if where.exists():
        keep_private(where)  # what is moved aside stays as it is from here on
        aside = where.with_name(f"{where.name}.aside-{_stamp(now)}")
        aside.unlink(missing_ok=True)
        os.link(where, aside)
    for beside in ("-wal", "-shm"):  # SQLite would take what is left of the former one for the new one's
        old = where.with_name(where.name + beside)
        if old.exists():
            old.rename(where.with_name(f"{(aside or where).name}{beside}" if aside else f"{old.name}.stray"))
    fresh.replace(where)
    _sync(where.parent)
    return None if aside is None else str(aside)


def _into_server(path: Path, where: str, manifest: Manifest, now: datetime, actor: Actor) -> str | None:
    engine = open_engine(where)
    try:
        with told(engine), engine.execution_options(**WRITING).begin() as connection:
            aside = _move_tables_aside(connection, now)
            _fill(connection, path, manifest, now, actor)
        return None if aside is None else f"the schema {aside} of {name_of(engine)}"
    finally:
        engine.dispose()


def _move_tables_aside(connection: sa.Connection, now: datetime) -> str | None:
    there = sa.inspect(connection).get_table_names()
    ours = [name for name in there if name in metadata.tables or name == schema_version.name]
    if not ours:
        return None
    aside = f"highball_aside_{_stamp(now).lower()}"
    connection.exec_driver_sql(f'CREATE SCHEMA "{aside}"')
    for name in ours:
        connection.exec_driver_sql(f'ALTER TABLE "{name}" SET SCHEMA "{aside}"')
    return aside


def _fill(connection: sa.Connection, path: Path, manifest: Manifest, now: datetime, actor: Actor) -> None:
    """Make the tables as they were when the copy was made, fill them, and bring them to what they are now."""
    if manifest.schema == REVISION:
        create_schema(connection)
    else:
        _migrate(connection, manifest.schema)
    tables = {table.name: table for table in _tables_there(connection, set(manifest.rows))}
    for name, rows in _groups(path):
        if name not in tables:
            raise _damaged(path, f"it has a table that is not known: {name}")
        if not set(rows[0]) <= {column.name for column in tables[name].columns}:
            raise _damaged(path, f"{name} has columns in it that are not known")
        try:
            connection.execute(_insert(tables[name]), rows)
        except sa.exc.OperationalError:  # the database's own trouble
            raise
        except (sa.exc.SQLAlchemyError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise _damaged(path, f"{name} holds what cannot be ({type(error).__name__})") from None
    if manifest.schema != REVISION:
        _migrate(connection, "head")
    message = f"the hub's copy of {manifest.made_at:%Y-%m-%d %H:%M} UTC was restored"
    write_down(connection, actor, "restored", now, kind="hub", key=path.name[:200], message=message)


def _insert(table: sa.Table) -> sa.Insert:
    """An insert where None is no value at all, also for JSON."""
    of_json = sa.JSON(none_as_null=True)
    columns = [
        sa.column(column.name, of_json if isinstance(column.type, sa.JSON) else column.type)
        for column in table.columns
    ]
    return sa.table(table.name, *columns).insert()


def _groups(path: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The rows of a copy, some at a time, with the table they belong to."""
    name = ""
    columns: list[str] = []
    rows: list[dict[str, Any]] = []
    for line, _ in _read(path):
        if isinstance(line, list):
            rows.append(dict(zip(columns, map(_from_plain, line), strict=True)))
        if rows and (isinstance(line, dict) or len(rows) == _ROWS_AT_ONCE):
            yield name, rows
            rows = []
        if isinstance(line, dict) and "table" in line:
            name, columns = line["table"], line["columns"]


def _demand_known(path: Path, manifest: Manifest) -> None:
    if manifest.schema != REVISION:
        from highball.hub.storage import upgrade  # noqa: PLC0415 - Alembic, which nobody else should pay for

        upgrade.demand_known(manifest.schema, REVISION, str(path))


def _migrate(connection: sa.Connection, revision: str) -> None:
    from highball.hub.storage import upgrade  # noqa: PLC0415 - as above

    upgrade.migrate(connection, revision)


# --- files ---------------------------------------------------------------------------------------


def get_newest_backup(state: Path) -> Path:
    """The newest copy in a state directory; raises Unknown where there is none."""
    newest = find_newest_backup(state)
    if newest is None:
        raise Unknown(
            f"there is no backup of the hub in {state / BACKUPS}",
            code="backup_unknown",
            hint="name the file of one; without any, `highball hub rebuild` begins from the repositories",
        )
    return newest


def _stamp(now: datetime) -> str:
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _remove(database: Path) -> None:
    for beside in ("", "-wal", "-shm"):
        database.with_name(database.name + beside).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritten(path: Path, error: OSError) -> StateUnusable:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    with contextlib.suppress(OSError):
        path.with_name(f".{path.name}.unfinished").unlink(missing_ok=True)
    return StateUnusable(
        f"{path} cannot be written: {error.strerror}",
        code="state_full" if full else "state_unusable",
        hint="make room on its disk" if full else "check who owns its folder",
    )


def _damaged(path: Path, why: str, problems: list[Problem] | None = None) -> StateUnusable:
    return StateUnusable(
        f"the backup {path} is damaged: {why}",
        code="backup_damaged",
        hint="use an older one beside it; nothing was changed",
        problems=problems or [],
    )
