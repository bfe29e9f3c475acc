"""Questions that are no runs, and what answers them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import (
    Field,
)

from highball.config.job import Job
from highball.config.object_keys import Key
from highball.engine.kinds import AnyRepository, engines_beyond
from highball.model.fact import Fact
from highball.model.text import PathText
from highball.place.kinds import AnyPlace
from highball.protocol.bounded_fields import (
    MIB,
    USUAL_ANSWER,
    RepositoryId,
    SnapshotId,
    TagList,
    TimeZone,
    WireModel,
)
from highball.protocol.tasks import Overwrite
from highball.retention import Retention
from highball.source.path import PathSource
from highball.source.spelling import Pattern


class PlanPart(Fact):
    """A part of a plan: how many entries, how many of them are no folders, their bytes, and the first paths."""

    entries: int = 0
    files: int = 0
    size_bytes: int = 0
    examples: tuple[PathText, ...] = ()


class RestorePlan(Fact):
    """What a restore would do, from a look at the target; nothing has been touched."""

    snapshot_id: str
    overwrite: Overwrite
    in_place: bool
    in_use: bool = True
    """Whether something may be in the way; where nothing lies at the target yet, entries need not be counted."""
    paths: tuple[PathText, ...] = ()
    """All that comes back, byte for byte."""
    target: PathText | None
    """The real directory below which everything lands; null in place, where it is what the paths say."""
    new: PlanPart = PlanPart()
    replaced: PlanPart = PlanPart()
    unchanged: PlanPart = PlanPart()
    """There with the same size and time, and every folder that is there."""
    kept: PlanPart = PlanPart()
    """There, and the overwrite rule says to leave it."""
    other_kind: PlanPart = PlanPart()
    """There as another kind of file, and whatever belongs below such an entry that stays."""
    other_kind_left: int = 0
    """How many of these stay as they are."""
    cannot_promise: tuple[str, ...] = ()


class Amount(Fact):
    """So many files, with so many bytes."""

    files: int = 0
    size_bytes: int = 0


class MeasuredSource(Fact):
    """What one source holds that would be backed up; the least that there is where it is not complete."""

    path: PathText
    kept: Amount
    complete: bool


class Measured(Fact):
    """What sources hold, and what each pattern leaves out of them; an entry counts for the first that names it."""

    sources: tuple[MeasuredSource, ...]
    left_out: tuple[Amount, ...] = ()
    unreadable: int = 0

    @property
    def complete(self) -> bool:
        """Whether all of it was seen."""
        return all(one.complete for one in self.sources)


class SampledNames(Fact):
    """How many names of a snapshot were looked for on the host, and how many of them are there."""

    sampled: int
    found: int


class Browse(WireModel):
    """What lies in a folder of the host."""

    place: AnyPlace | None = None
    asks: Literal["browse"] = "browse"
    largest: ClassVar[int] = 8 * MIB
    path: PathText


class Measure(WireModel):
    """How much lies in sources, and how much of it each pattern leaves out; told in time, complete or not."""

    place: AnyPlace | None = None
    asks: Literal["measure"] = "measure"
    needs: ClassVar[str | None] = "measures"
    largest: ClassVar[int] = USUAL_ANSWER
    sources: Annotated[tuple[PathSource, ...], Field(min_length=1, max_length=2000)]
    exclude: Annotated[tuple[Pattern, ...], Field(max_length=500)] = ()
    seconds: Annotated[float, Field(ge=0, le=60)] = 8
    """So long it may take; what was seen by then is told."""


class OfRepository(WireModel):
    """A question about a repository: the access to it, and what the record knows it by."""

    place: AnyPlace | None = None
    key: Key
    repository: AnyRepository
    identity: RepositoryId | None = None
    known: SnapshotId | None = None
    """A snapshot that it holds as far as is known: a listing that shows it tells that it is no other repository."""
    others: dict[RepositoryId, Key] = Field(default_factory=dict)
    """Where it was never met: the keys of others by their ids, as it may turn out to be one of these."""
    timezone: TimeZone = "UTC"
    from_file: bool = False
    needs: ClassVar[str | None] = None
    """What an agent must be able to, where not every one is."""
    largest: ClassVar[int] = USUAL_ANSWER
    """So many bytes its answer has at most."""


class TestRepository(OfRepository):
    """Whether a repository can be used from here, in which state it is, and what would help."""

    __test__ = False
    asks: Literal["test"] = "test"


class ListSnapshots(OfRepository):
    """What a repository holds."""

    asks: Literal["snapshots"] = "snapshots"
    largest: ClassVar[int] = 64 * MIB
    host: Key | None = None
    former_hosts: tuple[Key, ...] = ()
    tags: tuple[TagList, ...] = ()


class ListLocks(OfRepository):
    """The locks in a repository."""

    asks: Literal["locks"] = "locks"


class ListKeys(OfRepository):
    """The keys of a repository."""

    asks: Literal["keys"] = "keys"
    needs: ClassVar[str | None] = "keys"


class RehearseForget(OfRepository):
    """What the engine itself would remove by these rules, as it spells them."""

    asks: Literal["forget"] = "forget"
    largest: ClassVar[int] = 16 * MIB
    needs: ClassVar[str | None] = "retention-rules"
    host: Key
    former_hosts: tuple[Key, ...] = ()
    tags: tuple[TagList, ...]
    retention: Retention


class ListFolder(OfRepository):
    """What a snapshot's folder holds."""

    asks: Literal["folder"] = "folder"
    largest: ClassVar[int] = 32 * MIB
    snapshot: SnapshotId
    path: PathText


