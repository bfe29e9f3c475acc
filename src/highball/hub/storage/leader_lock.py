"""The right to serve a database: one hub has it, any other stays passive until it is free.

On SQLite it is a lock on a file beside the database. On PostgreSQL it is an advisory lock of a connection that
serves nothing else: the server frees it when that connection ends, so whoever holds it asks now and then whether
it still does. The database itself refuses a second run of one fire; the lease keeps two hubs from trying.
"""

from __future__ import annotations

import os
import platform
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Protocol

import sqlalchemy as sa

from highball.errors import Conflict, StateUnusable
from highball.hub.storage.dialects import (
    SERVING_LOCK,
    open_engine,
    told,
)
from highball.process.file_lock import FileLock

_LONGEST_NAME = 63
"""PostgreSQL cuts what a connection calls itself."""


@dataclass(frozen=True)
class Holder:
    """The hub that serves a database, as far as it can be known."""

    process: int | None
    machine: str | None
    address: str | None

    def __str__(self) -> str:
        of = f"process {self.process}" if self.process is not None else "an unknown process"
        where = f"{of} on {self.machine}" if self.machine else of
        return f"{self.address}, {where}" if self.address else where


class Lease(Protocol):
    """The right to serve one database."""

    def take(self, address: str | None = None) -> bool:
        """Take it if nobody has it, and make known where we answer; says whether it is ours now."""

    def holds(self) -> bool:
        """Whether it is still ours; ask every 20 s at least, and stop deciding anything when it is not."""

    def release(self) -> None:
        """Give it back; harmless when it is not held."""

    def find_holder(self) -> Holder | None:
        """Who has it, be it us; None when nobody has."""


def lease_on(where: Path | str | None) -> Lease:
    """The lease of the database that lies there; one in memory is always ours."""
    if where is None:
        return _NoLease()
    return _FileLease(where) if isinstance(where, Path) else _ServerLease(where)


END_FIRST: Final = "end the hub first; highball serve begins it again"
"""The hint of what cannot be asked of a hub that serves."""


def refuse_if_served(where: Path | str | None, hint: str | None = None) -> None:
    """Raise Conflict where a hub serves this database: then it is the one to ask, unless the hint says otherwise."""
    lease = lease_on(where)
    holder = lease.find_holder()
    lease.release()
    if holder is not None:
        raise Conflict(
            f"a hub serves this database: {holder}",
            code="hub_is_serving",
            hint=hint
            or (f"use --hub {holder.address}" if holder.address else "ask it with --hub, or end it first"),
        )


class _NoLease:
    """The lease of a database that no other process can see."""

    def take(self, address: str | None = None) -> bool:
        return True

    def holds(self) -> bool:
        return True

    def release(self) -> None:
        pass

    def find_holder(self) -> Holder | None:
        return None


class _FileLease:
    """A lock on the file `highball.db.lock`."""

    _TRIES = 5

    def __init__(self, path: Path) -> None:
        real = path.resolve()
        self._lock = FileLock(real.with_name(f"{real.name}.lock"))
        self._path = path

    def take(self, address: str | None = None) -> bool:
        if self._lock.is_ours:
            return True
        self._lock.release()
        for _ in range(self._TRIES):
            if self._try(address or ""):
                return True
            time.sleep(0.01)  # another command may only just be asking whether it is free
        return False

    def _try(self, address: str) -> bool:
        try:
            return self._lock.take(address)
        except OSError as error:
            raise StateUnusable(
                f"no lock can be taken beside {self._path}: {error.strerror}",
                hint="check who owns its folder",
            ) from None

    def holds(self) -> bool:
        return self._lock.is_ours

    def release(self) -> None:
        self._lock.release()

    def find_holder(self) -> Holder | None:
        if not self._lock.is_taken:
            return None
        return Holder(self._lock.holder(), None, self._lock.note() or None)


class _ServerLease:
    """An advisory lock of a connection of its own, which calls itself by where we answer."""

    _MINE = sa.text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        " AND classid = :high AND objid = :low AND objsubid = 1 AND granted"
    )
    _WHOSE = sa.text(
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
        " WHERE l.locktype = 'advisory' AND l.classid = :high AND l.objid = :low AND l.objsubid = 1 AND l.granted"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    _NUMBER: ClassVar = {"high": SERVING_LOCK >> 32, "low": SERVING_LOCK & 0xFFFFFFFF}

    def __init__(self, address: str) -> None:
        self._engine = open_engine(address).execution_options(isolation_level="AUTOCOMMIT")
        self._connection: sa.Connection | None = None
        self._one_at_a_time = threading.RLock()

    def take(self, address: str | None = None) -> bool:
        with self._one_at_a_time:
            if self.holds():
                return True
            with told(self._engine):
                connection = self._engine.connect()
                try:
                    mine = connection.scalar(sa.text(f"SELECT pg_try_advisory_lock({SERVING_LOCK})"))
                    if mine:
                        name = _name_of_ours(address)
                        connection.execute(
                            sa.text("SELECT set_config('application_name', :name, false)"), {"name": name}
                        )
                        self._connection = connection
                finally:
                    if self._connection is None:
                        connection.invalidate()  # an advisory lock would outlive its return to the pool
                        connection.close()
            return self._connection is not None

    def holds(self) -> bool:
        with self._one_at_a_time:
            if self._connection is None:
                return False
            try:
                mine = bool(self._connection.scalar(self._MINE, self._NUMBER))
            except sa.exc.DBAPIError:
                mine = False
            if not mine:
                self.release()
            return mine

    def release(self) -> None:
        with self._one_at_a_time:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.invalidate()
                connection.close()
            self._engine.dispose()

    def find_holder(self) -> Holder | None:
        with told(self._engine), self._engine.connect() as connection:
            name = connection.scalar(self._WHOSE, self._NUMBER)
        return None if name is None else _read_name(str(name))


def _name_of_ours(address: str | None, node: Callable[[], str] = platform.node) -> str:
    return f"{address or '-'} {os.getpid()} {node()}"[:_LONGEST_NAME]


def _read_name(name: str) -> Holder:
    match = re.fullmatch(r"(\S+) (\d+) (.*)", name)
    if match is None:
        return Holder(None, None, None)
    return Holder(int(match[2]), match[3] or None, None if match[1] == "-" else match[1])
