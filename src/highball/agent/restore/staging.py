"""A directory of ours on the target's file system, into which an engine restores before anything is moved.

It is held from the moment it is made: whoever may rename the way to it cannot put another in its place. What a
restore puts aside lies in it, too, and goes back where nothing took its place.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from functools import partial
from typing import Self

from highball.model.text import path_for_people
from highball.place.base import Files, identity_of
from highball.process.child import Inside

_ASIDES = b"/asides"
"""In a staging directory: where each thing that was put aside came from. It also says that the directory is ours."""
_RESTORED = b"/restored"
_BLOCK = 64 * 1024


class Staging:
    """A new directory in another one, removed at the end whatever happens."""

    def __init__(self, files: Files, room: bytes, name: bytes) -> None:
        self.path = room.rstrip(b"/") + b"/" + name
        self.left: OSError | None = None
        """Why something of it is still there, after the end."""
        self._files = files
        self._inside: Files | None = None

    @property
    def inside(self) -> Files:
        """What lies in it, while it is there."""
        assert self._inside is not None
        return self._inside

    @property
    def target(self) -> bytes | Inside:
        """Where an engine writes to."""
        return self.inside.as_target(_RESTORED, self.path)

    @staticmethod
    def restored(path: bytes) -> bytes:
        """Where an entry lies inside, once it was restored."""
        return _RESTORED + path

    def __enter__(self) -> Self:
        with self._files.make_folder(self.path) as made:
            self._inside = self._files.enter(self.path)
            entered = self._inside.status(b"/")
            if entered is None or identity_of(entered) != identity_of(made.status()):
                raise PermissionError(errno.EPERM, "somebody else put another folder in its place")
        self._inside.append(_ASIDES, b"")
        return self

    def __exit__(self, *_: object) -> None:
        self.left = _end(self._files, self.inside, self.path)
        self._inside = None


@dataclass(frozen=True)
class Aside:
    """An entry that was moved out of the way, and the way back."""

    files: Files
    path: bytes
    inside: Files
    kept: bytes

    def put_back(self) -> None:
        """Undo it."""
        self.files.move(self.kept, self.path, self.inside)


def put_aside(files: Files, path: bytes, inside: Files) -> Aside:
    """Move what stands at a path into a staging directory; where from is on disk before."""
    kept = b"/aside-%d" % len(_read_asides(inside))
    inside.append(_ASIDES, kept + b"\0" + path + b"\0")
    inside.move(path, kept, files)
    return Aside(files, path, inside, kept)


def _read_asides(inside: Files) -> list[tuple[bytes, bytes]]:
    with inside.open(_ASIDES) as noted:
        parts = b"".join(iter(partial(noted.read, _BLOCK), b"")).split(b"\0")[:-1]
    return list(zip(parts[::2], parts[1::2], strict=False))


def clear_away_staging(files: Files, path: bytes) -> OSError | None:
    """Remove a staging directory that a vanished process left; returns why something of it is still there.

    What was put aside and nothing took the place of is put back; it is kept whole where that does not go.
    """
    try:
        inside = files.enter(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return _end(files, inside, path)


def _end(files: Files, inside: Files, path: bytes) -> OSError | None:
    """Put back, empty, remove; the view of it is closed."""
    try:
        _put_back(files, inside)
        left = inside.clear()
        there, ours = files.status(path), inside.status(b"/")
        if there is None or ours is None or identity_of(there) != identity_of(ours):
            return PermissionError(errno.EPERM, f"somebody else moved it away from {path_for_people(path)}")
        if left is None:
            files.remove_folder(path)
    except OSError as error:
        return error
    finally:
        inside.close()
    return left


def _put_back(files: Files, inside: Files) -> None:
    try:
        asides = _read_asides(inside)
    except FileNotFoundError:  # killed right after it was made, or not ours: then there is something in it
        if next(inside.list_folder(b"/"), None) is not None:
            raise PermissionError(errno.EPERM, "it was not made by Highball") from None
        return
    for kept, path in asides:
        at = kept if kept.startswith(b"/") else b"/" + kept
        if inside.status(at) is not None and files.status(path) is None:
            Aside(files, path, inside, at).put_back()
