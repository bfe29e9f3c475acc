"""The engine port: how a repository is reached, and what it says of the work that was done in it.

An engine is one room with a class of declared fields and a class that opens them, named in `kinds`. It decides
nothing: what it did is evidence, judged by `agent.run.success` and its like, which know no engine. What not every
engine can do (locks, keys, a rehearsal of retention) is a capability of its own, None where it is lacking.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Protocol, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from highball.engine.form import RepositoryFields
from highball.errors import Cancelled, RepositoryError
from highball.model.event import DISK_AWAY
from highball.model.run import Caution, Progress, Reason
from highball.model.snapshot import Difference, Lock, Node, RepositoryKey, Snapshot
from highball.model.text import Line
from highball.place.base import Files, Place
from highball.place.local import LOCAL
from highball.process.child import Inside, Stop
from highball.process.feed import Feed
from highball.retention import Retention
from highball.schedule import Duration
from highball.secret import SecretReference, SecretValue

LACKING = "repository_lacking"
"""The code of what an earlier backup saved and the repository does not have."""

MOST_KEPT = 1000
"""Of the files that could not be read, so many are listed one by one; the rest is only counted."""

# --- what is declared ----------------------------------------------------------------------------


def _check_duration(duration: timedelta) -> timedelta:
    if not timedelta(seconds=1) <= duration <= timedelta(days=1):
        raise ValueError("must be between 1s and 1d")
    return duration


@dataclass(frozen=True)
class Uses:
    """What a field of a repository uses of the host that works in it, for that host's policy to allow or refuse."""

    places: Sequence[Path] = ()
    """Where it lies there: a folder, or the socket of a server."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """What holds a key, a certificate or another secret, by its slot."""
    secrets: Mapping[str, SecretReference] = field(default_factory=dict)
    """The same of references, whatever they refer to."""
    commands: Sequence[str] = ()
    """What it runs, or could have run, in words: `rclone`."""


_WHERE_DISKS_COME = tuple(Path(folder) for folder in ("/media", "/run/media", "/mnt"))


class DeclaredRepository(BaseModel, ABC):
    """What every repository declares whatever its engine, and what is asked of that; an engine adds fields of its own.

    Secrets are references, each in a slot that is called as its field is (`environment.B2_ACCOUNT_KEY`); those of a
    second access, which may delete, begin with `admin.`. Nothing here starts a program or touches the repository.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    title: Line | None = Field(None, description="the name shown")
    engine: str = Field(description="the backup program that writes it")
    host: str | None = Field(None, description="the host that a local path belongs to")
    maintained_by: str | None = Field(None, description="the host whose agent lists, checks and prunes it")
    answer_within: Annotated[Duration, AfterValidator(_check_duration)] = Field(
        timedelta(minutes=2),
        description="time limit for its first answer; then a run continues without it",
        json_schema_extra={"default": "2m"},
    )
    when_back: bool | None = Field(
        None,
        strict=True,
        description=(
            "local: a scheduled backup waits while the disk is disconnected, and maintenance is "
            "skipped; the default below /media, /run/media and /mnt"
        ),
    )
    append_only: bool = Field(False, strict=True, description="append-only: its credentials cannot delete")

    @property
    @abstractmethod
    def address(self) -> str:
        """Where it lies, for people and on one line, with no secret in it."""

    @property
    @abstractmethod
    def local_folder(self) -> Path | None:
        """The folder of its host that it lies in; None where it lies elsewhere."""

    @abstractmethod
    def is_in_its_folder(self, files: Files) -> bool:
        """Whether the local folder holds a repository now; raises OSError."""

    @property
    @abstractmethod
    def files(self) -> Mapping[str, Path]:
        """The files of the machine that works by which a server is reached, by their fields."""

    @abstractmethod
    def uses(self) -> Mapping[str, Uses]:
        """What each field that the engine adds uses of the host that works; of most of them nothing.

        A host refuses a field that is missing here. What is not named is not asked about, and so must not be read.
        """

    @abstractmethod
    def secrets(self) -> list[tuple[str, SecretReference]]:
        """Every reference to a secret, with its slot."""

    @abstractmethod
    def with_places(self, id: str) -> Self:
        """The same, each sealed secret with its place in the vault, whatever place it named before.

        `id` is the stored object's: so no declaration can point at what belongs to another.
        """

    @property
    @abstractmethod
    def has_admin(self) -> bool:
        """Whether a second access is named, which may delete."""

    @abstractmethod
    def as_admin(self) -> Self:
        """The same with that access as the everyday one; itself where none is named."""

    @abstractmethod
    def without_admin(self) -> Self:
        """The same without that access."""

    @abstractmethod
    def with_sealed(self, slot: str) -> Self | None:
        """The same, what opens it in the slot `password` or `admin` said to be sealed; None where it has no such."""

    @abstractmethod
    def destinations(self, *, admin: bool) -> dict[str, frozenset[str]]:
        """The servers that each secret is shown to, by its slot; those of the second access only with `admin`."""

    @abstractmethod
    def servers_for(self, slot: str) -> frozenset[str]:
        """The servers that a value of this slot is for, whether it is named yet or not."""

    @abstractmethod
    def endpoints(self) -> frozenset[str]:
        """The servers that its accesses lead to."""

    @property
    def has_admin_password(self) -> bool:
        """Whether the second access opens it by a password of its own."""
        return any(slot == "admin.password" for slot, _ in self.secrets())

    @property
    def comes_and_goes(self) -> bool:
        """Whether it lies on a disk that is waited for when it is away: as declared, else by where it lies."""
        folder = self.local_folder
        if folder is None or self.when_back is not None:
            return folder is not None and bool(self.when_back)
        return any(folder.is_relative_to(place) for place in _WHERE_DISKS_COME)


