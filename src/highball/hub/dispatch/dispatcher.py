"""Sends queued runs to the agents that carry them out, and takes in what those report.

A run is written down before it is sent, sent again when it did not arrive, and never twice: the agent knows it by
its id. What stands in its way is said in the record, where everybody can see it. What waits for the database does so
in the loop's threads; what waits for an agent's answer holds none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from highball.config.document import (
    HUB_JOB,
    Document,
    effective_cadences,
    effective_job,
)
from highball.config.merge import profiles_of, table_of
from highball.config.repository import Repository, demand_maintained
from highball.engine.restic.location import (
    as_admin,
    comes_and_goes,
    passed_over,
)
from highball.errors import HighballError, Misuse, StateUnusable, Unknown
from highball.hub.agents.fleet import Connection, Fleet
from highball.hub.agents.pending_queries import each_of
from highball.hub.agents.refusals import Refusals, Refused
from highball.hub.agents.remote_repository import AskedOverWire
from highball.hub.audit import Actor
from highball.hub.bus import Newsroom
from highball.hub.dispatch.assignments import Orders
from highball.hub.dispatch.claims import Claims
from highball.hub.document.rename import FormerKeys
from highball.hub.retention.planner import (
    Retainer,
    Seen,
    Wanted,
)
from highball.hub.runs.admission import (
    Candidate,
    Limits,
    Place,
    choose,
)
from highball.hub.runs.ingest import SetOf
from highball.hub.runs.queue import (
    Backlog,
    Queued,
    RunOrder,
)
from highball.hub.runs.record import Record, utc_now
from highball.hub.runs.scopes import Scope
from highball.hub.secrets.vault import Vault
from highball.model.event import (
    DISK_AWAY,
    Event,
    RunEnded,
    StepStarted,
)
from highball.model.event_lines import read_told
from highball.model.run import (
    Action,
    Outcome,
    Progress,
    Reason,
    RunKind,
    RunState,
    Step,
)
from highball.model.snapshot import Snapshot
from highball.protocol.tasks import (
    Assignment,
    ForgetTask,
    KeyTask,
    RestoreTask,
)
from highball.protocol.wire import (
    OFFLINE_AFTER,
    Acknowledged,
    Assign,
    Declined,
    Events,
    Inventory,
    Message,
    ProgressSeen,
    RunHeld,
    RunsWanted,
    Secrets,
    SecretsWanted,
    Taken,
)
from highball.retention import Plan
from highball.secret import SecretValue

AT_ONCE = 2
"""So many runs go on at once on a host that says nothing else."""

LOOK_AGAIN = 5.0
"""Seconds after which the queue is looked at though nothing is known to have changed: times and windows pass."""

FIRST_DIALS = OFFLINE_AFTER.total_seconds()
"""Seconds after its begin in which a hub does not call a host offline that it has not met."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Installation:
    """What the dispatcher needs to know of the hub around it."""

    record: Record
    backlog: Backlog
    document: Callable[[], Document]
    host: Callable[[], str]
    """The hub's own machine: the agent that maintains what names no other."""
    vault: Vault
    is_from_file: Callable[[str, str], bool]
    """Whether a configuration file declares the object of this kind and key."""
    former_keys: Callable[[], FormerKeys]
    copy_itself: Callable[[], tuple[Path, Step]]
    """Copy the hub's own database into its state, and account for that; raises StateUnusable."""
    do_itself: Callable[[Queued, Step | None], None]
    """Carry out a run that needs no agent; and account for a second step that cannot be done."""
    absorb: Callable[[str, Sequence[Event], Scope, Callable[[str], None]], int]
    """Take in events of the run with this id, and whatever its end entails; the number of the last that is known."""
    after_end: Callable[[str], None]
    """Do what is left to do once the run with this id has ended."""
    refusals: Refusals


