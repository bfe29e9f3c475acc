"""The proof of restore: a random sample (or all) of a snapshot really read back, and compared with its source.

A file whose source is unchanged since is compared byte for byte. Where the source changed or is gone, the
engine's own hashes vouch for the content and the size has to be the listed one; these are counted apart. What a
command printed has no source: it is compared with what was counted of it while it was saved.
"""

# Paths of bytes are beyond pathlib.

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import BinaryIO

from highball import humanize
from highball.agent.host_policy import POLICY
from highball.agent.restore.entries import (
    EntryVerdict,
    SnapshotEntry,
    Spool,
    entry_of,
    kind_of,
)
from highball.agent.run.restore_attempt import (
    MOST_NAMED,
    Attempt,
    as_shown,
    named,
    restore_portion,
)
from highball.agent.run.steps import StepResult, Steps
from highball.engine.base import EngineWords, OpenRepository, Portion
from highball.errors import Cancelled, Failed
from highball.model.run import (
    Caution,
    Outcome,
    Printed,
    Progress,
    Reason,
)
from highball.model.snapshot import Node, NodeKind
from highball.model.text import path_for_people
from highball.place.base import Files, Status, identity_of
from highball.protocol.tasks import VerifyTask

SPARE_BYTES = 16 * 1024 * 1024
_BLOCK = 1024 * 1024


def verify(steps: Steps, opened: OpenRepository, task: VerifyTask) -> StepResult:
    """Read a part of a snapshot back and compare it; any difference is a failure `proof_failed`."""
    with _chosen(steps, opened, task) as chosen:
        if not chosen.files or chosen.seen == chosen.markers:
            facts = {"files_compared": 0, "bytes_compared": 0, "files_held": chosen.seen}
            return StepResult(Outcome.WARNING, _nothing(chosen), (), facts)
        with steps.workplace.place.files() as files, _scratch(files, opened, chosen.bytes) as scratch:
            attempt = _read_back(steps, opened, task, chosen, scratch)
            return _Comparison(steps, files, opened.words, chosen, attempt, scratch, task).judged()


# --- choosing ------------------------------------------------------------------------------------


class Reservoir:
    """A fair sample of a stream whose length nobody knows beforehand."""

    def __init__(self, size: int, chance: Random) -> None:
        self.kept: list[SnapshotEntry] = []
        self._size = size
        self._chance = chance
        self._seen = 0

    def offer(self, entry: SnapshotEntry) -> None:
        """Each entry offered has the same chance to be kept."""
        self._seen += 1
        if len(self.kept) < self._size:
            self.kept.append(entry)
        elif (place := self._chance.randrange(self._seen)) < self._size:
            self.kept[place] = entry

    def within(self, most_bytes: int) -> list[SnapshotEntry]:
        """The kept ones in random order, as far as their bytes allow."""
        self._chance.shuffle(self.kept)
        chosen: list[SnapshotEntry] = []
        for entry in self.kept:
            if entry.size <= most_bytes:
                chosen.append(entry)
                most_bytes -= entry.size
        return chosen


@dataclass
class _Chosen:
    """The files to read back: on disk, because it may be all of them."""

    spool: Spool
    whole: bool
    files: int = 0
    bytes: int = 0
    seen: int = 0
    markers: int = 0
    """How many of them only mark a folder that was left out."""

    def add(self, entry: SnapshotEntry) -> None:
        self.spool.write(entry)
        self.files += 1
        self.bytes += entry.size


@contextmanager
def _chosen(steps: Steps, opened: OpenRepository, task: VerifyTask) -> Iterator[_Chosen]:
    chosen = _Chosen(Spool(steps.workplace.scratch), task.all_data)
    try:
        if task.all_data:
            opened.each_node(task.snapshot_id, lambda node: _take(chosen, node, task))
        else:
            _draw(steps, opened, task, chosen)
        yield chosen
    finally:
        chosen.spool.close()


def _see(chosen: _Chosen, node: Node, task: VerifyTask) -> None:
    chosen.seen += 1
    chosen.markers += os.fsdecode(os.path.basename(node.path)) in task.markers


def _take(chosen: _Chosen, node: Node, task: VerifyTask) -> None:
    if node.kind is NodeKind.FILE:
        _see(chosen, node, task)
        if not node.inexact:
            chosen.add(entry_of(0, EntryVerdict.NEW, node))