def passed_over(key: str, repository: DeclaredRepository) -> Reason:
    """Why nothing was done in a repository whose disk is away."""
    return Reason(code=DISK_AWAY, message=f"skipped: the disk of {key} was away ({repository.local_folder})")


def is_shown_to_storage(slot: str) -> bool:
    """Whether the secret of this slot, as `rest_password` or `admin.rest_password`, proves somebody to a server.

    A repository's own password is shown to none: it never leaves the machine that works.
    """
    kept = slot in ("password", "admin", "admin.password") or slot.startswith("coming.")
    return not kept and not slot.endswith(".former")


# --- what is ordered -----------------------------------------------------------------------------


@dataclass(frozen=True)
class BackupOrder:
    """What a backup reads and how; patterns already anchored.

    An engine that cannot do what a field asks for leaves that field out only where nothing is lost by it.
    """

    paths: Sequence[bytes]
    excludes: Sequence[bytes]
    host: str
    tags: Sequence[str]
    parent: str | None = None
    one_file_system: bool = False
    exclude_caches: bool = False
    exclude_if_present: Sequence[str] = ()
    exclude_larger_than: str | None = None
    compression: str | None = None
    read_concurrency: int | None = None
    limit_upload: int | None = None
    limit_download: int | None = None
    dry_run: bool = False
    stream: StreamedFile | None = None
    """What is saved instead of paths."""


@dataclass(frozen=True)
class StreamedFile:
    """A file that is in no folder: what a command prints, saved under this name.

    `open` makes a feed for one go of the engine, which begins it once it is ready to read. Where that breaks, no
    snapshot is made; once the engine has said that it stops, the feed is let go.
    """

    name: str
    open: Callable[[], Feed]


@dataclass(frozen=True)
class Portion:
    """One go of a restore: what of a snapshot's folder is brought into a real directory.

    `paths` begin at the folder, each with a slash; none at all are everything. What lies at FOLDER/x comes to lie
    at TARGET/x, or at TARGET/FOLDER/x where the engine restores no folder as such.
    """

    snapshot: str
    folder: bytes
    paths: Sequence[bytes]
    target: bytes | Inside


# --- what is told of it --------------------------------------------------------------------------


@dataclass(frozen=True)
class Listener:
    """Who is told what happens while an engine works."""

    log: Callable[[str, str], None] = lambda stream, text: None
    progress: Callable[[Progress], None] = lambda progress: None
    started: Callable[[int], None] = lambda pid: None
    cut_short: Callable[[], None] = lambda: None
    """A program of the engine was killed or crashed, so that its lock may be left in the repository."""
    waiting: Callable[[str, timedelta], None] = lambda why, left: None
    """The repository has not answered yet: why, and how long it still has."""
    answered: Callable[[], None] = lambda: None
    """It has, after all."""


