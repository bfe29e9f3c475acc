"""A vault of its own for each test, with a repository that is declared."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from highball.config.document import build
from highball.hub.audit import Actor
from highball.hub.document.store import load_document
from highball.hub.secrets.vault import Vault, open_vault
from highball.hub.storage.database import Database, open_database

NOW = datetime(2026, 5, 3, 10, tzinfo=UTC)
ANNA = Actor("anna", address="192.0.2.7")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A database in which the repositories nas and b2 are declared, each with sealed secrets."""
    database = open_database(tmp_path / "highball.db")
    sealed = {"sealed": True}
    document = build(
        {
            "repositories": {
                "nas": {"url": "/srv/nas", "password": sealed, "admin": {"password": sealed}},
                "b2": {"url": "b2:x", "password": sealed, "environment": {"B2_ACCOUNT_KEY": sealed}},
            }
        }
    )
    load_document(database, document, now=NOW)
    return database


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Where the hub's key lies; not made yet."""
    return tmp_path / "etc" / "hub.key"


@pytest.fixture
def vault(database: Database, key_file: Path) -> Vault:
    """An empty vault."""
    return open_vault(database, key_file)
