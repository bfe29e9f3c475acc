"""The single machine: hub and agent in one process, on one configuration file and one state directory.

The file is loaded and applied to the same objects table that a serving hub uses; each run gets a run directory
and is carried out by this very process; the record learns from its events. A run that a killed process left
behind is settled before anything else.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from highball.actions import ACTIONS, By
from highball.agent.query.repository_queries import RepositoryQueries
from highball.agent.run import runner
from highball.agent.run_directory import RunDirectory, list_run_directories
from highball.agent.state_dir import Workplace
from highball.cli.operations import Titled
from highball.cli.own_places import find_configuration, find_database, find_state
from highball.cli.snapshot_choice import SnapshotKeys
from highball.cli.standin import can_be_written, make_standin
from highball.config.document import (
    Document,
    effective_cadences,
    effective_job,
    find_obstacles,
    load,
)
from highball.config.job import Job
from highball.config.repository import demand_maintained, demand_right_to_delete
from highball.errors import (
    ConfigurationInvalid,
    Conflict,
    Misuse,
    RepositoryError,
    StateUnusable,
    Unknown,
)
from highball.hub.audit import COMMAND
from highball.hub.dispatch.assignments import Orders
from highball.hub.document.store import Documents, read_host
from highball.hub.retention.adoption import Adoption
from highball.hub.retention.planner import Retainer, list_discards_after
from highball.hub.runs.expiry import expire_daily
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.record import (
    LOST,
    Record,
    not_lost,
    utc_now,
)
from highball.hub.runs.recorded import RunFilter
from highball.hub.secrets.key_rotation import tell_keys
from highball.hub.status.health import list_standings
from highball.hub.storage.database import Database, open_database
from highball.hub.storage.leader_lock import refuse_if_served
from highball.model.event import Event, LogLine
from highball.model.run import (
    Progress,
    Run,
    RunKind,
    RunState,
)
from highball.model.snapshot import (
    Difference,
    ForeignGroup,
    KeyTold,
    Lock,
    Loss,
    Node,
    Snapshot,
)
from highball.model.standing import Hold, Standing
from highball.model.text import path_for_people
from highball.process.child import Stop
from highball.process.file_lock import FileLock
from highball.protocol.queries import RestorePlan
from highball.protocol.tasks import (
    Assignment,
    Overwrite,
    RestoreTask,
    Task,
)
from highball.retention import Plan

_LOG = logging.getLogger(__name__)


class Watcher(Protocol):
    """Who watches runs as they go on."""

    def begin(self, assignment: Assignment) -> None:
        """A run is about to start."""

    def event(self, event: Event) -> None:
        """Something happened."""

    def progress(self, progress: Progress) -> None:
        """How far the current step is."""

    def end(self, run: Run) -> None:
        """A run is over."""


class Machine:
    """This machine, its declarations and its record; opened for one command."""

    def __init__(
        self, path: Path, document: Document, state: Path, before: Callable[[Documents], None] | None = None
    ) -> None:
        """`before` is done to what is declared until now, before the file is taken in."""
        self.path = path
        self.document = document
        self.state = state
        self.real_state: Path | None = None
        """The state that this one stands in for, where that cannot be written."""
        self.stop = Stop()
        self.place = Workplace(state, document.settings)
        self._database: Database | None = None
        self._prepare()
        self.now = utc_now()
        documents = Documents(self.database)
        if before is not None:
            before(documents)
        documents.load(document, now=self.now, actor=COMMAND, file=str(path.absolute()))
        self.host = read_host(self.database, document)
        self.record = Record(self.database)
        former = documents.former_keys()
        self.orders = Orders(document, self.record, self.host, former)
        self.retainer = Retainer(document, self.record, former)

    @property
    def database(self) -> Database:
        """The record's database; raises StateUnusable, and Conflict where a hub serves it."""
        if self._database is None:
            where = find_database(self.state)
            refuse_if_served(where)
            self._database = open_database(where)
        return self._database

    def _prepare(self) -> None:
        try:
            self.place.prepare()
        except OSError as error:
            raise StateUnusable(
                f"the state directory {self.state} cannot be used: {error.strerror}",
                hint="check who owns it, or name another with HIGHBALL_STATE or state = … under [settings]",
            ) from None

    # --- names ---

    def job(self, key: str) -> Job:
        """A job as it takes effect, everything merged."""
        return effective_job(self.document, key)

    def demand_secrets(self, repositories: Sequence[str]) -> None:
        """Raise ConfigurationInvalid where a secret of these repositories cannot be had, all of them at once."""
        problems = find_obstacles(self.document, repositories)
        if problems:
            raise ConfigurationInvalid(f"{self.path} is not valid", problems=problems)

    # --- questions ---

    def ask(self, repository: str) -> RepositoryQueries:
        """The agent, ready to answer questions about a repository."""
        declared = self.document.repositories[repository]
        identity, known = self.record.find_identity(repository), self.record.find_newest(repository)
        others = self.record.list_others(repository, self.document.repositories)
        return RepositoryQueries(self.place, repository, declared, identity, self.stop, known, others)

    # --- what a verb asks for, here or over a hub ---

    def make_ready(
        self, repositories: Sequence[str], *, begins_run: bool = False, starts_engine: bool = False
    ) -> None:
        """Let these be asked: their secrets are there, and what a killed process left behind is settled."""
        self.demand_secrets(repositories)
        if begins_run or starts_engine:
            self.place.demand_programs(self.document.repositories[key] for key in repositories)
        self.settle(begins_run=begins_run)

    def plan_changes(self, file: Path) -> list[dict[str, Any]]:
        """What this file would change of what is declared now; nothing is applied."""
        return [asdict(change) for change in Documents(self.database).plan(load(file))]

    def list_repositories_of(self, job: str) -> list[str]:
        """The repositories of a job, and those where it left snapshots."""
        held = [of.repository for of in self.record.list_sets(job=job)]
        known = [key for key in held if key in self.document.repositories]
        return list(dict.fromkeys([*self.job(job).repositories, *known]))

    def list_snapshots(self, repository: str) -> list[Snapshot]:
        """A repository's snapshots, with what the record knows of them."""
        listing = self.ask(repository).list_snapshots()
        self.record.take_listing(repository, listing, utc_now())
        return self.record.recognise(repository, listing)

    def find_keys(self, job: str) -> SnapshotKeys:
        """By which tags and hosts the snapshots of a job are found."""
        former = self.orders.former
        jobs, hosts = (job, *former.of("job", job)), (self.host, *former.of("host", self.host))
        return SnapshotKeys(jobs, hosts)

    def each_node(self, of: Snapshot, folder: bytes | None, on_node: Callable[[Node], None]) -> None:
        """Hand everything that a snapshot, or a folder of it, holds to `on_node`."""
        self.ask(of.repository).each_node(of.id, folder, on_node)

    def compare(self, old: Snapshot, new: Snapshot) -> list[Difference]:
        """What differs between two snapshots of a repository."""
        return self.ask(old.repository).compare(old.id, new.id)

    def dump(self, of: Snapshot, path: bytes, on_data: Callable[[bytes], None]) -> None:
        """The content of a file, or a folder as a tar archive."""
        self.ask(of.repository).dump(of.id, path, on_data)

    def list_locks(self, repository: str) -> list[Lock]:
        """The locks in a repository."""
        return self.ask(repository).list_locks()

    # --- maintenance ---

    def list_plans(self, repository: str, job: str | None, approve: str | None) -> list[Plan]:
        """What retention would do for a job in a repository, or for all that is there."""
        asked = self.ask(repository)
        asked.compare_identity()
        sets = self.retainer.list_sets(repository, self.host, job)
        return [self.retainer.plan(of, asked, utc_now(), approve) for of in sets]

    def order_forget(
        self, repository: str, job: str, plans: Sequence[Plan], approve: str | None, wait: timedelta | None
    ) -> Assignment:
        """Carry out these plans, or only the one that was approved."""
        task = self.retainer.order(repository, plans, utc_now(), approve)
        return self.orders.maintain(task, repository, utc_now(), job=job, wait=wait)

    def order_forget_one(self, repository: str, snapshot: str, wait: timedelta | None) -> Assignment:
        """Remove this snapshot alone; raises NotAllowed where a guard keeps it."""
        return self.order("forget", repository, wait, snapshot=snapshot)

    def accept(self, target: str, reason: str | None) -> list[Hold]:
        """A person says that what a run showed, or all that holds retention in a repository, is right."""
        held = self.record.holds
        if target in self.document.repositories:
            return held.accept_repository(target, COMMAND, utc_now(), reason)
        return held.accept_run(self.record.find_run(target).id, COMMAND, utc_now(), reason)

    def order(self, action: str, subject: str, wait: timedelta | None = None, **fields: Any) -> Assignment:
        """A run of a verb on a job or a repository, as its row in the table of actions says."""
        verb = ACTIONS[action]
        if verb.by is By.HUB:
            raise Misuse(f"{action} is carried out by a hub only", hint="name it with --hub")
        about = "job" if "job" in verb.needs else "repository"
        order = RunOrder.model_validate({"task": action, about: subject, **fields})
        if order.task == "backup":
            return self.orders.back_up(subject, utc_now(), wait=wait, dry_run=order.dry_run)
        if order.task == "restore":
            return self._order_restore(order, subject, wait)
        given, job = self._find_task(order, subject)
        return self.orders.maintain(given, subject, utc_now(), job=job, wait=wait)

    def _order_restore(self, order: RunOrder, repository: str, wait: timedelta | None) -> Assignment:
        task = RestoreTask(
            repository=repository,
            snapshot_id=order.snapshot or "",
            paths=order.paths,
            target=order.target,
            overwrite=order.overwrite,
        )
        return self.orders.bring_back(task, repository, utc_now(), job=order.job, wait=wait)

    def _find_task(self, order: RunOrder, repository: str) -> tuple[Task, str | None]:
        """What is to be done to a repository, by a plan where it needs one; and the job that it is about."""
        if not order.verb.plans:
            return self.orders.task_for(order, repository, self.ask(repository).list_snapshots)
        demand_maintained(repository, self.document.repositories[repository])
        if order.snapshot is not None:
            asked = self.ask(repository)
            asked.compare_identity()
            return self.retainer.order_one(repository, order.snapshot, asked, utc_now()), None
        plans = self.list_plans(repository, order.job, order.plan)
        prune = order.task == "discard" and effective_cadences(self.document, repository).prune is None
        about = (repository, plans, utc_now(), order.plan)
        return self.retainer.order(*about, shown=order.shown, prune=prune), order.job

    def each_backup(self, jobs: Sequence[str], wait: timedelta | None, *, dry_run: bool) -> Iterator[Titled]:
        """Each backup, and behind it the retention that is to be applied then: a run of its own in each repository."""
        for job in jobs:
            before = self._find_latest(job)
            yield job, partial(self.order, "backup", job, wait, dry_run=dry_run)
            done = self._find_latest(job)
            if dry_run or done is None or done == before:
                continue
            for key in list_discards_after(self.document, self.record.find_run(done)):
                yield f"{job} in {key}", partial(self._discard, job, key, wait)

    def _discard(self, job: str, key: str, wait: timedelta | None) -> Assignment:
        demand_right_to_delete(key, self.document.repositories[key])
        return self.order_forget(key, job, self.list_plans(key, job, None), None, wait)

    # --- a repository that is lost ---

    def tell_loss(self, repository: str) -> Loss:
        """What would be given up; raises Conflict where the repository that was met is there."""
        try:
            self.ask(repository).compare_identity()
        except RepositoryError as error:
            if error.code not in LOST:
                raise
        else:
            raise not_lost(repository)
        return self.record.tell_loss(repository)

    def give_up(self, repository: str, loss: Loss) -> None:
        """Hold it for gone, with all that was in it."""
        self.record.give_up(repository, COMMAND, utc_now())

    # --- keys ---

    def list_keys(self, repository: str) -> list[KeyTold]:
        """The keys of a repository, and what each is for."""
        declared = self.document.repositories[repository]
        found, by_admin = self.ask(repository).list_keys(), []
        if declared.has_admin_password:
            identity = self.record.find_identity(repository)
            by_admin = RepositoryQueries(
                self.place, repository, declared.as_admin(), identity, self.stop
            ).list_keys()
        return tell_keys(self.record, repository, found, by_admin)

    def order_key(
        self, repository: str, task: str, wait: timedelta | None, *, file: Path | None = None, **more: Any
    ) -> Assignment:
        """A change of its keys; raises Misuse where a new password is needed and not named."""
        if task != "key-remove":
            if file is None:
                raise Misuse(
                    "a new password is needed",
                    code="password_missing",
                    hint="name the file that contains it with --new-password-file FILE",
                )
            more["new"] = {"file": str(file.absolute())}
        return self.order(task, repository, wait, **more)

    def tell_rotated(self, repository: str, file: Path | None, *, of_admin: bool) -> list[str]:
        """What is left to do by hand once a new password opens a repository."""
        at = f"repositories.{repository}" + (".admin" if of_admin else "")
        named = f'password = {{ file = "{file.absolute() if file else ""}" }}'
        return [
            f"Now set in {self.path} under [{at}]: {named}",
            f"and create a new recovery kit: highball recovery-kit {repository} --out FILE",
        ]

    def _find_latest(self, job: str) -> str | None:
        """The newest backup of a job, if there is any."""
        found = self.record.list_runs(RunFilter(job=job, kind=RunKind.BACKUP), limit=1)
        return found[0].id if found else None

    # --- restores ---

    def find_target(self, named: str | None, job: str, of: Snapshot) -> bytes:
        """Where to, if not in place: the folder that was named, else a new one below the present one.

        Raises Misuse where what was named is no folder.
        """
        if named is not None:
            if Path(named).exists() and not Path(named).is_dir():
                raise Misuse(f"--target: {path_for_people(os.fsencode(named))} is not a directory")
            return os.path.abspath(os.fsencode(named))
        first = Path.cwd() / f"restore-{job}-{of.id[:8]}"
        candidates = [first, *(first.with_name(f"{first.name}-{n}") for n in range(2, 1000))]
        return os.fsencode(next(candidate for candidate in candidates if not candidate.exists()))

    def plan_restore(
        self,
        of: Snapshot,
        job: str,
        paths: Sequence[bytes],
        target: bytes | None,
        overwrite: Overwrite | None,
        *,
        counts: bool,
    ) -> RestorePlan:
        """What a restore would do; without `counts` only where something is in use already."""
        asked = self.ask(of.repository)
        wanted = paths or asked.opened.exact_paths(of)
        return asked.plan_restore(of.id, wanted, target, overwrite, counts=counts)

    def order_restore(
        self, of: Snapshot, job: str, plan: RestorePlan, target: bytes | None, wait: timedelta | None
    ) -> Assignment:
        """The restore that was planned."""
        what = {"paths": plan.paths, "target": target, "overwrite": plan.overwrite}
        return self.order("restore", of.repository, wait, job=job, snapshot=of.id, **what)

    # --- whose snapshots are ---

    def _adoption(self, repository: str) -> Adoption:
        self.demand_secrets([repository])
        asked = self.ask(repository)
        asked.compare_identity()
        return Adoption(self.database, self.retainer, self.host, repository, asked)

    def list_foreign(self, repository: str) -> list[ForeignGroup]:
        """The snapshots that no known run made, alike ones together."""
        return self._adoption(repository).list_groups()

    def preview_adoption(self, repository: str, group: str, job: str) -> list[Plan]:
        """What the job's retention would do once it governs this group."""
        return self._adoption(repository).preview(group, job, utc_now())

    def adopt(self, repository: str, group: str, job: str) -> ForeignGroup:
        """Let the job's retention govern a group."""
        return self._adoption(repository).adopt(group, job, utc_now(), COMMAND)

    def release(self, repository: str, group: str) -> ForeignGroup:
        """Let nobody govern a group any more."""
        return self._adoption(repository).release(group, utc_now(), COMMAND)

    # --- what is known of runs ---

    def find_run(self, id_or_start: str) -> Run:
        """The run with this id, or the only one whose id begins so; raises Unknown."""
        return self.record.find_run(id_or_start)

    def list_runs(self, *, job: str | None, limit: int) -> list[Run]:
        """The latest runs, newest first."""
        return self.record.list_runs(job=job, limit=limit)

    def read_events(self, run: str, *, after: int = 0) -> Iterator[Event]:
        """From the record, and while the run goes on the rest from its directory."""
        last = after
        for event in self.record.read_events(run, after=after):
            last = event.seq
            yield event
        yield from RunDirectory(self.place.runs / run).read_events(after=last)

    def list_standings(self, jobs: Sequence[str] | None = None) -> list[Standing]:
        """How these jobs, or all, stand in each of their repositories."""
        chosen = list(self.document.jobs) if jobs is None else jobs
        return list_standings(self.document, self.database, self.host, utc_now(), chosen)

    def cancel(self, run: str) -> None:
        """Ask the process of a run to end it; raises Conflict where it has ended."""
        found = self.record.find_run(run)
        if found.state is RunState.DONE:
            raise Conflict(f"run {found.id} has ended already", code="run_ended")
        RunDirectory(self.place.runs / found.id).request_cancel()

    def tell_set_up(self) -> dict[str, Any]:
        """Where its state lies."""
        return {"state": str(self.state)}

    def look_from_hosts(self) -> list[dict[str, Any]] | None:
        """There is no other machine."""
        return None

    # --- runs ---

    def carry_out(self, assignment: Assignment, watcher: Watcher) -> Run:
        """Carry out a run and return its account; raises Conflict when the job is already running."""
        with self._locked(assignment.job if assignment.task.type == "backup" else None):
            directory = RunDirectory.create(self.place.runs, assignment)
            try:
                self.record.begin(assignment)
                watcher.begin(assignment)
                self._carry_out(directory, assignment, watcher)
            finally:
                directory.release()
            run = self.record.find_run(assignment.run)
            directory.remove()
        watcher.end(run)
        return run

    def _carry_out(self, directory: RunDirectory, assignment: Assignment, watcher: Watcher) -> None:
        gathered = Gathered(self.record, assignment, watcher.event)
        stop = Stop(lambda: self.stop.requested or directory.cancel_requested)
        runner.carry_out(directory, self.place, stop, gathered.add, watcher.progress)
        gathered.hand_over()

    def rehearse(self, assignment: Assignment, watcher: Watcher) -> Run:
        """Carry out a dry run: nothing of it is recorded."""
        with self.place.scratch_directory() as scratch:
            directory = RunDirectory.create(scratch, assignment)
            record = Record(open_database(None))
            record.begin(assignment)
            watcher.begin(assignment)
            gathered = Gathered(record, assignment, watcher.event)
            runner.carry_out(directory, self.place, self.stop, gathered.add, watcher.progress)
            gathered.hand_over()
            directory.release()
        run = record.find_run(assignment.run)
        watcher.end(run)
        return run

    @contextlib.contextmanager
    def _locked(self, job: str | None) -> Iterator[None]:
        if job is None:
            yield
            return
        lock = FileLock(self.place.locks / f"job.{job}")
        if not lock.take():
            raise Conflict(
                f"{job} is already running (process {lock.holder()})",
                code="job_running",
                hint=f"wait for it, or cancel it with: highball cancel {self._open_run_of(job)}",
            )
        try:
            yield
        finally:
            lock.release()

    def _open_run_of(self, job: str) -> str:
        latest = self.record.list_runs(job=job, limit=5)
        return next((run.id for run in latest if run.state is not RunState.DONE), "<run>")

    # --- runs that a killed process left behind ---

    def settle(self, *, begins_run: bool) -> None:
        """End the account of runs whose process vanished; before a new run also give back what they held."""
        if self.real_state is not None:  # their directories lie there, and nothing can be noted
            return
        for directory in list_run_directories(self.place.runs):
            with contextlib.suppress(OSError):  # another command is settling it
                if directory.take_if_free():
                    self._settle(directory, begins_run=begins_run)
        for run in self.record.list_open():
            if not (self.place.runs / run).exists():
                self.record.abandon(run, utc_now())
        if begins_run:
            expire_daily(self.database, self.document.settings.history, utc_now())

    def _settle(self, directory: RunDirectory, *, begins_run: bool) -> None:
        try:
            assignment = directory.assignment
        except ValueError:  # nothing can be made of it: put it aside, and say so in the record
            directory.release()
            directory.path.rename(directory.path.with_suffix(".unreadable"))
            return
        try:
            if not self._knows(assignment.run):
                self.record.begin(assignment)
            runner.settle(directory, self.place)
            if begins_run:
                runner.release(directory, self.place)
            self.record.absorb(assignment.run, list(directory.read_events()))
        finally:
            directory.release()
        if begins_run:
            directory.remove()

    def _knows(self, run: str) -> bool:
        try:
            self.record.find_run(run)
        except Unknown:
            return False
        return True


