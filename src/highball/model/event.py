"""Events: what a run tells while it goes on, numbered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
)

from highball.model.fact import Count, Fact, Id, Name, Ordinal, Print, Words
from highball.model.run import Caution, Outcome, Reason, Step
from highball.model.snapshot import Snapshot
from highball.model.text import UtcTime


class _Numbered(Fact):
    seq: Ordinal
    run: Id
    step: Ordinal | None = None
    attempt: Ordinal = 1
    at: UtcTime


class RunStarted(_Numbered):
    """The run's own process has begun."""

    type: Literal["run.started"] = "run.started"
    pid: Count


class StepStarted(_Numbered):
    """A step has begun, or begins once more: the next `attempt`; `running` holds what is known of it so far."""

    type: Literal["step.started"] = "step.started"
    running: Step


class ProcessStarted(_Numbered):
    """A program of this step runs; its lock, should it be killed, carries this pid and host name."""

    type: Literal["process.started"] = "process.started"
    pid: Count
    hostname: Words


DISK_AWAY = "disk_away"
"""The code of a backup that waits for a disk that is away, or was skipped for it."""


class Waiting(_Numbered):
    """The step waits, and why."""

    type: Literal["waiting"] = "waiting"
    reason: Reason
    until: UtcTime | None = None
    """When the next attempt begins; null is a wait whose end is not known."""


class LogLine(_Numbered):
    """Some text that a program printed, or a remark of our own; at most 64 KiB."""

    type: Literal["log"] = "log"
    stream: Literal["stdout", "stderr", "highball"]
    text: Print


class SnapshotSaved(_Numbered):
    """restic says that it saved a snapshot; the id may still be a short one (restic 0.14)."""

    type: Literal["snapshot"] = "snapshot"
    repository: Name
    snapshot_id: Id


class Statistics(_Numbered):
    """What is newly known of a repository: only the fields that were measured are set."""

    type: Literal["stats"] = "stats"
    repository: Name
    bytes_stored: Count | None = None
    snapshots: Ordinal | None = None
    """How many it shows in all, others' among them."""
    repository_id: Id | None = None


class SetAside(Fact):
    """What stood in the place of an event that could not be taken in."""

    type: Annotated[Words, Field(max_length=60)]
    text: Print
    """As it came, or the beginning of it."""


class WarningSeen(_Numbered):
    """Something is missing or odd; the step goes on."""

    type: Literal["warning"] = "warning"
    warning: Caution
    set_aside: SetAside | None = None
    """The event that this warning stands for, where one could not be taken in."""


class StepEnded(_Numbered):
    """A step is over; `done` is its full account, `snapshots` what its listing showed of this job's."""

    type: Literal["step.ended"] = "step.ended"
    done: Step
    snapshots: tuple[Snapshot, ...] | None = None


class RunEnded(_Numbered):
    """The run is over."""

    type: Literal["run.ended"] = "run.ended"
    outcome: Outcome
    reason: Reason | None = None
    ended_at: UtcTime | None = None
    """Its last sign of life, where its end was only found later; null is the event's own time."""


Event = Annotated[
    RunStarted
    | StepStarted
    | ProcessStarted
    | Waiting
    | LogLine
    | SnapshotSaved
    | Statistics
    | WarningSeen
    | StepEnded
    | RunEnded,
    Field(discriminator="type"),
]
"""A fact that happened during a run: numbered from 1 by the run's own process, appended, published."""
