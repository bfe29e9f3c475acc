"""Runs and the record: orders for runs, what is known of each, and what the snapshots are.

The record learns from events, by their numbers: the same event twice changes nothing. It never depends on a
snapshot or a run directory still being there. Nothing here starts a program.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self

import sqlalchemy as sa
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, model_validator

from highball.errors import Conflict, Unknown
from highball.facts import (
    Action,
    Event,
    Fact,
    Outcome,
    PathText,
    ProcessStarted,
    Reason,
    Run,
    RunEnded,
    RunKind,
    RunStarted,
    RunState,
    Snapshot,
    Statistics,
    Step,
    StepEnded,
    StepStarted,
    Waiting,
)
from highball.hub.audit import Actor, write_down
from highball.hub.db import (
    Database,
    events,
    idempotency,
    repositories,
    repository_days,
    runs,
    snapshots,
    steps,
)
from highball.protocol import Assignment, BackupTask, Expectation, Overwrite
from highball.source.path import check_path

_EVENTS: TypeAdapter[Event] = TypeAdapter(Event, config=ConfigDict(defer_build=True))

LONGEST_ID = 36
"""So many characters a run's id has."""

SIZES_COMPARED = 10
"""A new snapshot's size is held against the median of so many before it."""


@dataclass(frozen=True)
class SetOf:
    """What retention, shrinking and "newest" work on: a set of one job on one host in one repository."""

    repository: str
    host: str
    job: str
    set: str


@dataclass(frozen=True)
class Governed:
    """A snapshot that a known run made, as the record knows it."""

    id: str
    time: datetime
    run: str | None
    size_bytes: int | None
    shrank: bool
    accepted_at: datetime | None


@dataclass(frozen=True)
class Ending:
    """How the last step of some kind ended."""

    outcome: Outcome
    ended_at: datetime
    account: Step
    run: str


_WholePath = Annotated[PathText, AfterValidator(check_path)]


class RunOrder(Fact):
    """What a run is to do, as somebody asked for it or a schedule says; an agent gets it as a full Assignment."""

    task: Literal[
        "backup",
        "discard",
        "forget",
        "prune",
        "check",
        "verify",
        "unlock",
        "stats",
        "init",
        "restore",
        "hub-backup",
    ]
    """`discard` is forget and prune in one run; `hub-backup` copies the hub's own database."""
    job: str | None = None
    repository: str | None = None
    dry_run: bool = False
    plan: str | None = Field(None, max_length=200)
    """The plan that a person approved."""
    snapshot: str | None = Field(None, max_length=200)
    paths: tuple[_WholePath, ...] = ()
    target: _WholePath | None = None
    overwrite: Overwrite = Overwrite.NEVER
    all_data: bool = False
    remove_all: bool = False
    wait_seconds: float | None = Field(None, ge=0, le=30 * 86400)

    @model_validator(mode="after")
    def _names_what_it_is_about(self) -> Self:
        lacking = [
            name
            for name, needed in (
                ("job", self.task == "backup"),
                ("repository", self.task not in ("backup", "hub-backup")),
                ("snapshot", self.task == "restore"),
                ("paths", self.task == "restore"),
            )
            if needed and not getattr(self, name)
        ]
        if lacking:
            raise ValueError(f"{self.task} needs {' and '.join(lacking)}")
        return self

    @property
    def kind(self) -> RunKind:
        """What the run is for."""
        return {"backup": RunKind.BACKUP, "restore": RunKind.RESTORE}.get(self.task, RunKind.MAINTENANCE)

    @property
    def action(self) -> Action:
        """What its first step does."""
        names = {"discard": Action.FORGET, "hub-backup": Action.BACKUP}
        return names.get(self.task) or Action(self.task)

    @property
    def subject(self) -> str:
        """What it is about, as schedules and pauses name it."""
        about = {"backup": self.job, "hub-backup": "hub"}.get(self.task, self.repository)
        return f"{self.task}:{about}"


@dataclass(frozen=True)
class RunFilter:
    """Which runs are wanted; None is any."""

    job: str | None = None
    repository: str | None = None
    host: str | None = None
    kind: RunKind | None = None
    state: RunState | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """The same as SQL."""
        for name in ("job", "repository", "host", "kind", "state", "outcome"):
            wanted = getattr(self, name)
            if wanted is not None:
                yield runs.c[name] == wanted
        if self.since is not None:
            yield runs.c.created_at >= self.since
        if self.until is not None:
            yield runs.c.created_at < self.until