def _draw(steps: Steps, opened: OpenRepository, task: VerifyTask, chosen: _Chosen) -> None:
    seed = SystemRandom().getrandbits(64)
    steps.log("highball", f"the sample is drawn with seed {seed}")
    filled = Reservoir(task.sample_files, Random(seed))  # noqa: S311 - the seed is from the system, and said
    empty = Reservoir(task.sample_files, Random(seed))  # noqa: S311

    def offer(node: Node) -> None:
        if node.kind is not NodeKind.FILE:
            return
        _see(chosen, node, task)
        if not node.inexact and (node.size_bytes or 0) <= task.sample_bytes:
            (filled if node.size_bytes else empty).offer(entry_of(0, EntryVerdict.NEW, node))

    opened.each_node(task.snapshot_id, offer)
    for entry in filled.within(task.sample_bytes) or empty.within(task.sample_bytes):
        chosen.add(entry)


def _nothing(chosen: _Chosen) -> Reason:
    message = "the snapshot contains no files, so there was nothing to compare"
    if chosen.seen == chosen.markers != 0:
        message = "the snapshot contains only markers of excluded folders, so there was nothing to compare"
    elif chosen.seen:
        message = f"none of the snapshot's {chosen.seen} files fits into the sample, so nothing was compared"
    return Reason(code="nothing_to_compare", message=message)


# --- reading back --------------------------------------------------------------------------------


@contextmanager
def _scratch(files: Files, opened: OpenRepository, size: int) -> Iterator[bytes]:
    """A folder for so many bytes, in the place where they are compared; raises Failed where they have no room."""
    above = files.real_path(os.fsencode(opened.scratch))
    free = files.free_bytes(above)
    if size + SPARE_BYTES > free:
        raise Failed(
            f"{humanize.size(size)} must be restored to {opened.scratch}, where only {humanize.size(free)} are free",
            code="no_space",
            hint="free some space there, or test a sample",
        )
    path = above + b"/verify-" + os.urandom(6).hex().encode()
    with files.make_folder(path):
        pass
    try:
        yield path
    finally:
        files.remove_tree(path)


def _read_back(
    steps: Steps, opened: OpenRepository, task: VerifyTask, chosen: _Chosen, scratch: bytes
) -> Attempt:
    attempt = Attempt()
    paths = iter(()) if chosen.whole else (entry.path for entry in chosen.spool.read())
    for some in opened.portions(paths):
        restore_portion(steps, opened, Portion(task.snapshot_id, b"/", some, scratch), attempt)
    if steps.stop.requested or any(finished.stopped for finished in attempt.finished):
        raise Cancelled("cancelled before anything was compared")
    failed = attempt.failed
    if failed is not None and not attempt.cautions:
        failed.demand()
    return attempt


# --- comparing -----------------------------------------------------------------------------------


