"""What hub and agent say to each other: today the Assignment, a complete order for one run.

An assignment carries facts, never command lines: the agent's own engine builds those. Secrets are carried as
references. Classes here are lenient towards unknown fields, because the other side may be newer.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from highball.engine.restic.repository import ResticRepository
from highball.facts import PathText, RunKind, UtcTime
from highball.spec.job import Job

FILES_SET = "files"
"""The set that all paths of a job form together."""


class Overwrite(StrEnum):
    """What a restore does with an entry that is there already."""

    NEVER = "never"
    IF_CHANGED = "if-changed"
    IF_NEWER = "if-newer"
    ALWAYS = "always"


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Expectation(_Wire):
    """What the record knows of a job in a repository before a backup."""

    snapshot_ids: tuple[str, ...] = ()
    """Snapshots that a listing has to show."""
    parent: str | None = None
    sizes: tuple[int, ...] = ()
    """Bytes that the last good snapshots held, newest first, at most ten; those before an accepted size left out."""


class BackupTask(_Wire):
    """Save a job's sources into its repositories, hooks around it."""

    type: Literal["backup"] = "backup"
    job: Job
    expected: dict[str, Expectation] = {}
    dry_run: bool = False


class Removal(_Wire):
    """The approved part of a retention plan for one set: exactly these ids go, exactly those stay."""

    job: str
    host: str
    set: str
    tags: tuple[str, ...]
    remove: tuple[str, ...]
    stay: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    """Snapshots that no known run made: they have to be there before and after, and are not counted."""


class ForgetTask(_Wire):
    """Remove snapshots by id, and look again."""

    type: Literal["forget"] = "forget"
    repository: str
    removals: tuple[Removal, ...]


class PruneTask(_Wire):
    """Remove data that no snapshot needs."""

    type: Literal["prune"] = "prune"
    repository: str


class CheckTask(_Wire):
    """Check the structure, and read slice `n/t` of the data."""

    type: Literal["check"] = "check"
    repository: str
    slice: str | None = None


class VerifyTask(_Wire):
    """Restore a sample (or all) of a snapshot to scratch and compare it with the source."""

    type: Literal["verify"] = "verify"
    repository: str
    snapshot_id: str
    all_data: bool = False
    sample_files: int = 20
    sample_bytes: int = 1024**3


class UnlockTask(_Wire):
    """Remove stale locks, or every lock."""

    type: Literal["unlock"] = "unlock"
    repository: str
    remove_all: bool = False


class StatsTask(_Wire):
    """Measure what a repository stores."""

    type: Literal["stats"] = "stats"
    repository: str


class InitTask(_Wire):
    """Make a repository, or meet the one that is there."""

    type: Literal["init"] = "init"
    repository: str


class RestoreTask(_Wire):
    """Bring paths of a snapshot back below a target, or in place where `target` is null."""

    type: Literal["restore"] = "restore"
    repository: str
    snapshot_id: str
    paths: tuple[PathText, ...]
    target: PathText | None = None
    overwrite: Overwrite


Task = Annotated[
    BackupTask
    | ForgetTask
    | PruneTask
    | CheckTask
    | VerifyTask
    | UnlockTask
    | StatsTask
    | InitTask
    | RestoreTask,
    Field(discriminator="type"),
]


class Assignment(_Wire):
    """All that an agent needs to carry out one run."""

    run: str
    kind: RunKind
    job: str | None = None
    host: str
    """The host's key: restic's `--host` of everything this run saves."""
    timezone: str = "UTC"
    restic: str | None = None
    """The restic to use; null is the first on PATH."""
    task: Task
    repositories: dict[str, ResticRepository]
    identities: dict[str, str] = {}
    """restic's id of each repository that was met before."""
    wait: timedelta = timedelta(hours=1)
    """How long a busy repository is waited for."""
    created_at: UtcTime

    @property
    def marker(self) -> str:
        """What every process of this run carries in its environment."""
        return f"{self.job or self.kind}_{self.run}"
