"""A stand-in for a state that cannot be written: a copy of the record elsewhere, for looking and restoring.

Nothing that is done with it is kept. The state itself is only read.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from highball.errors import StateUnusable

LEAST_ROOM = 64 * 1024
"""Bytes that a command needs to write at least, to note anything."""

SPARE_ROOM = 16 * 1024 * 1024
"""And a stand-in beside the copy: for what an engine keeps while it works."""

_RECORD = ("highball.db", "highball.db-wal")
_TRIES = 5


def can_be_written(state: Path) -> bool:
    """Whether anything can be written down in this state, or in the folder where it is to be made."""
    there = state
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there) as opened:
            opened.write(bytes(LEAST_ROOM))
            opened.flush()
    except OSError:
        return False
    return True


def make_standin(state: Path) -> Path:
    """A folder with a copy of what the record of this state knows, removed at the end of this program.

    Raises StateUnusable where there is no room for one anywhere.
    """
    for place in _places():
        try:
            if shutil.disk_usage(place).free < _size_of(state) + SPARE_ROOM:
                continue
            folder = Path(tempfile.mkdtemp(prefix="highball-", dir=place))
        except OSError:
            continue
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        try:
            if _copy(state, folder):
                return folder
        except (PermissionError, NotADirectoryError) as error:
            raise StateUnusable(
                f"{state} cannot be read: {error.strerror}",
                hint="check who owns it, or name another with HIGHBALL_STATE",
            ) from None
        except OSError:
            continue
    raise StateUnusable(
        f"{state} cannot be written, and there is no space elsewhere for a copy",
        code="state_full",
        hint="free space on its disk, or name a folder with free space by TMPDIR",
    )


def _places() -> list[Path]:
    named = [os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp", "/dev/shm"]  # noqa: S108 - mkdtemp is private
    return [Path(name) for name in dict.fromkeys(named) if name and os.access(name, os.W_OK)]


def _size_of(state: Path) -> int:
    return sum((state / name).stat().st_size for name in _RECORD if (state / name).exists())


def _copy(state: Path, folder: Path) -> bool:
    """Copy the database and its log as they are at one moment; whether that was possible."""
    for _ in range(_TRIES):
        before = _marks(state)
        for name in _RECORD:
            (folder / name).unlink(missing_ok=True)
            if (state / name).exists():
                shutil.copyfile(state / name, folder / name)
        if _marks(state) == before:
            return True
    return False


def _marks(state: Path) -> list[tuple[int, int] | None]:
    """Another one after every change of the files."""
    found: list[tuple[int, int] | None] = []
    for name in _RECORD:
        try:
            there = (state / name).stat()
        except FileNotFoundError:
            found.append(None)
        else:
            found.append((there.st_mtime_ns, there.st_size))
    return found
