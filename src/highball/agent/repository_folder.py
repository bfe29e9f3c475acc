"""The folder in which a repository is, or is to be made: is it there, what else lies there, how much room it has."""

from __future__ import annotations

import os
from pathlib import Path

from highball.model.fact import Fact

SYSTEM = Path("/")


class Storage(Fact):
    """A local folder as storage, as this host sees it."""

    exists: bool
    is_folder: bool = True
    """False: something else is there."""
    entries: int = 0
    """So many things lie in it; counted no further than a few."""
    writable: bool
    free_bytes: int
    """0 where nothing can be kept at all, as below /proc."""
    with_system: bool
    """Whether it is on the same disk as the system: one disk that fails takes both."""


MOST_COUNTED = 20


def look_at_storage(path: Path) -> Storage | None:
    """What there is, of the nearest folder above where it is not there yet; None where not even that can be told."""
    there = next((one for one in (path, *path.parents) if os.path.lexists(one)), SYSTEM)
    try:
        room, found = os.statvfs(there), there.stat()
        return Storage(
            exists=there == path,
            is_folder=there.is_dir(),
            entries=_count(path) if there == path else 0,
            writable=there.is_dir() and os.access(there, os.W_OK | os.X_OK, effective_ids=True),
            free_bytes=room.f_bavail * room.f_frsize,
            with_system=found.st_dev == SYSTEM.stat().st_dev,
        )
    except OSError:
        return None


def _count(folder: Path) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(1 for _, _ in zip(range(MOST_COUNTED), entries, strict=False))
    except OSError:
        return 0