@dataclass(frozen=True)
class Looks:
    """What was seen of a repository before something is planned there."""

    retainer: Retainer
    sets: Mapping[SetOf, Seen] = field(default_factory=dict)
    listing: Sequence[Snapshot] = ()
    skew: timedelta | None = None
    """How far the clock of the agent that looked is from ours."""

    def plan(self, approval: str | None = None) -> list[Plan]:
        """What retention would do to each set; not to be called in the loop's own thread."""
        return [
            self.retainer.plan(of, seen, utc_now(), approval, self.skew) for of, seen in self.sets.items()
        ]


class Dispatcher:
    """The queue at work."""

    def __init__(self, installation: Installation, fleet: Fleet, newsroom: Newsroom) -> None:
        self._hub = installation
        self._record = installation.record
        self._backlog = installation.backlog
        self._fleet = fleet
        self._newsroom = newsroom
        self._claims = Claims(
            installation.record,
            installation.backlog,
            installation.document,
            installation.host,
            installation.former_keys,
            fleet.sign,
            fleet.is_signed,
        )
        self._wake = asyncio.Event()
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._progress: dict[str, Progress] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened_at = 0.0

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on the queue is looked at in this loop."""
        self._loop = loop
        self._opened_at = loop.time()

    def wake(self) -> None:
        """Something changed: look at the queue soon. Safe from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def keep(self) -> None:
        """Look at the queue for as long as the hub lives."""
        while True:
            self._wake.clear()
            try:
                await self._fleet.catch_up()
                await self._look()
            except StateUnusable as error:  # told by the overview
                _LOG.error("the queue waits: %s", error.message)
            except Exception:  # the outermost loop of the queue
                _LOG.exception("the queue could not be looked at")
            with contextlib.suppress(TimeoutError):
                # not wait_for, which in Python 3.11 may swallow that this loop is ended while it is woken
                async with asyncio.timeout(LOOK_AGAIN):
                    await self._wake.wait()

    def progress_of(self, run: str) -> Progress | None:
        """How far a run is, as its agent last told this hub; kept nowhere, for it is told again in a second."""
        return self._progress.get(run)

    # --- choosing ---

    async def _look(self) -> None:
        queued, going, document = await asyncio.to_thread(self._read)
        for run in queued:
            if _is_for_the_hub_alone(document, run):
                self._do_soon(run)
        by_id = {run.id: run for run in queued if run.id not in self._sending}
        candidates = [_candidate(document, run) for run in by_id.values()]
        running = [_candidate(document, run) for run in going]
        running += [_candidate(document, run) for run in queued if run.id in self._sending]
        limits = Limits(host=AT_ONCE, own=_own_limits(document))
        zone = ZoneInfo(document.settings.timezone)
        for decision in choose(candidates, running, self._fleet.connected, limits, utc_now(), zone):
            run = by_id[decision.candidate.run]
            if decision.reason is None:
                self._send_soon(run)
            elif decision.refused and not self._may_still_come(run.host):
                if _is_own_backup(run):  # the copy is made all the same
                    self._do_soon(run, _not_saved(document, decision.reason))
                    continue
                await asyncio.to_thread(self._refuse, run.id, decision.reason)
            elif await asyncio.to_thread(self._backlog.explain_wait, run.id, decision.reason):
                self._newsroom.publish("run", run.id)

    def _may_still_come(self, host: str) -> bool:
        """Whether this host's agent is telling what it holds, or may not have found a hub that has just begun."""
        assert self._loop is not None
        if self._fleet.find(host) is not None:
            return True
        return host not in self._fleet.met and self._loop.time() < self._opened_at + FIRST_DIALS

    def _read(self) -> tuple[list[Queued], list[Queued], Document]:
        return self._backlog.list_unassigned(), self._backlog.list_going(), self._hub.document()

    def _refuse(self, run: str, reason: Reason, outcome: Outcome = Outcome.FAILURE) -> None:
        if self._backlog.end_unbegun(run, outcome, reason, utc_now()):
            self._newsroom.publish("run", run, ended=True)

    # --- sending ---

    def _do_soon(self, run: Queued, left_out: Step | None = None) -> None:
        """What the hub does itself."""
        if run.id not in self._sending:
            working = asyncio.to_thread(self._hub.do_itself, run, left_out)
            self._keep_track(run, asyncio.create_task(working))

    def _send_soon(self, run: Queued) -> None:
        self._keep_track(run, asyncio.create_task(self._send(run)))

    def _keep_track(self, run: Queued, task: asyncio.Task[None]) -> None:
        self._sending[run.id] = task

        def done(_: asyncio.Task[None]) -> None:
            self._sending.pop(run.id, None)
            self._wake.set()

        task.add_done_callback(done)

    async def _send(self, run: Queued) -> None:
        if not await asyncio.to_thread(self._backlog.mark_assigned, run.id, utc_now()):
            return
        try:
            looks = await self._look_first(run)
            prepared = await asyncio.to_thread(self._prepare, run, looks)
            assignment = await asyncio.to_thread(self._claims.order, prepared)
            values = await asyncio.to_thread(self._open_sealed, run.order, assignment)
            needs = ("hub-copy",) if assignment.done_before else ()
            needs = ("keys",) if isinstance(assignment.task, KeyTask) else needs
        except HighballError as error:
            await asyncio.to_thread(self._refuse, run.id, *_why_not(run, error, self._hub.document()))
            return
        except Exception as error:  # the outermost loop of an assignment
            _LOG.exception("run %s could not be prepared", run.id)
            words = f"Highball itself failed: {type(error).__name__}"
            await asyncio.to_thread(self._refuse, run.id, Reason(code="internal_error", message=words))
            return
        try:
            await self._fleet.assign(run.host, Assign(assignment=assignment, needs=needs, secrets=values))
            sent = await asyncio.to_thread(self._backlog.find, run.id)
            if sent is not None and sent.cancel_requested_at is not None:
                await self._fleet.cancel(run.host, run.id)
        except (OSError, HighballError):
            await asyncio.to_thread(self._backlog.take_back, run.id)

    async def _look_first(self, run: Queued) -> Looks:
        """What has to be seen of a repository before a run there can be prepared; raises HighballError."""
        order = run.order
        if order is None or not (order.verb.plans or order.task == "verify"):
            return Looks(self.retainer)
        key = _named(order.repository)
        if order.task != "verify":
            demand_maintained(key, self.find_repository(key))
            return await self._look_at(key, order.job, order.snapshot, patient=True)
        asked = await asyncio.to_thread(self._find_to_list, run, order, key)
        return Looks(self.retainer, listing=await asked.list_snapshots() if asked else ())

    def _find_to_list(self, run: Queued, order: RunOrder, key: str) -> AskedOverWire | None:
        """The repository that has to be listed before a snapshot of it can be chosen."""
        document = self._hub.document()
        orders = Orders(document, self._record, run.host, self._hub.former_keys())
        has_to = key in document.repositories and orders.has_to_list(order, key)
        return replace(self.asked(key), patient=True) if has_to else None

    def _prepare(self, run: Queued, looks: Looks) -> Assignment:
        """The full assignment; raises HighballError where there is none."""
        order, now, document = run.order, utc_now(), self._hub.document()
        assert order is not None
        orders = Orders(document, self._record, run.host, self._hub.former_keys())
        wait = None if order.wait_seconds is None else timedelta(seconds=order.wait_seconds)
        if order.task == "backup":
            return self._placed(
                run, orders.back_up(_named(order.job), now, wait=wait, dry_run=order.dry_run, run=run.id)
            )
        if order.task == "hub-backup":
            key = _named(document.settings.backup_repository)
            copy, copied = self._hub.copy_itself()
            return self._placed(run, orders.save_copy(copy, copied, key, now, run=run.id, wait=wait))
        key = _named(order.repository)
        if key not in document.repositories:
            raise Unknown(f"there is no repository {key}", code="repository_unknown")
        if order.task == "restore":
            task = RestoreTask(
                repository=key,
                snapshot_id=_named(order.snapshot),
                paths=order.paths,
                target=order.target,
                overwrite=order.overwrite,
            )
            return self._placed(run, orders.bring_back(task, key, now, job=order.job, wait=wait, run=run.id))
        if order.verb.plans:
            removal = self._removal(document, order, key, looks)
            return self._placed(run, orders.maintain(removal, key, now, job=order.job, wait=wait, run=run.id))
        given, job = orders.task_for(order, key, lambda: list(looks.listing))
        return self._placed(run, orders.maintain(given, key, now, job=job, wait=wait, run=run.id))

    def _placed(self, run: Queued, assignment: Assignment) -> Assignment:
        """The assignment of a run whose sealed secrets name their places in the vault."""
        placed = {key: self._hub.vault.place(key, found) for key, found in assignment.repositories.items()}
        about = [("repository", key) for key in placed]
        if assignment.job not in (None, HUB_JOB):
            about += [("job", assignment.job), *self._inherited(assignment.job)]
        from_file = all(self._hub.is_from_file(kind, key) for kind, key in about)
        told = {"repositories": placed, "from_file": from_file}
        of_run = {"subject": run.order and run.order.subject, "nominal_at": run.nominal_at}
        return assignment.model_copy(update={**told, **of_run})

    def _inherited(self, job: str) -> list[tuple[str, str]]:
        """What a job takes over from: its profiles and the defaults, where there are any."""
        tables = self._hub.document().tables
        chain = [
            ("profile", key)
            for key in profiles_of(tables, table_of(table_of(tables, "jobs"), job).get("profile"))
        ]
        return [*chain, *([("defaults", "defaults")] if tables.get("defaults") else [])]

    def _open_sealed(self, order: RunOrder | None, assignment: Assignment) -> dict[str, bytes]:
        """The values of an assignment's sealed secrets; the admin's only for what may delete."""
        values = self._open_new(order)
        for repository in assignment.repositories.values():
            opened = self._hub.vault.open_named(repository, admin=_may_delete(order))
            values |= {place: value.reveal() for place, value in opened.items()}
        return values

    def _open_new(self, order: RunOrder | None) -> dict[str, bytes]:
        """The password that is to open a repository, too, where an order names one that is sealed."""
        if order is None or order.new is None or not isinstance(order.new.sealed, str):
            return {}
        return {order.new.sealed: self._hub.vault.open(order.new.sealed).reveal()}

    # --- retention ---

    async def plan(self, key: str, job: str | None = None, approval: str | None = None) -> list[Plan]:
        """What retention would do in a repository, one plan per set; raises HighballError."""
        looks = await self._look_at(key, job)

        def plan() -> list[Plan]:
            plans = looks.plan(approval)
            self.retainer.settle(
                plans, utc_now()
            )  # what a plan shows to hold it can be accepted from then on
            return plans

        return await asyncio.to_thread(plan)

    async def _look_at(
        self, key: str, job: str | None = None, snapshot: str | None = None, *, patient: bool = False
    ) -> Looks:
        """A look at the sets of a repository, or at one job's, or at the one that holds a snapshot."""
        asked, retainer, wanted = await asyncio.to_thread(self._want, key, job, snapshot)
        asked = replace(asked, patient=patient)
        seen = await each_of(asked.look(one) for one in wanted)
        skew = self.find_skew(asked.host)
        return Looks(retainer, {one.of: shown for one, shown in zip(wanted, seen, strict=True)}, skew=skew)

    def _want(
        self, key: str, job: str | None, snapshot: str | None
    ) -> tuple[AskedOverWire, Retainer, list[Wanted]]:
        retainer, asked = self.retainer, self.asked(key)
        if snapshot is not None:
            sets = [retainer.find_set(key, snapshot)[0]]
        else:
            sets = retainer.list_sets(key, self._hub.host(), job)
        return asked, retainer, [retainer.want(of) for of in sets]

    @property
    def retainer(self) -> Retainer:
        """Plans retention by what is declared now."""
        return Retainer(self._hub.document(), self._record, self._hub.former_keys())

    def find_skew(self, host: str) -> timedelta | None:
        """How far the clock of a host's agent is from ours, where it is connected."""
        connection = self._fleet.find(host)
        return connection.skew if connection else None

    def demand_removable(self, key: str, snapshot: str) -> None:
        """Raise NotAllowed or Unknown where it is known by now that this snapshot cannot be removed."""
        demand_maintained(key, self.find_repository(key))
        self.retainer.demand_removable(key, snapshot, utc_now())

    def _removal(self, document: Document, order: RunOrder, key: str, looks: Looks) -> ForgetTask:
        if order.snapshot is not None:
            [seen] = looks.sets.values()
            return looks.retainer.order_one(key, order.snapshot, seen, utc_now(), looks.skew)
        plans = looks.plan(order.plan)
        prune = order.task == "discard" and effective_cadences(document, key).prune is None
        return looks.retainer.order(key, plans, utc_now(), order.plan, shown=order.shown, prune=prune)

    def find_repository(self, key: str) -> Repository:
        """What is declared of a repository; raises Unknown."""
        repository = self._hub.document().repositories.get(key)
        if repository is None:
            raise Unknown(f"there is no repository {key}", code="repository_unknown")
        return repository

    def asked(self, key: str, *, admin: bool = False) -> AskedOverWire:
        """A repository, ready to be asked through the agent that maintains it; raises Unknown.

        With `admin` by the access that may delete: only to see whether it opens.
        """
        placed = self._hub.vault.place(key, self.find_repository(key))
        if admin:
            placed = as_admin(placed)
        opened = self._hub.vault.open_named(placed, admin=False)
        return self._asked(key, placed, opened, from_file=self._hub.is_from_file("repository", key))

    def asked_unsaved(
        self, key: str, repository: Repository, secrets: Mapping[str, SecretValue], *, admin: bool = False
    ) -> AskedOverWire:
        """A repository as somebody would declare it; sealed secrets that are not given are those of its key now.

        Raises ConfigurationInvalid where one is neither given nor sealed.
        """
        placed, opened = self._hub.vault.place_unsaved(key, repository, secrets, admin=admin)
        return self._asked(key, placed, opened, from_file=False)

    def _asked(
        self, key: str, placed: Repository, opened: Mapping[str, SecretValue], *, from_file: bool
    ) -> AskedOverWire:
        host = placed.maintainer(self._hub.host())
        values = {place: value.reveal() for place, value in opened.items()}
        identity, known = self._record.find_identity(key), self._record.find_newest(key)
        others = self._record.list_others(key, self._hub.document().repositories)
        about = (host, key, placed, identity, values, from_file)
        return AskedOverWire(self._fleet, *about, known=known, others=others)

    # --- cancelling ---

    async def cancel(self, run: str, actor: Actor) -> None:
        """End a run: at once where it has not begun, politely by its agent where it has; in the record alone where
        that is away, and it is told so once it is back. Raises Unknown, Conflict."""
        now = utc_now()
        found = await asyncio.to_thread(self._backlog.request_cancel, run, actor, now)
        by = f"cancelled by {actor.name}"
        if found.assigned_at is None:
            reason = Reason(code="cancelled", message=f"{by} before it began")
            await asyncio.to_thread(self._backlog.end_unbegun, found.id, Outcome.CANCELLED, reason, now)
        elif not await self._is_told_to_end(found):
            message = (
                f"{by} while the agent of {found.host} was away, which is told to end it once it is back"
            )
            reason = Reason(code="cancelled", message=message)
            await asyncio.to_thread(self._record.abandon, found.id, now, reason, Outcome.CANCELLED)
            self._progress.pop(found.id, None)
        self._newsroom.publish("run", found.id)
        self.wake()

    async def _is_told_to_end(self, run: Queued) -> bool:
        """Whether a run's agent is there to be told."""
        try:
            await self._fleet.cancel(run.host, run.id)
        except (OSError, HighballError):
            return False
        return True

    # --- what agents report ---

    async def take(self, connection: Connection, message: Message) -> None:
        """One message of an agent; what it has no right to say or to ask is passed over, and counted."""
        try:
            await self._take(connection, message)
        except Refused as refused:
            await self._refuse_words(connection.host, [str(refused)])

    async def _refuse_words(self, host: str, reasons: Sequence[str]) -> None:
        told = {"times": len(reasons)}
        await asyncio.to_thread(self._hub.refusals.add, host, reasons[-1], utc_now(), **told)
        self._newsroom.publish("host", host)

    async def _take(self, connection: Connection, message: Message) -> None:
        match message.body:
            case RunHeld() as held:
                last = await asyncio.to_thread(self._claims.meet, connection.host, held)
                await connection.say(Acknowledged(run=held.assignment.run, seq=last))
            case Inventory() as here:
                await self._take_stock(connection, here)
            case Events() as told:
                await self._absorb(connection, told)
            case ProgressSeen(run=run, progress=progress):
                await self._take_progress(connection.host, run, progress)
            case Declined(run=run) as declined:
                await asyncio.to_thread(self._claims.demand_own, connection.host, run)
                reason = Reason(code=declined.code[:60], message=declined.message)
                await asyncio.to_thread(self._refuse, run, reason)
                self.wake()
            case SecretsWanted(run=run):
                await asyncio.to_thread(self._claims.demand_own, connection.host, run)
                await self._hand_over_secrets(connection, run)
            case Taken():
                pass

    async def _take_progress(self, host: str, run: str, progress: Progress) -> None:
        """Of a run that goes on: of one that is over, or that nobody ordered, nobody asks."""
        await asyncio.to_thread(self._claims.demand_own, host, run)
        going = await asyncio.to_thread(self._backlog.find, run)
        if going is not None and going.state is not RunState.DONE and not going.by_word:
            self._progress[run] = progress
            self._newsroom.publish("progress", run, **progress.model_dump(mode="json", exclude_none=True))

    async def _take_stock(self, connection: Connection, here: Inventory) -> None:
        """What the record lacks of a host is asked for first, once a connection; then it tells what is gone."""
        lacking = await asyncio.to_thread(self._record.list_lacking, connection.host, here.kept)
        lacking = {run: known for run, known in lacking.items() if run not in connection.wanted}
        if lacking:
            connection.wanted |= set(lacking)
            await connection.say(RunsWanted(runs=lacking))
        else:
            await self._compare(connection, set(here.runs))

    async def _compare(self, connection: Connection, held: set[str]) -> None:
        """Runs that were given to this host and are not there never arrived, or nothing is left of them."""
        going = await asyncio.to_thread(self._backlog.list_going)
        for run in going:
            if run.host != connection.host or run.id in self._sending:
                continue
            if run.id in held:
                if run.cancel_requested_at is not None:
                    await self._fleet.cancel(run.host, run.id)
            elif run.last_seq == 0 and run.order is not None:
                await asyncio.to_thread(self._backlog.take_back, run.id)
            else:
                await asyncio.to_thread(self._record.abandon, run.id, utc_now())
                self._progress.pop(run.id, None)
                self._newsroom.publish("run", run.id, ended=True)
        connection.reported = True
        self._newsroom.publish("host", connection.host)
        self.wake()

    async def _absorb(self, connection: Connection, told: Events) -> None:
        scope = await asyncio.to_thread(self._claims.demand_scope, connection.host, told.run)
        self._fleet.begin_anew()
        read = [found for event in told.events if (found := read_told(event, told.run)) is not None]
        events = [event for _, event in read if event is not None]
        refused = ["it speaks of another run" for event in told.events if event.get("run") != told.run]
        last = await asyncio.to_thread(self._hub.absorb, told.run, events, scope, refused.append)
        newest = max([last, *(seq for seq, _ in read)])
        await connection.say(Acknowledged(run=told.run, seq=newest))
        if refused:
            await self._refuse_words(connection.host, refused)
        ended = any(isinstance(event, RunEnded) for event in events)
        if ended or any(isinstance(event, StepStarted) for event in events):
            self._progress.pop(told.run, None)  # that of the step before says nothing of the next
        self._newsroom.publish("run", told.run, seq=newest, ended=ended)
        if ended and scope.ordered:
            await asyncio.to_thread(self._hub.after_end, told.run)
        if ended:
            self.wake()

    async def _hand_over_secrets(self, connection: Connection, run: str) -> None:
        """The values that a run's settling needs, opened anew: they lie nowhere on the agent's disk."""
        try:
            values = await asyncio.to_thread(self._open_of_run, run)
        except HighballError:
            values = {}
        await self._fleet.handouts.note(connection.host, values, run)
        await connection.say(Secrets(run=run, secrets=values))

    def _open_of_run(self, run: str) -> dict[str, bytes]:
        """Those of the repositories that the hub's own order for this run names, while it is not over.

        An order that only its signature proves, as the record lost it, gives what its host may use today, and no
        right to delete.
        """
        found, scope = self._backlog.find(run), self._record.find_scope(run)
        if found is None or scope is None or not scope.ordered or found.state is RunState.DONE:
            return {}
        document = self._hub.document()
        keys = [key for key in scope.repositories if key in document.repositories]
        if found.order is None:
            keys = [key for key in keys if key in self._claims.repositories_of(found.host)]
        values = self._open_new(found.order)
        for key in keys:
            placed = self._hub.vault.place(key, document.repositories[key])
            opened = self._hub.vault.open_named(placed, admin=_may_delete(found.order))
            values |= {place: value.reveal() for place, value in opened.items()}
        return values


