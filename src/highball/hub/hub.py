"""The hub put together: one database, its record and Document, the scheduler, the queue, the agents, the news.

Everything that waits for the database happens in threads; the loop only carries messages. What the hub must not
forget is in the database before anybody is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from datetime import datetime

from highball.errors import Unknown
from highball.facts import Run
from highball.hub.audit import HUB, Actor
from highball.hub.db import Database, new_run_id
from highball.hub.dispatcher import Dispatcher, Installation
from highball.hub.events import Newsroom
from highball.hub.fleet import Connection, Fleet
from highball.hub.runs import Record, RunOrder, utc_now
from highball.hub.scheduler import Scheduler, planned_of
from highball.hub.vault import Vault
from highball.protocol import Message
from highball.spec.document import Document, effective_job

TICK_SECONDS = 1.0

_LOG = logging.getLogger(__name__)


class Hub:
    """A serving hub; made and used in the loop's own thread, its rooms in others."""

    def __init__(
        self,
        database: Database,
        document: Callable[[], Document],
        host: str,
        vault: Vault,
    ) -> None:
        self.database = database
        self.document = document
        self.host = host
        self.vault = vault
        self.record = Record(database)
        self.newsroom = Newsroom(asyncio.get_running_loop())
        self.scheduler = Scheduler(database)
        self.fleet = Fleet(database, vault.identity(HUB, utc_now()), self._take)
        installation = Installation(self.record, document, host, vault)
        self.dispatcher = Dispatcher(installation, self.fleet, self.newsroom)
        self._planned: Document | None = None
        self._loops: list[asyncio.Task[None]] = []

    async def _take(self, connection: Connection, message: Message) -> None:
        await self.dispatcher.take(connection, message)

    # --- life ---

    def begin(self) -> None:
        """Start the clock and the queue."""
        for loop in (self._keep_ticking(), self.dispatcher.keep()):
            self._loops.append(asyncio.create_task(loop))

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
                if await asyncio.to_thread(self._tick, utc_now()):
                    self.dispatcher.wake()
                    self.newsroom.publish("queue")
            except Exception:  # the outermost loop of the clock
                _LOG.exception("a tick failed")
            await asyncio.sleep(TICK_SECONDS)

    def _tick(self, now: datetime) -> bool:
        document = self.document()
        fired = []
        if document is not self._planned:
            fired += self.scheduler.reconcile(planned_of(document, self.host), now)
            self._planned = document
        fired += self.scheduler.tick(now, self.fleet.connected)
        return bool(fired)

    # --- what people ask for ---

    def order(self, order: RunOrder, actor: Actor, *, key: str | None = None) -> tuple[Run, bool]:
        """Queue a run; with the same idempotency key, the run that this key began. True where it is new.

        Raises Unknown for a job or repository that is not declared. Not to be called in the loop's own thread.
        """
        now, document = utc_now(), self.document()
        host = self.host
        if order.job is not None:
            effective_job(document, order.job)
        if order.repository is not None:
            repository = document.repositories.get(order.repository)
            if repository is None:
                raise Unknown(f"there is no repository {order.repository}", code="repository_unknown")
            if repository.maintained_by is not None:
                host = repository.maintained_by
        run, fresh = self.record.enqueue(
            order, host, now, id=new_run_id(now, secrets.randbits(74)), actor=actor, key=key
        )
        if fresh:
            self.newsroom.publish("run", run.id)
            self.dispatcher.wake()
        return run, fresh
