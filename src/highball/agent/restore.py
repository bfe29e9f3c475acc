"""Bring paths of a snapshot back: plan, restore, and look whether all of it is there.

restic never gets `--target /`, and every target is a real path. It writes straight to the target where its
version knows the overwrite rule (0.17) and nothing of another kind is in the way; else into a staging
directory beside, from which `placing` moves entry by entry. What was restored is judged by our own look at the
target, never by restic's word alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from highball.agent.attempt import Attempt, as_shown, escaped, run_restic, slices
from highball.agent.entries import WANTED, Entry, Verdict, kind_of
from highball.agent.ground import Ground, ancestors, is_below
from highball.agent.placing import Placer, Staging, Traits, give_traits, put_aside
from highball.agent.steps import Done, Steps
from highball.agent.survey import Parent, Place, Survey
from highball.engine.restic.argv import RestoreOrder
from highball.engine.restic.restic import Restic
from highball.errors import Cancelled, Failed
from highball.facts import Caution, NodeKind, Outcome, Progress, Reason, path_for_people
from highball.process import Stop
from highball.protocol import Overwrite, RestorePlan, RestoreTask

MOST_NAMED = 100
"""So many cautions of one kind are listed; the rest is counted."""
COARSE_NS = 2_000_000_000
"""FAT keeps times to two seconds."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_KEEPING = frozenset({Overwrite.NEVER, Overwrite.IF_NEWER})
"""Under these rules a folder that is there keeps its mode, owner and time."""


def plan_restore(
    restic: Restic, snapshot: str, paths: Sequence[bytes], target: bytes | None, overwrite: Overwrite
) -> RestorePlan:
    """What a restore would do, and what this restic cannot promise; touches nothing.

    Raises Failed: `path_unknown`, `target_unusable`, or what the repository says.
    """
    with Survey(restic, snapshot, paths, target, overwrite) as survey:
        return survey.plan(_limits(restic, survey))


def restore(steps: Steps, restic: Restic, task: RestoreTask) -> Done:
    """Carry out a restore; success is that everything planned is there, in number and size."""
    with Survey(restic, task.snapshot_id, task.paths, task.target, task.overwrite) as survey:
        work = _Restoring(steps, restic, survey)
        try:
            work.carry_out()
        except OSError as error:
            work.failed_with(error)
        return work.judge()


def _limits(restic: Restic, survey: Survey) -> tuple[str, ...]:
    sentences = ["sparse files are written out in full"]
    if not restic.binary.names_folders:
        sentences.append("restic before 0.16 loses targets of links that are not UTF-8 when it saves")
    groups = _grouped(restic, survey)
    if any(group.staged for group in groups):
        why = (
            "this restic has no overwrite rule"
            if not restic.binary.has_overwrite
            else "entries are in the way"
        )
        sentences.append(
            f"it is staged beside the target first ({why}), which needs the space twice for that time"
        )
    if any(not group.staged and any(place.replaced for place in group.places) for group in groups):
        sentences.append(
            "files are overwritten where they lie: one that is cut short by a cancel is incomplete"
        )
    if survey.parents or any(not group.staged and not group.names for group in groups):
        sentences.append(
            "extended attributes and ACLs of a chosen folder itself, and of folders made above, are not restored"
        )
    if os.geteuid() != 0 and survey.foreign_owners:
        sentences.append("Highball does not run as root here, so owners are not restored")
    if survey.tallies[Verdict.UNSURE].entries:
        sentences.append(
            "names that the listing spells inexactly come back, but are neither planned nor compared"
        )
    return tuple(sentences)


# --- groups --------------------------------------------------------------------------------------


@dataclass
class _Group:
    """What one restic process restores: one directory, or chosen entries of one folder."""

    folder: bytes
    target: bytes
    names: list[bytes]
    places: list[Place]
    staged: bool

    @property
    def wanted(self) -> int:
        return sum(place.wanted for place in self.places)

    @property
    def size_bytes(self) -> int:
        return sum(place.wanted_bytes for place in self.places)


def _grouped(restic: Restic, survey: Survey) -> list[_Group]:
    groups: dict[tuple[bytes, bytes], _Group] = {}
    for place in survey.places:
        if place.entry is not None and place.entry.kind is NodeKind.DIRECTORY:
            groups[place.source, place.target] = _Group(place.source, place.target, [], [place], False)
            continue
        key = os.path.dirname(place.source), os.path.dirname(place.target)
        group = groups.setdefault(key, _Group(*key, [], [], False))
        group.names.append(os.path.basename(place.source))
        group.places.append(place)
    for group in groups.values():
        direct = restic.binary.has_overwrite and group.target != b"/"
        hindered = any(place.other or place.kept_linked for place in group.places)
        group.staged = not direct or hindered
    return list(groups.values())


