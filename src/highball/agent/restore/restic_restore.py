"""`restic restore` as a restore and a proof of one need it: run once or several times, its complaints by path.

Nothing here judges; whoever asked looks at what was written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from highball.agent.run.steps import Steps
from highball.engine.restic.argv import RestoreOrder
from highball.engine.restic.commands import Restic
from highball.engine.restic.output import (
    LONGEST_MESSAGE,
    LONGEST_PATH,
    LOST,
)
from highball.engine.restic.retrying import Finished
from highball.model.run import Caution

MOST_NAMED = 100
"""So many cautions of one kind are listed; the rest is counted."""
MOST_BAD_BYTES = 64 * 1024 * 1024
"""Paths of so many bytes are remembered as bad."""
PATTERNS_AT_ONCE = 1000
PATTERN_BYTES_AT_ONCE = 1024 * 1024
"""A command line holds twice as much."""

_IGNORED = re.compile(r"ignoring error for (?P<path>.*?): (?P<message>.*)")
_METADATA = re.compile(r"(l?chown|l?chmod|utimes?|mknod|.{0,12}xattr)", re.IGNORECASE)
"""What complaints about anything but content begin with."""


@dataclass
class Attempt:
    """One or more processes of `restic restore`, and what they complained of: the first ones, and how many more."""

    finished: list[Finished] = field(default_factory=list)
    cautions: list[Caution] = field(default_factory=list)
    unlisted: int = 0
    """How many more complaints there were than `cautions` lists."""
    full: bool = False
    """One of them was that there is no space left."""
    bad: set[bytes] = field(default_factory=set)
    """Paths, as restic spells them, whose content could not be had."""
    unclear: bool = False
    """It complained of something that we cannot attribute to a path, or of more paths than are remembered."""
    _bad_bytes: int = 0

    def note(self, caution: Caution) -> None:
        """Take up one complaint."""
        self._list(caution)
        if _METADATA.match(caution.message):
            return
        if caution.path is None or self._bad_bytes > MOST_BAD_BYTES:
            self.unclear = True
        else:
            self.bad.add(_one_mark(caution.path))
            self._bad_bytes += len(caution.path)

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
        return next((finished for finished in self.finished if finished.exit_status != 0), None)


def run_restic(steps: Steps, restic: Restic, order: RestoreOrder, attempt: Attempt) -> None:
    """Run `restic restore` for one order, waiting for a busy repository; its complaints go to the attempt."""

    def on_log(stream: str, text: str) -> None:
        restic.listener.log(stream, text)
        if text.startswith("ignoring error for "):  # before 0.17.1 errors are plain lines
            attempt.note(_read_line(text))

    def on_error(caution: Caution) -> None:
        attempt.note(caution.model_copy(update={"code": "not_restored"}))

    told = replace(restic.listener, log=on_log)

    def call() -> Finished:
        return replace(restic, listener=told).restore(order, on_error)

    attempt.finished.append(steps.finish(restic, call))


def _read_line(text: str) -> Caution:
    found = _IGNORED.fullmatch(text[: LONGEST_PATH + LONGEST_MESSAGE])
    path = os.fsencode(found["path"]) if found else None
    message = found["message"] if found else text
    is_path = path is not None and len(path) <= LONGEST_PATH
    return Caution(code="not_restored", message=message[:LONGEST_MESSAGE], path=path if is_path else None)


def named(cautions: Sequence[Caution], count: int) -> list[Caution]:
    """The first of so many cautions, and how many more there are."""
    listed = list(cautions[:MOST_NAMED])
    if count > len(listed):
        left = count - len(listed)
        listed.append(Caution(code=listed[0].code, message=f"and {left:,} more of these", count=left))
    return listed


def escaped(path: bytes) -> bytes:
    """A path as a pattern of restic that matches only it."""
    return re.sub(rb"([\\*?\[\]])", rb"\\\1", path)


def as_shown(path: bytes) -> bytes:
    """A path as messages spell it: what is not UTF-8 becomes U+FFFD, here one for any number of bytes."""
    return path if path.isascii() else _one_mark(path.decode("utf-8", "replace").encode())


def _one_mark(path: bytes) -> bytes:
    return re.sub(rb"(?:%s)+" % LOST, LOST, path)


def slices(patterns: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The patterns in portions that fit a command line; one empty portion where there are none: all of it."""
    portion: list[bytes] = []
    size, count = 0, 0
    for pattern in patterns:
        if portion and (len(portion) == PATTERNS_AT_ONCE or size + len(pattern) > PATTERN_BYTES_AT_ONCE):
            yield portion
            portion, size = [], 0
        portion.append(pattern)
        size += len(pattern)
        count += 1
    if portion or not count:
        yield portion
