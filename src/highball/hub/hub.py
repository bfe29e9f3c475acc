"""The hub put together: one database, its record and Document, the scheduler, the queue, the agents, the news.

Everything that waits for the database happens in threads; the loop only carries messages. What waits for an agent is
awaited in the loop and holds no thread, so that however many of them are slow, the clock ticks and all are heard.
What the hub must not forget is in the database before anybody is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
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
from highball.hub.dispatch.own_work import OwnWork
from highball.hub.dispatch.preparation import Preparation
from highball.hub.dispatch.progress import LatestProgress
from highball.hub.dispatch.reports import Reports
from highball.hub.dispatch.run_secrets import RunSecrets
from highball.hub.document.store import FROM_FILE, Documents
from highball.hub.operations import HubOperations
from highball.hub.retention.live_plans import LivePlans
from highball.hub.runs.queue import (
    Backlog,
)
from highball.hub.runs.record import (
    Record,
    utc_now,
)
from highball.hub.runs.scheduler import Scheduler
from highball.hub.runs.subjects import planned_of
from highball.hub.secrets.key_rotation import KeyRotations
from highball.hub.secrets.vault import Vault
from highball.hub.storage.database import Database
from highball.hub.storage.leader_lock import Lease
from highball.protocol.wire import Message

DATABASE_THREADS = 8
"""The loop's own threads. They are for the database and for short thinking: nothing in them waits for an agent."""

TICK_SECONDS = 1.0
HOUSE_SECONDS = 15.0

_LOG = logging.getLogger(__name__)


class Hub:
    """A serving hub. What `begin` makes lives in the loop's own thread; the rest may be used in others."""

    def __init__(
        self, database: Database, documents: Documents, host: str, vault: Vault, state: Path, lease: Lease
    ) -> None:
        self.database = database
        self.state = state
        self.file_fault: HighballError | None = None
        """Why the hub's own file could not be read when it began: what it declared before holds."""
        self._lease = lease
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
        self.operations = HubOperations(
            self.data, self.fleet, self.bus, self.dispatcher, self.repositories, self.plans
        )
        self._planned: Document | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loops: list[asyncio.Task[None]] = []

    @property
    def host(self) -> str:
        """The hub's own machine, by its key of now."""
        return self.data.host

    def document(self) -> Document:
        """What is declared now; the same object for as long as nothing changes."""
        return self.documents.document()

    async def _take(self, connection: Connection, message: Message) -> None:
        await self.reports.take(connection, message)

    def _note_changed(self, host: str) -> None:
        self.bus.news.publish("host", host)
        self.dispatcher.wake()

    # --- life ---

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the clock and the queue in this loop."""
        self._loop = loop
        loop.set_default_executor(ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="database"))
        self.bus.open(loop)
        self.dispatcher.open(loop)
        for task in (self._keep_ticking(), self._keep_house(), self.dispatcher.keep()):
            self._loops.append(asyncio.create_task(task))

    async def end(self) -> None:
        """Stop both; runs go on without the hub."""
        for loop in self._loops:
            loop.cancel()
        for loop in self._loops:
            with contextlib.suppress(asyncio.CancelledError):
                await loop

    async def _keep_ticking(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.fleet.note_seen, self.fleet.take_seen())
                if await asyncio.to_thread(self._tick, utc_now()):
                    self.dispatcher.wake()
                    self.bus.news.publish("queue")
            except Exception:  # the outermost loop of the clock
                _LOG.exception("a tick failed")
            await asyncio.sleep(TICK_SECONDS)

    async def _keep_house(self) -> None:
        """Now and then: is the database still ours to serve, and what has expired."""
        while True:
            await asyncio.sleep(HOUSE_SECONDS)
            try:
                if not await asyncio.to_thread(self._lease.holds):
                    _LOG.error("another hub may serve this database now: this one ends")
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                await asyncio.to_thread(self.access.sweep, utc_now())
                await asyncio.to_thread(self.key_rotations.settle)
            except Exception:  # the outermost loop of the house
                _LOG.exception("keeping house failed")

    def _tick(self, now: datetime) -> bool:
        document = self.document()
        fired = []
        if document is not self._planned:
            self._follow_keys()
            fired += self.scheduler.reconcile(planned_of(document, self.host), now)
            self._planned = document
            self.bus.news.publish("object")
        fired += self.scheduler.tick(now, self.fleet.connected)
        return bool(fired)

    def _follow_keys(self) -> None:
        """Know the hosts by the keys that they have now: the hub's own, and those whose agents are here."""
        former = self.data.follow_keys()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.fleet.follow_keys, former)

    def _provider(self) -> Configured | None:
        """Where people log in, as it is declared now."""
        provider = self.document().settings.oidc
        if provider is None:
            return None
        is_from_file = self.documents.get("settings", "settings").origin == FROM_FILE
        return Configured(provider, lambda: secret_of(provider, is_from_file, self.vault.open))
