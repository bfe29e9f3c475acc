"""Put staged entries where they belong, one by one, never through a link.

A restic without an overwrite rule of its own (before 0.17), and every restore that meets an entry of another
kind, writes into a staging directory first. From there entries are moved, and each move is judged again by the
rule, because hours may lie between the plan and the move. Nothing here starts a program.
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

from highball.agent.entries import Entry, Verdict, judge
from highball.agent.ground import Ground, is_below
from highball.agent.sweeping import remove_tree
from highball.facts import NodeKind
from highball.protocol import Overwrite

_BLOCK = 1024 * 1024
_ASIDES = b"/asides"
"""In a staging directory: where each thing that was put aside came from."""

_REFRESHING = frozenset({Overwrite.ALWAYS, Overwrite.IF_CHANGED})
"""The rules that give an entry that is there the mode, owner and time of the snapshot, as restic does."""

OnTrouble = Callable[[bytes, OSError], None]


@dataclass(frozen=True)
class Traits:
    """What an entry has besides its content."""

    mode: int
    uid: int
    gid: int
    modified_ns: int

    @classmethod
    def of(cls, seen: os.stat_result) -> Traits:
        """Those of an entry that is there."""
        return cls(stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid, seen.st_mtime_ns)


def give_traits(ground: Ground, path: bytes, traits: Traits) -> None:
    """Set owner, mode and time of what lies at a path, links themselves included; raises OSError.

    An owner that only root may give is passed over where we are not root, as `cp -p` does.
    """
    with ground.hold(path) as held:
        seen = os.fstat(held)
        if stat.S_ISLNK(seen.st_mode):
            folder, name = ground.locate(path)
            _give_owner(traits, seen, lambda u, g: os.chown(name, u, g, dir_fd=folder, follow_symlinks=False))
            _give_time(traits, seen, lambda ns: os.utime(name, ns=ns, dir_fd=folder, follow_symlinks=False))
            return
        way = f"/proc/self/fd/{held}"
        _give_owner(traits, seen, lambda u, g: os.chown(way, u, g))
        os.chmod(way, traits.mode)  # after the owner: changing that clears set-id bits
        _give_time(traits, seen, lambda ns: os.utime(way, ns=ns))


def _give_owner(traits: Traits, seen: os.stat_result, change: Callable[[int, int], None]) -> None:
    if (seen.st_uid, seen.st_gid) == (traits.uid, traits.gid):
        return
    try:
        change(traits.uid, traits.gid)
    except PermissionError:
        if os.geteuid() == 0:
            raise


def _give_time(traits: Traits, seen: os.stat_result, change: Callable[[tuple[int, int]], None]) -> None:
    change((seen.st_atime_ns, traits.modified_ns))


class Staging:
    """A directory of ours on the target's file system, removed at the end whatever happens."""

    def __init__(self, folder: bytes, name: bytes) -> None:
        self.path = folder.rstrip(b"/") + b"/" + name
        self.left: OSError | None = None
        """Why something of it is still there, after the end."""

    def __enter__(self) -> Self:
        os.mkdir(self.path, 0o700)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.left = clear_away_staging(self.path)