def _may_delete(order: RunOrder | None) -> bool:
    """Whether a run is given the access that may delete."""
    return order is not None and order.opens_admin


def _own_limits(document: Document) -> dict[Place, int]:
    return {("host", key): host.concurrency for key, host in document.hosts.items()}


def _why_not(run: Queued, error: HighballError, document: Document) -> tuple[Reason, Outcome]:
    """What comes by itself is no failure where it is never possible, has nothing to do yet, or its disk is away."""
    reason = Reason(code=error.code, message=error.message)
    repository = document.repositories.get(run.repository or "")
    if run.nominal_at is None:
        return reason, Outcome.FAILURE
    if error.code == "repository_gone" and repository is not None and comes_and_goes(repository):
        return passed_over(run.repository or "", repository), Outcome.SKIPPED
    never = error.code in ("admin_creds_required", "maintenance_off")
    nothing_yet = run.action is Action.VERIFY and error.code in ("snapshot_unknown", "repository_missing")
    return reason, Outcome.SKIPPED if never or nothing_yet else Outcome.FAILURE


def _is_own_backup(run: Queued) -> bool:
    return run.order is not None and run.order.task == "hub-backup"


def _is_for_the_hub_alone(document: Document, run: Queued) -> bool:
    """Whether the hub does all of a run itself: no agent has a part in it."""
    if run.order is not None and run.order.task == "history":
        return True
    return _is_own_backup(run) and document.settings.backup_repository is None


