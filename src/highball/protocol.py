"""What hub and agent say to each other: the Assignment, a complete order for one run, and the messages of the wire.

An assignment carries facts, never command lines: the agent's own engine builds those. Secrets are carried as
references; the values of sealed ones travel beside the assignment and never lie on the agent's disk. On the
wire every message is one JSON text `{type, id, re?, at, body}` of at most LARGEST_FRAME bytes. Classes here are
lenient towards unknown fields and types, because the other side may be newer.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, get_args
from uuid import UUID, uuid4

from annotated_types import Len
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
)

from highball.config.job import Job
from highball.config.keys import Key
from highball.engine.restic.location import ResticRepository
from highball.facts import Fact, PathText, Progress, RunKind, Step, UtcTime
from highball.retention import Retention
from highball.secret import SecretReference
from highball.source.path import PathSource, Pattern

VERSIONS = (2, 2)
"""The oldest and the newest protocol that this program speaks."""

LARGEST_FRAME = 256 * 1024
_MIB = 1024 * 1024
USUAL_ANSWER = 4 * _MIB
"""So many bytes the answer to a question has at most, as text, where its class says nothing else."""

MOST_HELD = 20_000
"""So many run directories an agent may have."""

HEARTBEAT = timedelta(seconds=30)
OFFLINE_AFTER = timedelta(seconds=90)

FILES_SET = "files"
"""The set that all paths of a job form together."""


def check_run(text: str) -> str:
    """The text, if it is the id of a run in its one spelling; ValueError if not."""
    if str(UUID(text)) != text:
        raise ValueError("is not the id of a run in its one spelling")
    return text


RunId = Annotated[str, AfterValidator(check_run)]
"""A run's id: a UUID, so that no folder but its own is ever named by it."""

SnapshotId = Annotated[str, StringConstraints(pattern=r"\A(latest|[0-9a-f]{1,64})\z")]
"""restic's id of a snapshot, or the beginning of one, or `latest`."""

RepositoryId = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{1,64}\z")]
"""restic's id of a repository."""

KeyName = Annotated[str, StringConstraints(pattern=r"\A[\w .,@()+-]{1,100}\z")]
"""What a key of a repository is called."""

KeyId = RepositoryId
"""restic's id of a key of a repository."""

TagList = Annotated[
    str,
    StringConstraints(
        pattern=r"\Ahb:[a-z]+=[a-z0-9][a-z0-9._-]{0,62}(,hb:[a-z]+=[a-z0-9][a-z0-9._-]{0,62})*\z"
    ),
]
"""Tags of ours that a snapshot has to carry, all of them."""

Slice = Annotated[str, StringConstraints(pattern=r"\A[0-9]{1,6}/[0-9]{1,6}\z")]
"""Part n of t."""

TimeZone = Annotated[
    str, StringConstraints(pattern=r"\A[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}\z", max_length=80)
]
"""The name of a time zone, and never that of a file."""

FileName = Annotated[str, StringConstraints(pattern=r"\A[^/\x00]{1,4096}\z")]
"""The name of a file in some folder."""

Ticket = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9_-]{1,100}\z")]
"""By which a large answer is handed over."""

Warrant = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{128}\z")]
"""A signature of the hub, in hexadecimal digits."""

Seq = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""The number of an event within its run."""

Words = Annotated[str, StringConstraints(max_length=20_000)]
"""Text for people and for the record; nothing is done by it."""


class Overwrite(StrEnum):
    """What a restore does with an entry that is there already."""

    NEVER = "never"
    IF_CHANGED = "if-changed"
    IF_NEWER = "if-newer"
    ALWAYS = "always"


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


def _octets(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return base64.b64decode(value, validate=True)
    raise ValueError("bytes are told as base64")


Octets = Annotated[
    bytes,
    BeforeValidator(_octets),
    PlainSerializer(lambda value: base64.b64encode(value).decode(), return_type=str),
]
"""Bytes here, base64 on the wire."""

Octets32 = Annotated[Octets, Len(32, 32)]
"""Exactly 32 of them: a nonce, or a share of a key exchange."""


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Expectation(_Wire):
    """What the record knows of a job in a repository before a backup."""

    snapshot_ids: tuple[SnapshotId, ...] = ()
    """Snapshots that a listing has to show."""
    parent: SnapshotId | None = None
    sizes: tuple[int, ...] = ()
    """Bytes that the last good snapshots held, newest first, at most ten; those before an accepted size left out."""


class BackupTask(_Wire):
    """Save a job's sources into its repositories, hooks around it."""

    type: Literal["backup"] = "backup"
    job: Job
    set: Key = FILES_SET
    """What the snapshot is called among the job's; files are read whatever it is."""
    expected: dict[Key, Expectation] = {}
    dry_run: bool = False