@dataclass(frozen=True)
class Finished:
    """How one piece of work ended, in the engine's own view."""

    failure: RepositoryError | None = None
    """Why it failed; None where the engine calls it a success."""
    stopped: bool = False
    """Somebody asked it to stop."""
    unanswered: bool = False
    """Given up, because the repository had not answered once in the time that it had for that."""
    last_words: Reason | None = None
    """What it said at its end, were it a success: told where something is not as a success leaves it."""

    @property
    def reason(self) -> Reason | None:
        """Why it failed, as a fact."""
        return Reason(code=self.failure.code, message=self.failure.message) if self.failure else None

    def demand(self) -> None:
        """Raise Cancelled or RepositoryError where it is no success."""
        if self.failure is None:
            return
        if self.stopped:
            raise Cancelled("cancelled")
        raise self.failure


@dataclass(frozen=True)
class Summary:
    """What an engine says at the end of a backup; the id may be the beginning of one, and in a dry run is nobody's."""

    snapshot_id: str | None
    files_new: int
    files_changed: int
    files_unmodified: int
    bytes_processed: int
    bytes_added: int
    bytes_packed: int | None = None
    """What the repository grew by, as it is stored; None where that is not told."""

    @property
    def files(self) -> int:
        """All files that the snapshot holds."""
        return self.files_new + self.files_changed + self.files_unmodified


@dataclass
class BackupReport:
    """What one backup told while it ran."""

    summary: Summary | None = None
    cautions: list[Caution] = field(default_factory=list)
    unlisted: int = 0
    """How many more files could not be read than `cautions` lists."""

    def note(self, caution: Caution) -> bool:
        """One more file that could not be read; false where it is only counted."""
        if len(self.cautions) >= MOST_KEPT:
            self.unlisted += 1
            return False
        self.cautions.append(caution)
        return True


@dataclass(frozen=True)
class PruneReport:
    """What a prune came to."""

    is_shown: bool
    """Whether it came to its end, and said what that was."""
    freed: int | None = None
    left: int = 0
    """How many files could not be removed."""


@dataclass(frozen=True)
class CheckReport:
    """What a check found."""

    is_shown: bool
    """Whether it gave a result at all."""
    is_damaged: bool = False
    """Whether it found damage, rather than was kept from looking."""
    errors: int = 0


# --- what not every engine can do ----------------------------------------------------------------


class Rehearsal(Protocol):
    """An engine that applies rules of retention itself, and tells beforehand what it would remove."""

    def plan_forget(self, hosts: Sequence[str], tags: Sequence[str], retention: Retention) -> set[str]:
        """The ids that it would remove by these rules, of the snapshots that these hosts and tag lists find."""


class Locks(Protocol):
    """An engine that leaves locks in the repository while it works."""

    def list_locks(self) -> list[Lock]:
        """The locks, each with its owner."""

    def is_stale(self, lock: Lock) -> bool:
        """Whether `unlock` would take it for one that nobody holds any more."""

    def unlock(self, *, remove_all: bool = False) -> Finished:
        """Remove the locks that are stale, or all of them."""


class Keys(Protocol):
    """An engine whose repositories are opened by several passwords, each with a key of its own."""

    def list_keys(self) -> list[RepositoryKey]:
        """The keys, the oldest first, that by which it is open now marked."""

    def add_key(self, password: SecretValue, user: str, host: str) -> Finished:
        """Let another password open it, too; `user` and `host` are what the key is called."""

    def remove_key(self, id: str) -> Finished:
        """Let the password of this key open it no more; the one by which it is open now is refused."""

    def opened_by(self, password: SecretValue) -> OpenRepository:
        """The same repository, by this password alone."""


@dataclass(frozen=True)
class Abilities:
    """What the program at hand can do in backups and restores, which differs from one version to the next."""

    restores_folders: bool = True
    """A folder of a snapshot is restored as such; else with its whole path below the target."""
    tells_progress_of_restores: bool = True
    keeps_named_files: bool = True
    """A file that is a source itself is saved however large it is, whatever `exclude_larger_than` says."""
    limits: Sequence[str] = ()
    """What a restore cannot promise here, each as a sentence."""


@dataclass(frozen=True)
class EngineWords:
    """How an engine is called in sentences, and the code of its failures that have none of their own."""

    name: str
    failed: str
    passing: frozenset[str]
    """The codes of failures that may be gone after a while, so that another attempt is worth it."""


# --- the port ------------------------------------------------------------------------------------


