"""What a backup and a restore are to do, and the command lines that say so to restic."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from highball.engine.base import BackupOrder
from highball.engine.restic.program import ResticBinary
from highball.process.child import (
    Argument,
    Input,
    Inside,
)
from highball.retention import Retention, rules


@dataclass(frozen=True)
class RestoreOrder:
    """One restic process of a restore: a folder of a snapshot (or the whole, before 0.16) into a real directory."""

    snapshot: str
    folder: bytes | None
    includes: Sequence[bytes]
    target: bytes | Inside


PATTERNS_AT_ONCE = 1000
PATTERN_BYTES_AT_ONCE = 1024 * 1024
"""A command line holds twice as much."""


def backup_argv(binary: ResticBinary, order: BackupOrder) -> list[Argument]:
    """The words of a backup, as far as this restic knows them."""
    argv: list[Argument] = ["backup", "--host", order.host, "--tag", ",".join(order.tags)]
    if order.stream is not None:
        argv += ["--stdin", f"--stdin-filename={order.stream.name}"]
    else:
        argv += ["--files-from-raw", Input(b"".join(path + b"\0" for path in order.paths))]
    argv += [b"--exclude=" + pattern for pattern in order.excludes]
    argv += [f"--exclude-if-present={name}" for name in order.exclude_if_present]
    flags = {
        "--one-file-system": order.one_file_system,
        "--exclude-caches": order.exclude_caches,
        "--dry-run": order.dry_run,
    }
    argv += [flag for flag, wanted in flags.items() if wanted]
    values = {
        "--parent": order.parent,
        "--exclude-larger-than": order.exclude_larger_than,
        "--compression": order.compression,
        "--read-concurrency": order.read_concurrency if binary.reads_concurrently else None,
        "--limit-upload": order.limit_upload,
        "--limit-download": order.limit_download,
    }
    argv += [f"{flag}={value}" for flag, value in values.items() if value is not None]
    return argv


def restore_argv(order: RestoreOrder) -> list[Argument]:
    """The words of one process of a restore."""
    argv: list[Argument] = ["restore", "--target", order.target]
    argv += [b"--include=" + pattern for pattern in order.includes]
    snapshot: Argument = order.snapshot if order.folder is None else in_folder(order.snapshot, order.folder)
    return [*argv, "--", snapshot]


def keep_argv(retention: Retention) -> list[Argument]:
    """The rules that keep snapshots, as words of a forget."""
    return [f"--keep-{name.replace('_', '-')}={value}" for name, value in rules(retention).items()]


def in_folder(snapshot: str, folder: bytes) -> bytes:
    """A folder of a snapshot, as restic names it since 0.16."""
    return snapshot.encode() + b":" + folder


def pattern_of_path(path: bytes) -> bytes:
    """A path as a pattern of restic that matches only it."""
    return re.sub(rb"([\\*?\[\]])", rb"\\\1", path)


def portions(paths: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The paths in portions that fit a command line; one empty portion where there are none: all of it."""
    portion: list[bytes] = []
    size, count = 0, 0
    for path in paths:
        length = len(pattern_of_path(path))
        if portion and (len(portion) == PATTERNS_AT_ONCE or size + length > PATTERN_BYTES_AT_ONCE):
            yield portion
            portion, size = [], 0
        portion.append(path)
        size += length
        count += 1
    if portion or not count:
        yield portion
