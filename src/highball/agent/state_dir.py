"""Where an agent works on its host: the folders of its state, and a repository made ready there."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from highball.agent.host_policy import Policy
from highball.agent.provenance import demand_own
from highball.engine.base import DeclaredRepository, Listener, OpenRepository, Setting
from highball.engine.kinds import Programs, engine_named, engine_of
from highball.errors import RepositoryError
from highball.model.paths import ancestors
from highball.model.snapshot import Lock
from highball.model.text import time_for_people
from highball.place.base import Place
from highball.place.local import LOCAL
from highball.process.child import Stop
from highball.secret import SecretValue

PATIENCE = timedelta(seconds=20)
"""Where a person waits for the answer, an engine may not try for longer than this to reach a server that is down."""


@dataclass(frozen=True)
class Workplace:
    """The agent's part of a state directory."""

    state: Path
    programs: Programs = Programs()  # noqa: RUF009 - it is frozen
    """The programs of engines that this machine's own file names."""
    sealed: Mapping[str, SecretValue] = field(default_factory=dict)
    """Values of sealed secrets, by their places in the vault, as a hub handed them over for this run."""
    policy: Policy | None = None
    """What this host allows whoever ordered it over the wire; None where somebody typed it on this machine."""
    place: Place = LOCAL
    """Where the children of the run are started, and where the files lie that it reads and writes."""

    @property
    def runs(self) -> Path:
        """Where run directories lie."""
        return self.state / "runs"

    @property
    def locks(self) -> Path:
        """Where the locks of jobs lie."""
        return self.state / "locks"

    @property
    def cache(self) -> Path:
        """Where engines keep what they may do without."""
        return self.state / "cache"

    @property
    def scratch(self) -> Path:
        """Where temporary files lie."""
        return self.state / "tmp"

    def prepare(self) -> None:
        """Make the folders, and let nobody but their owner read what lies in the state; raises OSError."""
        for folder in (self.state, self.runs, self.locks, self.cache, self.scratch):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        keep_private(self.state)

    def make_scratch(self, ours: Path) -> None:
        """Make the folder for temporary files of a run where it is carried out, too; raises OSError."""
        there = self.scratch_there(ours)
        with self.place.files() as files:
            for folder in reversed((there, *ancestors(there))):
                if files.look(folder) is None:
                    files.make_folder(folder).__exit__()

    def scratch_there(self, ours: Path) -> bytes:
        """That folder's path there."""
        return os.fsencode(self.place.scratch(ours))

    def may_read(self, path: bytes) -> bool:
        """Whether whoever ordered may have this path of the place looked at."""
        return self.policy is None or self.policy.at(self.place).may_read(path)

    @property
    def own(self) -> tuple[bytes, ...]:
        """Where Highball's own files lie, which no restore replaces; a person here may bring back the configuration."""
        state = os.fsencode(self.state.resolve())
        return (state,) if self.policy is None else (state, *self.policy.own)

    def demand_own(self, opened: OpenRepository, snapshot: str, *, in_place: bool) -> str:
        """A snapshot that may be restored here, by its whole id; raises NotAllowed, or Unknown."""
        if self.policy is None:
            return snapshot
        return demand_own(self.state, self.policy, opened, snapshot, in_place=in_place)

    def demand_programs(self, repositories: Iterable[DeclaredRepository]) -> None:
        """Raise ProgramMissing where the engine of one of these finds no program here."""
        for name in dict.fromkeys(repository.engine for repository in repositories):
            engine_named(name).demand_program(self.programs.of(name), self.cache, self.place)

    def open(
        self,
        key: str,
        repository: DeclaredRepository,
        marker: str,
        *,
        admin: bool = False,
        timezone: str = "UTC",
        listener: Listener | None = None,
        stop: Stop | None = None,
        scratch: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> OpenRepository:
        """A repository, ready to work with; raises SecretUnavailable, ProgramMissing, and Failed for its files."""
        setting = Setting(
            key=key,
            marker=marker,
            memory=self.cache,
            place=self.place,
            cache=self.place.cache(self.cache),
            scratch=self.place.scratch(scratch or self.scratch),
            program=self.programs.of(repository.engine),
            timezone=timezone,
            listener=listener or Listener(),
            stop=stop or Stop(),
        )
        engine = engine_of(repository)
        return engine.open(repository, setting, admin=admin, environment=environment, sealed=self.sealed)

    @contextmanager
    def scratch_directory(self) -> Iterator[Path]:
        """A temporary directory of this run, removed at its end."""
        path = Path(tempfile.mkdtemp(dir=self.scratch))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


_FOLDERS = ("agent", "backups", "cache", "kept", "locks", "runs", "tmp")
_FILES = ("highball.db*", "agent.*")


def keep_private(state: Path) -> None:
    """Close what a state holds to others, whatever was allowed before. How its own folder is open is its owner's
    affair: systemd, for one, makes it so that others may enter.
    """
    found = [state / name for name in _FOLDERS]
    found += [path for pattern in _FILES for path in state.glob(pattern)]
    for path in found:
        with suppress(OSError):  # another owner's, or gone by now
            mode = path.lstat().st_mode
            if mode & 0o077 and (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                path.chmod(stat.S_IMODE(mode) & 0o700)


def meet(opened: OpenRepository, known: str | None, others: Mapping[str, str] | None = None) -> str:
    """The repository's identity, compared with the one that the record knows, and with those of the `others`.

    Raises RepositoryError: `repository_changed` when another repository answers at this address,
    `repository_gone` when one that was met before is there no more, and `repository_twice` at first contact when it
    is one of the others (their keys by their ids), under another key.
    """
    try:
        found = opened.read_identity()
    except RepositoryError as error:
        raise as_gone(error, known, opened.key) from None
    if known is not None and found != known:
        raise RepositoryError(
            f"there is another repository at {opened.shown}: its ID is {found[:10]}, not {known[:10]} as before",
            code="repository_changed",
            hint=f"is the right disk mounted? nothing was changed; to give the old one up: {anew(opened.key)}",
        )
    twin = None if known is not None else (others or {}).get(found)
    if twin not in (None, opened.key):
        raise RepositoryError(
            f"{opened.key} is the same repository as {twin}: one copy would count as two",
            code="repository_twice",
            hint=f"give {opened.key} another address, or remove one of the two from the configuration",
        )
    return found


def anew(key: str) -> str:
    """The command by which a person gives up a repository that is lost, and begins another under its key."""
    return f"highball setup --anew {key}"


def as_gone(error: RepositoryError, known: str | None, key: str) -> RepositoryError:
    """The same error, told as what it is where the repository was there before."""
    if error.code != "repository_missing" or known is None:
        return error
    return RepositoryError(
        f"the repository that was here before is gone: {error.message}",
        code="repository_gone",
        hint=f"is its disk mounted? if it is lost for good, create a new one in its place with: {anew(key)}",
    )


def describe_lock(lock: Lock) -> str:
    """A lock in words: its kind, owner and age."""
    kind = "exclusive" if lock.exclusive else "shared"
    owner = f"{lock.username or 'somebody'} on {lock.hostname} (pid {lock.pid})"
    return f"{kind} lock of {owner} since {time_for_people(lock.created_at)}"