@dataclass
class _Comparison:
    """What was read back, file by file against its source."""

    steps: Steps
    files: Files
    words: EngineWords
    chosen: _Chosen
    attempt: Attempt
    scratch: bytes
    task: VerifyTask
    compared: int = 0
    """Byte for byte with the source, or with what was counted of what a command printed."""
    read: int = 0
    """Only read back: the source changed since, is gone, or may not be compared."""
    withheld: int = 0
    """Of these, those that the host's policy does not let anybody compare."""
    bytes_done: int = 0
    wrong: int = 0
    problems: list[Caution] = field(default_factory=list)
    told_at: float = field(default_factory=time.monotonic)

    def judged(self) -> StepResult:
        """Compare all of them."""
        for entry in self.chosen.spool.read():
            if self.steps.stop.requested:
                raise Cancelled(f"cancelled after {self.compared + self.read} of {self.chosen.files} files")
            self._compare(entry)
            self._tell()
        return self._done()

    def _compare(self, entry: SnapshotEntry) -> None:
        restored = self.scratch + entry.path
        there = self.files.status(restored)
        if as_shown(entry.path) in self.attempt.bad or there is None:
            return self._note(entry, "could not be restored")
        if kind_of(there) is not NodeKind.FILE or there.st_size != entry.size:
            return self._note(entry, f"restored with {there.st_size} bytes, not {entry.size}")
        same = self._is_same(restored, entry)
        if same is False:
            differs = "the output of its command" if self.task.stream else "the unchanged source"
            return self._note(entry, f"the content differs from {differs}")
        self.compared += same is True
        self.read += same is None
        self.bytes_done += entry.size
        return None

    def _is_same(self, restored: bytes, entry: SnapshotEntry) -> bool | None:
        """Whether a copy equals what was saved; None where its own hashes alone tell.

        What a command printed lies nowhere here: it is known by what was counted of it.
        """
        if self.task.stream:
            printed = self.task.printed
            return None if printed is None else _is_printed(self.files, restored, printed)
        return _is_same(self.files, restored, entry) if self._may_look(entry) else None

    def _may_look(self, entry: SnapshotEntry) -> bool:
        """Whether this host allows its own file to be compared with what was saved."""
        allowed = self.steps.workplace.may_read(entry.path)
        self.withheld += not allowed
        return allowed

    def _note(self, entry: SnapshotEntry, message: str) -> None:
        self.wrong += 1
        if len(self.problems) < MOST_NAMED:
            self.problems.append(Caution(code="proof_failed", message=message, path=entry.path))

    def _tell(self) -> None:
        if time.monotonic() - self.told_at >= 1:
            self.told_at = time.monotonic()
            files, size = self.chosen.files, self.chosen.bytes
            done = self.compared + self.read
            self.steps.progress(
                Progress(files_done=done, files_total=files, bytes_done=self.bytes_done, bytes_total=size)
            )

    def _done(self) -> StepResult:
        done, held = self.compared + self.read, self.chosen.seen
        facts = {"files_compared": done, "bytes_compared": self.bytes_done, "files_held": held}
        said_of_it = self.attempt.cautions
        said = [
            *named(self.problems, self.wrong),
            *named(said_of_it, len(said_of_it) + self.attempt.unlisted),
        ]
        if self.wrong or self.attempt.bad or self.attempt.unclear:
            return StepResult(
                Outcome.FAILURE, Reason(code="proof_failed", message=self._failure()), said, facts
            )
        came = humanize.sample(done, held)
        message = f"{came} restored, identical to the source"
        if self.task.stream and self.compared:
            message = f"{came} restored, identical to the output of the command (by SHA-256)"
        elif self.task.stream:
            message = f"{came} restored completely; not compared, as the output of the command is not known any more"
        elif self.read:
            message = f"{came} restored, {self.compared:,} of them identical to their sources"
            message += f"; the sources of {self.read:,} have changed or are gone"
            if self.withheld:
                message += f", or may not be read here ({self.withheld:,}), by read in {POLICY}"
        return StepResult(Outcome.SUCCESS, Reason(code="compared", message=message), (), facts)

    def _failure(self) -> str:
        if not self.problems:
            return f"{self.words.name} could not restore all of it: {self.attempt.cautions[0].message}"
        first = "; ".join(f"{path_for_people(p.path or b'')}: {p.message}" for p in self.problems[:3])
        return f"{self.wrong} of {self.chosen.files} files differ from what was saved: {first}"


def _is_printed(files: Files, restored: bytes, printed: Printed) -> bool:
    digest = hashlib.sha256()
    with files.open(restored) as copy:
        while block := copy.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest() == printed.sha256


def _is_same(files: Files, restored: bytes, entry: SnapshotEntry) -> bool | None:
    """Whether a copy equals its source; None where the source is not the same any more."""
    folder, _, name = entry.path.rpartition(b"/")
    with files.open(restored) as copy:
        try:
            path = files.real_path(folder or b"/", strict=True).rstrip(b"/") + b"/" + name
            before = files.status(path)
            if before is None or not _is_unchanged(before, entry):
                return None
            with files.open(path) as source:
                same = _is_equal(copy, source)
            after = files.status(path)
        except OSError:
            return None
    return same if after is not None and _is_steady(before, after) else None


def _is_steady(before: Status, after: Status) -> bool:
    return identity_of(after) == identity_of(before) and after.st_ctime_ns == before.st_ctime_ns


def _is_unchanged(seen: Status, entry: SnapshotEntry) -> bool:
    return (
        kind_of(seen) is NodeKind.FILE
        and seen.st_size == entry.size
        and seen.st_mtime_ns == entry.modified_ns
    )


def _is_equal(left: BinaryIO, right: BinaryIO) -> bool:
    while True:
        block, other = left.read(_BLOCK), right.read(_BLOCK)
        if block != other:
            return False
        if not block:
            return True