class Placer:
    """Moves the entries of one staged tree to their targets, in the order of the listing."""

    def __init__(
        self,
        aside: bytes,
        rule: Overwrite,
        on_trouble: OnTrouble,
        *,
        whole_folders: bool = True,
    ) -> None:
        self._aside = aside
        self._rule = rule
        self._on_trouble = on_trouble
        self._whole_folders = whole_folders
        self._staged = Ground()
        self._target = Ground()
        self._came_along: bytes | None = None
        self._blocked: bytes | None = None
        self._open: list[tuple[bytes, Traits]] = []
        self._asides = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave_all_but(None)
        self._staged.close()
        self._target.close()

    def place(self, entry: Entry, staged: bytes, target: bytes) -> None:
        """Move one entry, if the rule still says so; what the file system refuses is told and passed over."""
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
        verdict = judge(entry, there, self._rule)
        if verdict is Verdict.OTHER_KEPT:
            self._blocked = target
        elif entry.kind is NodeKind.DIRECTORY:
            self._place_folder(verdict, staged, target)
        elif verdict in (Verdict.NEW, Verdict.REPLACED, Verdict.OTHER_REPLACED):
            self._move(staged, target)
        elif verdict is Verdict.UNCHANGED:
            self._refresh(entry, staged, target)

    # --- folders ---

    def _place_folder(self, verdict: Verdict, staged: bytes, target: bytes) -> None:
        source = self._staged.status(staged)
        if source is None:
            raise FileNotFoundError(errno.ENOENT, "restic did not restore it")
        self._unlock(staged, Traits.of(source))
        if verdict is Verdict.OTHER_REPLACED:
            self._replace_stand_in(staged, target, Traits.of(source))
        elif verdict is Verdict.NEW:
            self._bring_folder(staged, target, Traits.of(source))
        else:
            there = self._target.status(target)
            keep = self._rule not in _REFRESHING and there is not None
            self._open.append((target, Traits.of(there if keep and there is not None else source)))

    def _bring_folder(self, staged: bytes, target: bytes, traits: Traits) -> None:
        if self._whole_folders and self._rename_folder(staged, target, traits):
            self._came_along = target
            return
        folder, name = self._target.locate(target)
        os.mkdir(name, 0o700, dir_fd=folder)
        self._open.append((target, traits))

    def _rename_folder(self, staged: bytes, target: bytes, traits: Traits) -> bool:
        """Move a folder with all that is in it; False where another file system begins at the target."""
        try:
            self._rename(staged, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return False
        finally:
            self._staged.forget()
        if _is_locked(traits):
            give_traits(self._target, target, traits)
        return True

    def _unlock(self, staged: bytes, traits: Traits) -> None:
        """Nothing can be moved out of a folder without write permission, nor the folder itself."""
        if _is_locked(traits):
            give_traits(self._staged, staged, replace(traits, mode=traits.mode | 0o700))

    def _replace_stand_in(self, staged: bytes, target: bytes, traits: Traits) -> None:
        """A file or link stands where a folder belongs: put it aside, and back should the folder not get there."""
        aside = put_aside(self._target, target, self._aside, self._asides)
        self._asides += 1
        try:
            self._bring_folder(staged, target, traits)
        except OSError:
            aside.put_back()
            raise

    def _leave_all_but(self, target: bytes | None) -> None:
        """Give the folders that are complete now their own traits, innermost first."""
        while self._open and (target is None or not is_below(target, self._open[-1][0])):
            path, traits = self._open.pop()
            try:
                give_traits(self._target, path, traits)
            except OSError as error:
                self._on_trouble(path, error)

    # --- everything else ---

    def _rename(self, staged: bytes, target: bytes) -> None:
        source_folder, source = self._staged.locate(staged)
        folder, name = self._target.locate(target)
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
        try:
            self._copy(staged, target[: len(target) - len(name)] + beside)
            os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside, dir_fd=folder)
            raise

    def _copy(self, staged: bytes, beside: bytes) -> None:
        seen = self._staged.status(staged)
        if seen is None:
            raise FileNotFoundError(errno.ENOENT, "restic did not restore it")
        source_folder, source = self._staged.locate(staged)
        folder, name = self._target.locate(beside)
        if stat.S_ISLNK(seen.st_mode):
            os.symlink(os.readlink(source, dir_fd=source_folder), name, dir_fd=folder)
        elif stat.S_ISREG(seen.st_mode):
            _copy_file(source_folder, source, folder, name)
        else:
            os.mknod(name, stat.S_IFMT(seen.st_mode) | 0o600, seen.st_rdev, dir_fd=folder)
        give_traits(self._target, beside, Traits.of(seen))

    def _refresh(self, entry: Entry, staged: bytes, target: bytes) -> None:
        """It is there with the same size and time: under `always` the content decides, else only its traits follow."""
        if self._rule not in _REFRESHING:
            return
        if self._rule is Overwrite.ALWAYS and not self._same_content(entry, staged, target):
            self._move(staged, target)
            return
        source = self._staged.status(staged)
        with contextlib.suppress(PermissionError):  # it belongs to somebody else, and its content is right
            if source is not None:
                give_traits(self._target, target, Traits.of(source))

    def _same_content(self, entry: Entry, staged: bytes, target: bytes) -> bool:
        if entry.kind is NodeKind.SYMLINK:
            return self._staged.read_link(staged) == self._target.read_link(target)
        if entry.kind is not NodeKind.FILE:
            return True
        with self._staged.open(staged) as left, self._target.open(target) as right:
            return all(block == right.read(_BLOCK) for block in _blocks(left))


@dataclass(frozen=True)
class Aside:
    """An entry that was moved out of the way, and the way back."""

    ground: Ground
    path: bytes
    kept: bytes

    def put_back(self) -> None:
        """Undo it."""
        folder, name = self.ground.locate(self.path)
        os.rename(self.kept, name, dst_dir_fd=folder)


def put_aside(ground: Ground, path: bytes, into: bytes, number: int) -> Aside:
    """Move what stands at a path into a directory of ours, where from is on disk before."""
    folder, name = ground.locate(path)
    kept = into + b"/aside-%d" % number
    _note_aside(into, kept, path)
    os.rename(name, kept, src_dir_fd=folder)
    return Aside(ground, path, kept)


def _note_aside(into: bytes, kept: bytes, path: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(into + _ASIDES, flags, 0o600), "ab") as noted:
        noted.write(kept + b"\0" + path + b"\0")
        noted.flush()
        os.fsync(noted.fileno())


def clear_away_staging(path: bytes) -> OSError | None:
    """Remove a staging directory, once what its restore put aside and nothing took the place of is back.

    Returns why something of it is left: it is kept whole where something could not be put back.
    """
    try:
        with Ground() as ground:
            for aside in _list_asides(ground, path):
                if os.path.lexists(aside.kept) and ground.status(aside.path) is None:
                    aside.put_back()
    except OSError as error:
        return error
    return remove_tree(path)


def _list_asides(ground: Ground, staging: bytes) -> list[Aside]:
    try:
        with open(os.open(staging + _ASIDES, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as noted:
            parts = noted.read().split(b"\0")[:-1]
    except FileNotFoundError:
        return []
    return [Aside(ground, path, kept) for kept, path in zip(parts[::2], parts[1::2], strict=False)]


def _is_locked(traits: Traits) -> bool:
    return os.geteuid() != 0 and traits.mode & 0o300 != 0o300


def _blocks(opened: Any) -> Iterator[bytes]:
    while True:
        block: bytes = opened.read(_BLOCK)
        yield block
        if not block:
            return


def _copy_file(source_folder: int, source: bytes, folder: int, name: bytes) -> None:
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source_folder)
    with open(reading, "rb") as left:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=folder), "wb") as right:
            shutil.copyfileobj(left, right, _BLOCK)
            for attribute in os.listxattr(left.fileno()):
                with contextlib.suppress(OSError):
                    os.setxattr(right.fileno(), attribute, os.getxattr(left.fileno(), attribute))