class Gathered:
    """Hands events to the record in groups: log lines wait for the next event that matters."""

    MOST = 2000

    def __init__(self, record: Record, assignment: Assignment, watch: Callable[[Event], None]) -> None:
        self._record = record
        self._assignment = assignment
        self._watch = watch
        self._waiting: list[Event] = []

    def add(self, event: Event) -> None:
        """One more event."""
        self._waiting.append(event)
        self._watch(event)
        matters = event.type in {"run.started", "waiting", "step.ended", "run.ended"}
        if matters or (isinstance(event, LogLine) and len(self._waiting) >= self.MOST):
            self.hand_over()

    def hand_over(self) -> None:
        """Give what was gathered to the record."""
        if self._waiting:
            self._record.absorb(self._assignment.run, self._waiting)
            self._waiting = []


# --- opening ---


def open_machine(
    named: Path | None, before: Callable[[Documents], None] | None = None, *, looks: bool = False
) -> Machine:
    """Load the configuration (`-c`, HIGHBALL_CONFIG, the default files) and open its state.

    Who `looks` gets one that stands in for a state that cannot be written, even beside a hub that serves it.
    Raises ConfigurationInvalid and StateUnusable.
    """
    path = find_configuration(named)
    document = load(path)
    state = find_state(path, document)
    _LOG.debug("reads %s, and keeps its state in %s", path, state)
    if not looks or can_be_written(state):
        return Machine(path, document, state, before)
    if isinstance(served := find_database(state), str):  # which may be written all the same
        refuse_if_served(served)
    machine = Machine(path, document, make_standin(state), before)
    machine.real_state = state
    return machine
