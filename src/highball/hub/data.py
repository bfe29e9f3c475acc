"""What a hub keeps, for its rooms: the Document, the record and its queue, and the vault, in one database."""

from __future__ import annotations

from dataclasses import dataclass

from highball.config.document import Document
from highball.hub.document.rename import FormerKeys
from highball.hub.document.store import Documents
from highball.hub.runs.queue import Backlog
from highball.hub.runs.record import Record
from highball.hub.secrets.vault import Vault
from highball.hub.storage.database import Database


@dataclass
class HubData:
    """All of it is in the database, and read from there."""

    database: Database
    documents: Documents
    vault: Vault
    record: Record
    backlog: Backlog
    host: str
    """The hub's own machine by its key of now: its agent maintains what names no other."""

    def document(self) -> Document:
        """What is declared now; the same object for as long as nothing changes."""
        return self.documents.document()

    def former_keys(self) -> FormerKeys:
        """The keys that objects had before."""
        return self.documents.former_keys()

    def follow_keys(self) -> FormerKeys:
        """Know the own machine by the key that it has now; the keys that objects had before."""
        former = self.former_keys()
        self.host = former.now("host", self.host)
        return former
