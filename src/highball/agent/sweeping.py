"""Remove a tree of our own making, folders without write permission included.

It is walked by directory handles: no link is followed, and nothing outside the tree is touched but the entry itself
in the folder above.
"""

from __future__ import annotations

import contextlib
import os
import stat

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_UNLOCKED = 0o700

Identity = tuple[int, int]


def remove_tree(path: bytes | str | os.PathLike[str]) -> OSError | None:
    """Remove a tree of ours; why something is left, or None. A path that is gone is no work."""
    above, name = os.path.split(os.fsencode(path))
    try:
        folder = os.open(above, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    try:
        return sweep(folder, name)
    finally:
        os.close(folder)


def sweep(folder: int, name: bytes) -> OSError | None:
    """Remove the entry of an open folder, with all that is below it; why something is left, or None."""
    try:
        seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(seen.st_mode):
            os.unlink(name, dir_fd=folder)
            return None
        left = _sweep_below(folder, name)
        if left is None:
            os.rmdir(name, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return left


def _sweep_below(folder: int, name: bytes) -> OSError | None:
    """Empty a folder. One handle is open at a time, so that depth costs nothing: the way up is `..`, and checked."""
    left: OSError | None = None
    at = _enter(folder, name)
    way: list[tuple[Identity, bytes, list[bytes]]] = []
    """Of each folder above: which it is, the name of the one below it, and what is still to be removed."""
    names = _list_names(at)
    try:
        while True:
            if names:
                current = names.pop()
                try:
                    os.unlink(current, dir_fd=at)
                    continue
                except FileNotFoundError:
                    continue
                except OSError as error:
                    inner = _find_folder(at, current)
                    if inner is None:
                        left = left or error
                        continue
                way.append((_identity(at), current, names))
                at = _swap(at, inner)
                names = _list_names(at)
            elif way:
                above, current, names = way.pop()
                at = _swap(at, os.open(b"..", _LIST, dir_fd=at))
                if _identity(at) != above:
                    raise OSError("it was moved while it was being removed")
                try:
                    os.rmdir(current, dir_fd=at)
                except FileNotFoundError:
                    pass
                except OSError as error:
                    left = left or error
            else:
                return left
    finally:
        os.close(at)


def _list_names(folder: int) -> list[bytes]:
    return [os.fsencode(name) for name in os.listdir(folder)]


def _find_folder(folder: int, name: bytes) -> int | None:
    """An entry, opened, if it is a folder that lets itself be opened."""
    with contextlib.suppress(OSError):
        return _enter(folder, name)
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


def _swap(old: int, new: int) -> int:
    os.close(old)
    return new


def _identity(folder: int) -> Identity:
    seen = os.fstat(folder)
    return seen.st_dev, seen.st_ino
