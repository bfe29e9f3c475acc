"""The tree that the demo protects: this checkout's own files, and made ones of every kind that is allowed.

The made files come from a fixed seed, so two demos protect the same tree. Nothing here reads the backups.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ODD_NAMES = (
    b"-rf",
    b"--exclude=everything",
    b"two\nlines",
    b"tab\there",
    b"[brackets] {braces}",
    b"star* question?",
    b"back\\slash",
    b" blanks at both ends ",
    b"$HOME `id` ~",
    b"#comment",
    b"'quotes\"",
    b"...",
    b"\x1b[31mred",
    b"\xf0\x9f\x92\xbe",
    b"caf\xc3\xa9",  # composed, and decomposed below: two names
    b"cafe\xcc\x81",
    b"latin1-\xe9",  # no UTF-8
    b"\xff\xfe",
    b"n" * 255,
)
ODD_MODES = (0o400, 0o444, 0o600, 0o604, 0o755, 0o4755, 0o2755, 0o1644, 0o777)
ODD_TIMES = (0, 1, 1_000_000_000_123_456_789, 1_709_210_096_000_000_000, 4_102_444_800_999_999_999)
DEEP_BYTES = 2000
SPARSE_BYTES = 16 << 20
ORDINARY_TIME = 1_700_000_000_000_000_000
TEXT = b"".join(b"%06d the same line, with a number that differs: %d\n" % (n, n * 7919) for n in range(4000))

NOT_OURS = {".git", ".venv", ".cache", "__pycache__", "demo-state"}


@dataclass(frozen=True)
class Changes:
    """What a change did to a tree, in regular files."""

    added: int
    edited: int
    deleted: int
    renamed: int


class MadeTree:
    """A source tree, and the changes to it between two backups."""

    def __init__(self, root: bytes, *, files: int, megabytes: int, links_are_bytes: bool = True) -> None:
        self.root = root
        self._links_are_bytes = links_are_bytes
        self._files = max(files, 20)
        self._bytes = megabytes << 20
        self._chance = random.Random(files)
        self._ordinary: list[bytes] = []

    # --- making it ---

    def make(self, checkout: Path) -> None:
        """Make all of it."""
        os.makedirs(self.root)
        _copy_checkout(checkout, os.path.join(self.root, b"checkout"))
        self._make_large_files()
        self._make_ordinary_files()
        self._make_odd_names()
        self._make_odd_metadata()
        self._make_links()
        self._make_special_files()
        self._make_deep_path()

    def _folder(self, *names: bytes) -> bytes:
        path = os.path.join(self.root, *names)
        os.makedirs(path, exist_ok=True)
        return path

    def _make_large_files(self) -> None:
        """Half of the bytes: what cannot be compressed, and what can; the last one is deleted later on."""
        folder = self._folder(b"large")
        for name, content in (
            (b"disk.img", self._chance.randbytes(self._bytes // 4)),
            (b"dump.sql", TEXT * (self._bytes // 8 // len(TEXT) + 1)),
            (b"to-be-deleted.img", self._chance.randbytes(self._bytes // 8)),
        ):
            _write(os.path.join(folder, name), content)

    def _make_ordinary_files(self) -> None:
        """The other half, in files of mixed sizes: many small ones, few that are not."""
        weights = [self._chance.paretovariate(1.2) for _ in range(self._files)]
        scale = self._bytes / 2 / sum(weights)
        noise = self._chance.randbytes(4 << 20)
        for number, weight in enumerate(weights):
            folder = self._folder(b"files", b"%02d" % (number % 40))
            path = os.path.join(folder, b"%05d.%s" % (number, (b"txt", b"bin", b"json")[number % 3]))
            _write(path, self._content(number, int(weight * scale), noise))
            self._ordinary.append(path)

    def _content(self, number: int, size: int, noise: bytes) -> bytes:
        size = min(size, len(noise))
        start = self._chance.randrange(len(noise) - size + 1)
        unique = b"file %d\n" % number
        if number % 3 == 1:
            return unique + noise[start : start + size]
        return unique + (TEXT * (size // len(TEXT) + 1))[:size]

    def _make_odd_names(self) -> None:
        folder = self._folder(b"odd names")
        for name in ODD_NAMES:
            _write(os.path.join(folder, name), b"I am " + name)
            inner = self._folder(b"odd names", b"in " + name[:200])
            _write(os.path.join(inner, b"inside"), name)

    def _make_odd_metadata(self) -> None:
        folder = self._folder(b"odd metadata")
        for mode in ODD_MODES:
            path = os.path.join(folder, b"mode-%04o" % mode)
            _write(path, b"mode %04o" % mode)
            os.chmod(path, mode)
        for number, moment in enumerate(ODD_TIMES):
            path = os.path.join(folder, b"time-%d" % number)
            _write(path, b"time")
            os.utime(path, ns=(moment, moment))
        if os.geteuid() == 0:  # only root may give files away
            path = os.path.join(folder, b"of another")
            _write(path, b"owner")
            os.chown(path, 12345, 54321)

    def _make_links(self) -> None:
        folder = self._folder(b"links")
        _write(os.path.join(folder, b"target"), b"the target")
        for name, target in (
            (b"relative", b"target"),
            (b"upwards", b"../files"),
            (b"dangling", b"nowhere/at all"),
            (b"absolute", b"/nonexistent/highball"),
            (b"to-itself", b"to-itself"),
            (b"no UTF-8", b"\xe9\xff" if self._links_are_bytes else "é".encode()),
        ):
            path = os.path.join(folder, name)
            os.symlink(target, path)
            os.utime(path, ns=(ORDINARY_TIME, ORDINARY_TIME), follow_symlinks=False)
        _write(os.path.join(folder, b"hard-1"), b"one file with three names")
        for name in (b"hard-2", b"hard-3"):
            os.link(os.path.join(folder, b"hard-1"), os.path.join(folder, name))

    def _make_special_files(self) -> None:
        folder = self._folder(b"special")
        _write(os.path.join(folder, b"empty file"), b"")
        os.mkdir(os.path.join(folder, b"empty folder"))
        os.mkfifo(os.path.join(folder, b"fifo"), 0o640)
        with open(os.path.join(folder, b"sparse"), "wb") as sparse:
            sparse.write(b"begin")
            sparse.seek(SPARSE_BYTES // 2)
            sparse.write(b"middle")
            sparse.truncate(SPARSE_BYTES)

    def _make_deep_path(self) -> None:
        path = self._folder(b"deep")
        while len(path) - len(self.root) < DEEP_BYTES:
            path = os.path.join(path, b"d" * 200)
        os.makedirs(path)
        _write(os.path.join(path, b"deep down"), b"deep down")

    # --- changing it ---

    def change(self) -> Changes:
        """Add, edit, delete and rename: a hundredth of the ordinary files each, and delete a large one."""
        each = max(1, len(self._ordinary) // 100)
        self._chance.shuffle(self._ordinary)
        edited, deleted, renamed = (self._ordinary[n * each : (n + 1) * each] for n in range(3))
        for path in edited:
            with open(path, "ab") as file:
                file.write(b"one more line\n")
        for path in deleted:
            os.remove(path)
        for path in renamed:
            os.rename(path, path + b".renamed")
        os.remove(os.path.join(self.root, b"large", b"to-be-deleted.img"))
        added = self._folder(b"added")
        for number in range(each):
            _write(os.path.join(added, b"new-%d" % number), self._chance.randbytes(20_000))
        self._ordinary = self._ordinary[3 * each :]
        return Changes(added=each, edited=each, deleted=each + 1, renamed=each)

    def change_a_little(self, number: int) -> None:
        """One line more in a diary, as a day's work."""
        with open(os.path.join(self._folder(b"added"), b"diary"), "ab") as diary:
            diary.write(b"day %d\n" % number)


def _write(path: bytes, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _copy_checkout(checkout: Path, target: bytes) -> None:
    for name in _tracked_files(checkout):
        source = os.path.join(os.fsencode(checkout), name)
        copy = os.path.join(target, name)
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copy2(source, copy, follow_symlinks=False)


def _tracked_files(checkout: Path) -> Iterator[bytes]:
    """What git knows; every file of ours where the checkout came without git."""
    git = ["git", "-c", "safe.directory=*", "-C", str(checkout), "ls-files", "-z"]
    listed = subprocess.run(git, capture_output=True, check=False).stdout if shutil.which("git") else b""
    if listed:
        yield from (name for name in listed.split(b"\0") if name and _is_there(checkout, name))
        return
    for folder, subfolders, names in os.walk(os.fsencode(checkout)):
        subfolders[:] = [name for name in subfolders if os.fsdecode(name) not in NOT_OURS]
        yield from (os.path.relpath(os.path.join(folder, name), os.fsencode(checkout)) for name in names)


def _is_there(checkout: Path, name: bytes) -> bool:
    return os.path.lexists(os.path.join(os.fsencode(checkout), name))
