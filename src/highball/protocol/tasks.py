"""Tasks, and the assignment that carries one: all that a run needs, as facts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from highball.config.job import Job
from highball.config.object_keys import Key
from highball.engine.kinds import AnyRepository, engines_beyond
from highball.model.run import (
    Printed,
    RunKind,
    Step,
)
from highball.model.snapshot import FILES_SET
from highball.model.text import PathText, UtcTime
from highball.place.kinds import AnyPlace
from highball.protocol.bounded_fields import (
    FileName,
    KeyId,
    KeyName,
    RepositoryId,
    RunId,
    Slice,
    SnapshotId,
    TagList,
    TimeZone,
    Warrant,
    WireModel,
    Words,
)
from highball.secret import SecretReference
from highball.source.kinds import AnySource


class Overwrite(StrEnum):
    """What a restore does with an entry that is there already."""

    NEVER = "never"
    IF_CHANGED = "if-changed"
    IF_NEWER = "if-newer"
    ALWAYS = "always"


class Expectation(WireModel):
    """What the record knows of a job in a repository before a backup."""

    snapshot_ids: tuple[SnapshotId, ...] = ()
    """Snapshots that a listing has to show."""
    parent: SnapshotId | None = None
    sizes: tuple[int, ...] = ()
    """Bytes that the last good snapshots held, newest first, at most ten; those before an accepted size left out."""


class BackupTask(WireModel):
    """Save a job's sources into its repositories, hooks around it."""

    type: Literal["backup"] = "backup"
    job: Job
    set: Key = FILES_SET
    """What the snapshot of its paths is called among the job's; they are read whatever it is."""
    expected: dict[Key, Expectation] = Field(default_factory=dict)
    """By repository, of that set."""
    streams: dict[Key, dict[Key, Expectation]] = Field(default_factory=dict)
    """The same of each stream of the job, by its set."""
    dry_run: bool = False

    @property
    def sets(self) -> dict[str, tuple[AnySource, ...]]:
        """What it saves, each as a snapshot of its own: the sources, by the set as the snapshot calls it."""
        found: dict[str, tuple[AnySource, ...]] = {}
        for source in self.job.sources:
            key = self.set if source.set == FILES_SET else source.set
            found[key] = (*found.get(key, ()), source)
        return found

    def expected_of(self, set: str, repository: str) -> Expectation:
        """What the record knows of one of its sets in a repository."""
        known = self.expected if set == self.set else self.streams.get(set, {})
        return known.get(repository, Expectation())


class Removal(WireModel):
    """The approved part of a retention plan for one set: exactly these ids go, exactly those stay."""

    job: Key
    host: Key
    former_hosts: tuple[Key, ...] = ()
    set: Key
    tags: tuple[TagList, ...]
    remove: tuple[SnapshotId, ...]
    stay: tuple[SnapshotId, ...]
    unknown: tuple[SnapshotId, ...] = ()
    """Snapshots that no known run made: they have to be there before and after, and are not counted."""
    adopted: tuple[SnapshotId, ...] = ()
    """Those that go or stay though they carry none of the set's tags: only the whole listing shows them."""


class HeldRemoval(WireModel):
    """A set whose retention stands still, and why: it becomes a step that was not begun."""

    job: Key
    set: Key
    code: Words
    message: Words


class ForgetTask(WireModel):
    """Remove snapshots by id, and look again."""

    type: Literal["forget"] = "forget"
    repository: Key
    removals: tuple[Removal, ...]
    held: tuple[HeldRemoval, ...] = ()
    prune: bool = False
    """Whether the data that no snapshot needs any more is removed as well, once all removals succeeded."""


class PlainTask(WireModel):
    """Do to a repository what needs no more than its key: a verb of the table of actions, which `type` names."""

    type: Annotated[str, Field(pattern="^[a-z][a-z-]{0,39}$")]
    repository: Key


class CheckTask(WireModel):
    """Check the structure, and read slice `n/t` of the data."""

    type: Literal["check"] = "check"
    repository: Key
    slice: Slice | None = None


class VerifyTask(WireModel):
    """Restore a sample (or all) of a snapshot to scratch and compare it with the source."""

    type: Literal["verify"] = "verify"
    repository: Key
    snapshot_id: SnapshotId
    all_data: bool = False
    unconfirmed: bool = False
    """Whether only its tags say that the snapshot is the job's: no run that is known made it."""
    sample_files: int = 20
    sample_bytes: int = 1024**3
    stream: bool = False
    """Whether it holds what a command printed, which lies nowhere on the host."""
    printed: Printed | None = None
    """What that was, as the backup counted it; it is compared with nothing where that is not known."""
    markers: tuple[FileName, ...] = ()
    """Files of these names mark folders that are left out: where there is nothing else, nothing was saved."""


