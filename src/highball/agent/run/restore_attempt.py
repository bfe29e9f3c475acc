"""One or more goes of an engine at bringing something back, as a restore and a proof of one need them.

Nothing here judges; whoever asked looks at what was written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from highball.agent.run.steps import Steps
from highball.engine.base import Finished, OpenRepository, Portion
from highball.model.run import Caution
from highball.model.text import LOST

MOST_NAMED = 100
"""So many cautions of one kind are listed; the rest is counted."""
MOST_BAD_BYTES = 64 * 1024 * 1024
"""Paths of so many bytes are remembered as bad."""
PATHS_AT_ONCE = 1000
"""So many paths are chosen one by one; more are brought with their folders."""


@dataclass
class Attempt:
    """One or more goes, and what was complained of: the first ones, and how many more."""

    finished: list[Finished] = field(default_factory=list)
    cautions: list[Caution] = field(default_factory=list)
    unlisted: int = 0
    """How many more complaints there were than `cautions` lists."""
    full: bool = False
    """One of them was that there is no space left."""
    bad: set[bytes] = field(default_factory=set)
    """Paths, as messages spell them, whose content could not be had."""
    unclear: bool = False
    """It complained of something that we cannot attribute to a path, or of more paths than are remembered."""
    _bad_bytes: int = 0

    def note(self, caution: Caution) -> None:
        """Take up one complaint."""
        self._list(caution)

    def note_lost(self, path: bytes | None) -> None:
        """Take note that an entry came back without its content; None of one that cannot be told."""
        if path is None or self._bad_bytes > MOST_BAD_BYTES:
            self.unclear = True
        else:
            self.bad.add(_one_mark(path))
            self._bad_bytes += len(path)

    def take_up(self, other: Attempt) -> None:
        """Take up everything that other processes came to."""
        self.finished += other.finished
        for caution in other.cautions:
            self._list(caution)
        self.unlisted += other.unlisted
        self.full = self.full or other.full
        self.bad |= other.bad
        self.unclear = self.unclear or other.unclear

    def _list(self, caution: Caution) -> None:
        self.full = self.full or "no space left" in caution.message
        if len(self.cautions) < MOST_NAMED:
            self.cautions.append(caution)
        else:
            self.unlisted += 1

    @property
    def failed(self) -> Finished | None:
        """The first process that did not end well."""
        return next((finished for finished in self.finished if finished.failure is not None), None)


def restore_portion(steps: Steps, opened: OpenRepository, portion: Portion, attempt: Attempt) -> None:
    """Bring one portion back, waiting for a busy repository; what is complained of goes to the attempt."""

    def on_caution(caution: Caution) -> None:
        attempt.note(caution.model_copy(update={"code": "not_restored"}))

    attempt.finished.append(steps.finish(lambda: opened.restore(portion, on_caution, attempt.note_lost)))


def named(cautions: Sequence[Caution], count: int) -> list[Caution]:
    """The first of so many cautions, and how many more there are."""
    listed = list(cautions[:MOST_NAMED])
    if count > len(listed):
        left = count - len(listed)
        listed.append(Caution(code=listed[0].code, message=f"and {left:,} more of these", count=left))
    return listed


def as_shown(path: bytes) -> bytes:
    """A path as messages spell it: what is not UTF-8 becomes U+FFFD, here one for any number of bytes."""
    return path if path.isascii() else _one_mark(path.decode("utf-8", "replace").encode())


def _one_mark(path: bytes) -> bytes:
    return re.sub(rb"(?:%s)+" % LOST, LOST, path)
