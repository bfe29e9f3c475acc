"""Compares a restored tree with its source: the demo's own eyes, which share no code with Highball.

Every name, kind, byte, link target, mode, owner and time of change (to the nanosecond) counts, and so does
which names are hard links of one file. Paths are bytes: that is what a file system holds.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

Tree = dict[bytes, os.stat_result]
"""Each entry's path below the tree's root (the root itself is b"") and its status."""

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "symbolic link", stat.S_IFIFO: "fifo"}
_BLOCK = 1 << 20


@dataclass
class Comparison:
    """What was compared, and what differs: one readable line for each difference."""

    entries: int = 0
    files: int = 0
    links: int = 0
    bytes_compared: int = 0
    differences: list[str] = field(default_factory=list)


def compare(source: bytes, restored: bytes) -> Comparison:
    """Compare every entry of `restored` with the one of the same name in `source`."""
    left, right = read_tree(source), read_tree(restored)
    found = Comparison(entries=len(left))
    found.differences += [f"{show(path)} was not restored" for path in sorted(left.keys() - right.keys())]
    found.differences += [f"{show(path)} is not in the source" for path in sorted(right.keys() - left.keys())]
    for path in sorted(left.keys() & right.keys()):
        places = os.path.join(source, path), os.path.join(restored, path)
        found.differences += [
            f"{show(path)}: {what}" for what in _differences(*places, left[path], right[path])
        ]
        found.files += stat.S_ISREG(left[path].st_mode)
        found.links += stat.S_ISLNK(left[path].st_mode)
        found.bytes_compared += left[path].st_size if stat.S_ISREG(left[path].st_mode) else 0
    for names in sorted(_hard_links(left) ^ _hard_links(right), key=sorted):
        found.differences.append(f"{', '.join(map(show, sorted(names)))}: one file here, several there")
    return found


def read_tree(root: bytes) -> Tree:
    """Every entry below a folder, and the folder itself; no link is followed."""
    return dict(_walk(root))


def count_files(root: bytes) -> tuple[int, int]:
    """How many regular files (each name of a hard link is one) a tree holds, and their bytes."""
    sizes = [status.st_size for status in read_tree(root).values() if stat.S_ISREG(status.st_mode)]
    return len(sizes), sum(sizes)


def show(path: bytes) -> str:
    """A path as one short line that cannot steer a terminal."""
    text = repr(path)[2:-1] if path else "the tree itself"
    return text if len(text) <= 100 else f"{text[:50]}…{text[-45:]}"


def _walk(root: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    yield b"", os.lstat(root)
    for folder, subfolders, names, handle in os.fwalk(root, onerror=_complain):
        prefix = os.path.relpath(folder, root)
        for name in subfolders + names:
            path = name if prefix == b"." else os.path.join(prefix, name)
            yield path, os.stat(name, dir_fd=handle, follow_symlinks=False)


def _complain(error: OSError) -> None:
    raise error  # a folder that cannot be read has not been compared


def _differences(
    source: bytes, restored: bytes, left: os.stat_result, right: os.stat_result
) -> Iterator[str]:
    if stat.S_IFMT(left.st_mode) != stat.S_IFMT(right.st_mode):
        yield f"a {_kind(left)} came back as a {_kind(right)}"
        return
    if stat.S_IMODE(left.st_mode) != stat.S_IMODE(right.st_mode):
        yield f"mode {stat.S_IMODE(left.st_mode):04o} came back as {stat.S_IMODE(right.st_mode):04o}"
    if (left.st_uid, left.st_gid) != (right.st_uid, right.st_gid):
        yield f"owner {left.st_uid}:{left.st_gid} came back as {right.st_uid}:{right.st_gid}"
    if left.st_mtime_ns != right.st_mtime_ns:
        yield f"its time is {right.st_mtime_ns - left.st_mtime_ns:+} ns off"
    if stat.S_ISLNK(left.st_mode) and os.readlink(source) != os.readlink(restored):
        yield f"it points to {show(os.readlink(restored))}, not to {show(os.readlink(source))}"
    if stat.S_ISREG(left.st_mode) and (where := _first_difference(source, restored)) is not None:
        yield f"its content differs from byte {where} on"


def _first_difference(source: bytes, restored: bytes) -> int | None:
    """The position of the first byte that differs, or at which one of the files ends; None where none does."""
    position = 0
    with open(source, "rb", buffering=0) as left, open(restored, "rb", buffering=0) as right:
        while True:
            block, other = left.read(_BLOCK), right.read(_BLOCK)
            if block != other:
                shorter = min(len(block), len(other))
                return position + next((n for n in range(shorter) if block[n] != other[n]), shorter)
            if not block:
                return None
            position += len(block)


def _hard_links(tree: Tree) -> set[frozenset[bytes]]:
    """The groups of names that are one file."""
    names: dict[tuple[int, int], set[bytes]] = defaultdict(set)
    for path, status in tree.items():
        if not stat.S_ISDIR(status.st_mode):
            names[status.st_dev, status.st_ino].add(path)
    return {frozenset(group) for group in names.values() if len(group) > 1}


def _kind(status: os.stat_result) -> str:
    return KINDS.get(stat.S_IFMT(status.st_mode), "special file")
