"""Runs and their steps: what they are to do, how far they are, how they ended."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import (
    Field,
)

from highball.model.fact import (
    MOST_LISTED,
    Amount,
    Count,
    Fact,
    Id,
    Name,
    Ordinal,
    Percent,
    Sha256,
    Slice,
    Words,
)
from highball.model.text import PathText, UtcTime


class Action(StrEnum):
    """What a step does."""

    HOOK = "hook"
    BACKUP = "backup"
    FORGET = "forget"
    PRUNE = "prune"
    CHECK = "check"
    VERIFY = "verify"
    UNLOCK = "unlock"
    INIT = "init"
    RESTORE = "restore"
    STATS = "stats"
    HISTORY = "history"
    KEY = "key"


class RunKind(StrEnum):
    """What a run is for."""

    BACKUP = "backup"
    RESTORE = "restore"
    MAINTENANCE = "maintenance"


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


class Outcome(StrEnum):
    """How a run, or one of its steps, ended."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    MISSED = "missed"

    @property
    def rank(self) -> int:
        """How much it says about several things together; what was skipped says least."""
        return _RANKED.index(self)


_RANKED = (
    Outcome.SKIPPED,
    Outcome.SUCCESS,
    Outcome.WARNING,
    Outcome.CANCELLED,
    Outcome.MISSED,
    Outcome.FAILURE,
)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """How several things ended together: as the worst of them; none at all is a success."""
    return max(outcomes, key=lambda outcome: outcome.rank, default=Outcome.SUCCESS)


class Reason(Fact):
    """Why something ended, waits or was refused: a stable code and one sentence."""

    code: Annotated[Words, Field(max_length=60)]
    message: Words


class Caution(Fact):
    """One thing that is missing or odd in a run that went on: a warning."""

    code: Annotated[Words, Field(max_length=60)]
    message: Words
    path: PathText | None = None
    count: Count = 1
    """How many things this one line stands for."""


class Printed(Fact):
    """What a command printed when it was backed up, counted on its way: by this a restore test knows it again."""

    size_bytes: Count
    sha256: Sha256


class Step(Fact):
    """One part of a run: a hook, or one action on one repository. Sizes are bytes; unknown ones are null."""

    number: Ordinal
    action: Action
    title: Words | None = None
    repository: Name | None = None
    job: Name | None = None
    set: Name | None = None
    host: Name | None = None
    """Whose set it is, where not that of the run's own host."""
    outcome: Outcome | None = None
    reason: Reason | None = None
    attempts: Ordinal = 1
    started_at: UtcTime | None = None
    ended_at: UtcTime | None = None
    warnings: Annotated[tuple[Caution, ...], Field(max_length=MOST_LISTED)] = ()

    snapshot_id: Id | None = None
    files_new: Count | None = None
    files_changed: Count | None = None
    files_unmodified: Count | None = None
    bytes_processed: Count | None = None
    bytes_added: Count | None = None
    bytes_packed: Count | None = None
    """Of a backup: what the repository grew by, as it is stored; not known before restic 0.17."""
    printed: Printed | None = None
    """Of a backup of what a command prints."""

    snapshots_removed: tuple[Id, ...] | None = None
    snapshots_kept: Count | None = None
    slice: Slice | None = None
    """Of a check: which part of the data was read, `n/t`; null when only the structure was."""
    files_compared: Count | None = None
    files_held: Count | None = None
    """Of a verify: how many files the snapshot holds, of which those are a sample where they are fewer."""
    bytes_compared: Count | None = None
    files_restored: Count | None = None
    bytes_restored: Count | None = None
    bytes_freed: Count | None = None
    bytes_stored: Count | None = None
    locks_removed: Count | None = None
    key: str | None = None
    """Of a change of keys: the id of the one that was added or removed."""
    former_key: str | None = None
    """Of a rotation: the id of the one whose place it takes."""
    target: PathText | None = None


class Run(Fact):
    """One execution: a backup of a job, a restore, or maintenance of a repository."""

    id: str
    kind: RunKind
    action: Action
    job: str | None = None
    repository: str | None = None
    state: RunState
    outcome: Outcome | None = None
    reason: Reason | None = None
    created_at: UtcTime
    started_at: UtcTime | None = None
    ended_at: UtcTime | None = None
    host: str | None = None
    origin: str | None = None
    """schedule, manual or hub; agent: nobody here ordered it, an agent told of it; null is a command on the machine."""
    actor: str | None = None
    nominal_at: UtcTime | None = None
    """When it was due; of a row of missed times the first."""
    missed_last: UtcTime | None = None
    missed_count: int | None = None
    dry_run: bool = False
    """It read everything and saved nothing: no backup, whatever it came to."""
    steps: tuple[Step, ...] = ()


class Progress(Fact):
    """How far a step is; unnumbered, and may be dropped. What is not known yet is null."""

    type: Literal["progress"] = "progress"
    percent: Percent | None = None
    files_done: Count = 0
    files_total: Count | None = None
    bytes_done: Count = 0
    bytes_total: Count | None = None
    bytes_per_second: Amount | None = None
    seconds_left: Amount | None = None
    current: PathText | None = None
