"""Source trees with everything that is odd and allowed, and the comparison of two trees.

Paths are bytes throughout: that is what a file system holds, and some names here are no text in any encoding.
"""

# Paths of bytes are beyond pathlib.

import os
import random
import stat
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

ODD_NAMES: Final = (
    b"-rf",
    b"--exclude=x",
    b"two\nlines",
    b"tab\there",
    b"[brackets]",
    b"{a,b}",
    b"star*",
    b"question?",
    b"back\\slash",
    b"\\",
    b" spaces at both ends ",
    b"$HOME",
    b"`id`",
    b"~",
    b"#comment",
    b"!not",
    b"%25",
    b"'quotes\"",
    b"a:b",
    b"...",
    b".hidden",
    b"bell\x07\x1b[31m",
    b"caf\xc3\xa9",  # composed, and below decomposed: two names to Linux
    b"cafe\xcc\x81",
    b"\xf0\x9f\x92\xbe",
    b"latin1-\xe9",  # not UTF-8
    b"\xff\xfe",
    b"n" * 255,
)

# Modes that are lost or changed by careless restores. All stay readable for their owner.
ODD_MODES: Final = (0o400, 0o444, 0o600, 0o604, 0o755, 0o4755, 0o2755, 0o1644, 0o6711, 0o777)

ODD_TIMES: Final = (
    0,  # 1970
    1,
    1_000_000_000_123_456_789,  # nanoseconds that a float cannot hold
    1_709_210_096_000_000_000,  # a 29th of February
    4_102_444_800_999_999_999,  # 2100
)

SPARSE_BYTES: Final = 8 * 1024 * 1024
_ORDINARY_TIME: Final = 1_700_000_000_000_000_000


def mixed_tree(path: bytes, *, files: int = 40, deep_path_bytes: int = 3500, seed: int = 0) -> list[bytes]:
    """Build a tree at `path` (made if missing) and return the relative paths in it, sorted, directories too.

    It has `files` ordinary files of up to 64 KiB and, beside them: odd names, modes and times; symbolic links
    (relative, dangling, to a directory); hard links; a sparse and an empty file; an empty directory; a fifo;
    and a file whose relative path is `deep_path_bytes` long. The default leaves room below the 4,096 bytes
    that Linux takes, for the place of the tree and that of its restored copy. The same seed gives the same
    tree.
    """
    chance = random.Random(seed)
    os.makedirs(path, exist_ok=True)
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _ordinary_files(root, files, chance)
        _odd_names(root)
        _odd_metadata(root)
        _links(root)
        _special_files(root)
        _deep_path(root, deep_path_bytes)
    finally:
        os.close(root)
    _settle_times(path)
    return sorted(relative for relative, _ in _walk(path) if relative)


def same_tree(a: bytes, b: bytes) -> list[str]:
    """What differs between two trees, one readable line each; empty when nothing does.

    Compared are the names, types, contents, link targets, modes, owners, modification times to the
    nanosecond, and which names are hard links of one file.
    """
    left, right = dict(_walk(a)), dict(_walk(b))
    differences = [f"{_show(path)}: only in the first" for path in sorted(left.keys() - right.keys())]
    differences += [f"{_show(path)}: only in the second" for path in sorted(right.keys() - left.keys())]
    for path in sorted(left.keys() & right.keys()):
        differences += [
            f"{_show(path)}: {line}" for line in _compare_entries(a, b, path, left[path], right[path])
        ]
    linked, linked_too = _hard_links(left), _hard_links(right)
    for group in sorted(linked ^ linked_too, key=sorted):
        side = "first" if group in linked else "second"
        names = ", ".join(_show(path) for path in sorted(group))
        differences.append(f"one file only in the {side}: {names}")
    return differences


# ------------------------------------------------------------------------------------------- building


def _write(directory: int, name: bytes, content: bytes = b"", mode: int = 0o644) -> None:
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(content)
        os.fchmod(handle, mode)
    finally:
        os.close(handle)


def _folder(directory: int, name: bytes, mode: int = 0o755) -> int:
    os.mkdir(name, dir_fd=directory)
    handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
    os.fchmod(handle, mode)
    return handle


def _ordinary_files(root: int, files: int, chance: random.Random) -> None:
    folders = [_folder(root, b"folder-%d" % number) for number in range(4)]
    for number in range(files):
        content = chance.randbytes(chance.randrange(64 * 1024))
        _write(folders[number % len(folders)], b"file-%04d.bin" % number, content)
    for folder in folders:
        os.close(folder)


def _odd_names(root: int) -> None:
    for kind in (b"odd-files", b"odd-folders"):
        parent = _folder(root, kind)
        for name in ODD_NAMES:
            if kind == b"odd-files":
                _write(parent, name, b"I am " + name)
            else:
                inner = _folder(parent, name)
                _write(inner, b"inside", name)
                os.close(inner)
        os.close(parent)


def _odd_metadata(root: int) -> None:
    parent = _folder(root, b"odd-metadata")
    for mode in ODD_MODES:
        _write(parent, b"mode-%04o" % mode, b"mode", mode)
    for mode in (0o700, 0o1777, 0o2755):
        os.close(_folder(parent, b"folder-mode-%04o" % mode, mode))
    for number, _ in enumerate(ODD_TIMES):
        _write(parent, b"time-%d" % number, b"time")
        os.close(_folder(parent, b"folder-time-%d" % number))
    if os.geteuid() == 0:
        _write(parent, b"of-another", b"owner")
        os.chown(b"of-another", 12345, 54321, dir_fd=parent)
    os.close(parent)


