"""What a restore would do: the snapshot's listing against our own lstat of the target, the same for every engine.

Entries go to a spool file as they are listed, never into a list: a snapshot may hold millions. Nothing here
changes anything on the target, and no link below the target is followed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from highball.agent.restore.entries import (
    REPLACING,
    WANTED,
    EntryVerdict,
    SnapshotEntry,
    Spool,
    entry_of,
    judge,
    kind_of,
)
from highball.engine.base import OpenRepository
from highball.errors import Failed
from highball.model.paths import ancestors, is_below, outermost
from highball.model.snapshot import Node, NodeKind
from highball.model.text import LOST, path_for_people
from highball.place.base import Files, holds_something
from highball.protocol.queries import PlanPart, RestorePlan
from highball.protocol.tasks import Overwrite

EXAMPLES = 20
FOLDERS_AT_ONCE = 1000


# --- the plan ------------------------------------------------------------------------------------


@dataclass
class Tally:
    """One part of the plan while it is being counted."""

    entries: int = 0
    files: int = 0
    size_bytes: int = 0
    examples: list[bytes] = field(default_factory=list)

    def add(self, kind: NodeKind, size: int, path: bytes) -> None:
        """Count one entry."""
        self.entries += 1
        self.files += kind is not NodeKind.DIRECTORY
        self.size_bytes += size
        if len(self.examples) < EXAMPLES:
            self.examples.append(path)

    def part(self) -> PlanPart:
        """As a fact."""
        examples = tuple(self.examples)
        return PlanPart(entries=self.entries, files=self.files, size_bytes=self.size_bytes, examples=examples)


@dataclass
class ChosenPath:
    """One chosen path and where it goes; `start` and `end` are its stretch of the spool."""

    number: int
    source: bytes
    target: bytes
    entry: SnapshotEntry | None = None
    blocked: bool = False
    stands: bool = False
    """It is a folder, and is there as one."""
    wanted: int = 0
    wanted_bytes: int = 0
    all_bytes: int = 0
    unsure: bool = False
    start: int = 0
    end: int = 0


@dataclass
class Parent:
    """A folder above a chosen path that is not there as a folder."""

    source: bytes
    target: bytes
    stands_in: bool
    entry: SnapshotEntry | None = None


class RestoreSurvey:
    """One look at a snapshot and a target; a context manager, because it holds a spool, a file in `spools`."""

    def __init__(
        self,
        opened: OpenRepository,
        snapshot: str,
        paths: Sequence[bytes],
        target: bytes | None,
        overwrite: Overwrite,
        files: Files,
        spools: Path,
        own: Sequence[bytes] = (),
    ) -> None:
        self.snapshot = snapshot
        self.rule = overwrite
        self.files = files
        self._spools = spools
        self._own = own
        self.base = files.resolve(target) if target is not None else None
        self.parents: dict[bytes, Parent] = {}
        self.places: list[ChosenPath] = []
        self.tallies = {verdict: Tally() for verdict in EntryVerdict}
        self.foreign_owners = False
        self.spool = Spool(spools)
        self._opened = opened
        self._resume: tuple[bytes, EntryVerdict] | None = None
        self._safe: dict[bytes, bool] = {}
        self._current: ChosenPath | None = None
        self._by_source: dict[bytes, ChosenPath] = {}
        self._uncertain: set[bytes] = set()
        try:
            if self.base is None:
                self._demand_a_place(paths)
            self._look(outermost(normal(path) for path in paths))
        except OSError as error:
            self.close()
            raise Failed(f"the target cannot be looked at: {error}", code="target_unusable") from None
        except BaseException:
            self.close()
            raise

    def _demand_a_place(self, paths: Sequence[bytes]) -> None:
        """In place is nowhere for what a command printed."""
        if all(normal(path).count(b"/") != 1 for path in paths):  # it lies in no folder
            return
        listed = self._opened.list_snapshots()
        if any(one.is_stream and one.id.startswith(self.snapshot) for one in listed):
            raise Failed(
                "what a command printed lies nowhere on this host, so it cannot be restored in place",
                code="target_unusable",
                hint="name a folder to restore it to",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the spool."""
        self.spool.close()

    # --- what it found ---

    def target_of(self, entry: SnapshotEntry) -> bytes:
        """Where an entry goes."""
        place = self.places[entry.place]
        return place.target + entry.path[len(place.source) :]

    @property
    def landing(self) -> bytes:
        """The directory below which everything lands."""
        if self.base is not None:
            return self.base
        if len(self.places) == 1:
            return self.places[0].target
        return os.path.commonpath([place.target for place in self.places]) if self.places else b"/"

    @property
    def wanted(self) -> tuple[int, int, int]:
        """Entries, files and bytes that are to be new or replaced."""
        tallies = [self.tallies[verdict] for verdict in WANTED]
        return (
            sum(t.entries for t in tallies),
            sum(t.files for t in tallies),
            sum(t.size_bytes for t in tallies),
        )

    def plan(self, cannot_promise: tuple[str, ...]) -> RestorePlan:
        """What it found, as a fact."""
        left = self.tallies[EntryVerdict.OTHER_KEPT]
        replaced = self.tallies[EntryVerdict.OTHER_REPLACED]
        other = Tally(
            left.entries + replaced.entries,
            left.files + replaced.files,
            left.size_bytes + replaced.size_bytes,
            [*replaced.examples, *left.examples][:EXAMPLES],
        )
        return RestorePlan(
            snapshot_id=self.snapshot,
            overwrite=self.rule,
            in_place=self.base is None,
            in_use=self.base is None or holds_something(self.files, self.base),
            paths=tuple(place.source for place in self.places),
            target=None if self.base is None else self.landing,
            new=self.tallies[EntryVerdict.NEW].part(),
            replaced=self.tallies[EntryVerdict.REPLACED].part(),
            unchanged=self.tallies[EntryVerdict.UNCHANGED].part(),
            kept=self._kept().part(),
            other_kind=other.part(),
            other_kind_left=left.entries,
            cannot_promise=cannot_promise,
        )

    def _kept(self) -> Tally:
        """What stays as it is, though it differs."""
        one, other = self.tallies[EntryVerdict.KEPT], self.tallies[EntryVerdict.OWN]
        return Tally(
            one.entries + other.entries,
            one.files + other.files,
            one.size_bytes + other.size_bytes,
            [*one.examples, *other.examples][:EXAMPLES],
        )

    # --- looking ---

    def _look(self, sources: list[bytes]) -> None:
        self._check_base()
        if sources == [b"/"]:
            sources = self._list_root()
        while True:
            self._begin(sources)
            self._look_at_parents()
            self._look_at_entries(sources)
            if not self._uncertain:
                break
            above = {os.path.dirname(source) if source in self._uncertain else source for source in sources}
            sources = outermost(above - {b"/"})
        for place in self.places:
            if place.entry is None:
                raise Failed(f"{path_for_people(place.source)} is not in this snapshot", code="path_unknown")

    def _check_base(self) -> None:
        if self.base == b"/":
            raise Failed(
                "a target is a directory below /; to restore in place, name none", code="target_unusable"
            )
        there = self.files.status(self.base) if self.base is not None else None
        if there is not None and kind_of(there) is not NodeKind.DIRECTORY:
            raise Failed(f"{path_for_people(self.base or b'')} is not a directory", code="target_unusable")

    def _list_root(self) -> list[bytes]:
        found: list[bytes] = []
        self._opened.each_node(
            self.snapshot,
            lambda node: None if node.inexact else found.append(node.path),
            (b"/",),
            recursive=False,
        )
        return sorted(found)

    def _begin(self, sources: Sequence[bytes]) -> None:
        self.spool.close()
        self.spool = Spool(self._spools)
        self.tallies = {verdict: Tally() for verdict in EntryVerdict}
        self.parents, self._uncertain = {}, set()
        self._resume = self._current = None
        self.places = [
            ChosenPath(number, source, self._goal_of(source)) for number, source in enumerate(sources)
        ]
        self._by_source = {place.source: place for place in self.places}

    def _goal_of(self, source: bytes) -> bytes:
        if self.base is not None:
            return self.base.rstrip(b"/") + source
        above, _, name = source.rpartition(b"/")
        return self.files.resolve(above or b"/").rstrip(b"/") + b"/" + name

    # --- parents ---

    def _look_at_parents(self) -> None:
        for place in self.places:
            self._climb(os.path.dirname(place.source), os.path.dirname(place.target))
        missing = {parent.source: parent for parent in self.parents.values()}
        if missing:
            folders = sorted({ancestor for source in missing for ancestor in ancestors(source)})
            self._opened.each_node(
                self.snapshot, lambda node: self._note(missing, node), folders, recursive=False
            )
        for parent in sorted(self.parents.values(), key=lambda parent: parent.target):
            self._judge_parent(parent)

    def _climb(self, source: bytes, target: bytes) -> None:
        """Note what is missing above a chosen path, up to the first folder that is there."""
        while True:
            there = self.files.status(target)
            if target == self.base or (there is not None and kind_of(there) is NodeKind.DIRECTORY):
                return
            self.parents[target] = Parent(source, target, stands_in=there is not None)
            source, target = os.path.dirname(source), os.path.dirname(target)

    def _note(self, missing: dict[bytes, Parent], node: Node) -> None:
        parent = missing.get(node.path)
        if parent is not None and node.kind is NodeKind.DIRECTORY and not node.inexact:
            parent.entry = entry_of(0, EntryVerdict.NEW, node)

    def _judge_parent(self, parent: Parent) -> None:
        if not parent.stands_in:
            return
        verdict = EntryVerdict.OTHER_REPLACED if self.rule in REPLACING else EntryVerdict.OTHER_KEPT
        self.tallies[verdict].add(NodeKind.DIRECTORY, 0, parent.target)
        for place in self.places:
            if is_below(place.target, parent.target):
                place.blocked = place.blocked or verdict is EntryVerdict.OTHER_KEPT

    # --- entries ---

    def _look_at_entries(self, sources: Sequence[bytes]) -> None:
        folders = outermost(clean_part(source) for source in sources)
        if not sources:
            return
        whole = folders == [b"/"] or len(folders) > FOLDERS_AT_ONCE
        self._opened.each_node(self.snapshot, self._see, () if whole else folders)

    def _see(self, node: Node) -> None:
        place = self._place_of(node.path)
        if place is None:
            return
        if node.inexact:
            if node.path == place.source:
                self._uncertain.add(node.path)
            self.tallies[EntryVerdict.UNSURE].add(node.kind, node.size_bytes or 0, node.path)
            place.unsure = True
            return
        if place is not self._current:
            self._current = place
            place.start = self.spool.tell()
        entry = self._judged(place, node)
        if node.path == place.source:
            place.entry = entry
            place.stands = node.kind is NodeKind.DIRECTORY and entry.verdict is EntryVerdict.UNCHANGED
        self.spool.write(entry)
        place.end = self.spool.tell()
        self._count(place, entry)

    def _place_of(self, path: bytes) -> ChosenPath | None:
        current = self._current
        if current is not None and (path == current.source or is_below(path, current.source)):
            return current
        found = self._by_source.get(path)
        return found or next((self._by_source[a] for a in ancestors(path) if a in self._by_source), None)

    def _judged(self, place: ChosenPath, node: Node) -> SnapshotEntry:
        entry = entry_of(place.number, EntryVerdict.NEW, node)
        target = place.target + node.path[len(place.source) :]
        if place.blocked:
            return entry._replace(verdict=EntryVerdict.OTHER_KEPT)
        if self._resume is not None and is_below(target, self._resume[0]):
            return entry._replace(verdict=self._resume[1])
        there = self.files.status(target)
        verdict = judge(
            entry, there, self.rule, self.files.user, lambda: self._is_safe(os.path.dirname(target))
        )
        if self._is_own(target, verdict):
            verdict = EntryVerdict.OWN
        self._resume = None
        if node.kind is NodeKind.DIRECTORY and verdict is not EntryVerdict.UNCHANGED:
            below = verdict if verdict in (EntryVerdict.OTHER_KEPT, EntryVerdict.OWN) else EntryVerdict.NEW
            self._resume = (target, below)
        return entry._replace(verdict=verdict)

    def _is_own(self, target: bytes, verdict: EntryVerdict) -> bool:
        """Whether an entry would lie among Highball's own files, or come where the way to them leads."""
        is_way = verdict is not EntryVerdict.UNCHANGED and any(is_below(place, target) for place in self._own)
        return is_way or any(target == place or is_below(target, place) for place in self._own)

    def _is_safe(self, folder: bytes) -> bool:
        if folder not in self._safe:
            self._safe = {folder: self.files.is_safe(folder)}  # one is enough: they come folder by folder
        return self._safe[folder]

    def _count(self, place: ChosenPath, entry: SnapshotEntry) -> None:
        self.tallies[entry.verdict].add(entry.kind, entry.size, self.target_of(entry))
        self.foreign_owners = self.foreign_owners or entry.uid != self.files.user
        place.all_bytes += entry.size
        if entry.verdict in WANTED:
            place.wanted += 1
            place.wanted_bytes += entry.size


# --- paths ---------------------------------------------------------------------------------------


def normal(path: bytes) -> bytes:
    """A chosen path as the snapshot spells it; raises Failed for one that is not absolute."""
    if not path.startswith(b"/"):
        raise Failed(f"{path_for_people(path)} is not an absolute path", code="path_unknown")
    return b"/" + os.path.normpath(path).lstrip(b"/")


def clean_part(path: bytes) -> bytes:
    """The part of a path, from `/` on, that the listing spells without loss."""
    parts = path.split(b"/")
    lossy = next((number for number, part in enumerate(parts) if not _is_clean(part)), len(parts))
    return b"/".join(parts[:lossy]) or b"/"


def _is_clean(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return LOST not in name