class Removal(_Wire):
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


class HeldRemoval(_Wire):
    """A set whose retention stands still, and why: it becomes a step that was not begun."""

    job: Key
    set: Key
    code: Words
    message: Words


class ForgetTask(_Wire):
    """Remove snapshots by id, and look again."""

    type: Literal["forget"] = "forget"
    repository: Key
    removals: tuple[Removal, ...]
    held: tuple[HeldRemoval, ...] = ()
    prune: bool = False
    """Whether the data that no snapshot needs any more is removed as well, once all removals succeeded."""


class PruneTask(_Wire):
    """Remove data that no snapshot needs."""

    type: Literal["prune"] = "prune"
    repository: Key


class CheckTask(_Wire):
    """Check the structure, and read slice `n/t` of the data."""

    type: Literal["check"] = "check"
    repository: Key
    slice: Slice | None = None


class VerifyTask(_Wire):
    """Restore a sample (or all) of a snapshot to scratch and compare it with the source."""

    type: Literal["verify"] = "verify"
    repository: Key
    snapshot_id: SnapshotId
    all_data: bool = False
    unconfirmed: bool = False
    """Whether only its tags say that the snapshot is the job's: no run that is known made it."""
    sample_files: int = 20
    sample_bytes: int = 1024**3
    markers: tuple[FileName, ...] = ()
    """Files of these names mark folders that are left out: where there is nothing else, nothing was saved."""


class UnlockTask(_Wire):
    """Remove stale locks, or every lock."""

    type: Literal["unlock"] = "unlock"
    repository: Key
    remove_all: bool = False


class StatsTask(_Wire):
    """Measure what a repository stores."""

    type: Literal["stats"] = "stats"
    repository: Key


class InitTask(_Wire):
    """Make a repository, or meet the one that is there."""

    type: Literal["init"] = "init"
    repository: Key


class KeyTask(_Wire):
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


class RestoreTask(_Wire):
    """Bring paths of a snapshot back below a target, or in place where `target` is null."""

    type: Literal["restore"] = "restore"
    repository: Key
    snapshot_id: SnapshotId
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
    | KeyTask
    | RestoreTask,
    Field(discriminator="type"),
]


class Assignment(_Wire):
    """All that an agent needs to carry out one run."""

    run: RunId
    kind: RunKind
    subject: Words | None = None
    """What it is about, as schedules name it: `backup:docs`."""
    nominal_at: UtcTime | None = None
    """The time of the schedule that it is the run of; null where somebody ordered it."""
    job: Key | None = None
    host: Key
    """The host's key: restic's `--host` of everything this run saves."""
    timezone: TimeZone = "UTC"
    done_before: tuple[Step, ...] = ()
    """Steps that the hub did itself before it gave the run away: they are its first."""
    task: Task
    repositories: dict[Key, ResticRepository]
    identities: dict[Key, RepositoryId] = {}
    """restic's id of each repository that was met before."""
    others: dict[RepositoryId, Key] = {}
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
        """By which hosts restic finds what its host saved."""
        return self.host, *self.former_hosts

    @property
    def marker(self) -> str:
        """What every process of this run carries in its environment."""
        return f"{self.job or self.kind}_{self.run}"


# --- the wire: proving who one is ----------------------------------------------------------------


class Challenge(_Wire):
    """The hub's first word: sign this; `share` is its part of the key exchange (see `handshake`)."""

    type: ClassVar[str] = "challenge"
    versions: tuple[int, int] = VERSIONS
    nonce: Octets32
    share: Octets32


class Hello(_Wire):
    """The agent's first word: who it is, its proof, and what the hub is to sign: a nonce, and its own share."""

    type: ClassVar[str] = "hello"
    host: str
    versions: tuple[int, int] = VERSIONS
    nonce: Octets32
    share: Octets32
    proof: Octets
    """The agent's Ed25519 signature of `proof_text("agent", …)`."""
    program: str
    """The version of Highball."""
    capabilities: tuple[str, ...] = ()
    facts: dict[str, Any] = {}
    """About the host: os, architecture, restic, boot time."""