def _links(root: int) -> None:
    parent = _folder(root, b"links")
    _write(parent, b"target", b"the target")
    for name, target in (
        (b"relative", b"target"),
        (b"upwards", b"../folder-0"),
        (b"to-folder", b"."),
        (b"dangling", b"nowhere/at all"),
        (b"absolute", b"/nonexistent/highball"),
        (b"to-itself", b"to-itself"),
        (b"not-utf-8", b"\xe9\xff"),
    ):
        os.symlink(target, name, dir_fd=parent)
    _write(parent, b"hard-1", b"one file with three names")
    for name in (b"hard-2", b"hard-3"):
        os.link(b"hard-1", name, src_dir_fd=parent, dst_dir_fd=parent)
    # The same content as the group above, and yet another file.
    _write(parent, b"hard-other-1", b"one file with three names")
    os.link(b"hard-other-1", b"hard-other-2", src_dir_fd=parent, dst_dir_fd=parent)
    os.close(parent)


def _special_files(root: int) -> None:
    parent = _folder(root, b"special")
    _write(parent, b"empty-file")
    os.close(_folder(parent, b"empty-folder"))
    os.mkfifo(b"fifo", 0o640, dir_fd=parent)
    _write(parent, b"sparse", b"begin")
    handle = os.open(b"sparse", os.O_WRONLY, dir_fd=parent)
    os.pwrite(handle, b"middle", SPARSE_BYTES // 2)
    os.ftruncate(handle, SPARSE_BYTES)
    os.close(handle)
    os.close(parent)


def _deep_path(root: int, length: int) -> None:
    handle, used = _folder(root, b"deep"), len(b"deep")
    while length - used > 256:
        step = b"d%03d-" % used + b"x" * 195
        inner = _folder(handle, step)
        os.close(handle)
        handle, used = inner, used + 1 + len(step)
    _write(handle, b"f" * max(1, length - used - 1), b"deep down")
    os.close(handle)


def _settle_times(path: bytes) -> None:
    """Give every entry a time of its own, the odd ones theirs; children first: they change their parents'."""
    for number, (directory, subdirectories, names, handle) in enumerate(os.fwalk(path, topdown=False)):
        odd = directory.endswith(b"/odd-metadata")
        for position, name in enumerate(sorted(subdirectories + names)):
            moment = _ORDINARY_TIME + number * 1_000_000_007 + position * 1_000_003
            if odd and b"time-" in name:
                moment = ODD_TIMES[int(name.rpartition(b"-")[2])]
            os.utime(name, ns=(moment, moment), dir_fd=handle, follow_symlinks=False)
    os.utime(path, ns=(_ORDINARY_TIME, _ORDINARY_TIME))


# ------------------------------------------------------------------------------------------ comparing


def _walk(path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Each entry's path relative to the tree (b"" for its root) and its status."""
    yield b"", os.lstat(path)
    for directory, subdirectories, names, handle in os.fwalk(path):
        prefix = os.path.relpath(directory, path)
        for name in subdirectories + names:
            relative = name if prefix == b"." else prefix + b"/" + name
            yield relative, os.stat(name, dir_fd=handle, follow_symlinks=False)


def _compare_entries(
    a: bytes, b: bytes, path: bytes, left: os.stat_result, right: os.stat_result
) -> Iterator[str]:
    if stat.S_IFMT(left.st_mode) != stat.S_IFMT(right.st_mode):
        yield f"{_kind(left)} in the first, {_kind(right)} in the second"
        return
    if left.st_mode != right.st_mode:
        yield f"mode {stat.S_IMODE(left.st_mode):04o} and {stat.S_IMODE(right.st_mode):04o}"
    if (left.st_uid, left.st_gid) != (right.st_uid, right.st_gid):
        yield f"owner {left.st_uid}:{left.st_gid} and {right.st_uid}:{right.st_gid}"
    if left.st_mtime_ns != right.st_mtime_ns:
        yield f"mtime {left.st_mtime_ns} ns and {right.st_mtime_ns} ns"
    if stat.S_ISLNK(left.st_mode):
        targets = [os.readlink(os.path.join(root, path)) for root in (a, b)]
        if targets[0] != targets[1]:
            yield f"target {_show(targets[0])} and {_show(targets[1])}"
    if stat.S_ISREG(left.st_mode):
        if left.st_size != right.st_size:
            yield f"{left.st_size} bytes and {right.st_size} bytes"
        elif (offset := _first_difference(os.path.join(a, path), os.path.join(b, path))) is not None:
            yield f"content from byte {offset} on"


def _first_difference(a: bytes, b: bytes) -> int | None:
    offset = 0
    with open(a, "rb") as left, open(b, "rb") as right:
        while True:
            chunk, other = left.read(1 << 20), right.read(1 << 20)
            if chunk != other:
                pairs = enumerate(zip(chunk, other, strict=False))
                return offset + next((at for at, (x, y) in pairs if x != y), min(len(chunk), len(other)))
            if not chunk:
                return None
            offset += len(chunk)


def _hard_links(tree: dict[bytes, os.stat_result]) -> set[frozenset[bytes]]:
    groups: dict[tuple[int, int], set[bytes]] = defaultdict(set)
    for path, status in tree.items():
        if not stat.S_ISDIR(status.st_mode):
            groups[status.st_dev, status.st_ino].add(path)
    return {frozenset(group) for group in groups.values() if len(group) > 1}


def _kind(status: os.stat_result) -> str:
    kinds = {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "directory",
        stat.S_IFLNK: "symbolic link",
        stat.S_IFIFO: "fifo",
    }
    return kinds.get(stat.S_IFMT(status.st_mode), "special file")


def _show(path: bytes) -> str:
    shown = repr(path)[1:] if path else "the root"
    return shown if len(shown) <= 120 else f"{shown[:60]}...{shown[-50:]}"
