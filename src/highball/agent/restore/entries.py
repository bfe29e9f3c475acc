"""The entries of a snapshot and what becomes of each under a rule; on disk as they are listed, never in a list.

A snapshot may hold millions. Nothing here looks at the target: who judges says what is there.
"""

from __future__ import annotations

import stat
import struct
import tempfile
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from highball.model.snapshot import Node, NodeKind
from highball.place.base import Status, Traits
from highball.protocol.tasks import Overwrite

REPLACING = frozenset({Overwrite.ALWAYS, Overwrite.IF_CHANGED})
"""The rules under which what is there may be replaced."""


class EntryVerdict(IntEnum):
    """What becomes of one entry."""

    NEW = 0
    REPLACED = 1
    UNCHANGED = 2
    KEPT = 3
    OTHER_REPLACED = 4
    OTHER_KEPT = 5
    UNSURE = 6
    """Its exact name could not be had, so nothing can be said of it."""
    OWN = 7
    """It would lie among Highball's own state, keys or configuration, which a restore leaves alone."""


WANTED = frozenset({EntryVerdict.NEW, EntryVerdict.REPLACED, EntryVerdict.OTHER_REPLACED})


class SnapshotEntry(NamedTuple):
    """One entry of the snapshot, and what becomes of it."""

    place: int
    verdict: EntryVerdict
    kind: NodeKind
    size: int
    mode: int
    uid: int
    gid: int
    modified_ns: int
    path: bytes


def traits_of(entry: SnapshotEntry) -> Traits:
    """The traits that the snapshot lists for an entry."""
    return Traits(entry.mode, entry.uid, entry.gid, entry.modified_ns)


def kind_of(seen: Status) -> NodeKind:
    """The kind of what is there."""
    if stat.S_ISREG(seen.st_mode):
        return NodeKind.FILE
    if stat.S_ISDIR(seen.st_mode):
        return NodeKind.DIRECTORY
    return NodeKind.SYMLINK if stat.S_ISLNK(seen.st_mode) else NodeKind.OTHER


def judge(
    entry: SnapshotEntry, there: Status | None, rule: Overwrite, user: int, may_hand_over: Callable[[], bool]
) -> EntryVerdict:
    """What becomes of an entry under a rule; a folder is never replaced by anything else.

    *Unchanged* is what has the same size and time, as `if-changed` has it; a folder that is there is
    always unchanged. A file of another owner is replaced and not handed over, unless it may be: it could be any
    file that somebody who may rename here wants to have. `user` is who writes it.
    """
    if there is None:
        return EntryVerdict.NEW
    kind = kind_of(there)
    if kind is not entry.kind:
        replaced = rule in REPLACING and kind is not NodeKind.DIRECTORY
        return EntryVerdict.OTHER_REPLACED if replaced else EntryVerdict.OTHER_KEPT
    same_size = kind is not NodeKind.FILE or there.st_size == entry.size
    if kind is NodeKind.DIRECTORY:
        return EntryVerdict.UNCHANGED
    if same_size and there.st_mtime_ns == entry.modified_ns:
        handed_over = user == 0 and there.st_uid != entry.uid and kind is not NodeKind.SYMLINK
        return (
            EntryVerdict.REPLACED
            if rule in REPLACING and handed_over and not may_hand_over()
            else EntryVerdict.UNCHANGED
        )
    newer = rule is Overwrite.IF_NEWER and entry.modified_ns > there.st_mtime_ns
    return EntryVerdict.REPLACED if newer or rule in REPLACING else EntryVerdict.KEPT


def entry_of(place: int, verdict: EntryVerdict, node: Node) -> SnapshotEntry:
    """A node of the listing as an entry."""
    return SnapshotEntry(
        place,
        verdict,
        node.kind,
        node.size_bytes or 0,
        node.mode or 0,
        node.uid or 0,
        node.gid or 0,
        node.modified_ns or 0,
        node.path,
    )


# --- the spool -----------------------------------------------------------------------------------

_HEAD = struct.Struct("<IBBqIIIqI")
_KINDS = tuple(NodeKind)


class Spool:
    """Entries on disk, in the order of the listing; gone with the process."""

    def __init__(self, scratch: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=scratch, prefix="restore-")  # noqa: SIM115 - closed by close()

    def close(self) -> None:
        """Let go of the disk space."""
        self._file.close()

    def tell(self) -> int:
        """Where the next entry goes."""
        return self._file.tell()

    def write(self, entry: SnapshotEntry) -> None:
        """Append one entry."""
        numbers = (entry.place, entry.verdict, _KINDS.index(entry.kind), entry.size, entry.mode, entry.uid)
        more = (entry.gid, entry.modified_ns, len(entry.path))
        self._file.write(_HEAD.pack(*numbers, *more) + entry.path)

    def read(self, start: int = 0, end: int | None = None) -> Iterator[SnapshotEntry]:
        """The entries between two places of the file; only one reader at a time."""
        self._file.seek(start)
        while (end is None or self._file.tell() < end) and (head := self._file.read(_HEAD.size)):
            place, verdict, kind, size, mode, uid, gid, modified, length = _HEAD.unpack(head)
            path = self._file.read(length)
            yield SnapshotEntry(
                place, EntryVerdict(verdict), _KINDS[kind], size, mode, uid, gid, modified, path
            )
