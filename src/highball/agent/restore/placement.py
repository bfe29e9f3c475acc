"""Put staged entries where they belong, one by one, and never through a link.

An engine writes into a staging directory, except into a folder that Highball itself has just made. From there entries
are moved, and each move is judged again by the rule, because hours may lie between the plan and the move. A folder
that gains an entry keeps its time. Nothing here starts a program.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import BinaryIO, Self

from highball.agent.restore.entries import (
    WANTED,
    EntryVerdict,
    SnapshotEntry,
    judge,
    traits_of,
)
from highball.agent.restore.staging import Staging, put_aside
from highball.model.paths import is_below
from highball.model.snapshot import NodeKind
from highball.place.base import Files, HeldEntry, Identity, Status, Traits, identity_of
from highball.protocol.tasks import Overwrite

_BLOCK = 1024 * 1024
REFRESHING = frozenset({Overwrite.ALWAYS, Overwrite.IF_CHANGED})
"""The rules that give an entry that is there the mode, owner and time of the snapshot."""

OnTrouble = Callable[[bytes, OSError], None]


@dataclass(frozen=True)
class _OpenFolder:
    """A folder that is being filled, and what it is to have when it is complete."""

    staged: bytes
    target: bytes
    traits: Traits
    identity: Identity


class Placer:
    """Moves the entries of one staged tree to their targets, in the order of the listing."""

    def __init__(
        self,
        files: Files,
        staging: Staging,
        rule: Overwrite,
        on_trouble: OnTrouble,
        *,
        whole_folders: bool = True,
    ) -> None:
        self._rule = rule
        self._on_trouble = on_trouble
        self._whole_folders = whole_folders
        self._staged = staging.inside
        self._target = files
        self._came_along: bytes | None = None
        self._blocked: bytes | None = None
        self._open: list[_OpenFolder] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave_all_but(None)

    def place(self, entry: SnapshotEntry, staged: bytes, target: bytes) -> None:
        """Move one entry, if the rule still says so; what the file system refuses is told and passed over.

        `staged` is its path in the staging directory. What was not to be restored need not be there.
        """
        if self._passed_over(target):
            return
        self._leave_all_but(target)
        try:
            self._place(entry, staged, target)
        except OSError as error:
            self._on_trouble(target, error)

    def _passed_over(self, target: bytes) -> bool:
        return any(top is not None and is_below(target, top) for top in (self._came_along, self._blocked))

    def _place(self, entry: SnapshotEntry, staged: bytes, target: bytes) -> None:
        there = self._target.status(target)
        verdict = judge(
            entry, there, self._rule, self._target.user, lambda: self._target.is_safe(os.path.dirname(target))
        )
        source = self._staged.status(staged)
        if verdict is EntryVerdict.OTHER_KEPT:
            self._blocked = target
        elif verdict is EntryVerdict.UNCHANGED and there is not None:
            if entry.kind is NodeKind.DIRECTORY:
                self._enter_folder(entry, staged, target, there)
            else:
                self._refresh(entry, staged, target, there)
        elif verdict in WANTED and source is not None:
            self._bring(entry, verdict, staged, target)
        elif verdict in WANTED and entry.verdict in WANTED:
            raise FileNotFoundError(errno.ENOENT, "it was not restored")

    def _bring(self, entry: SnapshotEntry, verdict: EntryVerdict, staged: bytes, target: bytes) -> None:
        if entry.kind is not NodeKind.DIRECTORY:
            self._move(staged, target)
            return
        traits = self._unlock(staged)
        if verdict is EntryVerdict.OTHER_REPLACED:
            self._replace_stand_in(staged, target, traits)
        else:
            self._bring_folder(staged, target, traits)

    # --- folders ---

    def _enter_folder(self, entry: SnapshotEntry, staged: bytes, target: bytes, there: Status) -> None:
        """It is there: it is given what the snapshot says once all that belongs into it is in it."""
        if self._staged.status(staged) is not None:
            self._unlock(staged)
        if self._rule in REFRESHING:
            self._open.append(_OpenFolder(staged, target, traits_of(entry), identity_of(there)))

    def _bring_folder(self, staged: bytes, target: bytes, traits: Traits) -> None:
        if self._whole_folders and self._rename_folder(staged, target, traits):
            self._came_along = target
            return
        with self._target.make_folder(target) as made:
            self._open.append(_OpenFolder(staged, target, traits, identity_of(made.status())))

    def _rename_folder(self, staged: bytes, target: bytes, traits: Traits) -> bool:
        """Move a folder with all that is in it; False where another file system begins at the target."""
        source = self._staged.status(staged)
        try:
            self._target.move(staged, target, self._staged)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return False
        finally:
            self._staged.forget()
        if traits.locks_out(self._target.user) and source is not None:
            self._give(_OpenFolder(staged, target, traits, identity_of(source)))
        return True

    def _unlock(self, staged: bytes) -> Traits:
        """Nothing can be moved out of a folder without write permission, nor the folder itself; its own traits."""
        with self._staged.hold(staged) as held:
            traits = Traits.of(held.status())
            if traits.locks_out(self._target.user):
                held.give(replace(traits, mode=traits.mode | 0o700))
        return traits

    def _replace_stand_in(self, staged: bytes, target: bytes, traits: Traits) -> None:
        """A file or link stands where a folder belongs: put it aside, and back should the folder not get there."""
        aside = put_aside(self._target, target, self._staged)
        try:
            self._bring_folder(staged, target, traits)
        except OSError:
            aside.put_back()
            raise

    def _leave_all_but(self, target: bytes | None) -> None:
        """Give the folders that are complete now their own traits, innermost first."""
        while self._open and (target is None or not is_below(target, self._open[-1].target)):
            complete = self._open.pop()
            try:
                self._give(complete)
            except OSError as error:
                self._on_trouble(complete.target, error)

    def _give(self, complete: _OpenFolder) -> None:
        with self._target.hold(complete.target) as held:
            _demand_same(held, complete.identity)
            self._give_attributes(complete.staged, held)
            held.give(complete.traits)

    def _give_attributes(self, staged: bytes, held: HeldEntry) -> None:
        """Those of what was staged, where it is there."""
        with contextlib.suppress(OSError), self._staged.hold(staged) as model:
            held.take_attributes(model)

    # --- everything else ---

    def _move(self, staged: bytes, target: bytes) -> None:
        try:
            self._target.move(staged, target, self._staged)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._target.carry(staged, target, self._staged)

    def _refresh(self, entry: SnapshotEntry, staged: bytes, target: bytes, there: Status) -> None:
        """It is there with the same size and time: under `always` the content decides, else only its traits follow."""
        if self._rule not in REFRESHING:
            return
        if self._rule is Overwrite.ALWAYS and not self._same_content(entry, staged, target):
            self._move(staged, target)
            return
        with contextlib.suppress(PermissionError), self._target.hold(target) as held:
            _demand_same(held, identity_of(there))
            self._give_attributes(staged, held)
            held.give(traits_of(entry))

    def _same_content(self, entry: SnapshotEntry, staged: bytes, target: bytes) -> bool:
        if entry.kind is NodeKind.SYMLINK:
            return self._staged.read_link(staged) == self._target.read_link(target)
        if entry.kind is not NodeKind.FILE:
            return True
        with self._staged.open(staged) as left, self._target.open(target) as right:
            return all(block == right.read(_BLOCK) for block in _blocks(left))


def _demand_same(held: HeldEntry, identity: Identity) -> None:
    if identity_of(held.status()) != identity:
        raise BlockingIOError(errno.EAGAIN, "somebody else put another one in its place")


def _blocks(opened: BinaryIO) -> Iterator[bytes]:
    while True:
        block = opened.read(_BLOCK)
        yield block
        if not block:
            return
