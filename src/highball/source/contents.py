"""Whether a path can be read, and whether anything of it would be saved: a look that ends with the first thing that is.

Folders without files, patterns that leave out everything, a folder that is left out by a marker of its own: restic
saves nothing of these and calls it a success. Of files nothing is read, but for the first bytes of a marker.
"""

# Paths of bytes are beyond pathlib.

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from highball.model.run import Caution
from highball.model.text import path_for_people
from highball.place.base import Files, Status, is_there
from highball.source.base import Content, Examined, Omissions
from highball.source.patterns import Patterns

MARKER_OF_CACHES = "CACHEDIR.TAG"
"""The file that marks a folder as a cache, where it begins as such a file does."""

_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"

MOST_ENTRIES = 50_000
"""A source that begins with more entries that would not be saved is believed to hold some that would."""


# --- whether it can be read -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """What an examination found: the path to hand to the engine, and what is wrong with it, if anything."""

    path: bytes
    caution: Caution | None = None

    @property
    def sound(self) -> bool:
        """Whether the source can be backed up without a warning."""
        return self.caution is None


def examine(files: Files, path: bytes, *, follow: bool = False, allow_empty: bool = False) -> Finding:
    """Look at the path as it is now: missing, empty, unreadable, a link or a device is a caution."""
    shown = path_for_people(path)
    try:
        at = _behind_links(files, path)
        if stat.S_ISLNK(_demand(files, at).st_mode):
            if not follow:
                target = path_for_people(files.read_link(at))
                return _caution(
                    path, "source_is_link", f"{shown} is a symbolic link to {target}, which is not followed"
                )
            path = at = files.real_path(at, strict=True)
        if not _holds_data(_demand(files, at).st_mode):
            return _caution(path, "source_special", f"{shown} is neither a folder nor a file")
        empty = _is_empty(files, at)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            plain = "" if _PLAIN.fullmatch(path) else "; wildcards and variables are not expanded here"
            return _caution(path, "source_missing", f"{shown} is missing{plain}")
        return _caution(path, "source_unreadable", f"{shown} cannot be read: {error.strerror}")
    if empty and not allow_empty:
        return _caution(path, "source_empty", f"{shown} is an empty folder")
    return Finding(path)


def _behind_links(files: Files, path: bytes) -> bytes:
    """The path with the links on the way to it followed; raises OSError where that leads nowhere."""
    above, _, name = path.rpartition(b"/")
    return files.real_path(above or b"/", strict=True).rstrip(b"/") + b"/" + name


def _demand(files: Files, path: bytes) -> Status:
    seen = files.status(path)
    if seen is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return seen


_PLAIN = re.compile(rb"[^*?${]*")


def _holds_data(mode: int) -> bool:
    return stat.S_ISDIR(mode) or stat.S_ISREG(mode)


def _is_empty(files: Files, path: bytes) -> bool:
    """Whether this is a folder without entries; OSError where it cannot be read."""
    if stat.S_ISDIR(_demand(files, path).st_mode):
        return next(files.list_folder(path), None) is None
    if not files.may_read(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return False


def _caution(path: bytes, code: str, message: str) -> Finding:
    return Finding(path, Caution(code=code, message=message, path=path))


# --- whether anything of it would be saved -------------------------------------------------------


def examine_whole(
    files: Files,
    declared: bytes,
    omissions: Omissions,
    *,
    exclude: Sequence[str] = (),
    follow: bool = False,
    allow_empty: bool = False,
) -> Examined:
    """Look at the declared path as it is now, and whether anything of it would be saved."""
    found = examine(files, declared, follow=follow, allow_empty=allow_empty)
    if not found.sound or allow_empty:
        return Examined(found.path, found.caution, found.sound, Content.UNKNOWN, may_be_empty=allow_empty)
    look = _Look(files, files.real_path(found.path), Patterns([*omissions.exclude, *exclude]), omissions)
    holds = look.see()
    caution = look.tell(declared) if holds is Content.NOTHING else None
    return Examined(found.path, caution, usable=True, holds=holds)


def find_too_large(files: Files, path: bytes, omissions: Omissions) -> Caution | None:
    """That a source which is a file itself is left out, where restic counts it among what is too large."""
    with contextlib.suppress(OSError):
        there, largest = _demand(files, files.real_path(path)), omissions.exclude_larger_than
        if largest is not None and stat.S_ISREG(there.st_mode) and there.st_size > largest:
            message = f"{path_for_people(path)} is excluded by exclude_larger_than, so nothing of it is saved"
            return Caution(code="source_left_out", message=message, path=path)
    return None


def list_idle(files: Files, excludes: Sequence[str], sources: Sequence[bytes]) -> list[str]:
    """The patterns that name a way from a source on of which not even the beginning is in any of them."""
    return [pattern for pattern in excludes if pattern.startswith("/") and _is_idle(files, pattern, sources)]


def _is_idle(files: Files, pattern: str, sources: Sequence[bytes]) -> bool:
    first, _, rest = pattern.strip("/").partition("/")
    if not rest or any(character in first for character in "*?[\\"):
        return False
    return not any(is_there(files, source + b"/" + os.fsencode(first)) for source in sources)


@dataclass(frozen=True, slots=True)
class _Entry:
    path: bytes
    names: tuple[str, ...]
    """They lead to it from the source."""
    status: Status

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)


