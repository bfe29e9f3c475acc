"""Runs as their events tell them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from highball.config.job import Job
from highball.engine.restic.declaration import ResticRepository
from highball.hub.runs.ingest import SetOf
from highball.hub.runs.record import Record
from highball.model.event import (
    Event,
    RunEnded,
    StepEnded,
    StepStarted,
)
from highball.model.run import (
    Action,
    Caution,
    Outcome,
    Reason,
    RunKind,
    Step,
)
from highball.model.snapshot import Snapshot
from highball.protocol.tasks import (
    Assignment,
    BackupTask,
    CheckTask,
    ForgetTask,
    PlainTask,
    Removal,
    Task,
)

START = datetime(2026, 3, 1, 2, tzinfo=UTC)
OF = SetOf("nas", "here", "docs", "files")
NAS = ResticRepository.model_validate({"url": "/mnt/nas", "password": {"env": "X"}})
DOCS = Job.model_validate({"sources": ["/docs"], "repositories": ["nas"]})


def run_id(number: int) -> str:
    return f"019b0000-0000-7000-8000-{number:012d}"


def order(number: int, task: Task | None = None, *, job: str | None = "docs") -> Assignment:
    task = task or BackupTask(job=DOCS)
    kind = RunKind.BACKUP if isinstance(task, BackupTask) else RunKind.MAINTENANCE
    return Assignment(
        run=run_id(number),
        kind=kind,
        job=job,
        host="here",
        task=task,
        repositories={"nas": NAS},
        created_at=START + timedelta(hours=number),
    )


def snapshot(
    snapshot_id: str, *, at: datetime = START, run: str | None = None, size: int | None = None
) -> Snapshot:
    return Snapshot(
        id=snapshot_id,
        time=at,
        job="docs",
        set="files",
        run=run,
        host="here",
        repository="nas",
        size_bytes=size,
    )


class Story:
    """Events of one run, numbered as they are told."""

    def __init__(self, number: int, task: Task | None = None, *, job: str | None = "docs") -> None:
        self.assignment = order(number, task, job=job)
        self.run = self.assignment.run
        self.at = self.assignment.created_at
        self.events: list[Event] = []

    def tell(self, make: type[Any], **facts: Any) -> Story:
        """One more event, a second later."""
        self.at += timedelta(seconds=1)
        self.events.append(make(seq=len(self.events) + 1, run=self.run, at=self.at, **facts))
        return self

    def step(
        self,
        action: Action = Action.BACKUP,
        outcome: Outcome = Outcome.SUCCESS,
        *,
        number: int = 1,
        shows: Sequence[Snapshot] | None = None,
        warnings: Sequence[str] = (),
        reason: Reason | None = None,
        **facts: Any,
    ) -> Story:
        """A step from its beginning to its end."""
        begun = Step(
            number=number,
            action=action,
            repository="nas",
            job=self.assignment.job,
            set="files",
            started_at=self.at,
        )
        self.tell(StepStarted, step=number, running=begun)
        cautions = tuple(Caution(code=code, message=code) for code in warnings)
        told = {**facts, "outcome": outcome, "warnings": cautions, "reason": reason}
        done = begun.model_copy(update={**told, "ended_at": self.at + timedelta(seconds=1)})
        return self.tell(StepEnded, step=number, done=done, snapshots=None if shows is None else tuple(shows))

    def end(self, outcome: Outcome = Outcome.SUCCESS, reason: Reason | None = None) -> Story:
        """The end of the run."""
        return self.tell(RunEnded, outcome=outcome, reason=reason)

    def into(self, record: Record) -> Story:
        """Begin the run and absorb all of it."""
        record.begin(self.assignment)
        record.absorb(self.assignment.run, self.events)
        return self


def back_up(
    record: Record, number: int, size: int | None, *, before: Sequence[str] = (), **facts: Any
) -> str:
    """A backup run that saved a snapshot of this size, the listing showing it and those before; the snapshot's id."""
    story = Story(number)
    made = f"{number:064x}"
    at = story.assignment.created_at
    shows = [snapshot(made, at=at, run=story.run, size=size), *(snapshot(earlier) for earlier in before)]
    story.step(snapshot_id=made, bytes_processed=size, shows=shows, **facts).into(record)
    return made


def check(
    record: Record, number: int, of_slice: str | None, outcome: Outcome, code: str | None = None
) -> None:
    """A check run."""
    reason = None if code is None else Reason(code=code, message=code)
    story = Story(number, CheckTask(repository="nas", slice=of_slice), job=None)
    story.step(Action.CHECK, outcome, slice=of_slice, reason=reason).into(record)


def to_remove(*ids: str) -> ForgetTask:
    """The order to remove these of the job's snapshots."""
    return ForgetTask(repository="nas", removals=(removal("docs", *ids),))


def removal(job: str, *ids: str) -> Removal:
    """What of a job's snapshots is to go."""
    return Removal(job=job, host="here", set="files", tags=(f"hb:job={job}",), remove=ids, stay=())


def measure(number: int) -> Story:
    return Story(number, PlainTask(type="stats", repository="nas"), job=None)