class Welcome(_Wire):
    """The hub lets the agent in, and proves itself."""

    type: ClassVar[str] = "welcome"
    proof: Octets


class Refusal(_Wire):
    """The hub does not let the agent in; the connection ends."""

    type: ClassVar[str] = "refusal"
    code: str
    message: str
    hint: str | None = None


class Enrol(_Wire):
    """Instead of a Hello: a one-time token, and the key by which this agent will prove itself."""

    type: ClassVar[str] = "enrol"
    token: str
    public_key: Octets


class Enrolled(_Wire):
    """The agent belongs to this hub now, as this host; a Hello follows."""

    type: ClassVar[str] = "enrolled"
    host: str
    hub_key: Octets


def proof_text(
    who: Literal["agent", "hub"], host: str, challenge: Challenge, nonce: bytes, share: bytes
) -> bytes:
    """What `who` signs: its part, the host, the nonces and shares of the hub and of the agent."""
    said = challenge.nonce + challenge.share + nonce + share
    return b"highball 2 " + who.encode() + b"\0" + host.encode() + b"\0" + said


# --- the wire: runs ------------------------------------------------------------------------------


class Assign(_Wire):
    """Carry out a run; `secrets` are the values of its sealed references by their places."""

    type: ClassVar[str] = "assign"
    assignment: Assignment
    needs: tuple[str, ...] = ()
    secrets: dict[str, Octets] = {}


class Taken(_Wire):
    """The run is safely on the agent's disk."""

    type: ClassVar[str] = "taken"
    run: RunId


class Declined(_Wire):
    """The agent does not carry out the run, and why."""

    type: ClassVar[str] = "declined"
    run: RunId
    code: str
    message: str


class CancelRun(_Wire):
    """End a run politely."""

    type: ClassVar[str] = "cancel"
    run: RunId


class RunHeld(_Wire):
    """A run directory that the agent has, told once after each greeting."""

    type: ClassVar[str] = "run.held"
    assignment: Assignment
    last_seq: Seq


class Inventory(_Wire):
    """All run directories that the agent has: a run that is not among them is not on this host.

    `kept` are those that a hub has acknowledged all of, with the number of their last event.
    """

    type: ClassVar[str] = "inventory"
    runs: Annotated[tuple[RunId, ...], Field(max_length=MOST_HELD)]
    kept: Annotated[dict[RunId, Seq], Field(max_length=MOST_HELD)] = {}


class RunsWanted(_Wire):
    """The hub's record lacks something of runs that the agent keeps: what comes after these events' numbers."""

    type: ClassVar[str] = "runs.wanted"
    runs: dict[RunId, Seq]


class Events(_Wire):
    """Events of a run, in order and without a gap; each as the run's own process wrote it."""

    type: ClassVar[str] = "events"
    run: RunId
    events: tuple[dict[str, Any], ...]


class Acknowledged(_Wire):
    """The hub has all events of a run up to this one."""

    type: ClassVar[str] = "acknowledged"
    run: RunId
    seq: Seq


class ProgressSeen(_Wire):
    """How far a run is; may be dropped."""

    type: ClassVar[str] = "progress"
    run: RunId
    progress: Progress


class SecretsWanted(_Wire):
    """The agent lost the sealed values of a run that has to be settled."""

    type: ClassVar[str] = "secrets.wanted"
    run: RunId


class Secrets(_Wire):
    """The values of a run's sealed references."""

    type: ClassVar[str] = "secrets"
    run: RunId
    secrets: dict[str, Octets]


class Heartbeat(_Wire):
    """Still there."""

    type: ClassVar[str] = "heartbeat"


# --- the wire: asks ------------------------------------------------------------------------------


class Browse(_Wire):
    """What lies in a folder of the host."""

    asks: Literal["browse"] = "browse"
    largest: ClassVar[int] = 8 * _MIB
    path: PathText


class Measure(_Wire):
    """How much lies in sources, and how much of it each pattern leaves out; told in time, complete or not."""

    asks: Literal["measure"] = "measure"
    needs: ClassVar[str | None] = "measures"
    largest: ClassVar[int] = USUAL_ANSWER
    sources: Annotated[tuple[PathSource, ...], Field(min_length=1, max_length=2000)]
    exclude: Annotated[tuple[Pattern, ...], Field(max_length=500)] = ()
    seconds: Annotated[float, Field(ge=0, le=60)] = 8
    """So long it may take; what was seen by then is told."""


