"""An exclusive lock on a file that the kernel frees when its holder dies, however it dies.

The file says who took it: the process's number, and on a second line whatever else the holder wants known. What
it says is only true while the lock is held.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileLock:
    """A lock on a file; not inherited by children that are started by `exec`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self, note: str = "") -> bool:
        """Take the lock if nobody has it; says whether it is ours now."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n{note}".encode())
        self._descriptor = descriptor
        return True

    def adopt(self, descriptor: int) -> None:
        """Hold the lock that the process which started this one took, by the descriptor that it left open."""
        os.set_inheritable(descriptor, False)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    @property
    def descriptor(self) -> int | None:
        """What a child inherits that is to hold the lock from its first moment; None where it is not held."""
        return self._descriptor

    def release(self) -> None:
        """Give it back; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def is_ours(self) -> bool:
        """Whether we hold it, and on the file that stands there now."""
        if self._descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    @property
    def is_taken(self) -> bool:
        """Whether anybody holds it. To ask takes the lock for a moment, shared with others that ask."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def holder(self) -> int | None:
        """The pid that the file names; only true while the lock is held."""
        try:
            return int(self._lines()[0])
        except ValueError:
            return None

    def note(self) -> str:
        """What the holder wants known."""
        return self._lines()[1]

    def _lines(self) -> tuple[str, str]:
        try:
            number, _, note = self._path.read_text(errors="replace").partition("\n")
        except OSError:
            return "", ""
        return number, note
