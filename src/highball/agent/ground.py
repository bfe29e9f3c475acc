"""The file system as a restore sees it: walked folder by folder, and never through a link. Paths are absolute bytes.

Nothing here changes anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import BinaryIO, Self

from highball.errors import Failed
from highball.facts import path_for_people

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Ground:
    """The file system from `/` down, walked folder by folder and never through a link. Paths are absolute."""

    def __init__(self) -> None:
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
        reached = os.dup(start) if below else os.open(b"/", _LOOK | os.O_DIRECTORY)
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


def is_below(path: bytes, folder: bytes) -> bool:
    """Whether a path lies below a folder (and is not the folder itself)."""
    return path.startswith(folder.rstrip(b"/") + b"/") and path != folder


def ancestors(path: bytes) -> Iterator[bytes]:
    """Every folder above a path, innermost first, `/` last."""
    while path != b"/":
        path = os.path.dirname(path)
        yield path


def outermost(paths: Iterable[bytes]) -> list[bytes]:
    """The paths without those that lie below another one, sorted, each once."""
    chosen = set(paths)
    return sorted(path for path in chosen if not any(above in chosen for above in ancestors(path)))
