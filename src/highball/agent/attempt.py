"""`restic restore` as a restore and a proof of one need it: run once or several times, its complaints by path.

Nothing here judges; whoever asked looks at what was written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from highball.agent.steps import Steps
from highball.engine.restic.argv import RestoreOrder
from highball.engine.restic.messages import LOST
from highball.engine.restic.restic import Restic
from highball.engine.restic.trying import Finished
from highball.facts import Caution

PATTERNS_AT_ONCE = 1000
PATTERN_BYTES_AT_ONCE = 1024 * 1024
"""A command line holds twice as much."""

_IGNORED = re.compile(r"ignoring error for (?P<path>.*?): (?P<message>.*)")
_METADATA = re.compile(r"(l?chown|l?chmod|utimes?|mknod|.{0,12}xattr)", re.IGNORECASE)
"""What complaints about anything but content begin with."""


@dataclass
class Attempt:
    """One or more processes of `restic restore`, and every complaint of theirs."""

    finished: list[Finished] = field(default_factory=list)
    cautions: list[Caution] = field(default_factory=list)
    bad: set[bytes] = field(default_factory=set)
    """Paths, as restic spells them, whose content could not be had."""
    unclear: bool = False
    """It complained of something that we cannot attribute to a path."""

    def note(self, caution: Caution) -> None:
        """Take up one complaint."""
        self.cautions.append(caution)
        if _METADATA.match(caution.message):
            return
        if caution.path is None:
            self.unclear = True
        else:
            self.bad.add(_one_mark(caution.path))

    @property
    def failed(self) -> Finished | None:
        """The first process that did not end well."""
        return next((finished for finished in self.finished if finished.exit_status != 0), None)


def run_restic(steps: Steps, restic: Restic, order: RestoreOrder, attempt: Attempt) -> None:
    """Run `restic restore` for one order, waiting for a busy repository; its complaints go to the attempt."""

    def on_log(stream: str, text: str) -> None:
        restic.listener.log(stream, text)
        if text.startswith("ignoring error for "):  # before 0.17.1 errors are plain lines
            found = _IGNORED.fullmatch(text)
            path = os.fsencode(found["path"]) if found else None
            attempt.note(Caution(code="not_restored", message=found["message"] if found else text, path=path))

    told = replace(restic.listener, log=on_log)

    def call() -> Finished:
        finished, cautions = replace(restic, listener=told).restore(order)
        for caution in cautions:
            attempt.note(caution.model_copy(update={"code": "not_restored"}))
        return finished

    attempt.finished.append(steps.finish(restic, call))


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
