"""Remove a tree of our own making, folders without write permission included.

It is walked by directory handles: no link is followed, and nothing outside the tree is touched but the entry itself
in the folder above.
"""

from __future__ import annotations

import contextlib
import os
import stat

from highball.place.base import Identity, identity_of

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_UNLOCKED = 0o700


def sweep(folder: int, name: bytes) -> OSError | None:
    """Remove the entry of an open folder, with all that is below it; why something is left, or None."""
    try:
        seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(seen.st_mode):
            os.unlink(name, dir_fd=folder)
            return None
        left = empty(_enter(folder, name))
        if left is None:
            os.rmdir(name, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return left


def empty(at: int) -> OSError | None:
    """Remove all that is in a folder, and close its handle.

    One handle is open at a time, so that depth costs nothing: the way up is `..`, and checked.
    """
    left: OSError | None = None
    way: list[tuple[Identity, bytes, list[bytes]]] = []
    """Of each folder above: which it is, the name of the one below it, and what is still to be removed."""
    try:
        names = _list_names(at)
        while names or way:
            if names:
                inner, problem = _remove(at, names[-1])
                left = left or problem
                current = names.pop()
                if inner is not None:
                    way.append((identity_of(os.fstat(at)), current, names))
                    at = _swap(at, inner)
                    names = _list_names(at)
            else:
                above, current, names = way.pop()
                at = _swap(at, os.open(b"..", _LIST, dir_fd=at))
                if identity_of(os.fstat(at)) != above:
                    return OSError("it was moved while it was being removed")
                left = left or _remove_empty(at, current)
    except OSError as error:
        return error
    finally:
        os.close(at)
    return left


def _remove(folder: int, name: bytes) -> tuple[int | None, OSError | None]:
    """Remove an entry that is no folder; a folder is opened instead, to be emptied first."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        with contextlib.suppress(OSError):
            return _enter(folder, name), None
        return None, error
    return None, None


def _remove_empty(folder: int, name: bytes) -> OSError | None:
    try:
        os.rmdir(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        return error
    return None


def _enter(folder: int, name: bytes) -> int:
    """Open a folder to list it and to remove what is in it; one without the permission for that is given it."""
    held = os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=folder)
    try:
        mode = stat.S_IMODE(os.fstat(held).st_mode)
        if mode & _UNLOCKED != _UNLOCKED:
            os.chmod(f"/proc/self/fd/{held}", mode | _UNLOCKED)
        return os.open(b".", _LIST, dir_fd=held)
    finally:
        os.close(held)


def _list_names(folder: int) -> list[bytes]:
    return [os.fsencode(name) for name in os.listdir(folder)]


def _swap(old: int, new: int) -> int:
    os.close(old)
    return new
