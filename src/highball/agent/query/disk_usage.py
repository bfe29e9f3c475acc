"""How much lies in folders of this host, and how much of it exclude patterns leave out: a look that ends in time.

Nothing is opened and no link is followed; what cannot be read is counted as such. Where the time is over before
the end, the figures say so: they are then the least that there is.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from highball.place.base import Files, Listed, Status
from highball.protocol.queries import (
    Amount,
    Measure,
    Measured,
    MeasuredSource,
)
from highball.source.patterns import Patterns

ENTRIES_BETWEEN_LOOKS = 256
"""So many entries are counted between two looks at the clock."""


@dataclass
class _Tally:
    files: int = 0
    size_bytes: int = 0

    def add(self, size: int) -> None:
        self.files += 1
        self.size_bytes += size

    @property
    def amount(self) -> Amount:
        return Amount(files=self.files, size_bytes=self.size_bytes)


def measure(question: Measure, files: Files) -> Measured:
    """Look at each source in turn; each gets an equal share of the time that is left."""
    end = time.monotonic() + question.seconds
    walk = _Walk(files, [_Tally() for _ in question.exclude], _devices_of(files, b"/proc", b"/sys"))
    found = []
    for number, source in enumerate(question.sources):
        now = time.monotonic()
        share = max(0.0, end - now) / (len(question.sources) - number)
        kept = _Tally()
        patterns = Patterns([*question.exclude, *source.exclude])
        complete = walk.count(source.path, patterns, kept, now + share)
        found.append(MeasuredSource(path=source.path, kept=kept.amount, complete=complete))
    left_out = tuple(tally.amount for tally in walk.left_out)
    return Measured(sources=tuple(found), left_out=left_out, unreadable=walk.unreadable)


@dataclass
class _Walk:
    files: Files
    left_out: Sequence[_Tally]
    unreal: frozenset[int]
    unreadable: int = 0
    _unheard: _Tally = field(default_factory=_Tally)
    """What a source's own patterns leave out: nobody asked for it."""

    def count(self, source: bytes, patterns: Patterns, kept: _Tally, end: float) -> bool:
        """Count what lies in it; false where the time was over before."""
        status = self._look_at(source)
        if status is None:
            self.unreadable += 1
            return True
        if not stat.S_ISDIR(status.st_mode):
            kept.add(status.st_size if stat.S_ISREG(status.st_mode) else 0)
            return True
        top = _Folder(self.files.real_path(source), (), None)
        waiting = [] if status.st_dev in self.unreal else [top]
        seen = 0
        while waiting:
            folder = waiting.pop()
            for entry in self._entries_of(folder.path):
                seen += 1
                if seen % ENTRIES_BETWEEN_LOOKS == 0 and time.monotonic() > end:
                    return False
                names = (*folder.names, os.fsdecode(entry.name))
                tally = folder.left_out or self._of_pattern(patterns.find(names))
                there = entry.status
                if there is None or not stat.S_ISDIR(there.st_mode):
                    (tally or kept).add(there.st_size if there and stat.S_ISREG(there.st_mode) else 0)
                elif there.st_dev not in self.unreal:
                    waiting.append(_Folder(folder.path.rstrip(b"/") + b"/" + entry.name, names, tally))
            if waiting and time.monotonic() > end:
                return False
        return True

    def _look_at(self, source: bytes) -> Status | None:
        try:
            return self.files.look(source)
        except OSError:
            return None

    def _entries_of(self, folder: bytes) -> Iterator[Listed]:
        try:
            yield from self.files.list_folder(folder)
        except OSError:  # it may not be read, or it went away while it was
            self.unreadable += 1

    def _of_pattern(self, number: int | None) -> _Tally | None:
        if number is None:
            return None
        return self.left_out[number] if number < len(self.left_out) else self._unheard


class _Folder(NamedTuple):
    """A folder that is still to be looked into; `names` lead to it from the source."""

    path: bytes
    names: tuple[str, ...]
    left_out: _Tally | None
    """Where what lies in it counts, if a pattern leaves it out."""


def _devices_of(files: Files, *folders: bytes) -> frozenset[int]:
    """Where the kernel tells of itself by files that are none, and say what sizes they like."""
    found = {seen.st_dev for folder in folders if (seen := files.status(folder)) is not None}
    root = files.status(b"/")
    return frozenset(found - {root.st_dev} if root is not None else found)