# --- the work ------------------------------------------------------------------------------------


class _Restoring:
    """One restore under way."""

    def __init__(self, steps: Steps, restic: Restic, survey: Survey) -> None:
        self._steps = steps
        self._restic = restic
        self._survey = survey
        self._rule = survey.rule
        self._groups = _grouped(restic, survey)
        self._attempt = Attempt()
        self._bad: set[bytes] = set()
        """Snapshot paths, as shown, whose content restic could not restore."""
        self._cautions: list[Caution] = []
        self._trouble: Reason | None = None
        self._made: list[tuple[bytes, Entry]] = []
        self._told_at = time.monotonic()

    # --- doing ---

    def carry_out(self) -> None:
        """Restore every group, then set right what restic leaves to us."""
        self._tell_plan()
        groups = [group for group in self._groups if group.wanted or self._rule not in _KEEPING]
        groups = [group for group in groups if not all(place.blocked for place in group.places)]
        self._check_space(groups)
        try:
            for group in groups:
                if self._steps.stop.requested or self._trouble is not None:
                    break
                self._restore(group)
        except Cancelled:
            pass  # the judgement says how far it came
        except Failed as error:
            self._trouble = Reason(code=error.code, message=error.message)
        finally:
            if groups:
                self._set_right()

    def failed_with(self, error: OSError) -> None:
        """The file system refused something."""
        full = error.errno in _FULL
        code = "no_space" if full else "target_unusable"
        self._trouble = self._trouble or Reason(code=code, message=f"the target cannot be written: {error}")

    def _tell_plan(self) -> None:
        plan = self._survey.plan(_limits(self._restic, self._survey))
        parts = [
            f"{getattr(plan, name).entries} {name.replace('_', ' ')} ({getattr(plan, name).size_bytes} bytes)"
            for name in ("new", "replaced", "unchanged", "kept", "other_kind")
        ]
        self._steps.log("highball", f"plan for {path_for_people(self._survey.landing)}: {', '.join(parts)}")
        for sentence in plan.cannot_promise:
            self._steps.log("highball", sentence)

    def _check_space(self, groups: Sequence[_Group]) -> None:
        # Only where files are overwritten in place: there a full disk would leave them cut short.
        risky = [g for g in groups if not g.staged and any(place.replaced for place in g.places)]
        for group in risky:
            free = _free_bytes(group.target)
            added = group.size_bytes - self._size_of_replaced(group)
            if added > free:
                where = path_for_people(group.target)
                message = (
                    f"{added} bytes more are needed below {where} and {free} are free; nothing was touched"
                )
                raise Failed(message, code="no_space")

    def _size_of_replaced(self, group: _Group) -> int:
        total = 0
        with Ground() as ground:
            for entry in self._entries(group):
                if entry.verdict is Verdict.REPLACED and entry.kind is NodeKind.FILE:
                    there = ground.status(self._survey.target_of(entry))
                    total += there.st_size if there is not None else 0
        return total

    def _entries(self, group: _Group) -> Iterator[Entry]:
        for place in group.places:
            yield from self._survey.spool.read(place.start, place.end)

    def _restore(self, group: _Group) -> None:
        if group.staged:
            self._restore_by_staging(group)
            return
        self._make_parents(group, None)
        if not group.names:
            self._make_folder(group.places[0])
        attempt = Attempt()
        for some in slices(group.names):
            includes = [b"/" + escaped(name) for name in some]
            order = RestoreOrder(self._survey.snapshot, group.folder, includes, group.target, self._rule)
            run_restic(self._steps, self._restic, order, attempt)
        self._take_up(group, attempt, group.folder)

    def _take_up(self, group: _Group, attempt: Attempt, folder: bytes) -> None:
        """Remember what one group's processes said; their paths begin at `folder`."""
        self._attempt.finished += attempt.finished
        self._attempt.cautions += attempt.cautions
        self._attempt.bad |= attempt.bad
        self._attempt.unclear = self._attempt.unclear or attempt.unclear
        prefix = as_shown(folder).rstrip(b"/")
        for path in attempt.bad:
            self._bad.update({path, prefix + path})
        failed = attempt.failed
        if failed is not None and not failed.stopped:
            reason = self._restic.why(failed)
            full = any(
                "no space left" in text for text in [*failed.log, *(c.message for c in attempt.cautions)]
            )
            if full:
                self._trouble = self._no_space(group)
            elif reason.code not in ("restic_failed", "no_space"):
                self._trouble = reason

    def _no_space(self, group: _Group) -> Reason:
        where = path_for_people(group.target)
        twice = (
            f"; staging needs room for {group.size_bytes} bytes beside what is there" if group.staged else ""
        )
        return Reason(code="no_space", message=f"there is no space left on the file system of {where}{twice}")

    # --- folders that restic does not care for ---

    def _make_base(self) -> None:
        """Make the new directory, and what is missing above it; the run takes along what stays empty of them."""
        base = self._survey.base
        if base is None:
            return
        self._steps.will_make([folder for folder in (base, *ancestors(base)) if not os.path.lexists(folder)])
        os.makedirs(base, mode=0o700, exist_ok=True)

    def _make_parents(self, group: _Group, aside: bytes | None) -> None:
        self._make_base()
        below = [p for p in self._survey.parents.values() if is_below(group.places[0].target, p.target)]
        self._steps.will_make([parent.target for parent in below if not os.path.lexists(parent.target)])
        with Ground() as ground:
            for parent in sorted(below, key=lambda parent: parent.target):
                self._make_parent(ground, parent, aside)

    def _make_parent(self, ground: Ground, parent: Parent, aside: bytes | None) -> None:
        there = ground.status(parent.target)
        if there is not None and stat.S_ISDIR(there.st_mode):
            return
        if there is not None and (not parent.stands_in or aside is None):
            raise FileExistsError(f"{path_for_people(parent.target)} is no directory any more")
        moved = None if there is None else put_aside(ground, parent.target, aside or b"", len(self._made))
        folder, name = ground.locate(parent.target)
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
        except OSError:
            if moved is not None:
                moved.put_back()
            raise
        if parent.entry is not None:
            self._made.append((parent.target, parent.entry))

    def _make_folder(self, place: Place) -> None:
        with Ground() as ground:
            if ground.status(place.target) is None:
                if place.wanted > 1:  # an empty folder of the snapshot stays empty
                    self._steps.will_make([place.target])
                folder, name = ground.locate(place.target)
                os.mkdir(name, 0o700, dir_fd=folder)

    def _set_right(self) -> None:
        """Traits that the listing knows and restic does not set, or that the rule says to keep; innermost first."""
        with Ground() as ground:
            for group in self._groups:
                self._set_folders_right(ground, group)
            for path, entry in reversed(self._made):
                self._give(ground, path, _traits_of(entry))
            for path, seen in self._survey.standing.items():
                if ground.status(path) is not None and path not in {
                    place.target for place in self._survey.places
                }:
                    self._give(ground, path, Traits.of(seen), quietly=True)

    def _set_folders_right(self, ground: Ground, group: _Group) -> None:
        if group.names or all(place.blocked for place in group.places):
            return
        place = group.places[0]
        if self._rule in _KEEPING:
            for entry in self._entries(group):
                if entry.was is not None:
                    self._give(ground, self._survey.target_of(entry), Traits(*entry.was), quietly=True)
        if place.entry is not None and not (self._rule in _KEEPING and place.entry.was is not None):
            there = ground.status(place.target)
            if there is not None and stat.S_ISDIR(there.st_mode):
                self._give(ground, place.target, _traits_of(place.entry))

    def _give(self, ground: Ground, path: bytes, traits: Traits, *, quietly: bool = False) -> None:
        try:
            give_traits(ground, path, traits)
        except OSError as error:
            if not quietly:
                self._note_trouble(path, error)

    def _note_trouble(self, path: bytes, error: OSError) -> None:
        self._cautions.append(Caution(code="not_set", message=f"{error.strerror or error}", path=path))

    # --- staging ---

    def _restore_by_staging(self, group: _Group) -> None:
        self._make_base()
        name = f".highball-restore-{self._steps.assignment.run}-{group.places[0].number}".encode()
        room = _room_for(group.target)
        self._steps.will_leave(room.rstrip(b"/") + b"/" + name)
        with Staging(room, name) as staging:
            attempt = Attempt()
            inside = staging.path + b"/restored"
            root = self._fill(group, inside, attempt)
            self._take_up(group, attempt, group.folder if self._restic.binary.names_folders else b"/")
            if not attempt.unclear and self._trouble is None and not any(f.stopped for f in attempt.finished):
                self._make_parents(group, staging.path)
                self._place(group, staging.path, root, whole_folders=not attempt.bad)
        if staging.left is not None:
            message = f"the staging directory could not be removed: {staging.left}"
            self._cautions.append(Caution(code="staging_left", message=message, path=staging.path))

    def _fill(self, group: _Group, inside: bytes, attempt: Attempt) -> bytes:
        """Restore a group into a fresh directory; where in there its folder lies."""
        restic = self._watched(group, os.path.dirname(inside))
        whole = not self._restic.binary.names_folders
        for some in slices(group.names):
            includes = [b"/" + escaped(name) for name in some]
            if whole:
                above = escaped(group.folder).rstrip(b"/")
                includes = [above + include for include in includes] or [above]
            order = RestoreOrder(self._survey.snapshot, None if whole else group.folder, includes, inside)
            run_restic(self._steps, restic, order, attempt)
        return inside + (group.folder.rstrip(b"/") if whole else b"")

    def _watched(self, group: _Group, where: bytes) -> Restic:
        """restic, with progress by the disk's free space where the version gives none."""
        if self._restic.binary.names_folders:
            return self._restic
        before, total = _free_bytes(where), group.size_bytes

        def ask() -> bool:
            if self._is_time_to_tell():
                written = min(max(before - _free_bytes(where), 0), total)
                self._steps.progress(Progress(bytes_done=written, bytes_total=total))
            return self._steps.stop.requested

        return replace(self._restic, stop=Stop(ask))

    def _place(self, group: _Group, aside: bytes, root: bytes, *, whole_folders: bool) -> None:
        _, files, size = self._survey.wanted
        done = 0
        with Placer(aside, self._rule, self._note_unplaced, whole_folders=whole_folders) as placer:
            for entry in self._entries(group):
                if self._steps.stop.requested:
                    return
                if entry.verdict is Verdict.OTHER_KEPT or self._is_bad(entry):
                    continue
                placer.place(
                    entry, root + entry.path[len(group.folder.rstrip(b"/")) :], self._survey.target_of(entry)
                )
                done += entry.size if entry.verdict in WANTED else 0
                if self._is_time_to_tell():
                    self._steps.progress(Progress(bytes_done=done, bytes_total=size, files_total=files))

    def _note_unplaced(self, path: bytes, error: OSError) -> None:
        if error.errno in _FULL:
            self._trouble = self._trouble or Reason(
                code="no_space", message=f"there is no space left: {error}"
            )
        self._cautions.append(Caution(code="not_restored", message=error.strerror or str(error), path=path))

    def _is_bad(self, entry: Entry) -> bool:
        return bool(self._bad) and entry.kind is not NodeKind.DIRECTORY and as_shown(entry.path) in self._bad

    def _is_time_to_tell(self) -> bool:
        now = time.monotonic()
        due = now - self._told_at >= 1
        self._told_at = now if due else self._told_at
        return due

    # --- judging ---

    def judge(self) -> Done:
        """Look at every entry that was to be new or replaced, and say what is there."""
        stopped = self._steps.stop.requested or any(finished.stopped for finished in self._attempt.finished)
        found = self._look_again(strictly=stopped)
        facts = {
            "files_restored": found.files,
            "bytes_restored": found.size_bytes,
            "target": self._survey.landing,
        }
        special = _some(found.special, len(found.special))
        warnings = [*_some(found.missing, found.missing_count), *special, *self._all_cautions()]
        entries, files, size = self._survey.wanted
        if stopped and found.missing_count:
            message = (
                f"cancelled; {found.files} of {files} files ({found.size_bytes} of {size} bytes) are back"
            )
            return Done(Outcome.CANCELLED, Reason(code="cancelled", message=message), warnings, facts)
        reason = self._failure(found, entries)
        if reason is not None:
            return Done(Outcome.FAILURE, reason, warnings, facts)
        failed = self._attempt.failed
        if not warnings and failed is not None:
            warnings = [Caution(code="restic_failed", message=self._restic.why(failed).message)]
        if not warnings:
            return Done(facts=facts)
        first = warnings[0]
        where = f"{path_for_people(first.path)}: " if first.path else ""
        return Done(
            Outcome.WARNING, Reason(code=first.code, message=f"{where}{first.message}"), warnings, facts
        )

    def _failure(self, found: _Found, entries: int) -> Reason | None:
        if not any(tally.entries for tally in self._survey.tallies.values()):
            return Reason(code="nothing_restored", message="there is nothing to restore in what was chosen")
        if found.missing_count:
            tail = f": {self._trouble.message}" if self._trouble else ""
            code = self._trouble.code if self._trouble else "restore_incomplete"
            message = f"{found.missing_count} of {entries} entries were not restored{tail}"
            return Reason(code=code, message=message)
        if self._trouble is not None:
            return self._trouble
        if self._attempt.bad or self._attempt.unclear:
            message = f"restic could not restore all of it: {self._attempt.cautions[0].message}"
            return Reason(code="restore_incomplete", message=message)
        if not entries and self._survey.tallies[Verdict.OTHER_KEPT].entries and not self._stands():
            message = "nothing was restored: something of another kind is in the way"
            return Reason(code="nothing_restored", message=message)
        return None

    def _stands(self) -> bool:
        tallies = self._survey.tallies
        return bool(tallies[Verdict.UNCHANGED].files or tallies[Verdict.KEPT].files)

    def _look_again(self, *, strictly: bool) -> _Found:
        found = _Found()
        with Ground() as ground:
            for entry in self._survey.spool.read():
                if entry.verdict not in WANTED:
                    continue
                path = self._survey.target_of(entry)
                try:
                    there = ground.status(path)
                except OSError:
                    there = None
                exact = strictly or entry.verdict is Verdict.REPLACED
                whole = not self._is_bad(entry) and _is_whole(entry, there, exact=exact)
                found.add(entry, path, whole=whole)
        return found

    def _all_cautions(self) -> list[Caution]:
        left = self._survey.tallies[Verdict.OTHER_KEPT]
        message = "not restored: something of another kind is there, and it was left"
        others = [Caution(code="other_kind_kept", message=message, path=path) for path in left.examples]
        if left.entries > len(left.examples):
            rest = left.entries - len(left.examples)
            others.append(
                Caution(code="other_kind_kept", message=f"{rest} more were left for the same reason")
            )
        if os.geteuid() != 0 and self._survey.foreign_owners:
            message = "not run as root, so files of other owners now belong to the one who restored them"
            others.append(Caution(code="owner_not_restored", message=message))
        said = [*self._cautions, *self._attempt.cautions]
        return [*others, *_some(said, len(said))]


