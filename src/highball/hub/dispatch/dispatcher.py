"""The loop of the queue: which runs may go now, and each of them to the agent that carries it out.

A run is written down before it is sent, sent again when it did not arrive, and never twice: the agent knows it by
its id. What stands in its way is said in the record, where everybody can see it. What waits for the database does so
in the loop's threads; what waits for an agent's answer holds none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from zoneinfo import ZoneInfo

from highball.config.document import (
    HUB_JOB,
    Document,
    effective_job,
)
from highball.engine.base import passed_over
from highball.errors import HighballError, StateUnusable
from highball.hub.agents.fleet import Fleet
from highball.hub.audit import Actor
from highball.hub.bus.base import Newsroom
from highball.hub.data import HubData
from highball.hub.dispatch.latest_progress import LatestProgress
from highball.hub.dispatch.own_work import OwnWork
from highball.hub.dispatch.preparation import Preparation
from highball.hub.runs.admission import (
    Candidate,
    Limits,
    Place,
    choose,
)
from highball.hub.runs.queue import Queued
from highball.hub.runs.record import utc_now
from highball.model.event import DISK_AWAY
from highball.model.run import (
    Action,
    Outcome,
    Reason,
    RunKind,
    RunState,
    Step,
)
from highball.protocol.wire import OFFLINE_AFTER

AT_ONCE = 2
"""So many runs go on at once on a host that says nothing else."""

LOOK_AGAIN = 5.0
"""Seconds after which the queue is looked at though nothing is known to have changed: times and windows pass."""

FIRST_DIALS = OFFLINE_AFTER.total_seconds()
"""Seconds after its begin in which a hub does not call a host offline that it has not met."""

_LOG = logging.getLogger(__name__)


class Dispatcher:
    """The queue at work."""

    def __init__(
        self,
        data: HubData,
        fleet: Fleet,
        newsroom: Newsroom,
        preparation: Preparation,
        own_work: OwnWork,
        progress: LatestProgress,
    ) -> None:
        self._data = data
        self._fleet = fleet
        self._newsroom = newsroom
        self._preparation = preparation
        self._own_work = own_work
        self._progress = progress
        self._wake = asyncio.Event()
        self._sending: dict[str, asyncio.Task[None]] = {}
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

    def is_sending(self, run: str) -> bool:
        """Whether a run is on its way to its agent, or is carried out by the hub itself."""
        return run in self._sending

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
                await asyncio.to_thread(self.refuse, run.id, decision.reason)
            elif await asyncio.to_thread(self._data.backlog.explain_wait, run.id, decision.reason):
                self._newsroom.publish("run", run.id)

    def _may_still_come(self, host: str) -> bool:
        """Whether this host's agent is telling what it holds, or may not have found a hub that has just begun."""
        assert self._loop is not None
        if self._fleet.find(host) is not None:
            return True
        return host not in self._fleet.met and self._loop.time() < self._opened_at + FIRST_DIALS

    def _read(self) -> tuple[list[Queued], list[Queued], Document]:
        return self._data.backlog.list_unassigned(), self._data.backlog.list_going(), self._data.document()

    def refuse(self, run: str, reason: Reason, outcome: Outcome = Outcome.FAILURE) -> None:
        """End a run that has not begun, and say why."""
        if self._data.backlog.end_unbegun(run, outcome, reason, utc_now()):
            self._newsroom.publish("run", run, ended=True)

    # --- sending ---

    def _do_soon(self, run: Queued, left_out: Step | None = None) -> None:
        """What the hub does itself."""
        if run.id not in self._sending:
            working = asyncio.to_thread(self._own_work.carry_out, run, left_out)
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
        if not await asyncio.to_thread(self._data.backlog.mark_assigned, run.id, utc_now()):
            return
        try:
            assign = await self._preparation.prepare(run)
        except HighballError as error:
            await asyncio.to_thread(self.refuse, run.id, *_why_not(run, error, self._data.document()))
            return
        except Exception as error:  # the outermost loop of an assignment
            _LOG.exception("run %s could not be prepared", run.id)
            words = f"Highball itself failed: {type(error).__name__}"
            await asyncio.to_thread(self.refuse, run.id, Reason(code="internal_error", message=words))
            return
        try:
            await self._fleet.assign(run.host, assign)
            sent = await asyncio.to_thread(self._data.backlog.find, run.id)
            if sent is not None and sent.cancel_requested_at is not None:
                await self._fleet.cancel(run.host, run.id)
        except (OSError, HighballError):
            await asyncio.to_thread(self._data.backlog.take_back, run.id)

    # --- cancelling ---

    async def cancel(self, run: str, actor: Actor) -> None:
        """End a run: at once where it has not begun, politely by its agent where it has; in the record alone where
        that is away, and it is told so once it is back. Raises Unknown, Conflict."""
        now = utc_now()
        found = await asyncio.to_thread(self._data.backlog.request_cancel, run, actor, now)
        by = f"cancelled by {actor.name}"
        if found.assigned_at is None:
            reason = Reason(code="cancelled", message=f"{by} before it started")
            await asyncio.to_thread(self._data.backlog.end_unbegun, found.id, Outcome.CANCELLED, reason, now)
        elif not await self._is_told_to_end(found):
            message = f"{by} while the agent of {found.host} was offline; the agent ends it once it is back"
            reason = Reason(code="cancelled", message=message)
            await asyncio.to_thread(self._data.record.abandon, found.id, now, reason, Outcome.CANCELLED)
            self._progress.forget(found.id)
        self._newsroom.publish("run", found.id)
        self.wake()

    async def _is_told_to_end(self, run: Queued) -> bool:
        """Whether a run's agent is there to be told."""
        try:
            await self._fleet.cancel(run.host, run.id)
        except (OSError, HighballError):
            return False
        return True


def _own_limits(document: Document) -> dict[Place, int]:
    return {("host", key): host.concurrency for key, host in document.hosts.items()}


def _why_not(run: Queued, error: HighballError, document: Document) -> tuple[Reason, Outcome]:
    """What comes by itself is no failure where it is never possible, has nothing to do yet, or its disk is away."""
    reason = Reason(code=error.code, message=error.message)
    repository = document.repositories.get(run.repository or "")
    if run.nominal_at is None:
        return reason, Outcome.FAILURE
    if error.code == "repository_gone" and repository is not None and repository.comes_and_goes:
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