@dataclass(frozen=True)
class Made:
    """A snapshot that a run made, and what became of it."""

    repository: str
    id: str
    size_bytes: int | None
    shrank: bool
    accepted_at: datetime | None
    forgotten_at: datetime | None
    missing_since: datetime | None


class RepositoryDay(Fact):
    """What a repository held at the end of a day (UTC), as far as it was measured."""

    day: str
    bytes_stored: int | None = None
    snapshots: int | None = None


@dataclass(frozen=True)
class Queued:
    """A run that has not ended, as the dispatcher sees it."""

    id: str
    kind: RunKind
    action: Action
    job: str | None
    repository: str | None
    host: str
    state: RunState
    created_at: datetime
    started_at: datetime | None
    nominal_at: datetime | None
    not_before: datetime | None
    assigned_at: datetime | None
    cancel_requested_at: datetime | None
    last_seq: int
    order: RunOrder | None


class Record:
    """What happened, in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- a run's life ---

    def begin(self, assignment: Assignment) -> None:
        """Write down a run that is about to be carried out."""
        task = assignment.task
        with self._database.write() as connection:
            connection.execute(
                runs.insert().values(
                    id=assignment.run,
                    kind=assignment.kind.value,
                    action=task.type,
                    job=assignment.job,
                    repository=None if isinstance(task, BackupTask) else task.repository,
                    host=assignment.host,
                    state=RunState.QUEUED.value,
                    created_at=assignment.created_at,
                    assigned_at=assignment.created_at,
                    last_seq=0,
                )
            )

    def absorb(self, run: str, told: Sequence[Event]) -> int:
        """Take in events of a run; those that are known already are passed over. Returns the last that is known."""
        with self._database.write() as connection:
            asked = sa.select(runs.c.last_seq, runs.c.host).where(runs.c.id == run)
            row = connection.execute(asked).first()
            if row is None:
                raise Unknown(f"there is no run {run}", code="run_unknown")
            last: int = row.last_seq
            fresh: list[Event] = []
            for event in told:
                if event.seq > last:
                    fresh.append(event)
                    last = event.seq
            if not fresh:
                return last
            for event in fresh:
                self._take_in(connection, row.host, event)
            connection.execute(events.insert().values(**_chunk(run, fresh)))
            connection.execute(runs.update().where(runs.c.id == run).values(last_seq=last))
            return last

    def _take_in(self, connection: sa.Connection, host: str, event: Event) -> None:
        match event:
            case RunStarted():
                _update_run(connection, event.run, state=RunState.RUNNING, started_at=event.at)
            case Waiting():
                _update_run(connection, event.run, state=RunState.WAITING, reason=event.reason)
            case StepStarted():
                _update_run(connection, event.run, state=RunState.RUNNING, reason=None)
                _write_step(connection, event.run, event.running)
            case ProcessStarted():  # the wait, if there was one, is over
                _update_run(connection, event.run, state=RunState.RUNNING, reason=None)
            case StepEnded():
                _update_run(connection, event.run, state=RunState.RUNNING, reason=None)
                _write_step(connection, event.run, event.done)
                _take_in_snapshots(connection, host, event)
            case Statistics():
                _take_in_statistics(connection, event)
            case RunEnded():
                told = {"outcome": event.outcome.value, "ended_at": event.ended_at or event.at}
                _update_run(connection, event.run, state=RunState.DONE, reason=event.reason, **told)
            case _:
                pass

    # --- the queue ---

    def enqueue(
        self, order: RunOrder, host: str, now: datetime, *, id: str, actor: Actor, key: str | None = None
    ) -> tuple[Run, bool]:
        """Write down a run that is to be carried out when nothing stands in its way.

        With the idempotency key of an earlier order of the same actor, it is that order's run (and false). Raises
        Conflict where the key was used for another order.
        """
        told = order.model_dump(mode="json", exclude_defaults=True)
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        with self._database.write() as connection:
            known = _find_answer(connection, actor, key, digest)
            if known is None:
                connection.execute(
                    runs.insert().values(**_queued_row(order, host, now, id, actor), order=told)
                )
                write_down(connection, actor, "ordered", now, kind="run", key=id, after=told)
                if key is not None:
                    used = {"actor": actor.name, "key": key, "request": digest, "answer": id, "at": now}
                    connection.execute(idempotency.insert().values(**used))
        return self.find_run(known or id), known is None

    def list_unassigned(self) -> list[Queued]:
        """The runs that no agent was given yet, oldest first."""
        asked = (
            sa.select(runs)
            .where(
                runs.c.state == RunState.QUEUED.value, runs.c.assigned_at.is_(None), runs.c.order.is_not(None)
            )
            .order_by(runs.c.created_at, runs.c.id)
        )
        with self._database.read() as connection:
            return [_as_queued(row) for row in connection.execute(asked)]

    def list_going(self) -> list[Queued]:
        """The runs that an agent was given and that have not ended."""
        asked = sa.select(runs).where(
            runs.c.state != RunState.DONE.value,
            sa.or_(runs.c.assigned_at.is_not(None), runs.c.state != RunState.QUEUED.value),
        )
        with self._database.read() as connection:
            return [_as_queued(row) for row in connection.execute(asked)]

    def explain_wait(self, run: str, reason: Reason | None) -> bool:
        """Say why a queued run waits; false where that was known."""
        told = (reason.code, reason.message) if reason else (None, None)
        code, message = runs.c.reason_code, runs.c.reason_message
        with self._database.read() as connection:
            known = connection.execute(sa.select(code, message).where(runs.c.id == run)).first()
        if known is None or tuple(known) == told:
            return False
        with self._database.write() as connection:
            _update_run(connection, run, state=RunState.QUEUED, reason=reason)
        return True

    def mark_assigned(self, run: str, now: datetime) -> bool:
        """Give a run away: true for the first to do so, and only while nobody cancelled it."""
        free = (runs.c.id == run) & (runs.c.state == RunState.QUEUED.value) & runs.c.assigned_at.is_(None)
        with self._database.write() as connection:
            told = {"assigned_at": now, "reason_code": None, "reason_message": None}
            return connection.execute(runs.update().where(free).values(**told)).rowcount == 1

    def take_back(self, run: str) -> None:
        """A run did not reach its agent: it waits again."""
        here = (runs.c.id == run) & (runs.c.state == RunState.QUEUED.value) & (runs.c.last_seq == 0)
        with self._database.write() as connection:
            connection.execute(runs.update().where(here).values(assigned_at=None))

    def end_unbegun(self, run: str, outcome: Outcome, reason: Reason, now: datetime) -> bool:
        """End a run that never began; false where it has begun or ended meanwhile."""
        here = (runs.c.id == run) & (runs.c.state == RunState.QUEUED.value) & (runs.c.last_seq == 0)
        with self._database.write() as connection:
            told = {"reason_code": reason.code, "reason_message": reason.message, "ended_at": now}
            ended = {"state": RunState.DONE.value, "outcome": outcome.value, **told}
            return connection.execute(runs.update().where(here).values(**ended)).rowcount == 1

    def request_cancel(self, run: str, actor: Actor, now: datetime) -> Queued:
        """Note that somebody wants the run to end; raises Unknown, and Conflict where it has ended."""
        found = self.find_run(run)
        if found.state is RunState.DONE:
            raise Conflict(f"run {found.id} has ended already", code="run_ended")
        with self._database.write() as connection:
            told = {"cancel_requested_at": now, "cancelled_by": actor.name}
            connection.execute(runs.update().where(runs.c.id == found.id).values(**told))
            write_down(connection, actor, "cancelled", now, kind="run", key=found.id)
            return _as_queued(connection.execute(sa.select(runs).where(runs.c.id == found.id)).one())

    def find_host(self, run: str) -> str | None:
        """Whose run it is; None where it is not known."""
        with self._database.read() as connection:
            return connection.execute(sa.select(runs.c.host).where(runs.c.id == run)).scalar()

    def find_last_seq(self, run: str) -> int:
        """The number of the last event that is known of a run; raises Unknown."""
        with self._database.read() as connection:
            found = connection.execute(sa.select(runs.c.last_seq).where(runs.c.id == run)).scalar()
        if found is None:
            raise Unknown(f"there is no run {run}", code="run_unknown")
        return int(found)

    def list_open(self) -> list[str]:
        """The ids of runs that have not ended, oldest first."""
        asked = sa.select(runs.c.id).where(runs.c.state != RunState.DONE.value).order_by(runs.c.created_at)
        with self._database.read() as connection:
            return list(connection.execute(asked).scalars())

    def abandon(self, run: str, now: datetime) -> None:
        """End the account of a run of which nothing was left to read."""
        reason = Reason(code="interrupted", message="interrupted: nothing is left of this run but its name")
        told = {"outcome": Outcome.FAILURE.value, "ended_at": now}
        with self._database.write() as connection:
            _update_run(connection, run, state=RunState.DONE, reason=reason, **told)

    # --- looking at runs ---

    def find_run(self, id_or_start: str) -> Run:
        """The run with this id, or the only one whose id begins so; raises Unknown."""
        start = id_or_start[
            :LONGEST_ID
        ].lower()  # a pattern of thousands of characters is too much for SQLite
        with self._database.read() as connection:
            asked = sa.select(runs).where(runs.c.id.startswith(start, autoescape=True)).limit(2)
            found = connection.execute(asked).all() if len(id_or_start) <= LONGEST_ID else []
            if len(found) != 1 or not start:
                what = "more than one run begins" if found else "no run begins"
                raise Unknown(f"{what} with {start}", code="run_unknown", hint="see them with: highball runs")
            return _as_run(found[0], _steps_of(connection, [found[0].id]).get(found[0].id, []))

    def list_runs(
        self, chosen: RunFilter | None = None, *, job: str | None = None, limit: int = 50, after: str = ""
    ) -> list[Run]:
        """The latest runs, newest first, behind the run `after` if one is named; raises Unknown for that."""
        asked = sa.select(runs).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(limit)
        asked = asked.where(*(chosen or RunFilter(job=job)).conditions())
        if after:
            last = self.find_run(after)
            place = sa.tuple_(runs.c.created_at, runs.c.id)
            asked = asked.where(
                place < sa.tuple_(sa.literal(last.created_at, runs.c.created_at.type), last.id)
            )
        with self._database.read() as connection:
            found = connection.execute(asked).all()
            accounts = _steps_of(connection, [row.id for row in found])
        return [_as_run(row, accounts.get(row.id, [])) for row in found]

    def find_before(self, run: Run) -> Run | None:
        """The last run of the same job and kind that saved something before this one; None where there is none."""
        good = [Outcome.SUCCESS.value, Outcome.WARNING.value]
        same = (runs.c.job == run.job, runs.c.kind == run.kind.value, runs.c.outcome.in_(good))
        asked = sa.select(runs).where(
            *same, runs.c.created_at < sa.literal(run.created_at, runs.c.created_at.type)
        )
        with self._database.read() as connection:
            row = connection.execute(asked.order_by(runs.c.created_at.desc()).limit(1)).first()
            return None if row is None else _as_run(row, _steps_of(connection, [row.id]).get(row.id, []))

    def find_order(self, run: str) -> RunOrder | None:
        """What a run was to do, as it was asked for; None of one that a command on the machine carried out."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(runs).where(runs.c.id == run)).first()
        return _as_order(row) if row is not None and row.order else None

    def list_known(self, ids: Iterable[str]) -> set[str]:
        """Those of these runs that the record still has."""
        with self._database.read() as connection:
            return set(connection.execute(sa.select(runs.c.id).where(runs.c.id.in_(list(ids)))).scalars())

    def list_made(self, run: str) -> list[Made]:
        """The snapshots that a run made, those too that are gone by now."""
        asked = sa.select(snapshots).where(snapshots.c.run == run).order_by(snapshots.c.repository)
        with self._database.read() as connection:
            return [
                Made(
                    repository=row.repository,
                    id=row.id,
                    size_bytes=row.size_bytes,
                    shrank=row.shrank,
                    accepted_at=row.accepted_at,
                    forgotten_at=row.forgotten_at,
                    missing_since=row.missing_since,
                )
                for row in connection.execute(asked)
            ]

    def list_under_way(self, limit: int) -> list[Run]:
        """The runs that have not ended: what runs before what waits, each the oldest first."""
        waits = runs.c.state == RunState.QUEUED.value
        asked = sa.select(runs).where(runs.c.state != RunState.DONE.value)
        with self._database.read() as connection:
            found = connection.execute(asked.order_by(waits, runs.c.created_at, runs.c.id).limit(limit)).all()
            accounts = _steps_of(connection, [row.id for row in found])
        return [_as_run(row, accounts.get(row.id, [])) for row in found]

    def read_events(self, run: str, *, after: int = 0) -> Iterator[Event]:
        """The events of a run behind a number, in order."""
        here = (events.c.run == run) & (events.c.last_seq > after)
        asked = sa.select(events.c.lines).where(here).order_by(events.c.first_seq)
        with self._database.read() as connection:
            for lines in connection.execute(asked).scalars():
                for line in zlib.decompress(lines).splitlines():
                    event = _EVENTS.validate_json(line)
                    if event.seq > after:
                        yield event

    def read_events_back(self, run: str, *, before: int | None = None) -> Iterator[Event]:
        """The events of a run from the last one back, of those below a number: its end, without all of it."""
        asked = sa.select(events.c.lines).where(events.c.run == run).order_by(events.c.first_seq.desc())
        if before is not None:
            asked = asked.where(events.c.first_seq < before)
        with self._database.read() as connection:
            for lines in connection.execute(asked).scalars():
                for line in reversed(zlib.decompress(lines).splitlines()):
                    event = _EVENTS.validate_json(line)
                    if before is None or event.seq < before:
                        yield event

    # --- what is known of jobs and repositories ---

    def find_identity(self, repository: str) -> str | None:
        """restic's id of a repository, where it was met before."""
        asked = sa.select(repositories.c.identity).where(repositories.c.key == repository)
        with self._database.read() as connection:
            return connection.execute(asked).scalar()

    def list_identities(self) -> dict[str, str]:
        """restic's ids of all the repositories that were met."""
        asked = sa.select(repositories.c.key, repositories.c.identity).where(
            repositories.c.identity.is_not(None)
        )
        with self._database.read() as connection:
            return {row.key: row.identity for row in connection.execute(asked)}

    def find_size(self, repository: str) -> int | None:
        """How many bytes a repository stored when it was last measured."""
        asked = sa.select(repositories.c.bytes_stored).where(repositories.c.key == repository)
        with self._database.read() as connection:
            return connection.execute(asked).scalar()

    def list_days(self, repository: str, since: date) -> list[RepositoryDay]:
        """What a repository held at the end of each day on which something was learned of it, oldest first."""
        days = repository_days
        asked = sa.select(days).where(days.c.repository == repository, days.c.day >= since.isoformat())
        with self._database.read() as connection:
            return [
                RepositoryDay(day=row.day, bytes_stored=row.bytes_stored, snapshots=row.snapshots)
                for row in connection.execute(asked.order_by(days.c.day))
            ]

    def list_governed(self, of: SetOf) -> list[Governed]:
        """The snapshots of a set that runs made and that are not known to be gone, newest first."""
        asked = (
            sa.select(snapshots)
            .where(_of_set(of), snapshots.c.forgotten_at.is_(None), snapshots.c.missing_since.is_(None))
            .order_by(snapshots.c.time.desc())
        )
        with self._database.read() as connection:
            return [_as_governed(row) for row in connection.execute(asked)]

    def list_sets(self, *, job: str | None = None, repository: str | None = None) -> list[SetOf]:
        """The sets that hold snapshots, jobs among them that are not declared any more."""
        columns = (snapshots.c.repository, snapshots.c.host, snapshots.c.job, snapshots.c.set)
        asked = sa.select(*columns).distinct().where(snapshots.c.forgotten_at.is_(None))
        if job is not None:
            asked = asked.where(snapshots.c.job == job)
        if repository is not None:
            asked = asked.where(snapshots.c.repository == repository)
        with self._database.read() as connection:
            return [SetOf(*row) for row in connection.execute(asked.order_by(*columns))]

    def expect(self, of: SetOf) -> Expectation:
        """What a backup should find: earlier snapshots, the one to build upon, and the usual size."""
        governed = self.list_governed(of)
        return Expectation(
            snapshot_ids=tuple(snapshot.id for snapshot in governed),
            parent=governed[0].id if governed else None,
            sizes=tuple(self._list_sizes(of)),
        )

    def _list_sizes(self, of: SetOf) -> Iterator[int]:
        """Sizes of the last good snapshots, back to the one whose new size a person accepted."""
        columns = (snapshots.c.size_bytes, snapshots.c.shrank, snapshots.c.accepted_at)
        asked = sa.select(*columns).where(_of_set(of), snapshots.c.size_bytes.is_not(None))
        count = 0
        with self._database.read() as connection:
            for row in connection.execute(asked.order_by(snapshots.c.time.desc())):
                if count == SIZES_COMPARED:
                    return
                if not row.shrank or row.accepted_at is not None:
                    count += 1
                    yield row.size_bytes
                if row.accepted_at is not None:
                    return

    def newest_time(self, repository: str) -> datetime | None:
        """The newest time that the record knows of a repository's snapshots."""
        asked = sa.select(sa.func.max(snapshots.c.time, type_=snapshots.c.time.type))
        with self._database.read() as connection:
            return connection.execute(asked.where(snapshots.c.repository == repository)).scalar()

    def recognise(self, repository: str, listed: Iterable[Snapshot]) -> list[Snapshot]:
        """The snapshots of a listing with what is known of them; the tags of one that is not governed prove nothing."""
        sets = self.list_sets(repository=repository)
        sizes = {known.id: known.size_bytes for of in sets for known in self.list_governed(of)}
        return [_recognised(snapshot, sizes) for snapshot in listed]

    def accept(self, run: str, now: datetime) -> int:
        """A person says that the new size of this run's snapshots is right; says how many had shrunk."""
        shrunken = (snapshots.c.run == run) & snapshots.c.shrank & snapshots.c.accepted_at.is_(None)
        with self._database.write() as connection:
            done = connection.execute(snapshots.update().where(shrunken).values(accepted_at=now))
            if done.rowcount:
                connection.execute(runs.update().where(runs.c.id == run).values(accepted_at=now))
            return int(done.rowcount)

    def find_last(
        self, action: Action, repository: str, *, job: str | None = None, outcomes: Sequence[Outcome] = ()
    ) -> Ending | None:
        """How the last step of this kind ended; one that only rehearsed is none."""
        return next(self._last_steps(action, repository, job, outcomes), None)

    def _last_steps(
        self, action: Action, repository: str, job: str | None, outcomes: Sequence[Outcome]
    ) -> Iterator[Ending]:
        asked = (
            sa.select(steps)
            .join(runs, runs.c.id == steps.c.run)
            .where(
                steps.c.action == action.value,
                steps.c.repository == repository,
                steps.c.ended_at.is_not(None),
                sa.func.coalesce(runs.c.order["dry_run"].as_boolean(), sa.false()).is_(sa.false()),
            )
        )
        if job is not None:
            asked = asked.where(steps.c.job == job)
        if outcomes:
            asked = asked.where(steps.c.outcome.in_([outcome.value for outcome in outcomes]))
        with self._database.read() as connection:
            for row in connection.execute(asked.order_by(steps.c.ended_at.desc()).limit(1)):
                yield Ending(Outcome(row.outcome), row.ended_at, Step.model_validate(row.account), row.run)

    def is_damaged(self, repository: str) -> bool:
        """Whether a check found damage and none has succeeded since; one that could not look tells nothing."""
        asked = sa.select(steps.c.outcome, steps.c.account).where(
            steps.c.action == Action.CHECK.value,
            steps.c.repository == repository,
            steps.c.outcome.in_([Outcome.SUCCESS.value, Outcome.FAILURE.value]),
        )
        with self._database.read() as connection:
            for row in connection.execute(asked.order_by(steps.c.ended_at.desc())):
                reason = Step.model_validate(row.account).reason
                if row.outcome == Outcome.SUCCESS.value:
                    return False
                if reason is not None and reason.code == "repository_damaged":
                    return True
        return False

    def find_last_verified(self, of: SetOf) -> str | None:
        """The snapshot of a set that was last proved restorable."""
        good = (Outcome.SUCCESS,)
        ending = self.find_last(Action.VERIFY, of.repository, job=of.job, outcomes=good)
        return ending.account.snapshot_id if ending else None


