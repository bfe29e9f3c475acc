"""A database of its own for each test."""

from pathlib import Path

import pytest

from highball.hub.db import Database, open_database
from highball.hub.runs import Record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies."""
    return tmp_path / "highball.db"


@pytest.fixture
def database(path: Path) -> Database:
    """A new database on disk."""
    return open_database(path)


@pytest.fixture
def record(database: Database) -> Record:
    """An empty record."""
    return Record(database)
