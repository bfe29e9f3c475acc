"""What a backup and a restore are to do, and the command lines that say so to restic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from highball.engine.restic.program import ResticBinary
from highball.process.child import (
    Argument,
    Input,
    Inside,
)
from highball.retention import Retention, rules


@dataclass(frozen=True)
class BackupOrder:
    """What a backup reads and how; shapes as restic takes them, patterns already anchored."""

    paths: Sequence[bytes]
    excludes: Sequence[bytes]
    host: str
    tags: Sequence[str]
    parent: str | None = None
    one_file_system: bool = False
    exclude_caches: bool = False
    exclude_if_present: Sequence[str] = ()
    exclude_larger_than: str | None = None
    compression: str | None = None
    read_concurrency: int | None = None
    limit_upload: int | None = None
    limit_download: int | None = None
    dry_run: bool = False


@dataclass(frozen=True)
class RestoreOrder:
    """One restic process of a restore: a folder of a snapshot (or the whole, before 0.16) into a real directory."""

    snapshot: str
    folder: bytes | None
    includes: Sequence[bytes]
    target: bytes | Inside


def backup_argv(binary: ResticBinary, order: BackupOrder) -> list[Argument]:
    """The words of a backup, as far as this restic knows them."""
    argv: list[Argument] = ["backup", "--host", order.host, "--tag", ",".join(order.tags)]
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
