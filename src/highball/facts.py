"""What happened, as classes of the design's words: outcomes, steps, events, snapshots, nodes.

The same classes are the run directory's lines, the record's columns, the answers of the API and the output of
`--json`. They hold facts and know nothing of where these come from; there is no behaviour here beyond a
class's own spelling in JSON.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

# --- spelling ------------------------------------------------------------------------------------


def path_from_text(value: object) -> bytes:
    """A path's exact bytes from its text form: a string, or `{"b64": …}` where it is not UTF-8."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            return os.fsencode(value)
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except binascii.Error:
            raise ValueError("b64 does not hold base64") from None
    raise ValueError("a path is text, or { b64 = … } where it is not valid UTF-8")


def path_to_text(path: bytes) -> str | dict[str, str]:
    """The text form of a path: a string when it is valid UTF-8, else `{"b64": …}`."""
    try:
        return path.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(path).decode()}


def path_for_people(path: bytes) -> str:
    """A path as one printable line: control characters and bytes that are not UTF-8 are escaped."""
    text = path.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


PathText = Annotated[
    bytes,
    BeforeValidator(path_from_text),
    PlainSerializer(path_to_text, return_type=str | dict[str, str]),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"b64": {"type": "string"}},
                    "required": ["b64"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
"""A path: bytes here, text where it can be, base64 where it cannot."""


FIRST_TIME, LAST_TIME = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""Between these, a time can be said in every zone."""


def sayable(at: datetime) -> datetime:
    """The same moment, or the nearest one that can be said in every zone."""
    return at if at.tzinfo is None else min(max(at, FIRST_TIME), LAST_TIME)


def in_utc(at: datetime) -> datetime:
    """The same in UTC."""
    return sayable(at).astimezone(UTC)


def time_to_text(at: datetime) -> str:
    """RFC 3339 in UTC with `Z`, to the microsecond where there is one."""
    return in_utc(at).isoformat().replace("+00:00", "Z")


def time_for_people(at: datetime) -> str:
    """A time as people read it, where the zone of the one who reads is not known: `2026-05-04 12:00:00 UTC`."""
    return f"{in_utc(at):%Y-%m-%d %H:%M:%S} UTC"


UtcTime = Annotated[
    datetime,
    AfterValidator(in_utc),
    PlainSerializer(time_to_text, return_type=str, when_used="json"),
]
"""An aware time in UTC, written with `Z`."""


RecordedTime = Annotated[
    datetime, AfterValidator(sayable), PlainSerializer(time_to_text, return_type=str, when_used="json")
]
"""A snapshot's time with the UTC offset that restic recorded, in which retention cuts its periods; with `Z` in JSON."""


# --- how much of it ------------------------------------------------------------------------------

LARGEST_NUMBER = 2**63 - 1
"""What every database and every program that reads our answers can hold."""

LONGEST_WORDS = 64 * 1024
MOST_LISTED = 10_000
"""So many warnings of a step, say, are told one by one at most."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """The same with a mark in place of what not every database stores: NUL, and half of a pair."""
    return text if text.isprintable() else _UNSTORABLE.sub("\ufffd", text)


def _cut(value: object) -> object:
    return value[:LONGEST_WORDS] if isinstance(value, str) else value


def _bounded(value: object) -> object:
    return storable(value[:LONGEST_WORDS]) if isinstance(value, str) else value


Count = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
"""How many, or how many bytes."""

Ordinal = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""The number of an event or a step within its run."""

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Percent = Annotated[Amount, AfterValidator(lambda percent: min(percent, 100.0))]

Print = Annotated[str, BeforeValidator(_cut)]
"""What a program printed: cut where it is longer than a line ever is."""

Words = Annotated[str, BeforeValidator(_bounded)]
"""A sentence, as every database can hold it."""

Name = Annotated[str, Field(max_length=63)]
"""A key, or what stands in the place of one."""

Slice = Annotated[str, Field(pattern=r"^[0-9]{1,6}/[0-9]{1,6}$")]

Id = Annotated[str, Field(max_length=64)]


class Fact(BaseModel):
    """The root of all facts: unchangeable, and lenient towards fields that a newer program added."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        use_enum_values=False,
        ser_json_inf_nan="null",
        defer_build=True,  # a command uses few of these: each is built when it is first used
    )


# --- words ---------------------------------------------------------------------------------------


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


class Health(StrEnum):
    """How a job stands in a repository; the first that applies."""

    NEVER = "never"
    OVERDUE = "overdue"
    FAILED = "failed"
    LATE = "late"
    HEALTHY = "healthy"


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


# --- a run ---------------------------------------------------------------------------------------


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


# --- events --------------------------------------------------------------------------------------


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


# --- how jobs stand ------------------------------------------------------------------------------


class HoldCause(StrEnum):
    """Why retention stands still."""

    NEWEST_SHRANK = "newest_shrank"
    CHECK_FAILED = "check_failed"
    DELETED_ELSEWHERE = "deleted_elsewhere"
    ROLLED_BACK = "rolled_back"
    RESTORE_TEST_FAILED = "restore_test_failed"
    GAP = "gap"
    CLOCK_WRONG = "clock_wrong"
    REPOSITORY_TWICE = "repository_twice"


NOT_BY_A_PERSON = (HoldCause.CHECK_FAILED, HoldCause.CLOCK_WRONG, HoldCause.REPOSITORY_TWICE)
"""What is wrong there does not become right by saying so."""


class Hold(Fact):
    """Retention stands still: in a whole repository, or (where they are named) for a job there, or one set of it."""

    id: str
    repository: str
    job: str | None = None
    host: str | None = None
    set: str | None = None
    cause: HoldCause
    message: str
    """What is odd."""
    lifts: str
    """What it waits for: "retention stands still until …"."""
    acceptable: bool
    """Whether a person's word lifts it."""
    since: UtcTime
    run: str | None = None
    """The run that shows it."""
    about: str | None = None
    """What exactly is odd, like a snapshot's id."""


class Standing(Fact):
    """One job in one repository. `state` is its health; times and sizes that are not known are null."""

    job: str
    repository: str
    state: Health
    last_success_at: UtcTime | None = None
    age_seconds: int | None = None
    snapshots: int = 0
    last_outcome: Outcome | None = None
    last_reason: Reason | None = None
    last_run: str | None = None
    failures: int = 0
    """How many backups have failed in a row, since the last good one."""
    last_check_at: UtcTime | None = None
    last_restore_proof_at: UtcTime | None = None
    last_retention_at: UtcTime | None = None
    """When retention was last applied; null is never: all is kept."""
    size_bytes: int | None = None
    """What the newest snapshot holds."""
    repository_bytes: int | None = None
    """What the repository stored when it was last measured."""
    unknown_snapshots: int | None = None
    """How many snapshots the repository last showed that no known run made; null where nothing has looked there."""
    holds: tuple[Hold, ...] = ()
    """What makes retention stand still here."""
    untested: Reason | None = None
    """Why nobody knows whether the repository can be used as it is declared now: nothing has reached it since."""


# --- what a repository holds ---------------------------------------------------------------------


class Snapshot(Fact):
    """One snapshot. `job`, `run` and `set` come from its tags and are null on snapshots of other tools."""

    id: Id
    time: RecordedTime
    job: str | None = None
    run: str | None = None
    set: str | None = None
    host: str
    tags: tuple[str, ...] = ()
    paths: tuple[PathText, ...] = ()
    repository: str
    size_bytes: Count | None = None
    files: Count | None = None
    tree: str | None = None
    parent: str | None = None
    original: str | None = None
    """The id that it had before its tags were changed for the first time."""
    user: str | None = None
    governed: bool | None = None


class ForeignGroup(Fact):
    """Snapshots of a repository that no known run made, alike in host, tags (but for a run's) and paths."""

    id: str
    """The same for the same host, tags and paths in every repository."""
    repository: str
    host: str
    tags: tuple[str, ...] = ()
    paths: tuple[PathText, ...] = ()
    snapshots: int
    oldest_at: UtcTime
    newest_at: UtcTime
    job: str | None = None
    """Whose retention governs them since a person adopted them; null is nobody's."""
    adopted_by: str | None = None


class NodeKind(StrEnum):
    """What an entry of a tree is."""

    FILE = "file"
    DIRECTORY = "dir"
    SYMLINK = "symlink"
    OTHER = "other"


class Node(Fact):
    """One entry of a snapshot's tree. `inexact`: its name held bytes that restic's listing loses."""

    path: PathText
    kind: NodeKind
    size_bytes: Count | None = None
    mode: Count | None = None
    """Permission bits with set-id and sticky, as in `stat.S_IMODE`."""
    uid: Count | None = None
    gid: Count | None = None
    modified_at: UtcTime | None = None
    modified_ns: int | None = Field(default=None, exclude=True)
    inode: int | None = None
    inexact: bool = False


class Lock(Fact):
    """A lock in a repository, and who holds it."""

    id: str
    exclusive: bool
    hostname: str
    pid: Count
    username: str | None = None
    created_at: UtcTime
    """When its owner last said that it lives: restic renews it every five minutes."""
    alive: bool | None = None
    """Whether its process lives, where whoever looked is on the same machine."""


class Loss(Fact):
    """What is given up where a repository is begun anew: what the record knows of the one that is lost."""

    repository: str
    identity: str | None
    met_at: UtcTime | None
    bytes_stored: int | None
    snapshots: int
    newest_at: UtcTime | None
    last_run: str | None


class RepositoryKey(Fact):
    """A key of a repository: one password that opens all of it, and how whoever made it called it."""

    id: str
    user: str
    host: str
    created_at: UtcTime | None = None
    current: bool = False
    """Whether whoever asked opens it by this one."""


Use = Literal["everyday", "admin", "former", "added", "unknown"]
"""What a key is for: the access that is opened by it, or what else is known of it."""


class KeyTold(Fact):
    """A key of a repository and what it is for: by which access it is opened with it, whether another took its place,
    whether a run added it; `unknown` was made elsewhere."""

    id: str
    user: str
    host: str
    created_at: UtcTime | None
    use: Use
    run: str | None = None
    """The run that added it."""

    @property
    def removable(self) -> bool:
        """Whether nothing here opens the repository by it."""
        return self.use not in ("everyday", "admin")


class Difference(Fact):
    """One path that differs between two snapshots: `+` added, `-` removed, `M` content, `T` kind, `U` metadata, `?`."""

    path: PathText
    modifier: str


JsonObject = dict[str, Any]

StepEnded.model_rebuild()