def _recognised(snapshot: Snapshot, sizes: Mapping[str, int | None]) -> Snapshot:
    if snapshot.id not in sizes:
        return snapshot.model_copy(update={"job": None, "run": None, "set": None, "governed": False})
    size = snapshot.size_bytes if snapshot.size_bytes is not None else sizes[snapshot.id]
    return snapshot.model_copy(update={"governed": True, "size_bytes": size})


# --- taking events in ----------------------------------------------------------------------------


def _update_run(connection: sa.Connection, run: str, *, state: RunState, **told: Any) -> None:
    if "reason" in told:
        reason = told.pop("reason")
        told |= {
            "reason_code": reason.code if reason else None,
            "reason_message": reason.message if reason else None,
        }
    # what the release of an ended run adds (its `after` hooks) does not open it again
    here = (runs.c.id == run) & (runs.c.state != RunState.DONE.value)
    connection.execute(runs.update().where(here).values(state=state.value, **told))


def _write_step(connection: sa.Connection, run: str, step: Step) -> None:
    here = (steps.c.run == run) & (steps.c.number == step.number)
    told = {
        "action": step.action.value,
        "repository": step.repository,
        "job": step.job,
        "outcome": step.outcome.value if step.outcome else None,
        "ended_at": step.ended_at,
        "account": step.model_dump(mode="json", exclude_none=True),
    }
    if connection.execute(steps.update().where(here).values(**told)).rowcount == 0:
        connection.execute(steps.insert().values(run=run, number=step.number, **told))


