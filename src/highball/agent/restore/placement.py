"""Put staged entries where they belong, one by one, by handles and never through a link.

restic writes into a staging directory, except into a folder that Highball itself has just made. From there entries
are moved, and each move is judged again by the rule, because hours may lie between the plan and the move. A folder
that gains an entry keeps its time. Nothing here starts a program.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from highball.agent.restore.entries import (
    WANTED,
    Entry,
    Verdict,
    judge,
    traits_of,
)
from highball.agent.restore.staging import (
    Staging,
    make_folder,
    put_aside,
)
from highball.model.paths import is_below
from highball.model.snapshot import NodeKind
from highball.place.attributes import (
    Traits,
    give_attributes,
    give_traits,
)
from highball.place.local_files import Ground, is_safe, undisturbed
from highball.place.rmtree import Identity, identity_of
from highball.protocol.tasks import Overwrite

_BLOCK = 1024 * 1024
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
REFRESHING = frozenset({Overwrite.ALWAYS, Overwrite.IF_CHANGED})
"""The rules that give an entry that is there the mode, owner and time of the snapshot, as restic does."""

OnTrouble = Callable[[bytes, OSError], None]


@dataclass(frozen=True)
class _Open:
    """A folder that is being filled, and what it is to have when it is complete."""

    staged: bytes
    target: bytes
    traits: Traits
    identity: Identity


class Placer:
    """Moves the entries of one staged tree to their targets, in the order of the listing."""

    def __init__(
        self, staging: Staging, rule: Overwrite, on_trouble: OnTrouble, *, whole_folders: bool = True
    ) -> None:
        self._staging = staging
        self._rule = rule
        self._on_trouble = on_trouble
        self._whole_folders = whole_folders
        self._staged = Ground(staging.folder)
        self._target = Ground()
        self._came_along: bytes | None = None
        self._blocked: bytes | None = None
        self._open: list[_Open] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave_all_but(None)
        self._staged.close()
        self._target.close()

    def place(self, entry: Entry, staged: bytes, target: bytes) -> None:
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

    def _place(self, entry: Entry, staged: bytes, target: bytes) -> None:
        there = self._target.status(target)
        verdict = judge(entry, there, self._rule, lambda: is_safe(os.path.dirname(target)))
        source = self._staged.status(staged)
        if verdict is Verdict.OTHER_KEPT:
            self._blocked = target
        elif verdict is Verdict.UNCHANGED and there is not None:
            if entry.kind is NodeKind.DIRECTORY:
                self._enter_folder(entry, staged, target, there)
            else:
                self._refresh(entry, staged, target, there)
        elif verdict in WANTED and source is not None:
            self._bring(entry, verdict, staged, target)
        elif verdict in WANTED and entry.verdict in WANTED:
            raise FileNotFoundError(errno.ENOENT, "restic did not restore it")

    def _bring(self, entry: Entry, verdict: Verdict, staged: bytes, target: bytes) -> None:
        if entry.kind is not NodeKind.DIRECTORY:
            self._move(staged, target)
            return
        traits = self._unlock(staged)
        if verdict is Verdict.OTHER_REPLACED:
            self._replace_stand_in(staged, target, traits)
        else:
            self._bring_folder(staged, target, traits)

    # --- folders ---

    def _enter_folder(self, entry: Entry, staged: bytes, target: bytes, there: os.stat_result) -> None:
        """It is there: it is given what the snapshot says once all that belongs into it is in it."""
        if self._staged.status(staged) is not None:
            self._unlock(staged)
        if self._rule in REFRESHING:
            self._open.append(_Open(staged, target, traits_of(entry), identity_of(there)))

    def _bring_folder(self, staged: bytes, target: bytes, traits: Traits) -> None:
        if self._whole_folders and self._rename_folder(staged, target, traits):
            self._came_along = target
            return
        folder, name = self._target.locate(target)
        made = make_folder(folder, name)
        self._open.append(_Open(staged, target, traits, identity_of(os.fstat(made))))
        os.close(made)

    def _rename_folder(self, staged: bytes, target: bytes, traits: Traits) -> bool:
        """Move a folder with all that is in it; False where another file system begins at the target."""
        source = self._staged.status(staged)
        try:
            self._rename(staged, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return False
        finally:
            self._staged.forget()
        if traits.locks_us and source is not None:
            self._give(_Open(staged, target, traits, identity_of(source)))
        return True

    def _unlock(self, staged: bytes) -> Traits:
        """Nothing can be moved out of a folder without write permission, nor the folder itself; its own traits."""
        with self._staged.hold(staged) as held:
            traits = Traits.of(os.fstat(held))
            if traits.locks_us:
                give_traits(held, replace(traits, mode=traits.mode | 0o700))
        return traits

    def _replace_stand_in(self, staged: bytes, target: bytes, traits: Traits) -> None:
        """A file or link stands where a folder belongs: put it aside, and back should the folder not get there."""
        aside = put_aside(self._target, target, self._staging)
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

    def _give(self, complete: _Open) -> None:
        with self._target.hold(complete.target) as held:
            _demand_same(held, complete.identity)
            give_attributes(self._staged, complete.staged, held)
            give_traits(held, complete.traits)

    # --- everything else ---

    def _rename(self, staged: bytes, target: bytes) -> None:
        source_folder, source = self._staged.locate(staged)
        folder, name = self._target.locate(target)
        with undisturbed(folder):
            os.rename(source, name, src_dir_fd=source_folder, dst_dir_fd=folder)

    def _move(self, staged: bytes, target: bytes) -> None:
        try:
            self._rename(staged, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._carry_over(staged, target)

    def _carry_over(self, staged: bytes, target: bytes) -> None:
        """Move across file systems: a copy beside the target first, then one rename."""
        folder, name = self._target.locate(target)
        beside = b".highball-" + os.urandom(6).hex().encode()
        with undisturbed(folder):
            try:
                self._copy(staged, folder, beside)
                os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(beside, dir_fd=folder)
                raise

    def _copy(self, staged: bytes, folder: int, beside: bytes) -> None:
        source_folder, source = self._staged.locate(staged)
        seen = os.stat(source, dir_fd=source_folder, follow_symlinks=False)
        if stat.S_ISREG(seen.st_mode):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            made = os.open(beside, flags, 0o600, dir_fd=folder)
        else:
            made = _make_special(source_folder, source, seen, folder, beside)
        try:
            if stat.S_ISREG(seen.st_mode):
                with self._staged.open(staged) as left, open(made, "wb", closefd=False) as right:
                    shutil.copyfileobj(left, right, _BLOCK)
            give_attributes(self._staged, staged, made)
            give_traits(made, Traits.of(seen))
        finally:
            os.close(made)

    def _refresh(self, entry: Entry, staged: bytes, target: bytes, there: os.stat_result) -> None:
        """It is there with the same size and time: under `always` the content decides, else only its traits follow."""
        if self._rule not in REFRESHING:
            return
        if self._rule is Overwrite.ALWAYS and not self._same_content(entry, staged, target):
            self._move(staged, target)
            return
        with contextlib.suppress(PermissionError), self._target.hold(target) as held:
            _demand_same(held, identity_of(there))
            give_attributes(self._staged, staged, held)
            give_traits(held, traits_of(entry))

    def _same_content(self, entry: Entry, staged: bytes, target: bytes) -> bool:
        if entry.kind is NodeKind.SYMLINK:
            return self._staged.read_link(staged) == self._target.read_link(target)
        if entry.kind is not NodeKind.FILE:
            return True
        with self._staged.open(staged) as left, self._target.open(target) as right:
            return all(block == right.read(_BLOCK) for block in _blocks(left))


def _demand_same(held: int, identity: Identity) -> None:
    if identity_of(os.fstat(held)) != identity:
        raise BlockingIOError(errno.EAGAIN, "somebody else put another one in its place")


def _make_special(source_folder: int, source: bytes, seen: os.stat_result, folder: int, beside: bytes) -> int:
    """A link, pipe or device beside its place, held; raises OSError where it is not what was just made."""
    if stat.S_ISLNK(seen.st_mode):
        os.symlink(os.readlink(source, dir_fd=source_folder), beside, dir_fd=folder)
    else:
        os.mknod(beside, stat.S_IFMT(seen.st_mode) | 0o600, seen.st_rdev, dir_fd=folder)
    made = os.open(beside, _LOOK, dir_fd=folder)
    there = os.fstat(made)
    if stat.S_IFMT(there.st_mode) != stat.S_IFMT(seen.st_mode) or there.st_nlink != 1:
        os.close(made)
        raise BlockingIOError(errno.EAGAIN, "somebody else put another one in its place")
    return made


def _blocks(opened: Any) -> Iterator[bytes]:
    while True:
        block: bytes = opened.read(_BLOCK)
        yield block
        if not block:
            return
