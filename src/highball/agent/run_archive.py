"""Run directories that the hub has all of: kept for a while, should it lose what it had.

A hub that was brought back from yesterday's copy has forgotten what ended since; it asks, and gets the account
again. The last event's number is part of a directory's name, so telling what is here opens no file. What is kept
is bounded in age, number and size; the oldest goes first.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from highball.agent.run_directory import RunDirectory

KEPT_FOR = timedelta(days=14)
"""Longer than the oldest copy that a hub keeps of itself, one a night."""

MOST_KEPT = 1000
MOST_BYTES = 256 * 1024 * 1024


class RunArchive:
    """What an agent could tell again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def last_seqs(self) -> dict[str, int]:
        """The number of the last event of each run, in the order in which they ended."""
        oldest_first = sorted(self._paths(), key=_age_and_size)
        return dict(map(_run_and_seq, oldest_first))

    def add(self, directory: RunDirectory, last_seq: int) -> None:
        """Put a directory by; what cannot be kept is removed, for the hub has all of it."""
        directory.release()
        target = self._folder / f"{directory.path.name}.{last_seq}"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            directory.path.rename(target)
        except OSError:
            directory.remove()
        self.sweep()

    def bring_back(self, run: str, runs: Path) -> RunDirectory | None:
        """Put a directory back among those that are told of, if it is here."""
        found = next((path for path in self._paths() if _run_and_seq(path)[0] == run), None)
        if found is None:
            return None
        try:
            runs.mkdir(mode=0o700, exist_ok=True)
            return RunDirectory(found.rename(runs / run))
        except OSError:
            return None

    def sweep(self) -> None:
        """Remove what is too old, too many or too large."""
        oldest = time.time() - KEPT_FOR.total_seconds()
        room = MOST_BYTES
        newest_first = sorted(((*_age_and_size(path), path) for path in self._paths()), reverse=True)
        for place, (ended_at, size, path) in enumerate(newest_first):
            room -= size
            if ended_at < oldest or place >= MOST_KEPT or room < 0:
                shutil.rmtree(path, ignore_errors=True)

    def _paths(self) -> Iterator[Path]:
        try:
            yield from [path for path in self._folder.iterdir() if path.suffix[1:].isdecimal()]
        except (FileNotFoundError, NotADirectoryError):
            return


def _run_and_seq(path: Path) -> tuple[str, int]:
    return path.stem, int(path.suffix[1:])


def _age_and_size(path: Path) -> tuple[float, int]:
    try:
        found = (path / "events.ndjson").stat()
    except OSError:
        return 0.0, 0
    return found.st_mtime, found.st_size
