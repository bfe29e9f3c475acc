"""A record of its own for each test, on each database."""

import pytest

from highball.hub.db import Database
from highball.hub.runs import Record


@pytest.fixture
def record(database: Database) -> Record:
    """An empty record."""
    return Record(database)
