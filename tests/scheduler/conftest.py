"""A scheduler on a database of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from highball.hub.storage.database import Database, open_database
from scheduler.plans import Clockwork
from scheduler.postgresql import Postgresql


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A new database on disk."""
    return open_database(tmp_path / "highball.db")


@pytest.fixture
def clockwork(database: Database) -> Clockwork:
    """A scheduler without anything to do."""
    return Clockwork(database)


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """A PostgreSQL server of its own; skips where there is none, or where it does not want to start."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not programs:
        pytest.skip("PostgreSQL is not installed")
    with Postgresql(programs[-1].parent) as server:
        yield server.open
