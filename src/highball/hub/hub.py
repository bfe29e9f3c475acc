"""The hub put together: one database, its record and Document, the scheduler, the queue, the agents, the news.

Everything that waits for the database happens in threads; the loop only carries messages. What the hub must not
forget is in the database before anybody is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

from highball.errors import HighballError, Unknown
from highball.facts import (
    Action,
    LogLine,
    Outcome,
    Reason,
    Run,
    RunEnded,
    RunStarted,
    Snapshot,
    Step,
    StepEnded,
    StepStarted,
)
from highball.hub.access import Access
from highball.hub.audit import HUB, Actor, write_down
from highball.hub.config import FROM_FILE, Documents
from highball.hub.db import Database, new_run_id
from highball.hub.dispatcher import Dispatcher, Installation
from highball.hub.events import Newsroom
from highball.hub.fleet import Connection, Fleet
from highball.hub.kit import Kept, demand_makeable, reach_of, repository_kit
from highball.hub.lease import Lease
from highball.hub.recovery import back_up
from highball.hub.runs import Record, RunOrder, utc_now
from highball.hub.scheduler import Scheduler, planned_of
from highball.hub.vault import Vault
from highball.protocol import Message
from highball.spec.document import Document, effective_job

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
        self._lease = lease
        self.documents = documents
        self.host = host
        self.vault = vault
        self.record = Record(database)
        self.access = Access(database)
        self.scheduler = Scheduler(database)
        self.newsroom = Newsroom()
        self.fleet = Fleet(database, vault.identity(HUB, utc_now()), self._take)
        self.dispatcher = Dispatcher(
            Installation(
                self.record,
                self.document,
                host,
                vault,
                self._is_from_file,
                self._former_keys,
                self._back_up_itself,
            ),
            self.fleet,
            self.newsroom,
        )
        self._planned: Document | None = None
        self._loops: list[asyncio.Task[None]] = []

    def document(self) -> Document:
        """What is declared now; the same object for as long as nothing changes."""
        return self.documents.document()

    def _former_keys(self, job: str) -> tuple[str, ...]:
        try:
            return self.documents.get("job", job).former_keys
        except Unknown:
            return ()

    def _is_from_file(self, kind: str, key: str) -> bool:
        try:
            return self.documents.get(kind, key).origin == FROM_FILE
        except Unknown:
            return False

    async def _take(self, connection: Connection, message: Message) -> None:
        await self.dispatcher.take(connection, message)

    # --- life ---

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the clock and the queue in this loop."""
        self.newsroom.open(loop)
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
                if await asyncio.to_thread(self._tick, utc_now()):
                    self.dispatcher.wake()
                    self.newsroom.publish("queue")
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
            except Exception:  # the outermost loop of the house
                _LOG.exception("keeping house failed")

    def _back_up_itself(self, run: str) -> None:
        """The run that copies the hub's own database, told by events like every other."""
        if not self.record.mark_assigned(run, utc_now()):
            return
        begun = utc_now()
        step = Step(number=1, action=Action.BACKUP, title="copy of the hub's database", started_at=begun)
        try:
            path = back_up(self.database, self.state, begun)
            done: dict[str, Any] = {"outcome": Outcome.SUCCESS, "bytes_stored": path.stat().st_size}
            words = f"the hub's database is copied to {path}"
        except (HighballError, OSError) as error:
            words = error.message if isinstance(error, HighballError) else str(error)
            done = {"outcome": Outcome.FAILURE, "reason": Reason(code="hub_backup_failed", message=words)}
        ended = step.model_copy(update={**done, "ended_at": utc_now()})
        told: dict[str, Any] = {"run": run, "at": utc_now()}
        self.record.absorb(
            run,
            [
                RunStarted(seq=1, pid=os.getpid(), **told),
                StepStarted(seq=2, step=1, running=step, **told),
                LogLine(seq=3, step=1, stream="highball", text=words, **told),
                StepEnded(seq=4, step=1, done=ended, **told),
                RunEnded(seq=5, outcome=done["outcome"], reason=done.get("reason"), **told),
            ],
        )
        self.newsroom.publish("run", run, ended=True)

    def _tick(self, now: datetime) -> bool:
        document = self.document()
        fired = []
        if document is not self._planned:
            fired += self.scheduler.reconcile(planned_of(document, self.host), now)
            self._planned = document
            self.newsroom.publish("object")
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
            host = effective_job(document, order.job).host or host
        if order.repository is not None:
            repository = document.repositories.get(order.repository)
            if repository is None:
                raise Unknown(f"there is no repository {order.repository}", code="repository_unknown")
            if order.job is None or order.task != "restore":
                host = repository.maintained_by or repository.host or host
        run, fresh = self.record.enqueue(
            order, host, now, id=new_run_id(now, secrets.randbits(74)), actor=actor, key=key
        )
        if fresh:
            self.newsroom.publish("run", run.id)
            self.dispatcher.wake()
        return run, fresh

    # --- what is asked ---

    def list_snapshots(self, key: str) -> list[Snapshot]:
        """What a repository holds, of other tools too, newest first; not to be called in the loop's own thread."""
        found = self.record.recognise(key, self.dispatcher.asked(key).list_snapshots())
        return sorted(found, key=lambda snapshot: snapshot.time, reverse=True)

    # --- the way back ---

    def make_kit(self, key: str, actor: Actor) -> str:
        """The page to print for a repository; who took it, and when, is in the audit.

        Raises Unknown, NotAllowed (`kit_not_here`) and SecretUnavailable.
        """
        now, document = utc_now(), self.document()
        repository = document.repositories.get(key)
        if repository is None:
            raise Unknown(f"there is no repository {key}", code="repository_unknown")
        demand_makeable(key, repository, from_file=self._is_from_file("repository", key))
        placed = self.vault.place(key, repository)
        reach = reach_of(placed, sealed=self.vault.open_named(placed, admin=False))
        jobs = {name: effective_job(document, name) for name in document.jobs}
        kept = [Kept(name, job.sources[0].path) for name, job in jobs.items() if key in job.repositories]
        with self.database.write() as connection:
            write_down(connection, actor, "took_kit", now, kind="repository", key=key)
        return repository_kit(key, repository, reach, kept, now, identity=self.record.find_identity(key))
