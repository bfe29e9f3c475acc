"""The database: opened, made and brought up to date, and the two ways to it, `read()` and `write()`.

SQLite by default, PostgreSQL by its address; what `dialects` says holds on both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa

from highball.errors import HighballError, StateUnusable
from highball.hub.storage.dialects import (
    READING,
    WRITING,
    Watch,
    keep_private,
    name_of,
    open_engine,
    told,
)
from highball.hub.storage.schema import REVISION, create_schema, read_revision, schema_version


def new_run_id(now: datetime, random_bits: int) -> str:
    """A UUIDv7: sorted by time, so that run directories and rows are too."""
    milliseconds = int(now.timestamp() * 1000) & (2**48 - 1)
    high = random_bits >> 62 & 0xFFF
    low = random_bits & (2**62 - 1)
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))


class Database:
    """An opened database of the schema that this program knows."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._reading = engine.execution_options(**READING[engine.dialect.name])
        self._writing = engine.execution_options(**WRITING)
        self._watching = Watch(engine)
        self.trouble: StateUnusable | None = None
        """Why the last thing that was to be written down was not; None since something was."""

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads, all of it at one moment; raises StateUnusable."""
        with told(self.engine), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that writes: alone, and all of it or nothing; raises StateUnusable."""
        try:
            with told(self.engine), self._writing.begin() as connection:
                yield connection
        except StateUnusable as error:
            self.trouble = error
            raise
        self.trouble = None

    def mark(self) -> str:
        """Something that is another after every change, whoever made it; raises StateUnusable.

        Whoever notes it before reading, and finds it the same later, would read the same again.
        """
        with told(self.engine):
            return self._watching.mark()

    @property
    def name(self) -> str:
        """Which database it is, for people."""
        return name_of(self.engine)

    def close(self) -> None:
        """Close the connections that are kept for later."""
        self._watching.close()
        self.engine.dispose()


def open_database(where: Path | str | None, *, serving: bool = False) -> Database:
    """Open (and where it is new, make) the SQLite database in a file, or the one at a `postgresql://` address.

    None is one in memory. Whoever is `serving` keeps connections open. That is quicker, and needed on a full disk:
    when the last one closes, SQLite removes the log beside the file, and could not make it again to read. Raises
    StateUnusable when it cannot be opened, is damaged, too old, or a newer Highball wrote it.
    """
    if isinstance(where, Path):
        keep_private(where)
    engine = open_engine(where, keeps_connections=serving)
    try:
        with told(engine):
            found = _read_revision(engine)
            if found is None:
                _create(engine)
            elif found != REVISION:
                _upgrade(engine, found, where)
    except HighballError:
        engine.dispose()
        raise
    return Database(engine)


def _read_revision(engine: sa.Engine) -> str | None:
    with engine.connect() as connection:
        return read_revision(connection)


def _create(engine: sa.Engine) -> None:
    with engine.execution_options(**WRITING).begin() as connection:
        if sa.inspect(connection).has_table(schema_version.name):  # another process was quicker
            return
        create_schema(connection)


def _upgrade(engine: sa.Engine, found: str, where: Path | str | None) -> None:
    # Alembic is imported only here: it costs a quarter of a second that no everyday command should pay.
    from highball.hub.storage import upgrade  # noqa: PLC0415

    upgrade.upgrade(engine, found, where if isinstance(where, Path) else None, REVISION)