class UnlockTask(WireModel):
    """Remove stale locks, or every lock."""

    type: Literal["unlock"] = "unlock"
    repository: Key
    remove_all: bool = False


class KeyTask(WireModel):
    """Add a key to a repository, or remove one; the key that opens it is never removed.

    `of_admin` says that `new` takes the place of the password of the access that may delete.
    """

    type: Literal["key"] = "key"
    repository: Key
    act: Literal["add", "rotate", "remove"]
    new: SecretReference | None = None
    """The password that is to open it, too; of add and rotate."""
    name: KeyName = "highball"
    id: KeyId | None = None
    """The key that goes; of remove."""
    of_admin: bool = False


class RestoreTask(WireModel):
    """Bring paths of a snapshot back below a target, or in place where `target` is null."""

    type: Literal["restore"] = "restore"
    repository: Key
    snapshot_id: SnapshotId
    paths: tuple[PathText, ...]
    target: PathText | None = None
    overwrite: Overwrite


def _shape_of(task: Any) -> str:
    """The class of a task by its `type`; what has none of its own is plain."""
    told = task.get("type") if isinstance(task, Mapping) else getattr(task, "type", None)
    return told if told in _WITH_A_CLASS else "plain"


_WITH_A_CLASS = ("backup", "forget", "check", "verify", "unlock", "key", "restore")

Task = Annotated[
    Annotated[BackupTask, Tag("backup")]
    | Annotated[ForgetTask, Tag("forget")]
    | Annotated[CheckTask, Tag("check")]
    | Annotated[VerifyTask, Tag("verify")]
    | Annotated[UnlockTask, Tag("unlock")]
    | Annotated[KeyTask, Tag("key")]
    | Annotated[RestoreTask, Tag("restore")]
    | Annotated[PlainTask, Tag("plain")],
    Discriminator(_shape_of),
]


class Assignment(WireModel):
    """All that an agent needs to carry out one run."""

    run: RunId
    kind: RunKind
    subject: Words | None = None
    """What it is about, as schedules name it: `backup:docs`."""
    nominal_at: UtcTime | None = None
    """The time of the schedule that it is the run of; null where somebody ordered it."""
    job: Key | None = None
    host: Key
    """The host's key, as it stands in every snapshot that this run makes."""
    timezone: TimeZone = "UTC"
    done_before: tuple[Step, ...] = ()
    """Steps that the hub did itself before it gave the run away: they are its first."""
    task: Task
    place: AnyPlace | None = None
    """Where it is carried out, for the agent that was told; null for the agent's own machine."""
    repositories: dict[Key, AnyRepository]
    identities: dict[Key, RepositoryId] = Field(default_factory=dict)
    """The engine's id of each repository that was met before."""
    others: dict[RepositoryId, Key] = Field(default_factory=dict)
    """The keys of other repositories by their ids: one that was never met may turn out to be one of these."""
    wait: timedelta = timedelta(hours=1)
    """How long a busy repository is waited for."""
    former_jobs: tuple[Key, ...] = ()
    """Keys that its job had before: snapshots that carry these are its own."""
    former_hosts: tuple[Key, ...] = ()
    """Keys that its host had before; so are those."""
    from_file: bool = False
    """Whether a configuration file on the hub's machine declares all of it, so that no page or program could."""
    warrant: Warrant | None = None
    """The hub's signature of what the run covers: the agent gives it back to a hub that has lost the run."""
    created_at: UtcTime

    @property
    def hosts(self) -> tuple[str, ...]:
        """By which hosts an engine finds what its host saved."""
        return self.host, *self.former_hosts

    @property
    def needs(self) -> tuple[str, ...]:
        """What an agent must be able to, to carry it out, where not every one is."""
        task = self.task
        needs = {
            "keys": isinstance(task, KeyTask),
            "streams": isinstance(task, BackupTask) and bool(task.streams),
            "command-variables": isinstance(task, BackupTask) and task.job.sets_variables,
            "hub-copy": bool(self.done_before),
            "places": self.place is not None,
        }
        own = tuple(name for name, needed in needs.items() if needed)
        return (*own, *engines_beyond(self.repositories.values()))

    @property
    def marker(self) -> str:
        """What every process of this run carries in its environment."""
        return f"{self.job or self.kind}_{self.run}"