class _Look:
    def __init__(self, files: Files, top: bytes, patterns: Patterns, omissions: Omissions) -> None:
        self._files = files
        self._top = top
        self._patterns = patterns
        self._omissions = omissions
        self._seen = 0
        self._left_out: set[str] = set()
        """By what something was."""
        self._own_marker: bytes | None = None
        self._unclear = False
        """Something may not be looked at, so nobody knows whether it would be saved."""

    def see(self) -> Content:
        """Go down until something would be saved; what cannot be read is for restic to tell."""
        try:
            top = _demand(self._files, self._top)
            waiting = [_Entry(self._top, (), top)]
            while waiting and self._seen <= MOST_ENTRIES:
                entry = waiting.pop()
                if entry.is_file:
                    return Content.FILES
                if not entry.is_folder:
                    return Content.UNKNOWN if self._unclear else Content.NO_FILES
                waiting += self._saved_of(entry, top.st_dev)
        except OSError:
            return Content.UNKNOWN
        return Content.UNKNOWN if waiting or self._unclear else Content.NOTHING

    def _saved_of(self, folder: _Entry, device: int) -> Iterator[_Entry]:
        """What of a folder would be saved, up to the first that is no folder itself."""
        if (marker := self._find_marker(folder.path)) is not None:  # it is saved, and is no data
            self._left_out.add(f"by {path_for_people(marker)} in its folders")
            self._own_marker = marker if folder.path == self._top else None
            return
        for one in self._files.list_folder(folder.path):
            self._seen += 1
            if one.status is None:
                self._unclear = True
                continue
            if stat.S_ISSOCK(one.status.st_mode):  # restic knows none
                continue
            path = folder.path.rstrip(b"/") + b"/" + one.name
            entry = _Entry(path, (*folder.names, os.fsdecode(one.name)), one.status)
            if (why := self._find_reason(entry, device)) is not None:
                self._left_out.add(why)
                continue
            yield entry
            if not entry.is_folder:
                return

    def _find_marker(self, folder: bytes) -> bytes | None:
        for name in self._omissions.exclude_if_present:
            if is_there(self._files, folder + b"/" + os.fsencode(name)):
                return os.fsencode(name)
        marker = MARKER_OF_CACHES.encode()
        if self._omissions.exclude_caches and _begins_as_cache(self._files, folder + b"/" + marker):
            return marker
        return None

    def _find_reason(self, entry: _Entry, device: int) -> str | None:
        """Why an entry is left out; None where it is saved."""
        largest = self._omissions.exclude_larger_than
        if self._patterns.find(entry.names) is not None:
            return "by exclude"
        if self._omissions.one_file_system and entry.status.st_dev != device:
            return "by one_file_system"
        if largest is not None and entry.is_file and entry.status.st_size > largest:
            return "by exclude_larger_than"
        return None

    def tell(self, path: bytes) -> Caution:
        """Why nothing is saved of the source that was declared as this path."""
        shown = path_for_people(path)
        if self._own_marker is not None:
            marker = path_for_people(self._own_marker)
            message = f"{shown} is excluded by its own {marker}, which is all that is saved of it"
            return Caution(code="source_left_out", message=message, path=path)
        if self._left_out:
            by = ", ".join(sorted(self._left_out))
            message = f"everything in {shown} is excluded, {by}, so nothing of it is saved"
            return Caution(code="source_left_out", message=message, path=path)
        message = f"{shown} contains only empty folders or sockets, which are never saved; "
        message += "if that is intended, set allow_empty on it"
        return Caution(code="source_hollow", message=message, path=path)


def _begins_as_cache(files: Files, marker: bytes) -> bool:
    try:
        with files.open(files.real_path(marker, strict=True)) as opened:
            return opened.read(len(_SIGNATURE)) == _SIGNATURE
    except OSError:
        return False
