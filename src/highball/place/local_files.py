"""The files of this machine, or of an open folder of it: walked by handles, and never through a link."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Self

from highball.errors import Failed
from highball.model.paths import ancestors, is_below
from highball.model.text import path_for_people
from highball.place.base import Files, HeldEntry, Identity, Listed, Status, Traits, identity_of
from highball.place.rmtree import empty, sweep
from highball.process.child import Inside

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40
"""So many links a path may go through, as Linux has it."""
_BLOCK = 1024 * 1024
_OTHER_ROOT = re.compile(rb"/proc/[0-9]+/root(?=/|$)")
"""A link of the kernel's own: it leads to the root of a process, whatever it says where that may lie."""


class LocalHeld:
    """An entry by its handle, which is closed at the end."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def status(self) -> os.stat_result:
        """What is known of it now."""
        return os.fstat(self._handle)

    def give(self, traits: Traits) -> None:
        """As `chown`, `chmod` and `utime` do; `cp -p` passes over an owner in the same way."""
        seen, way = self.status(), _way_to(self._handle)
        if (seen.st_uid, seen.st_gid) != (traits.uid, traits.gid):
            try:
                os.chown(way, traits.uid, traits.gid)
            except PermissionError:
                if os.geteuid() == 0:
                    raise
        if not stat.S_ISLNK(seen.st_mode):
            os.chmod(way, traits.mode)  # after the owner: changing that clears set-id bits
        os.utime(way, ns=(seen.st_atime_ns, traits.modified_ns))

    def take_attributes(self, model: HeldEntry) -> None:
        """Name by name, as far as we may."""
        assert isinstance(model, LocalHeld)
        with contextlib.suppress(OSError):
            for name in os.listxattr(_way_to(model._handle)):
                with contextlib.suppress(OSError):
                    os.setxattr(_way_to(self._handle), name, os.getxattr(_way_to(model._handle), name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


class LocalFiles:
    """The file system from `/` down, or from an open folder, whose handle is closed at the end."""

    def __init__(self, start: int | None = None) -> None:
        self._start = start
        self._at: bytes | None = None
        self._folder = -1

    @property
    def user(self) -> int:
        """Ours."""
        return os.geteuid()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the last folder, and of the one at which it begins."""
        self.forget()
        if self._start is not None:
            os.close(self._start)
            self._start = None

    def forget(self) -> None:
        """Let go of the last folder: after it was moved, what is remembered of it is wrong."""
        if self._folder >= 0:
            os.close(self._folder)
        self._folder, self._at = -1, None

    # --- the way there ---

    def _locate(self, path: bytes) -> tuple[int, bytes]:
        """The handle of the folder that holds the entry, valid until the next call, and the entry's name."""
        above, _, name = path.rpartition(b"/")
        return self._reach(above), name or b"."

    @contextmanager
    def _located(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """The same, with a handle of its own: the other entry may be of this very view, whose next look forgets it."""
        folder, name = self._locate(path)
        held = os.dup(folder)
        try:
            yield held, name
        finally:
            os.close(held)

    def _reach(self, folder: bytes) -> int:
        if self._at is not None and folder == self._at:
            return self._folder
        elsewhere = _OTHER_ROOT.match(folder) if self._start is None else None
        below = self._at is not None and is_below(folder, self._at)
        if elsewhere is not None and not (below and _OTHER_ROOT.match(self._at or b"")):
            reached, names = os.open(elsewhere[0], os.O_PATH | os.O_DIRECTORY), folder[elsewhere.end() :]
        else:
            reached = os.dup(self._folder) if below else self._begin()
            names = folder[len(self._at or b"") :] if below else folder
        try:
            for name in filter(None, names.split(b"/")):
                reached, last = os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=reached), reached
                os.close(last)
        except OSError:
            os.close(reached)
            raise
        self.forget()
        self._at, self._folder = folder, reached
        return reached

    def _begin(self) -> int:
        return os.open(b"/", _LOOK | os.O_DIRECTORY) if self._start is None else os.dup(self._start)

    # --- looking ---

    def status(self, path: bytes) -> os.stat_result | None:
        """What lies there, a link as itself; None where nothing does, or its folder is none."""
        try:
            folder, name = self._locate(path)
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def look(self, path: bytes) -> os.stat_result | None:
        """The same behind links on the way."""
        above, _, name = path.rpartition(b"/")
        try:
            if self._start is None:
                return os.lstat(path)
            return self.status(self.real_path(above or b"/", strict=True).rstrip(b"/") + b"/" + name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list_folder(self, path: bytes) -> Iterator[Listed]:
        """As the file system lists it; its handle is closed with the list."""
        folder, name = self._locate(path)
        held = os.open(name, _LIST, dir_fd=folder)
        try:
            with os.scandir(held) as entries:
                for entry in entries:
                    yield Listed(os.fsencode(entry.name), _status_of(entry))
        finally:
            os.close(held)

    def read_link(self, path: bytes) -> bytes:
        """Where a link points."""
        folder, name = self._locate(path)
        return os.readlink(name, dir_fd=folder)

    def open(self, path: bytes) -> BinaryIO:
        """A file's content; a pipe is not waited for."""
        folder, name = self._locate(path)
        handle = os.open(name, _READ, dir_fd=folder)
        try:
            return open(handle, "rb", buffering=0)
        except OSError:  # a folder
            os.close(handle)
            raise

    def hold(self, path: bytes) -> LocalHeld:
        """The entry itself."""
        return LocalHeld(self._handle_of(path))

    def _handle_of(self, path: bytes) -> int:
        folder, name = self._locate(path)
        return os.open(name, _LOOK, dir_fd=folder)

    def may_read(self, path: bytes) -> bool:
        """As the kernel says of our effective rights; of a link, of what it leads to."""
        return self._may(path, os.R_OK)

    def may_write(self, path: bytes) -> bool:
        """The same."""
        return self._may(path, os.W_OK | os.X_OK)

    def _may(self, path: bytes, wanted: int) -> bool:
        try:
            folder, name = self._locate(self.real_path(path, strict=True) if self._is_link(path) else path)
            return os.access(name, wanted, dir_fd=folder, effective_ids=True)
        except OSError:
            return False

    def _is_link(self, path: bytes) -> bool:
        seen = self.status(path)
        return seen is not None and stat.S_ISLNK(seen.st_mode)

    def free_bytes(self, path: bytes) -> int:
        """As `df` has it for us."""
        with self._held(path) as handle:
            seen = os.fstatvfs(handle)
        return seen.f_bavail * seen.f_frsize

    @contextmanager
    def _held(self, path: bytes) -> Iterator[int]:
        handle = self._handle_of(path)
        try:
            yield handle
        finally:
            os.close(handle)

    # --- following links ---

    def real_path(self, path: bytes, *, strict: bool = False) -> bytes:
        """The path with every link in it followed; what may not be looked at stays as it is spelled.

        So does a link to the root of a process, where that is another one than ours.
        """
        if self._start is None and not _leads_elsewhere(path):
            return os.path.realpath(path, strict=strict)
        try:
            return self._follow(path, self._read_any, strict=strict)
        except OSError:
            if strict:
                raise
            return path

    def resolve(self, path: bytes) -> bytes:
        """The same, through links that only we and root could have put there."""
        try:
            return self._follow(path, self._read_trusted, strict=False)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise Failed(f"{path_for_people(path)} leads in a circle", code="target_unusable") from None

    def _follow(self, path: bytes, read: Callable[[bytes, bytes, Status], bytes], *, strict: bool) -> bytes:
        reached, left = b"/", list(reversed(path.split(b"/")))
        followed = 0
        while left:
            name = left.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                reached = os.path.dirname(reached)
                continue
            at = reached.rstrip(b"/") + b"/" + name
            if self._start is None and read == self._read_any and _OTHER_ROOT.fullmatch(at):
                reached = at
                continue
            seen = self.status(at) if strict else self._look_if_may(at)
            if seen is None and strict:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if seen is None or not stat.S_ISLNK(seen.st_mode):
                reached = at
                continue
            followed += 1
            if followed > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            pointed = read(at, reached, seen)
            reached = b"/" if pointed.startswith(b"/") else reached
            left += reversed(pointed.split(b"/"))
        return reached

    def _look_if_may(self, path: bytes) -> os.stat_result | None:
        try:
            return self.status(path)
        except OSError:
            return None

    def _read_any(self, link: bytes, folder: bytes, seen: Status) -> bytes:
        return self.read_link(link)

    def _read_trusted(self, link: bytes, folder: bytes, seen: Status) -> bytes:
        above = self.status(folder)
        owners = [seen.st_uid, *([] if above is None else [above.st_uid])]
        stranger = next((uid for uid in owners if uid not in (0, self.user)), None)
        if stranger is not None:
            raise Failed(
                f"the way leads through the link {path_for_people(link)}, which {_name_of(stranger)} could point "
                "anywhere",
                code="target_unusable",
                hint="name the folder itself, without a link on the way",
            )
        return self.read_link(link)

    def is_safe(self, folder: bytes) -> bool:
        """By owners and modes of all folders on the way; one that is sticky lets nobody rename what is ours."""
        ours = (0, self.user)
        for at in (folder, *ancestors(folder)):
            seen = self._look_if_may(at)
            if seen is None or seen.st_uid not in ours:
                return False
            if seen.st_mode & 0o022 and not seen.st_mode & stat.S_ISVTX:
                return False
        return True

    # --- touching ---

    def make_folder(self, path: bytes, mode: int = 0o700) -> LocalHeld:
        """Make a folder and open it, and look whether it is that one."""
        folder, name = self._locate(path)
        with _undisturbed(folder):
            os.mkdir(name, mode, dir_fd=folder)
        made = os.open(name, _LIST, dir_fd=folder)
        seen = os.fstat(made)
        if seen.st_uid != os.geteuid() or stat.S_IMODE(seen.st_mode) & 0o777 & ~mode:
            os.close(made)
            raise PermissionError(errno.EPERM, "somebody else put another folder in its place")
        return LocalHeld(made)

    def remove_folder(self, path: bytes) -> None:
        """Remove a folder that is empty."""
        folder, name = self._locate(path)
        with _undisturbed(folder):
            os.rmdir(name, dir_fd=folder)

    def remove_tree(self, path: bytes) -> OSError | None:
        """Entry by entry, by handles."""
        try:
            folder, name = self._locate(path)
            with _undisturbed(folder):
                return sweep(folder, name)
        except FileNotFoundError:
            return None
        except OSError as error:
            return error

    def append(self, path: bytes, content: bytes) -> None:
        """Write, flush and wait for the disk."""
        folder, name = self._locate(path)
        with open(os.open(name, _APPEND, 0o600, dir_fd=folder), "ab") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())

    def move(self, path: bytes, to: bytes, origin: Files | None = None) -> None:
        """One rename between the handles of both folders."""
        source = origin or self
        assert isinstance(source, LocalFiles)
        with source._located(path) as (left, name):
            folder, new = self._locate(to)
            with _undisturbed(left), _undisturbed(folder):
                os.rename(name, new, src_dir_fd=left, dst_dir_fd=folder)

    def carry(self, path: bytes, to: bytes, origin: Files) -> None:
        """A copy beside its place first, then one rename."""
        assert isinstance(origin, LocalFiles)
        beside = b".highball-" + os.urandom(6).hex().encode()
        with self._located(to) as (folder, name), _undisturbed(folder):
            try:
                origin._copy(path, folder, beside)
                os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(beside, dir_fd=folder)
                raise

    def _copy(self, path: bytes, folder: int, beside: bytes) -> None:
        source_folder, source = self._locate(path)
        seen = os.stat(source, dir_fd=source_folder, follow_symlinks=False)
        is_file = stat.S_ISREG(seen.st_mode)
        if is_file:
            made = os.open(beside, _MAKE, 0o600, dir_fd=folder)
        else:
            made = _make_special(source_folder, source, seen, folder, beside)
        with LocalHeld(made) as copy:
            if is_file:
                with self.open(path) as left, open(made, "wb", closefd=False) as right:
                    shutil.copyfileobj(left, right, _BLOCK)
            with self.hold(path) as model:
                copy.take_attributes(model)
            copy.give(Traits.of(seen))

    # --- within one folder ---

    def enter(self, folder: bytes) -> LocalFiles:
        """A view by the handle of a folder."""
        above, name = self._locate(folder)
        return LocalFiles(os.open(name, _LIST, dir_fd=above))

    def clear(self) -> OSError | None:
        """Remove all that lies in the folder at which this view begins."""
        if self._start is None:
            raise ValueError("nobody clears a whole file system")
        self.forget()
        return empty(os.dup(self._start))

    def as_target(self, path: bytes, shown: bytes) -> bytes | Inside:
        """By the handle of the folder at which it begins; it has to stay open until the child is over."""
        return path if self._start is None else Inside(self._start, path, shown)


def _leads_elsewhere(path: bytes) -> bool:
    """Whether the kernel comes by a path to another entry than by the words of its links: one below another root."""
    led = _leads(path)
    return led is not None and led != _leads(os.path.realpath(path))


def _leads(path: bytes) -> Identity | None:
    """Which entry the kernel comes to by a path."""
    try:
        return identity_of(os.stat(path))
    except OSError:
        return None


def _status_of(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:  # it went away meanwhile
        return None


@contextmanager
def _undisturbed(folder: int) -> Iterator[None]:
    """Give an open folder its time back after an entry came or went."""
    before = os.fstat(folder)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it belongs to somebody else, and we are not root
            os.utime(_way_to(folder), ns=(before.st_atime_ns, before.st_mtime_ns))


def _way_to(handle: int) -> str:
    """A path that leads to exactly the entry that is held, a link itself included."""
    return f"/proc/self/fd/{handle}"


def _name_of(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return f"the user {pwd.getpwuid(uid).pw_name}"
    return f"the user with id {uid}"


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