def _not_saved(document: Document, reason: Reason) -> Step:
    """The account of a copy that could not be taken to its repository."""
    return Step(
        number=2,
        action=Action.BACKUP,
        repository=document.settings.backup_repository,
        job=HUB_JOB,
        set=HUB_JOB,
        outcome=Outcome.FAILURE,
        reason=reason,
        ended_at=utc_now(),
    )


def _named(key: str | None) -> str:
    if key is None:
        raise Misuse("the order lacks what it is about", code="order_incomplete")
    return key


def _candidate(document: Document, run: Queued) -> Candidate:
    repositories: tuple[str, ...] = (run.repository,) if run.repository else ()
    windows: tuple[str, ...] = ()
    if _is_own_backup(run) and document.settings.backup_repository is not None:
        repositories = (document.settings.backup_repository,)
    if run.kind is RunKind.BACKUP and run.job in document.jobs:
        job = effective_job(document, run.job)
        repositories = job.repositories
        windows = job.windows if run.nominal_at is not None else ()  # who says "now" means now
    is_idle = run.by_word or (run.state is RunState.WAITING and run.reason_code == DISK_AWAY)
    return Candidate(
        run=run.id,
        kind=run.kind,
        task=run.order.task if run.order else run.action.value,
        host=run.host,
        created_at=run.created_at,
        job=run.job,
        repositories=() if is_idle else repositories,
        subject=run.order.subject if run.order else None,
        nominal_at=run.nominal_at,
        not_before=run.not_before,
        started_at=run.started_at,
        windows=windows,
        zone=document.settings.timezone,
        manual=run.nominal_at is None,
        limited=not is_idle,
    )