class CompareSnapshots(OfRepository):
    """What differs between two snapshots."""

    asks: Literal["differences"] = "differences"
    largest: ClassVar[int] = 64 * MIB
    needs: ClassVar[str | None] = "differences"
    old: SnapshotId
    new: SnapshotId


class PlanRestore(OfRepository):
    """What a restore to this host would do; no paths are all of them, no rule is the usual one for that place."""

    asks: Literal["restore"] = "restore"
    needs: ClassVar[str | None] = "restore-plans"
    snapshot: SnapshotId
    paths: tuple[PathText, ...] = ()
    target: PathText | None = None
    overwrite: Overwrite | None = None
    counts: bool = True
    """False: entries are only looked at where something is in use already."""


class SampleNames(OfRepository):
    """Whether what a snapshot holds is still where it was on this host: asked of a sample of its names."""

    asks: Literal["names"] = "names"
    needs: ClassVar[str | None] = "names"
    snapshot: SnapshotId


class ListNodes(OfRepository):
    """Everything that a snapshot, or a folder of it, holds: a flow of nodes, one JSON object a line."""

    asks: Literal["nodes"] = "nodes"
    needs: ClassVar[str | None] = "flows"
    snapshot: SnapshotId
    path: PathText | None = None


class Dump(OfRepository):
    """The content of a file, or a folder as a tar archive: a flow of bytes."""

    asks: Literal["dump"] = "dump"
    needs: ClassVar[str | None] = "flows"
    snapshot: SnapshotId
    path: PathText


Flowing = ListNodes | Dump
"""Questions whose answer is posted with the ticket as it comes; that it was whole is told by a last Answer."""


class TestSources(WireModel):
    """Whether a job's sources are sound."""

    place: AnyPlace | None = None
    __test__ = False
    asks: Literal["sources"] = "sources"
    largest: ClassVar[int] = USUAL_ANSWER
    job: Job


Question = Annotated[
    Browse
    | Measure
    | TestRepository
    | ListSnapshots
    | ListLocks
    | ListKeys
    | RehearseForget
    | ListFolder
    | CompareSnapshots
    | PlanRestore
    | SampleNames
    | ListNodes
    | Dump
    | TestSources,
    Field(discriminator="asks"),
]


def needs_of(question: Question) -> frozenset[str]:
    """What an agent must be able to if it is to answer, where not every one is."""
    own: str | None = getattr(question, "needs", None)
    elsewhere = None if question.place is None else "places"
    engines = engines_beyond([question.repository]) if isinstance(question, OfRepository) else ()
    sets = isinstance(question, TestSources) and question.job.sets_variables
    variables = "command-variables" if sets else None
    return frozenset(name for name in (own, elsewhere, variables, *engines) if name is not None)