@dataclass
class _Found:
    """What the second look saw."""

    files: int = 0
    size_bytes: int = 0
    missing_count: int = 0
    missing: list[Caution] = field(default_factory=list)
    special: list[Caution] = field(default_factory=list)

    def add(self, entry: Entry, path: bytes, *, whole: bool) -> None:
        """Count one entry; a special file that is missing is a caution only."""
        if whole:
            self.files += entry.kind is not NodeKind.DIRECTORY
            self.size_bytes += entry.size
            return
        if entry.kind is NodeKind.OTHER:
            self.special.append(
                Caution(code="special_file_missing", message="a special file was not made", path=path)
            )
            return
        self.missing_count += 1
        if len(self.missing) < MOST_NAMED:
            message = "it is not there, or not all of it"
            self.missing.append(Caution(code="restore_incomplete", message=message, path=path))


def _is_whole(entry: Entry, there: os.stat_result | None, *, exact: bool) -> bool:
    if there is None or kind_of(there) is not entry.kind:
        return False
    if entry.kind is not NodeKind.FILE:
        return True
    same_time = abs(there.st_mtime_ns - entry.modified_ns) < COARSE_NS
    return there.st_size == entry.size and (same_time or not exact)


def _some(cautions: Sequence[Caution], count: int) -> list[Caution]:
    named = list(cautions[:MOST_NAMED])
    if count > len(named):
        named.append(Caution(code=named[0].code, message=f"and {count - len(named)} more of these"))
    return named


def _traits_of(entry: Entry) -> Traits:
    return Traits(entry.mode, entry.uid, entry.gid, entry.modified_ns)


def _free_bytes(path: bytes) -> int:
    for folder in (path, *ancestors(path)):
        with contextlib.suppress(OSError):
            seen = os.statvfs(folder)
            return seen.f_bavail * seen.f_frsize
    return 0


def _room_for(target: bytes) -> bytes:
    """The directory for staging: the target where it is one, else the first one above it; never by a link."""
    with Ground() as ground:
        for folder in (target, *ancestors(target)):
            there = ground.status(folder)
            if there is not None and stat.S_ISDIR(there.st_mode):
                return folder
    return b"/"