def _take_in_snapshots(connection: sa.Connection, host: str, event: StepEnded) -> None:
    step = event.done
    if step.repository is None or step.job is None or step.set is None:
        return
    of = SetOf(step.repository, host, step.job, step.set)
    if step.action is Action.BACKUP and step.snapshot_id is not None:
        _govern(connection, of, event)
    if step.snapshots_removed:
        _mark(connection, of, step.snapshots_removed, forgotten_at=event.at)
    if event.snapshots is not None:
        _mark_missing(connection, of, event.snapshots, event.at)
        found = _count_snapshots(connection, of.repository)
        _note_day(connection, of.repository, event.at, snapshots=found)


def _govern(connection: sa.Connection, of: SetOf, event: StepEnded) -> None:
    step = event.done
    made = next((s for s in event.snapshots or () if s.id == step.snapshot_id), None)
    known = sa.select(snapshots.c.id).where(
        snapshots.c.repository == of.repository, snapshots.c.id == step.snapshot_id
    )
    if made is None or connection.execute(known).first():
        return
    size = step.bytes_processed if step.bytes_processed is not None else made.size_bytes
    connection.execute(
        snapshots.insert().values(
            repository=of.repository,
            id=made.id,
            host=of.host,
            job=of.job,
            set=of.set,
            run=event.run,
            time=made.time,
            size_bytes=size,
            shrank=any(warning.code == "shrank" for warning in step.warnings),
        )
    )


