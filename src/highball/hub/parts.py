"""What a hub is made of, put together: one database, its record and Document, the scheduler, the agents, the news.

Nothing of it runs by itself: that is the hub's own to do. What a hub is asked or ordered needs no more than this.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from highball.config.document import Document
from highball.errors import HighballError
from highball.hub.agents.connected import Connection
from highball.hub.agents.fleet import Fleet
from highball.hub.agents.remote_repository import RemoteRepositories
from highball.hub.audit import HUB
from highball.hub.auth.sessions import Access
from highball.hub.auth.single_sign_on import (
    Configured,
    SignOn,
    secret_of,
)
from highball.hub.bus.base import Bus
from highball.hub.bus.in_process import InProcessBus
from highball.hub.data import HubData
from highball.hub.dispatch.claims import Claims
from highball.hub.dispatch.dispatcher import Dispatcher
from highball.hub.dispatch.latest_progress import LatestProgress
from highball.hub.dispatch.own_work import OwnWork
from highball.hub.dispatch.preparation import Preparation
from highball.hub.dispatch.reports import Reports
from highball.hub.dispatch.run_secrets import RunSecrets
from highball.hub.document.store import FROM_FILE, Documents
from highball.hub.retention.live_plans import LivePlans
from highball.hub.runs.queue import (
    Backlog,
)
from highball.hub.runs.record import (
    Record,
    utc_now,
)
from highball.hub.runs.scheduler import Scheduler
from highball.hub.secrets.key_rotation import KeyRotations
from highball.hub.secrets.vault import Vault
from highball.hub.storage.database import Database
from highball.protocol.wire import Envelope


class HubParts:
    """The parts of a hub, each ready to be used."""

    def __init__(
        self, database: Database, documents: Documents, host: str, vault: Vault, state: Path
    ) -> None:
        self.database = database
        self.state = state
        self.file_fault: HighballError | None = None
        """Why the hub's own file could not be read when it began: what it declared before holds."""
        self.documents = documents
        self.vault = vault
        self.record = Record(database)
        self.backlog = Backlog(database)
        self.data = HubData(database, documents, vault, self.record, self.backlog, host)
        self.data.follow_keys()
        identity = vault.identity(HUB, utc_now())
        signing = hashlib.sha256(b"highball signs of browsers\0" + identity.private_bytes_raw()).digest()
        self.access = Access(database, vault, key=signing)
        self.sign_on = SignOn(self._provider)
        self.scheduler = Scheduler(database)
        self.bus: Bus = InProcessBus()
        self.key_rotations = KeyRotations(database, documents, vault, self.bus.news)
        self.fleet = Fleet(
            database, identity, documents.former_keys, self.bus, self._take, self._note_changed
        )
        self.repositories = RemoteRepositories(self.data, self.fleet)
        self.plans = LivePlans(self.data, self.repositories, self.fleet)
        self.progress = LatestProgress()
        own_work = OwnWork(self.data, state, self.bus.news)
        claims = Claims(self.data, self.fleet)
        run_secrets = RunSecrets(self.data, claims)
        preparation = Preparation(self.data, self.plans, claims, run_secrets, own_work)
        self.dispatcher = Dispatcher(
            self.data, self.fleet, self.bus.news, preparation, own_work, self.progress
        )
        self.reports = Reports(
            data=self.data,
            fleet=self.fleet,
            newsroom=self.bus.news,
            claims=claims,
            secrets=run_secrets,
            progress=self.progress,
            dispatcher=self.dispatcher,
            key_rotations=self.key_rotations,
        )

    @property
    def host(self) -> str:
        """The hub's own machine, by its key of now."""
        return self.data.host

    def document(self) -> Document:
        """What is declared now; the same object for as long as nothing changes."""
        return self.documents.document()

    async def _take(self, connection: Connection, message: Envelope) -> None:
        await self.reports.take(connection, message)

    def _note_changed(self, host: str) -> None:
        self.bus.news.publish("host", host)
        self.dispatcher.wake()

    def _provider(self) -> Configured | None:
        """Where people log in, as it is declared now."""
        provider = self.document().settings.oidc
        if provider is None:
            return None
        is_from_file = self.documents.get("settings", "settings").origin == FROM_FILE
        return Configured(provider, lambda: secret_of(provider, is_from_file, self.vault.open))