class OpenRepository(Protocol):
    """One repository with one access, made ready for one run or one question.

    Methods that answer raise RepositoryError, or Cancelled; those that work answer with how that ended. Nothing is
    left half: whatever cuts a backup short, no snapshot is listed that does not hold all that it says. Nothing that
    they are handed (a path, a pattern, what a key is called) is taken for an option of a program.
    """

    @property
    def key(self) -> str:
        """The repository's key in the Document."""

    @property
    def shown(self) -> str:
        """Where it lies, for people, with no secret in it."""

    @property
    def secrets(self) -> Sequence[SecretValue]:
        """All that is never to be shown."""

    @property
    def scratch(self) -> Path:
        """Where temporary files lie, in its place."""

    @property
    def words(self) -> EngineWords:
        """What its engine is called."""

    @property
    def version(self) -> str:
        """The version of the program at hand, as people write it."""

    @property
    def abilities(self) -> Abilities:
        """What the program at hand can do."""

    @property
    def rehearsal(self) -> Rehearsal | None:
        """None where the engine knows no rules of retention."""

    @property
    def locks(self) -> Locks | None:
        """None where the engine leaves no locks."""

    @property
    def keys(self) -> Keys | None:
        """None where a repository has no keys."""

    def having(self, *, stop: Stop | None = None, patience: timedelta | None = None) -> Self:
        """The same, which ends when this `stop` asks for it, and tries no longer than `patience` to reach it."""

    # what it is

    def read_identity(self) -> str:
        """What tells this repository from every other, for as long as it is; `repository_missing` where none is."""

    def initialise(self) -> None:
        """Make it; `already_initialised` where there is one."""

    # backup

    def back_up(self, order: BackupOrder) -> tuple[Finished, BackupReport]:
        """Save the paths, or the stream, as one snapshot with this host and these tags; the report holds what was
        told meanwhile.

        A parent that the repository does not know ends it, code `snapshot_unknown`, before anything is stored.
        """

    # what it holds

    def list_snapshots(
        self, *, hosts: Sequence[str] = (), tags: Sequence[str] = (), timeout: timedelta | None = None
    ) -> list[Snapshot]:
        """The snapshots that carry one of these hosts and, for one of the comma-joined tag lists, all its tags.

        What of their paths is not UTF-8 may be spelled as `model.text.as_listed` does.
        """

    def list_some(
        self, hosts: Sequence[str], tags: Sequence[str], timeout: timedelta
    ) -> tuple[list[Snapshot], int]:
        """The same, and how many snapshots there are in all."""

    def exact_paths(self, snapshot: Snapshot) -> list[bytes]:
        """The paths that a snapshot was made of, byte for byte."""

    def list_folder(self, snapshot: str, folder: bytes) -> Iterator[Node]:
        """The entries of a snapshot's folder, and the folder itself."""

    def each_node(
        self,
        snapshot: str,
        on_node: Callable[[Node], None],
        folders: Sequence[bytes] = (),
        *,
        recursive: bool = True,
    ) -> None:
        """Hand every entry of a snapshot, or of these folders of it, to `on_node`, parents before children.

        A name that cannot be had exactly is marked `inexact`. Raises `snapshot_unknown`.
        """

    def dump(self, snapshot: str, path: bytes, on_data: Callable[[bytes], None]) -> None:
        """Hand the content of a file, or a folder as a tar archive, to `on_data`; raises where any of it is missing."""

    def compare(self, old: str, new: str, on_difference: Callable[[Difference], None]) -> None:
        """Hand every path that differs between two snapshots to `on_difference`."""

    def measure(self) -> int:
        """How many bytes the repository stores."""

    # upkeep

    def remove(self, ids: Sequence[str]) -> Finished:
        """Remove these snapshots and no others; whether they are gone only a new listing tells."""

    def prune(self) -> tuple[Finished, PruneReport]:
        """Remove data that no snapshot needs."""

    def check(self, slice: str | None) -> tuple[Finished, CheckReport]:
        """Check that all is there that snapshots need, and read part `n/t` of the data."""

    # restore

    def portions(self, paths: Sequence[bytes] | Iterator[bytes]) -> Iterator[list[bytes]]:
        """The paths in as many portions as one go takes; one empty portion where there are none."""

    def restore(
        self, portion: Portion, on_caution: Callable[[Caution], None], on_lost: Callable[[bytes | None], None]
    ) -> Finished:
        """Write a part of a snapshot into a directory; what went wrong with an entry is told as it comes.

        `on_lost` hears which paths came back without their whole content, spelled as cautions spell them; None of
        one that cannot be told.
        """


