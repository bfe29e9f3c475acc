"""A directory of ours on the target's file system, into which restic restores before anything is moved.

It is held by its handle from the moment it is made: whoever may rename the way to it cannot put another in its
place. What a restore puts aside lies in it, too, and goes back where nothing took its place.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from highball.model.text import path_for_people
from highball.place.local_files import Ground, undisturbed
from highball.place.rmtree import empty, identity_of

_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ASIDES = b"asides"
"""In a staging directory: where each thing that was put aside came from. It also says that the directory is ours."""


class Staging:
    """A new directory in another one, removed at the end whatever happens."""

    def __init__(self, room: bytes, name: bytes) -> None:
        self.path = room.rstrip(b"/") + b"/" + name
        self.folder = -1
        """Its handle, while it is there."""
        self.left: OSError | None = None
        """Why something of it is still there, after the end."""

    def __enter__(self) -> Self:
        with Ground() as ground:
            folder, name = ground.locate(self.path)
            self.folder = make_folder(folder, name)
            os.close(os.open(_ASIDES, _NOTING | os.O_EXCL, 0o600, dir_fd=self.folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.left = _end(self.folder, self.path)
        self.folder = -1


def make_folder(folder: int, name: bytes, mode: int = 0o700) -> int:
    """Make a folder, for us only unless told otherwise, and open it; the one above keeps its time. Raises OSError."""
    with undisturbed(folder):
        os.mkdir(name, mode, dir_fd=folder)
    made = os.open(name, _LIST, dir_fd=folder)
    seen = os.fstat(made)
    if seen.st_uid != os.geteuid() or stat.S_IMODE(seen.st_mode) & 0o777 & ~mode:
        os.close(made)
        raise PermissionError(errno.EPERM, "somebody else put another folder in its place")
    return made


_NOTING = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Aside:
    """An entry that was moved out of the way, and the way back."""

    ground: Ground
    path: bytes
    staging: int
    kept: bytes

    def put_back(self) -> None:
        """Undo it."""
        folder, name = self.ground.locate(self.path)
        with undisturbed(folder):
            os.rename(self.kept, name, src_dir_fd=self.staging, dst_dir_fd=folder)


def put_aside(ground: Ground, path: bytes, staging: Staging) -> Aside:
    """Move what stands at a path into a staging directory; where from is on disk before."""
    folder, name = ground.locate(path)
    kept = b"aside-%d" % len(_read_asides(staging.folder))
    _note_aside(staging.folder, kept, path)
    with undisturbed(folder):
        os.rename(name, kept, src_dir_fd=folder, dst_dir_fd=staging.folder)
    return Aside(ground, path, staging.folder, kept)


def _note_aside(staging: int, kept: bytes, path: bytes) -> None:
    with open(os.open(_ASIDES, _NOTING, 0o600, dir_fd=staging), "ab") as noted:
        noted.write(kept + b"\0" + path + b"\0")
        noted.flush()
        os.fsync(noted.fileno())


def _read_asides(staging: int) -> list[tuple[bytes, bytes]]:
    reading = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(_ASIDES, reading, dir_fd=staging), "rb") as noted:
        parts = noted.read().split(b"\0")[:-1]
    return list(zip(parts[::2], parts[1::2], strict=False))


def clear_away_staging(path: bytes) -> OSError | None:
    """Remove a staging directory that a vanished process left; returns why something of it is still there.

    What was put aside and nothing took the place of is put back; it is kept whole where that does not go.
    """
    try:
        with Ground() as ground:
            folder, name = ground.locate(path)
            staging = os.open(name, _LIST, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return _end(staging, path)


def _end(staging: int, path: bytes) -> OSError | None:
    """Put back, empty, remove; the handle is closed."""
    try:
        with Ground() as ground:
            _put_back(ground, staging)
            left = empty(os.dup(staging))
            folder, name = ground.locate(path)
            there = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if identity_of(there) != identity_of(os.fstat(staging)):
                return PermissionError(
                    errno.EPERM, f"somebody else moved it away from {path_for_people(path)}"
                )
            if left is None:
                with undisturbed(folder):
                    os.rmdir(name, dir_fd=folder)
    except OSError as error:
        return error
    finally:
        os.close(staging)
    return left


def _put_back(ground: Ground, staging: int) -> None:
    try:
        asides = _read_asides(staging)
    except FileNotFoundError:  # killed right after it was made, or not ours: then there is something in it
        if os.listdir(staging):
            raise PermissionError(errno.EPERM, "it was not made by Highball") from None
        return
    for kept, path in asides:
        if _is_kept(staging, kept) and ground.status(path) is None:
            Aside(ground, path, staging, kept).put_back()


def _is_kept(staging: int, kept: bytes) -> bool:
    try:
        os.stat(kept, dir_fd=staging, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
