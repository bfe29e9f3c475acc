"""The place port: where the children of a run are started, and where the files lie that it reads and writes.

Whatever examines sources, browses, measures, plans a restore, moves what was staged, compares, or runs a hook does it
by the place of its job; `kinds` lists the places. What belongs to Highball itself (run directories, its state,
secrets) lies on the machine where it runs, and is no place's concern.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, ClassVar, Protocol, Self

from pydantic import BaseModel, ConfigDict

from highball.errors import Failed
from highball.model.text import path_for_people
from highball.place.priority import Priority
from highball.process.child import (
    RESTIC_MANNERS,
    Command,
    Ended,
    Feeding,
    Inside,
    Manners,
    OnData,
    Stop,
)

Identity = tuple[int, int]
"""Device and number of an entry: a path may lead to another one by now."""


class Status(Protocol):
    """What is known of an entry, in the names and units of `os.stat_result`."""

    @property
    def st_mode(self) -> int:
        """Kind and permissions."""

    @property
    def st_uid(self) -> int:
        """Its owner."""

    @property
    def st_gid(self) -> int:
        """Its group."""

    @property
    def st_size(self) -> int:
        """Its bytes."""

    @property
    def st_mtime_ns(self) -> int:
        """When its content changed."""

    @property
    def st_ctime_ns(self) -> int:
        """When anything of it changed."""

    @property
    def st_dev(self) -> int:
        """Its file system."""

    @property
    def st_ino(self) -> int:
        """Its number there."""


def identity_of(seen: Status) -> Identity:
    """Which entry it is."""
    return seen.st_dev, seen.st_ino


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a folder; it has no status where it went away meanwhile, or may not be looked at."""

    name: bytes
    status: Status | None


@dataclass(frozen=True)
class Traits:
    """What an entry has besides its content: mode, owner and time."""

    mode: int
    uid: int
    gid: int
    modified_ns: int

    @classmethod
    def of(cls, seen: Status) -> Traits:
        """Those of an entry that is there."""
        return cls(stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid, seen.st_mtime_ns)

    def locks_out(self, user: int) -> bool:
        """Whether a folder with them lets nothing be put into it by its owner, where that is no root."""
        return user != 0 and self.mode & 0o300 != 0o300