class OfRepository(_Wire):
    """A question about a repository: the access to it, and what the record knows it by."""

    key: Key
    repository: ResticRepository
    identity: RepositoryId | None = None
    known: SnapshotId | None = None
    """A snapshot that it holds as far as is known: a listing that shows it tells that it is no other repository."""
    others: dict[RepositoryId, Key] = {}
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
    largest: ClassVar[int] = 64 * _MIB
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
    """What restic itself would remove by these rules; the agent's own engine spells them."""

    asks: Literal["forget"] = "forget"
    largest: ClassVar[int] = 16 * _MIB
    needs: ClassVar[str | None] = "retention-rules"
    host: Key
    former_hosts: tuple[Key, ...] = ()
    tags: tuple[TagList, ...]
    retention: Retention


class ListFolder(OfRepository):
    """What a snapshot's folder holds."""

    asks: Literal["folder"] = "folder"
    largest: ClassVar[int] = 32 * _MIB
    snapshot: SnapshotId
    path: PathText


class CompareSnapshots(OfRepository):
    """What differs between two snapshots."""

    asks: Literal["differences"] = "differences"
    largest: ClassVar[int] = 64 * _MIB
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


class TestSources(_Wire):
    """Whether a job's sources are sound."""

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


class Ask(_Wire):
    """A question: answered, never recorded. An answer that is larger than a frame is posted with the ticket."""

    type: ClassVar[str] = "ask"
    question: Question
    seconds: float = 30
    ticket: Ticket | None = None
    secrets: dict[str, Octets] = {}


class StopAsking(_Wire):
    """Nobody waits for the answer (to `re`) any more."""

    type: ClassVar[str] = "ask.stop"


class Answer(_Wire):
    """The answer to `re`: a value, or the error's code, message and hint."""

    type: ClassVar[str] = "answer"
    value: Any = None
    error: dict[str, Any] | None = None


class Unsupported(_Wire):
    """The other side's message of this type means nothing here."""

    type: ClassVar[str] = "unsupported"
    name: str


Body = (
    Challenge
    | Hello
    | Welcome
    | Refusal
    | Enrol
    | Enrolled
    | Assign
    | Taken
    | Declined
    | CancelRun
    | RunHeld
    | Inventory
    | RunsWanted
    | Events
    | Acknowledged
    | ProgressSeen
    | SecretsWanted
    | Secrets
    | Heartbeat
    | Ask
    | StopAsking
    | Answer
    | Unsupported
)

_BODIES: dict[str, type[_Wire]] = {body.type: body for body in get_args(Body)}


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came: `body` is None where its type is not known here."""

    type: str
    id: str
    re: str | None
    at: datetime
    body: Any


class Misunderstood(ValueError):
    """A message of a known type whose body makes no sense here: the other side is older, newer, or no friend."""

    def __init__(self, type: str, id: str, body: object) -> None:
        super().__init__(f"not a message: the body of {type} is not understood")
        self.type = type
        self.id = id
        self.run = _find_run(body)
        """The run that it would assign, if it names one."""


def _find_run(body: object) -> str | None:
    assignment = body.get("assignment") if isinstance(body, dict) else None
    run = assignment.get("run") if isinstance(assignment, dict) else None
    try:
        return check_run(run) if isinstance(run, str) else None
    except ValueError:
        return None


def spell(body: Body, *, id: str | None = None, re: str | None = None) -> str:
    """The text of a message."""
    told = {"type": body.type, "id": id or uuid4().hex, "at": datetime.now(UTC).isoformat()}
    if re is not None:
        told["re"] = re
    return json.dumps(told | {"body": body.model_dump(mode="json", exclude_none=True)}, separators=(",", ":"))


def read(text: str | bytes) -> Message:
    """The message in a text; raises ValueError where it is none, Misunderstood where only its body is none."""
    try:
        told = json.loads(text)
        name, id, re = str(told["type"]), str(told["id"]), told.get("re")
        at = datetime.fromisoformat(told["at"]).astimezone(UTC)
        known = _read_body(name, id, told["body"])
        return Message(name, id, None if re is None else str(re), at, known)
    except (KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"not a message: {type(error).__name__}") from None


def _read_body(name: str, id: str, told: object) -> Any:
    """The body; None where its type is not known here."""
    body = _BODIES.get(name)
    try:
        return None if body is None else body.model_validate(told)
    except ValidationError:
        raise Misunderstood(name, id, told) from None