def _mark_missing(connection: sa.Connection, of: SetOf, listing: Iterable[Snapshot], at: datetime) -> None:
    """Snapshots that the listing lacks are missing; those that it shows again are not."""
    shown = {snapshot.id for snapshot in listing}
    asked = sa.select(snapshots.c.id, snapshots.c.missing_since).where(
        _of_set(of), snapshots.c.forgotten_at.is_(None)
    )
    found = connection.execute(asked).all()
    lost = [row.id for row in found if row.id not in shown and row.missing_since is None]
    back = [row.id for row in found if row.id in shown and row.missing_since is not None]
    _mark(connection, of, lost, missing_since=at)
    _mark(connection, of, back, missing_since=None)


def _mark(connection: sa.Connection, of: SetOf, ids: Sequence[str], **told: Any) -> None:
    for start in range(0, len(ids), 500):
        here = (snapshots.c.repository == of.repository) & snapshots.c.id.in_(ids[start : start + 500])
        connection.execute(snapshots.update().where(here).values(**told))


def _take_in_statistics(connection: sa.Connection, event: Statistics) -> None:
    """Only what is known is changed."""
    told: dict[str, Any] = {}
    if event.repository_id is not None:
        told |= {"identity": event.repository_id}
    if event.bytes_stored is not None:
        told |= {"bytes_stored": event.bytes_stored, "measured_at": event.at}
    here = repositories.c.key == event.repository
    known = connection.execute(sa.select(repositories.c.key).where(here)).first()
    if known is None:
        connection.execute(repositories.insert().values(key=event.repository, met_at=event.at, **told))
    elif told:
        connection.execute(repositories.update().where(here).values(**told))
    if event.bytes_stored is not None:
        _note_day(connection, event.repository, event.at, bytes_stored=event.bytes_stored)


