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
import secrets
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from highball.actions import By
from highball.config.document import Document, effective_job
from highball.config.pin import names_snapshot
from highball.engine.kinds import engine_of
from highball.errors import Conflict, Failed, HighballError, Misuse, NotAllowed, StateUnusable, Unknown
from highball.hub.agents.connected import Connection
from highball.hub.agents.fleet import Fleet
from highball.hub.agents.pending_queries import each_of
from highball.hub.agents.remote_repository import LISTING_SECONDS, RemoteRepositories
from highball.hub.audit import HUB, Actor, write_down
from highball.hub.auth.sessions import Access
from highball.hub.auth.single_sign_on import (
    Configured,
    SignOn,
    secret_of,
)
from highball.hub.auth.users import demand_present
from highball.hub.bus.base import Bus
from highball.hub.bus.in_process import InProcessBus
from highball.hub.data import HubData
from highball.hub.disaster.recovery_kit import demand_makeable, list_kept
from highball.hub.dispatch.claims import Claims
from highball.hub.dispatch.dispatcher import Dispatcher
from highball.hub.dispatch.own_work import OwnWork
from highball.hub.dispatch.preparation import Preparation
from highball.hub.dispatch.progress import LatestProgress
from highball.hub.dispatch.reports import Reports
from highball.hub.dispatch.run_secrets import RunSecrets
from highball.hub.document.store import FROM_FILE, Documents
from highball.hub.retention.adoption import Adoption
from highball.hub.retention.live_plans import LivePlans, look
from highball.hub.retention.planner import Seen
from highball.hub.runs.queue import (
    Backlog,
    Placing,
    RestoreWish,
    RunOrder,
)
from highball.hub.runs.record import (
    Record,
    not_lost,
    utc_now,
)
from highball.hub.runs.scheduler import Scheduler
from highball.hub.runs.subjects import planned_of
from highball.hub.secrets.key_rotation import KeyRotations
from highball.hub.secrets.vault import Vault
from highball.hub.storage.database import Database, new_run_id
from highball.hub.storage.leader_lock import Lease
from highball.model.run import (
    Run,
)
from highball.model.snapshot import Loss, Snapshot
from highball.protocol.queries import RestorePlan
from highball.protocol.wire import Message
from highball.retention import Plan

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

    # --- what people ask for ---

    def _provider(self) -> Configured | None:
        """Where people log in, as it is declared now."""
        provider = self.document().settings.oidc
        if provider is None:
            return None
        is_from_file = self.documents.get("settings", "settings").origin == FROM_FILE
        return Configured(provider, lambda: secret_of(provider, is_from_file, self.vault.open))

    def order(
        self, order: RunOrder, actor: Actor, *, key: str | None = None, id: str | None = None
    ) -> tuple[Run, Placing]:
        """Queue a run; with the same idempotency key, the run that this key began; the one that waits already.

        Raises NotAllowed (`restore_in_place_needed`), Unknown for a job or repository that is not declared, and Misuse,
        Unknown or NotAllowed for a snapshot that is none or cannot be removed. Not to be called in the loop's own
        thread.
        """
        if order.may_replace:
            _demand_in_place(actor)
        now, document = utc_now(), self.document()
        host = self.host_of(order.job)
        if order.repository is not None:
            repository = document.repositories.get(order.repository)
            if repository is None:
                raise Unknown(f"there is no repository {order.repository}", code="repository_unknown")
            if order.job is None or order.verb.by is not By.JOB_HOST:
                host = repository.maintainer(self.host)
        if order.snapshot is not None and not self.backlog.has_answered(actor, key):
            self._demand_snapshot(order, order.snapshot)
        try:
            run, placing = self.backlog.enqueue(
                order, host, now, id=id or new_run_id(now, secrets.randbits(74)), actor=actor, key=key
            )
        except StateUnusable as error:
            raise self._with_way_out(order, error) from None
        if placing is Placing.NEW:
            self.bus.news.publish("run", run.id)
            self.dispatcher.wake()
        return run, placing

    def _with_way_out(self, order: RunOrder, error: StateUnusable) -> StateUnusable:
        """The same error; of a restore with the way that needs no hub."""
        file = self.documents.file()
        if order.task != "restore" or file is None:
            return error
        restore = f"highball -c {file} restore {order.job or 'JOB'}"
        way = f"until then, on the hub's own machine: {restore}"
        return StateUnusable(
            error.message, code=error.code, hint=f"{error.hint}; {way}" if error.hint else way
        )

    def _demand_snapshot(self, order: RunOrder, snapshot: str) -> None:
        key = order.repository or ""
        if not names_snapshot(snapshot):
            raise Misuse(
                "what is named is not the id of a snapshot",
                code="snapshot_invalid",
                hint="it is 8 to 64 digits and letters a to f; "
                f"see highball snapshots, or /api/v1/repositories/{key}/snapshots",
            )
        if order.task == "forget":
            self.plans.demand_removable(key, snapshot)

    def host_of(self, job: str | None) -> str:
        """The machine whose data a job reads, and where a restore of it goes; raises Unknown."""
        named = None if job is None else effective_job(self.document(), job).host
        return named or self.host

    async def plan_restore(self, wish: RestoreWish, seconds: float = LISTING_SECONDS) -> RestorePlan:
        """What a restore would do, from a look at the machine it goes to.

        Raises HighballError, also where the look takes longer than so many seconds.
        """
        asked = replace(await asyncio.to_thread(self.repositories.asked, wish.repository), seconds=seconds)
        if wish.job is not None:
            asked = replace(asked, host=await asyncio.to_thread(self.host_of, wish.job))
        return await asked.plan_restore(
            wish.snapshot, wish.paths, wish.target, wish.overwrite, counts=wish.counts
        )

    async def adoption(self, key: str) -> Adoption:
        """Whose the snapshots of a repository are, as it holds them now; raises HighballError.

        What it answers with is not to be used in the loop's own thread.
        """
        asked = await asyncio.to_thread(self.repositories.asked, key)
        listed = Seen(frozenset(), (), await asked.list_snapshots(), ())
        retainer, skew = self.plans.retainer, self.fleet.find_skew(asked.host)
        return Adoption(self.database, retainer, self.host, key, listed, skew)

    async def preview_adoption(self, key: str, group: str, job: str) -> list[Plan]:
        """What a job's retention would do once it governs a group of a repository; raises HighballError."""
        adoption = await self.adoption(key)
        asked = await asyncio.to_thread(self.repositories.asked, key)
        sets = await asyncio.to_thread(adoption.list_sets, group, job)
        wanted = await asyncio.to_thread(lambda: [adoption.retainer.want(of) for of in sets])
        seen = await each_of(look(asked, one) for one in wanted)
        return await asyncio.to_thread(
            adoption.preview, group, job, utc_now(), dict(zip(sets, seen, strict=True))
        )

    def invite(self, host: str, actor: Actor, now: datetime) -> str:
        """A one-time token for the agent of a declared host. Raises Unknown, and Misuse for the hub's own machine."""
        self._demand_elsewhere(host, "invite another host")
        self.documents.get("host", host)
        demand_present(actor)
        return self.fleet.invite(host, actor, now)

    async def shut_out(self, host: str, actor: Actor, now: datetime) -> None:
        """Take a host's agent its key and its invitations. Raises Unknown, and Misuse for the hub's own machine."""
        self._demand_elsewhere(host, "end the hub to end it")
        await self.fleet.shut_out(host, actor, now)

    def _demand_elsewhere(self, host: str, hint: str) -> None:
        if host == self.host:
            words = f"{host} is the hub's own machine: its agent comes with the hub"
            raise Misuse(words, code="own_host", hint=hint)

    # --- what is asked ---

    async def list_snapshots(self, key: str) -> list[Snapshot]:
        """What a repository holds, of other tools too, newest first; raises HighballError."""
        asked = await asyncio.to_thread(self.repositories.asked, key)
        return await asyncio.to_thread(self._recognise, key, await asked.list_snapshots())

    def _recognise(self, key: str, listing: list[Snapshot]) -> list[Snapshot]:
        self.record.take_listing(key, listing, utc_now())
        found = self.record.recognise(key, listing)
        return sorted(found, key=lambda snapshot: snapshot.time, reverse=True)

    async def tell_loss(self, key: str) -> Loss:
        """What would be given up by beginning a repository anew.

        Raises Conflict where the one that was met is there, and HighballError where nobody can say.
        """
        asked = await asyncio.to_thread(self.repositories.asked, key)
        found = await asked.test()
        if found["state"] in ("existing", "empty", "locked"):
            raise not_lost(key)
        if found["state"] not in ("gone", "changed", "uninitialised"):
            raise Failed(found["message"], code="loss_unknown", hint=found.get("hint"))
        return await asyncio.to_thread(self.record.tell_loss, key)

    async def give_up(self, key: str, identity: str | None, actor: Actor) -> None:
        """Hold a repository for gone, with all that was in it. Raises as `tell_loss` does, and where it is another."""
        if (await self.tell_loss(key)).identity != identity:
            raise Conflict(
                f"another repository is known as {key} by now",
                code="repository_another",
                hint="look at what would be given up once more",
            )
        await asyncio.to_thread(self.record.give_up, key, actor, utc_now())
        self.bus.news.publish("object", key)

    # --- the way back ---

    def make_kit(self, key: str, actor: Actor) -> str:
        """The page to print for a repository; who took it, and when, is in the audit.

        Raises Unknown, ConfirmationNeeded, NotAllowed (`kit_not_here`) and SecretUnavailable.
        """
        demand_present(actor)
        now, document = utc_now(), self.document()
        repository = document.repositories.get(key)
        if repository is None:
            raise Unknown(f"there is no repository {key}", code="repository_unknown")
        demand_makeable(key, repository, from_file=self.documents.is_from_file("repository", key))
        placed = self.vault.place(key, repository)
        sealed = self.vault.open_named(placed, admin=False)
        jobs = {name: effective_job(document, name) for name in document.jobs}
        kept = list_kept(jobs, key)
        with self.database.write() as connection:
            write_down(connection, actor, "took_kit", now, kind="repository", key=key)
        identity = self.record.find_identity(key)
        return engine_of(placed).recovery_page(key, placed, kept, now, identity=identity, sealed=sealed)


def _demand_in_place(actor: Actor) -> None:
    if actor.may_restore_in_place:
        return
    place = "Settings, Tokens, and Users where it acts for one" if actor.is_token else "Settings, Users"
    raise NotAllowed(
        f"{actor.name} may restore into a new folder, and not in place or over files that are there",
        code="restore_in_place_needed",
        hint="name a new folder, without a rule that overwrites; "
        f"or an administrator gives that right, restore_in_place: {place}",
    )