@dataclass(frozen=True)
class Kept:
    """A job whose snapshots lie in a repository, with the first path that it reads and the set that this is in."""

    job: str
    path: bytes
    set: str


@dataclass(frozen=True)
class RepairStep:
    """What a person types, and what it does."""

    title: str
    text: str
    commands: tuple[str, ...] = ()


class Repair(Protocol):
    """How a damaged repository is repaired by hand; no command holds a secret."""

    def way_in(self, repository: DeclaredRepository) -> list[str] | None:
        """What opens the repository in a shell; None where only the recovery kit can tell."""

    def steps(self, repository: DeclaredRepository, key: str, version: str) -> list[RepairStep]:
        """The steps, in the order in which they are taken, with this version of the engine."""

    def is_too_old(self, version: str) -> bool:
        """Whether this version cannot repair as well as later ones."""

    @property
    def since(self) -> str:
        """The first version that repairs all there is to repair."""

    @property
    def before(self) -> str:
        """What one before that does and does not, as a sentence that begins with `it`."""


@dataclass(frozen=True)
class Setting:
    """For whom and where on this machine a repository is opened."""

    key: str
    marker: str
    """By which the processes of a run are recognised."""
    cache: Path
    """Below it an engine keeps what it may do without."""
    scratch: Path
    memory: Path
    """Where on our own machine an engine remembers what it may find out anew."""
    place: Place = LOCAL
    """Where its programs run, and its scratch and cache lie."""
    program: Path | None = None
    """The engine's program, where this machine's own file names one."""
    timezone: str = "UTC"
    listener: Listener = field(default_factory=Listener)
    stop: Stop = field(default_factory=Stop)


@dataclass(frozen=True)
class Sample:
    """What a commented sample of a configuration says of a repository; other fields of its engine are left out."""

    needed: Mapping[str, Any]
    """What a first backup needs."""
    besides: Mapping[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """One kind of repository, a line in `kinds`."""

    @property
    def words(self) -> EngineWords:
        """What it is called; its name is what `engine = "…"` says."""

    @property
    def declared(self) -> type[DeclaredRepository]:
        """The class of its declared fields."""

    @property
    def program(self) -> str | None:
        """What the setting means in which a machine's own file may name its program, and which is called as the engine
        is; None where it starts none."""

    @property
    def form(self) -> RepositoryFields:
        """What people are asked for who declare a repository of it on a page."""

    @property
    def sample(self) -> Sample:
        """How a repository of it is shown to people who write their first."""

    @property
    def rehearses(self) -> bool:
        """Whether its repositories rehearse retention; else a plan is computed twice."""

    @property
    def keeps_keys(self) -> bool:
        """Whether several passwords may open a repository of it, each with a key; else nothing of that is offered."""

    @property
    def repair(self) -> Repair | None:
        """None where nothing is repaired by hand."""

    def spell_address(self, fields: Mapping[str, Any]) -> str:
        """What the fields of a form come to as one line, however far they are filled."""

    def read_address(self, text: str) -> dict[str, str | int]:
        """The fields that stand for such a line."""

    def recovery_page(
        self,
        key: str,
        repository: DeclaredRepository,
        kept: Sequence[Kept],
        now: datetime,
        *,
        identity: str | None = None,
        sealed: Mapping[str, SecretValue] | None = None,
    ) -> str:
        """A page to print, by which the data comes back without Highball; made of secrets. Raises SecretUnavailable."""

    def demand_program(self, named: Path | None, cache: Path, place: Place) -> str:
        """The version of what works there, as people write it; raises ProgramMissing."""

    def open(
        self,
        repository: DeclaredRepository,
        setting: Setting,
        *,
        admin: bool = False,
        environment: Mapping[str, str] | None = None,
        sealed: Mapping[str, SecretValue] | None = None,
    ) -> OpenRepository:
        """The repository by its everyday access, or the one that may delete; nothing of it is read yet.

        `environment` is where references to variables are looked up, `sealed` holds the values that a hub handed over.
        Raises SecretUnavailable, ProgramMissing, and Failed for files of the access.
        """