def _note_day(connection: sa.Connection, repository: str, at: datetime, **told: int) -> None:
    """What a repository held at the end of a day, as far as is known of it."""
    day = f"{at.astimezone(UTC):%Y-%m-%d}"
    here = (repository_days.c.repository == repository) & (repository_days.c.day == day)
    if connection.execute(repository_days.update().where(here).values(**told)).rowcount == 0:
        connection.execute(repository_days.insert().values(repository=repository, day=day, **told))


def _count_snapshots(connection: sa.Connection, repository: str) -> int:
    there = (snapshots.c.forgotten_at.is_(None), snapshots.c.missing_since.is_(None))
    asked = sa.select(sa.func.count()).where(snapshots.c.repository == repository, *there)
    return int(connection.execute(asked).scalar_one())


def _chunk(run: str, told: Sequence[Event]) -> dict[str, Any]:
    lines = b"\n".join(event.model_dump_json(exclude_none=True).encode() for event in told)
    return {"run": run, "first_seq": told[0].seq, "last_seq": told[-1].seq, "lines": zlib.compress(lines, 6)}


# --- rows as facts -------------------------------------------------------------------------------


def _of_set(of: SetOf) -> sa.ColumnElement[bool]:
    return sa.and_(
        snapshots.c.repository == of.repository,
        snapshots.c.host == of.host,
        snapshots.c.job == of.job,
        snapshots.c.set == of.set,
    )


