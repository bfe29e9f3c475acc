"""A scheduler on a database of its own."""

from pathlib import Path

import pytest

from highball.hub.db import Database, open_database
from scheduler.plans import Clockwork


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A new database on disk."""
    return open_database(tmp_path / "highball.db")


@pytest.fixture
def clockwork(database: Database) -> Clockwork:
    """A scheduler without anything to do."""
    return Clockwork(database)
