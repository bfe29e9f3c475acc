"""The folder in which a repository is, or is to be made: is it there, what else lies there, how much room it has."""

from __future__ import annotations

import os
import stat
from itertools import islice
from pathlib import Path

from highball.model.fact import Fact
from highball.model.paths import ancestors
from highball.place.base import Files, is_there


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


def look_at_storage(files: Files, path: Path) -> Storage | None:
    """What there is, of the nearest folder above where it is not there yet; None where not even that can be told."""
    try:
        at = os.fsencode(path)
        there = next((one for one in (at, *ancestors(at)) if is_there(files, one)), b"/")
        real = files.real_path(there)
        found, system = files.status(real), files.status(b"/")
        if found is None or system is None:
            return None
        is_folder = stat.S_ISDIR(found.st_mode)
        return Storage(
            exists=there == at,
            is_folder=is_folder,
            entries=_count(files, real) if there == at and is_folder else 0,
            writable=is_folder and files.may_write(real),
            free_bytes=files.free_bytes(real),
            with_system=found.st_dev == system.st_dev,
        )
    except OSError:
        return None


def _count(files: Files, folder: bytes) -> int:
    try:
        return sum(1 for _ in islice(files.list_folder(folder), MOST_COUNTED))
    except OSError:
        return 0
