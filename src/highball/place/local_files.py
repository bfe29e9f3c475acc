"""The file system as a restore sees it: walked folder by folder, and never through a link. Paths are absolute bytes.

Nothing here changes anything but times, which it gives back.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import BinaryIO, Self

from highball.errors import Failed
from highball.model.paths import ancestors, is_below
from highball.model.text import path_for_people

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40
"""So many links a path may go through, as Linux has it."""


class Ground:
    """The file system from `/` down, walked folder by folder and never through a link. Paths are absolute.

    With a `start` they begin at that open folder instead of `/`.
    """

    def __init__(self, start: int | None = None) -> None:
        self._start = start
        self._at: bytes | None = None
        self._folder = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the last folder."""
        if self._folder >= 0:
            os.close(self._folder)
        self._folder, self._at = -1, None

    forget = close
    """After a folder was moved, what is remembered of it is wrong."""

    def locate(self, path: bytes) -> tuple[int, bytes]:
        """The descriptor of the folder that holds the entry, valid until the next call, and the entry's name."""
        above, _, name = path.rpartition(b"/")
        return self._enter(above), name or b"."

    def _enter(self, folder: bytes) -> int:
        if self._at is not None and folder == self._at:
            return self._folder
        below = self._at is not None and is_below(folder, self._at)
        start, names = self._folder, folder[len(self._at or b"") :] if below else folder
        reached = os.dup(start) if below else self._begin()
        try:
            for name in filter(None, names.split(b"/")):
                reached, last = os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=reached), reached
                os.close(last)
        except OSError:
            os.close(reached)
            raise
        self.close()
        self._at, self._folder = folder, reached
        return reached

    def _begin(self) -> int:
        return os.open(b"/", _LOOK | os.O_DIRECTORY) if self._start is None else os.dup(self._start)

    def status(self, path: bytes) -> os.stat_result | None:
        """What lies there, a link as itself; None where nothing does, or its folder is none."""
        try:
            folder, name = self.locate(path)
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_link(self, path: bytes) -> bytes:
        """Where a link points."""
        folder, name = self.locate(path)
        return os.readlink(name, dir_fd=folder)

    @contextmanager
    def hold(self, path: bytes) -> Iterator[int]:
        """A descriptor of the entry itself, for `/proc/self/fd`."""
        folder, name = self.locate(path)
        held = os.open(name, _LOOK, dir_fd=folder)
        try:
            yield held
        finally:
            os.close(held)

    def open(self, path: bytes) -> BinaryIO:
        """A file's content."""
        folder, name = self.locate(path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return open(os.open(name, flags, dir_fd=folder), "rb", buffering=0)


@contextmanager
def undisturbed(folder: int) -> Iterator[None]:
    """Give an open folder its time back after an entry came or went."""
    before = os.fstat(folder)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it belongs to somebody else, and we are not root
            os.utime(way_to(folder), ns=(before.st_atime_ns, before.st_mtime_ns))


def way_to(handle: int) -> str:
    """A path that leads to exactly the entry that is held, a link itself included."""
    return f"/proc/self/fd/{handle}"


def resolve(path: bytes) -> bytes:
    """The real path behind an absolute one, as far as it is there; every link on the way is followed.

    Raises Failed at a link that another user may have put there, or may move: it could lead anywhere.
    """
    reached, left = b"/", list(reversed(path.split(b"/")))
    followed = 0
    while left:
        name = left.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            reached = os.path.dirname(reached)
            continue
        at = reached.rstrip(b"/") + b"/" + name
        seen = _look(at)
        if seen is None or not stat.S_ISLNK(seen.st_mode):
            reached = at
            continue
        followed += 1
        if followed > _MOST_LINKS:
            raise Failed(f"{path_for_people(path)} leads in a circle", code="target_unusable")
        _demand_trust(at, seen, os.stat(reached))
        pointed = os.readlink(at)
        reached = b"/" if pointed.startswith(b"/") else reached
        left += reversed(pointed.split(b"/"))
    return reached


def _look(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _demand_trust(link: bytes, seen: os.stat_result, folder: os.stat_result) -> None:
    stranger = next((uid for uid in (seen.st_uid, folder.st_uid) if uid not in (0, os.geteuid())), None)
    if stranger is not None:
        raise Failed(
            f"the way leads through the link {path_for_people(link)}, which {_name_of(stranger)} could point anywhere",
            code="target_unusable",
            hint="name the folder itself, without a link on the way",
        )


def _name_of(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return f"the user {pwd.getpwuid(uid).pw_name}"
    return f"the user with id {uid}"


def is_safe(folder: bytes) -> bool:
    """Whether nobody else may write, or rename, on the way to an entry of this folder; root always may."""
    ours = (0, os.geteuid())
    for at in (folder, *ancestors(folder)):
        seen = _look(at)
        if seen is None or seen.st_uid not in ours:
            return False
        if seen.st_mode & 0o022 and not seen.st_mode & stat.S_ISVTX:
            return False
    return True


def holds_something(folder: bytes) -> bool:
    """Whether anything lies in a folder; raises Failed where it is none."""
    try:
        return bool(os.listdir(folder))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Failed(
            f"{path_for_people(folder)} is not a directory that can be looked into: {error.strerror}",
            code="target_unusable",
        ) from None


def meets(path: bytes, places: Iterable[bytes]) -> bool:
    """Whether a path is one of these places or lies in one, as it is spelled or behind the links in it."""
    spelled = {path, os.path.realpath(path)}
    return any(one == place or is_below(one, place) for place in places for one in spelled)
