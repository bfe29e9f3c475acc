"""A hub that serves: its parts, what can be asked of it, and what it does by itself.

Everything that waits for the database happens in threads; the loop only carries messages. What waits for an agent is
awaited in the loop and holds no thread, so that however many of them are slow, the clock ticks and all are heard.
What the hub must not forget is in the database before anybody is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from highball.config.document import Document
from highball.hub.document.store import Documents
from highball.hub.operations.port import HubOperations
from highball.hub.parts import HubParts
from highball.hub.runs.record import (
    utc_now,
)
from highball.hub.runs.subjects import planned_of
from highball.hub.secrets.vault import Vault
from highball.hub.storage.database import Database
from highball.hub.storage.leader_lock import Lease

DATABASE_THREADS = 8
"""The loop's own threads. They are for the database and for short thinking: nothing in them waits for an agent."""

TICK_SECONDS = 1.0
HOUSE_SECONDS = 15.0

_LOG = logging.getLogger(__name__)


class Hub(HubParts):
    """A serving hub. What `begin` makes lives in the loop's own thread; the rest may be used in others."""

    def __init__(
        self, database: Database, documents: Documents, host: str, vault: Vault, state: Path, lease: Lease
    ) -> None:
        super().__init__(database, documents, host, vault, state)
        self._lease = lease
        self.operations = HubOperations(self)
        self._planned: Document | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loops: list[asyncio.Task[None]] = []

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