def _as_governed(row: sa.Row[Any]) -> Governed:
    return Governed(row.id, row.time, row.run, row.size_bytes, row.shrank, row.accepted_at)


def _find_answer(connection: sa.Connection, actor: Actor, key: str | None, digest: str) -> str | None:
    if key is None:
        return None
    here = (idempotency.c.actor == actor.name) & (idempotency.c.key == key)
    found = connection.execute(sa.select(idempotency).where(here)).first()
    if found is not None and found.request != digest:
        raise Conflict("this Idempotency-Key was used for another order", code="idempotency_key_reused")
    return None if found is None else str(found.answer)


def _queued_row(order: RunOrder, host: str, now: datetime, id: str, actor: Actor) -> dict[str, Any]:
    return {
        "id": id,
        "kind": order.kind.value,
        "action": order.action.value,
        "job": order.job,
        "repository": order.repository,
        "host": host,
        "state": RunState.QUEUED.value,
        "created_at": now,
        "last_seq": 0,
        "subject": order.subject,
        "origin": "manual",
        "actor": actor.name,
    }


def _as_order(row: sa.Row[Any]) -> RunOrder:
    return RunOrder.model_validate({"job": row.job, "repository": row.repository, **row.order})


def _as_queued(row: sa.Row[Any]) -> Queued:
    return Queued(
        id=row.id,
        kind=RunKind(row.kind),
        action=Action(row.action),
        job=row.job,
        repository=row.repository,
        host=row.host,
        state=RunState(row.state),
        created_at=row.created_at,
        started_at=row.started_at,
        nominal_at=row.nominal_at,
        not_before=row.not_before,
        assigned_at=row.assigned_at,
        cancel_requested_at=row.cancel_requested_at,
        last_seq=row.last_seq,
        order=_as_order(row) if row.order else None,
    )


def _steps_of(connection: sa.Connection, ids: Sequence[str]) -> dict[str, list[Step]]:
    accounts: dict[str, list[Step]] = {}
    for start in range(0, len(ids), 500):
        asked = sa.select(steps).where(steps.c.run.in_(ids[start : start + 500])).order_by(steps.c.number)
        for row in connection.execute(asked):
            accounts.setdefault(row.run, []).append(Step.model_validate(row.account))
    return accounts


def _as_run(row: sa.Row[Any], accounts: Sequence[Step]) -> Run:
    reason = Reason(code=row.reason_code, message=row.reason_message) if row.reason_code else None
    return Run(
        id=row.id,
        kind=RunKind(row.kind),
        action=Action(row.action),
        job=row.job,
        repository=row.repository,
        state=RunState(row.state),
        outcome=Outcome(row.outcome) if row.outcome else None,
        reason=reason,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        host=row.host,
        origin=row.origin,
        actor=row.actor,
        nominal_at=row.nominal_at,
        missed_last=row.missed_last,
        missed_count=row.missed_count,
        steps=tuple(accounts),
    )


Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time, as the record writes it."""
    return datetime.now(UTC)
