"""A record of its own for each test, on each database."""

import pytest

from highball.hub.runs.record import Record
from highball.hub.storage.database import Database


@pytest.fixture
def record(database: Database) -> Record:
    """An empty record."""
    return Record(database)
