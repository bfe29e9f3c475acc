"""The Document on each kind of database, a new one for every test."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from highball.hub.audit import Actor
from highball.hub.document.store import Documents
from highball.hub.storage.database import Database

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANNA = Actor("anna", address="192.0.2.1")
NAS: dict[str, Any] = {"url": "/mnt/nas", "password": {"env": "X"}}
DOCS: dict[str, Any] = {"sources": ["/docs"], "repositories": ["nas"], "schedule": "daily"}


class Desk:
    """A Document, and somebody who works on it at a moment that does not pass by itself."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.documents = Documents(database)
        self.told: dict[str, Any] = {"now": NOW, "actor": ANNA}

    def start(self) -> Desk:
        """One repository and one job."""
        self.create("repository", "nas", NAS)
        self.create("job", "docs", DOCS)
        return self

    def create(self, kind: str, key: str, spec: dict[str, Any]) -> Any:
        return self.documents.create(kind, key, spec, **self.told)

    def change(self, kind: str, key: str, **fields: Any) -> Any:
        """Set these fields anew, at whatever revision the object is."""
        return self.documents.patch(kind, key, fields, expected=self.revision(kind, key), **self.told)

    def delete(self, kind: str, key: str) -> Any:
        return self.documents.delete(kind, key, expected=self.revision(kind, key), **self.told)

    def rekey(self, kind: str, key: str, new: str) -> Any:
        return self.documents.rekey(kind, key, new, expected=self.revision(kind, key), **self.told)

    def revision(self, kind: str, key: str) -> int:
        return self.documents.get(kind, key).revision

    def specs(self) -> dict[tuple[str, str], dict[str, Any]]:
        """All that lives, read anew from the database."""
        again = Documents(self.database)
        kinds = ("settings", "defaults", "host", "profile", "repository", "job", "pin", "user", "token")
        return {one.place: one.spec for kind in kinds for one in again.list_objects(kind)}


@pytest.fixture
def desk(database: Database) -> Desk:
    """An empty Document."""
    return Desk(database)