class HeldEntry(Protocol):
    """One entry, the same one however paths change meanwhile; a link is held itself. Methods raise OSError."""

    def status(self) -> Status:
        """What is known of it now."""

    def give(self, traits: Traits) -> None:
        """Set owner, mode and time; an owner that only root may give is passed over where we are not root."""

    def take_attributes(self, model: HeldEntry) -> None:
        """Give it the extended attributes and ACLs of another entry of this place, as far as we may."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Files(Protocol):
    """The files of a place. Paths are absolute bytes, and no link is followed, on the way or at the end, unless a
    method says so.

    A view that may hold a folder open: it is closed at the end, and belongs to one thread. What the file system
    refuses is an OSError. A folder that gains or loses an entry by these methods keeps its time.
    """

    @property
    def user(self) -> int:
        """By whose rights all this is done; 0 is root's."""

    # looking

    def status(self, path: bytes) -> Status | None:
        """What lies there, a link as itself; None where nothing does, or its folder is none."""

    def look(self, path: bytes) -> Status | None:
        """The same, where links on the way there are followed, but not one at its end."""

    def list_folder(self, path: bytes) -> Iterator[Listed]:
        """What lies in a folder, in no order."""

    def read_link(self, path: bytes) -> bytes:
        """Where a link points."""

    def open(self, path: bytes) -> BinaryIO:
        """A file's content, from its beginning."""

    def hold(self, path: bytes) -> HeldEntry:
        """The entry that is there now."""

    def may_read(self, path: bytes) -> bool:
        """Whether a file's content, or a folder's list, may be read by us."""

    def may_write(self, path: bytes) -> bool:
        """Whether entries may be put into a folder by us."""

    def free_bytes(self, path: bytes) -> int:
        """How much room the file system of a folder has for us."""

    def real_path(self, path: bytes, *, strict: bool = False) -> bytes:
        """The path with every link in it followed; raises FileNotFoundError, if strict, where that leads nowhere."""

    def resolve(self, path: bytes) -> bytes:
        """The same as far as it is there, for somebody who will write there.

        Raises Failed at a link that another user may have put there, or may move: it could lead anywhere.
        """

    def is_safe(self, folder: bytes) -> bool:
        """Whether nobody else may write, or rename, on the way to an entry of this folder; root always may."""

    # touching

    def make_folder(self, path: bytes, mode: int = 0o700) -> HeldEntry:
        """Make a folder, for us only unless told otherwise; the held one is the one that was made."""

    def remove_folder(self, path: bytes) -> None:
        """Remove a folder that is empty."""

    def remove_tree(self, path: bytes) -> OSError | None:
        """Remove an entry of our own making with all that is below it, folders without permission included.

        Says why something is left; a path that is gone is no work.
        """

    def append(self, path: bytes, content: bytes) -> None:
        """Write to the end of a file of ours, which is made where there is none; on disk before it returns."""

    def move(self, path: bytes, to: bytes, origin: Files | None = None) -> None:
        """Move an entry, from `origin` where that is another view of this place; what is there, if it is no folder,
        is replaced at once. EXDEV where another file system begins.
        """

    def carry(self, path: bytes, to: bytes, origin: Files) -> None:
        """Bring a copy of an entry that is no folder, with all it has, to a path of another file system, at once."""

    def forget(self) -> None:
        """After a folder was moved, what is remembered of it is wrong."""

    # within one folder

    def enter(self, folder: bytes) -> Files:
        """A view of this place that begins at a folder, whoever moves what leads there: that folder is its `/`."""

    def clear(self) -> OSError | None:
        """Remove all that lies in the folder at which this view begins; why something is left, or None."""

    def as_target(self, path: bytes, shown: bytes) -> bytes | Inside:
        """How a child of this place is told of a path of this view; `shown` is how people see its `/`."""

    def close(self) -> None:
        """Let go of what is held open."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Place(Protocol):
    """Where the children of a run are started, and where the files lie that it reads and writes."""

    @property
    def key(self) -> str:
        """What tells it from other places, for what is remembered of it; blank for this machine."""

    @property
    def hostname(self) -> str:
        """Its name, as programs there write it into locks."""

    def files(self) -> AbstractContextManager[Files]:
        """Its files, from `/` down; closed by whoever asked."""

    def find_program(self, name: str) -> str | None:
        """The whole path of a program there: of the first one on its PATH, or of one that is named by its path."""

    def environment(self) -> Mapping[str, str]:
        """The variables that programs have there by themselves; which of them a child gets, its starter says."""

    def cache(self, ours: Path) -> Path:
        """Where programs there keep what they may do without; `ours` is that folder on this machine."""

    def scratch(self, ours: Path) -> Path:
        """Where temporary files of a run lie there; `ours` is that folder on this machine."""

    def run(
        self,
        command: Command,
        on_data: OnData,
        *,
        priority: Priority = Priority.NORMAL,
        stop: Stop | None = None,
        timeout: timedelta | None = None,
        manners: Manners = RESTIC_MANNERS,
        on_start: Callable[[int], None] = lambda pid: None,
        feed: Feeding | None = None,
    ) -> Ended:
        """Run a command there to its end, as `process.child.run` does here: with this environment and no other, its
        secrets through pipes or memory, what it is fed as standard input, and an end that is polite first.

        `on_start` hears the process id that it has there. Raises as `process.child.run`.
        """

    def end_marked(self, marker: str) -> list[int]:
        """End what is left there of a run whose own process vanished; first politely, then by SIGKILL."""

    def is_alive(self, pid: int) -> bool:
        """Whether a process with this id is there."""

    def await_reaped(self, pid: int) -> None:
        """Wait for the name of a process there that has ended to go."""


class DeclaredPlace(BaseModel):
    """A place as it is declared: the fields of its kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    name: ClassVar[str]
    """What the kind is called where places are declared."""

    def open(self) -> Place:
        """The place, ready; nothing of it is touched yet. Raises HighballError."""
        raise NotImplementedError


def is_there(files: Files, path: bytes) -> bool:
    """Whether anything lies at a path, links on the way followed; what we may not look for is not there for us."""
    try:
        return files.look(path) is not None
    except OSError:
        return False


def holds_something(files: Files, folder: bytes) -> bool:
    """Whether anything lies in a folder; raises Failed where it is none."""
    try:
        return next(files.list_folder(folder), None) is not None
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Failed(
            f"{path_for_people(folder)} is not a directory that can be looked into: {error.strerror}",
            code="target_unusable",
        ) from None
