"""Bring paths of a snapshot back: plan, restore, and look whether all of it is there.

No engine ever gets `/` as its target, and every target is a real path. It writes straight to the target only where
Highball itself has just made it and nobody else may write on the way; else into a staging directory on the target's
file system, from which `placing` moves entry by entry. What was restored is judged by our own look at the target,
never by the engine's word alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from highball import humanize
from highball.agent.restore.entries import (
    WANTED,
    EntryVerdict,
    SnapshotEntry,
    kind_of,
    traits_of,
)
from highball.agent.restore.placement import REFRESHING, Placer
from highball.agent.restore.plan import (
    ChosenPath,
    Parent,
    RestoreSurvey,
)
from highball.agent.restore.staging import Staging, put_aside
from highball.agent.run.restore_attempt import (
    MOST_NAMED,
    PATHS_AT_ONCE,
    Attempt,
    as_shown,
    named,
    restore_portion,
)
from highball.agent.run.steps import StepResult, Steps
from highball.engine.base import OpenRepository, Portion
from highball.errors import Cancelled, Failed
from highball.model.paths import ancestors, is_below
from highball.model.run import (
    Caution,
    Outcome,
    Progress,
    Reason,
)
from highball.model.snapshot import NodeKind
from highball.model.text import LOST, path_for_people
from highball.place.base import Files, Identity, Status, Traits, identity_of
from highball.process.child import Inside, Stop
from highball.protocol.queries import RestorePlan
from highball.protocol.tasks import Overwrite, RestoreTask

OWN_IS_LEFT = "Highball's own state, keys and configuration are left unchanged"
COARSE_NS = 2_000_000_000
"""FAT keeps times to two seconds."""
WORTH_A_PROCESS = 1 << 30
"""So many bytes must be spared for each further portion that brings only what is wanted."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


def plan_restore(
    opened: OpenRepository,
    snapshot: str,
    paths: Sequence[bytes],
    target: bytes | None,
    overwrite: Overwrite,
    files: Files,
    spools: Path,
    own: Sequence[bytes] = (),
) -> RestorePlan:
    """What a restore would do, and what the engine here cannot promise; touches nothing.

    Nothing is restored to where Highball's `own` files lie.
    Raises Failed: `path_unknown`, `target_unusable`, or what the repository says.
    """
    with RestoreSurvey(opened, snapshot, paths, target, overwrite, files, spools, own) as survey:
        return survey.plan(_limits(opened, survey))


def restore(steps: Steps, opened: OpenRepository, task: RestoreTask) -> StepResult:
    """Carry out a restore; success is that everything planned is there, in number and size."""
    workplace = steps.workplace
    snapshot = workplace.demand_own(opened, task.snapshot_id, in_place=task.target is None)
    about = (opened, snapshot, task.paths, task.target, task.overwrite)
    with (
        workplace.place.files() as files,
        RestoreSurvey(*about, files, workplace.scratch, workplace.own) as survey,
    ):
        work = _Restoring(steps, opened, survey)
        try:
            work.carry_out()
        except OSError as error:
            work.failed_with(error)
        return work.judge()


def _limits(opened: OpenRepository, survey: RestoreSurvey) -> tuple[str, ...]:
    sentences = [*opened.abilities.limits]
    beside = sum(_size_beside(survey, place) for place in survey.places)
    if beside:
        sentences.append(
            f"what comes back is staged beside what is there first, which takes room for {humanize.size(beside)} more"
        )
    if survey.parents:
        sentences.append("folders made above what was chosen get no extended attributes and ACLs")
    if survey.rule is Overwrite.IF_CHANGED and survey.tallies[EntryVerdict.UNCHANGED].entries:
        sentences.append("what is there unchanged may keep the extended attributes and ACLs that it has")
    if survey.files.user != 0 and survey.foreign_owners:
        sentences.append("Highball does not run as root here, so owners are not restored")
    if own := survey.tallies[EntryVerdict.OWN].entries:
        sentences.append(f"{OWN_IS_LEFT} ({humanize.counted(own, 'entry', 'entries')})")
    if survey.tallies[EntryVerdict.UNSURE].entries:
        sentences.append(
            "names that the listing spells inexactly come back with their folder, but are neither planned nor compared"
        )
    return tuple(sentences)


def _size_beside(survey: RestoreSurvey, place: ChosenPath) -> int:
    """What of a place is written beside what is there before it changes places with it."""
    if place.wanted_bytes == place.all_bytes and not place.stands:
        return 0
    return place.all_bytes if survey.rule is Overwrite.ALWAYS else place.wanted_bytes


# --- groups --------------------------------------------------------------------------------------


@dataclass
class _Group:
    """What is restored together: chosen entries of one folder, or one directory that is there."""

    folder: bytes
    target: bytes
    places: list[ChosenPath]

    def room(self, files: Files) -> bytes:
        """Where staging is on the file system of the target: in the directory that is there, or the first above."""
        return _first_folder(files, self.places[0].target if self.places[0].stands else self.target)

    @property
    def wanted(self) -> int:
        return sum(place.wanted for place in self.places)

    @property
    def wanted_bytes(self) -> int:
        return sum(place.wanted_bytes for place in self.places)

    @property
    def all_bytes(self) -> int:
        return sum(place.all_bytes for place in self.places)


def _grouped(survey: RestoreSurvey) -> list[_Group]:
    groups: dict[tuple[bytes, bytes, int | None], _Group] = {}
    for place in survey.places:
        folder, target = os.path.dirname(place.source), os.path.dirname(place.target)
        key = folder, target, place.number if place.stands else None
        groups.setdefault(key, _Group(folder, target, [])).places.append(place)
    return list(groups.values())


# --- the work ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _MadeFolder:
    """A folder above what was chosen that was made, and is to have the traits of the snapshot."""

    path: bytes
    traits: Traits
    identity: Identity


class _Restoring:
    """One restore under way."""

    def __init__(self, steps: Steps, opened: OpenRepository, survey: RestoreSurvey) -> None:
        self._steps = steps
        self._place = steps.workplace.place
        self._opened = opened
        self._survey = survey
        self._rule = survey.rule
        self._groups = _grouped(survey)
        self._attempt = Attempt()
        self._bad: set[bytes] = set()
        """Snapshot paths, as shown, whose content could not be restored."""
        self._cautions: list[Caution] = []
        self._trouble: Reason | None = None
        self._made: list[_MadeFolder] = []
        self._is_fresh = False
        """The target was made by us just now, and nobody else may write on the way to it."""
        self._told_at = time.monotonic()

    # --- doing ---

    def carry_out(self) -> None:
        """Restore every group, then set right what the engine leaves to us."""
        self._tell_plan()
        groups = [group for group in self._groups if self._has_work(group)]
        try:
            if groups:
                self._make_base()
            for group in groups:
                if self._steps.stop.requested or self._trouble is not None:
                    break
                self._restore(group)
        except Cancelled:
            pass  # the judgement says how far it came
        except Failed as error:
            self._trouble = Reason(code=error.code, message=error.message)
        finally:
            self._set_right()

    def _has_work(self, group: _Group) -> bool:
        blocked = all(place.blocked for place in group.places)
        return not blocked and bool(group.wanted or self._rule in REFRESHING)

    def failed_with(self, error: OSError) -> None:
        """The file system refused something."""
        full = error.errno in _FULL
        code = "no_space" if full else "target_unusable"
        self._trouble = self._trouble or Reason(code=code, message=f"the target cannot be written: {error}")

    def _tell_plan(self) -> None:
        plan = self._survey.plan(_limits(self._opened, self._survey))
        parts = [
            f"{getattr(plan, name).entries} {name.replace('_', ' ')} ({getattr(plan, name).size_bytes} bytes)"
            for name in ("new", "replaced", "unchanged", "kept", "other_kind")
        ]
        self._steps.log("highball", f"plan for {path_for_people(self._survey.landing)}: {', '.join(parts)}")
        for sentence in plan.cannot_promise:
            self._steps.log("highball", sentence)

    def _entries(self, group: _Group) -> Iterator[SnapshotEntry]:
        for place in group.places:
            yield from self._survey.spool.read(place.start, place.end)

    def _restore(self, group: _Group) -> None:
        if not self._is_fresh or not self._opened.abilities.restores_folders:
            self._restore_by_staging(group)
            return
        self._make_parents(group, None)
        attempt = Attempt()
        self._bring(group, group.target, attempt, self._opened)
        self._take_up(group, attempt)

    def _bring(self, group: _Group, target: bytes | Inside, attempt: Attempt, opened: OpenRepository) -> None:
        """Restore what is wanted of a group."""
        chosen = self._choose(group)
        for some in opened.portions(chosen) if chosen else ():
            portion = Portion(self._survey.snapshot, group.folder, some, target)
            restore_portion(self._steps, opened, portion, attempt)

    def _choose(self, group: _Group) -> list[bytes]:
        """Paths below the group's folder that are to be brought: what is wanted alone, unless those are too many."""
        folder = len(group.folder.rstrip(b"/"))
        whole = [place.source[folder:] for place in group.places if not place.blocked]
        if self._rule is Overwrite.ALWAYS or any(place.unsure for place in group.places):
            return whole
        most = PATHS_AT_ONCE * (1 + (group.all_bytes - group.wanted_bytes) // WORTH_A_PROCESS)
        chosen: list[bytes] = []
        top: bytes | None = None
        for entry in self._entries(group):
            if entry.verdict not in WANTED or (top is not None and is_below(entry.path, top)):
                continue
            top = entry.path if entry.kind is NodeKind.DIRECTORY else top
            chosen.append(entry.path[folder:])
            if len(chosen) > most:
                return whole
        return chosen

    def _take_up(self, group: _Group, attempt: Attempt) -> None:
        """Remember what was said of one group; the paths may begin at the group's folder."""
        self._attempt.take_up(attempt)
        folder = group.folder if self._opened.abilities.restores_folders else b"/"
        prefix = as_shown(folder).rstrip(b"/")
        for path in attempt.bad:
            self._bad.update({path, prefix + path})
        failed = attempt.failed
        if failed is not None and not failed.stopped:
            reason = failed.reason
            if attempt.full or (reason is not None and reason.code == "no_space"):
                self._trouble = self._no_space(group)
            elif reason is not None and reason.code != self._opened.words.failed:
                self._trouble = reason

    def _no_space(self, group: _Group) -> Reason:
        where = path_for_people(group.target)
        beside = sum(_size_beside(self._survey, place) for place in group.places)
        needed = f"; staging needs room for {humanize.size(beside)} beside what is there" if beside else ""
        return Reason(
            code="no_space", message=f"there is no space left on the file system of {where}{needed}"
        )

    # --- folders that no engine cares for ---

    def _make_base(self) -> None:
        """Make the new directory, and what is missing above it; the run takes along what stays empty of them."""
        base = self._survey.base
        if base is None:
            return
        with self._place.files() as files:
            missing = [folder for folder in (base, *ancestors(base)) if files.status(folder) is None]
            self._steps.will_make(missing)
            for path in reversed(missing):
                with files.make_folder(path, 0o700 if path == base else 0o777):
                    pass
            leaves_out = bool(self._survey.tallies[EntryVerdict.OWN].entries)
            self._is_fresh = bool(missing) and files.is_safe(base) and not leaves_out

    def _make_parents(self, group: _Group, staging: Staging | None) -> None:
        below = [p for p in self._survey.parents.values() if is_below(group.places[0].target, p.target)]
        with self._place.files() as files:
            missing = [parent.target for parent in below if files.status(parent.target) is None]
            self._steps.will_make(missing)
            for parent in sorted(below, key=lambda parent: parent.target):
                self._make_parent(files, parent, staging)

    def _make_parent(self, files: Files, parent: Parent, staging: Staging | None) -> None:
        there = files.status(parent.target)
        if there is not None and stat.S_ISDIR(there.st_mode):
            return
        if there is not None and (not parent.stands_in or staging is None):
            raise FileExistsError(f"{path_for_people(parent.target)} is no directory any more")
        moved = None
        if there is not None and staging is not None:
            moved = put_aside(files, parent.target, staging.inside)
        try:
            made = files.make_folder(parent.target)
        except OSError:
            if moved is not None:
                moved.put_back()
            raise
        with made:
            if parent.entry is not None:
                traits = traits_of(parent.entry)
                self._made.append(_MadeFolder(parent.target, traits, identity_of(made.status())))
                if not traits.locks_out(files.user):  # at once: a process that is killed leaves it as it was
                    made.give(traits)

    def _set_right(self) -> None:
        """Give the folders that were made above their traits, innermost first."""
        with self._place.files() as files:
            for made in reversed(self._made):
                try:
                    with files.hold(made.path) as held:
                        if identity_of(held.status()) == made.identity:
                            held.give(made.traits)
                except OSError as error:
                    self._note_trouble(made.path, error)

    def _note_trouble(self, path: bytes, error: OSError) -> None:
        self._cautions.append(Caution(code="not_set", message=f"{error.strerror or error}", path=path))

    # --- staging ---

    def _restore_by_staging(self, group: _Group) -> None:
        name = f".highball-restore-{self._steps.assignment.run}-{group.places[0].number}".encode()
        with self._place.files() as files:
            room = group.room(files)
            self._steps.will_leave(room.rstrip(b"/") + b"/" + name)
            with Staging(files, room, name) as staging:
                self._restore_within(group, staging)
        if staging.left is not None:
            message = f"the staging directory could not be removed: {staging.left}"
            self._cautions.append(Caution(code="staging_left", message=message, path=staging.path))

    def _restore_within(self, group: _Group, staging: Staging) -> None:
        attempt = Attempt()
        self._bring(group, staging.target, attempt, self._watched(group, staging.path))
        self._take_up(group, attempt)
        if not attempt.unclear and self._trouble is None and not any(f.stopped for f in attempt.finished):
            self._make_parents(group, staging)
            self._put_in_place(group, staging, whole_folders=not attempt.bad)

    def _watched(self, group: _Group, where: bytes) -> OpenRepository:
        """The repository, with progress by the disk's free space where its engine tells none."""
        if self._opened.abilities.tells_progress_of_restores:
            return self._opened
        before, total = self._free_bytes(where), group.wanted_bytes

        def ask() -> bool:
            if self._is_time_to_tell():
                written = min(max(before - self._free_bytes(where), 0), total)
                self._steps.progress(Progress(bytes_done=written, bytes_total=total))
            return self._steps.stop.requested

        return self._opened.having(stop=Stop(ask))

    def _free_bytes(self, path: bytes) -> int:
        with self._place.files() as files:
            for folder in (path, *ancestors(path)):
                with contextlib.suppress(OSError):
                    return files.free_bytes(folder)
        return 0

    def _put_in_place(self, group: _Group, staging: Staging, *, whole_folders: bool) -> None:
        _, count, size = self._survey.wanted
        done = 0
        above = len(group.folder.rstrip(b"/")) if self._opened.abilities.restores_folders else 0
        with (
            self._place.files() as files,
            Placer(files, staging, self._rule, self._note_unplaced, whole_folders=whole_folders) as placer,
        ):
            for entry in self._entries(group):
                if self._steps.stop.requested:
                    return
                if entry.verdict in (EntryVerdict.OTHER_KEPT, EntryVerdict.OWN) or self._is_bad(entry):
                    continue
                placer.place(entry, staging.restored(entry.path[above:]), self._survey.target_of(entry))
                done += entry.size if entry.verdict in WANTED else 0
                if self._is_time_to_tell():
                    self._steps.progress(Progress(bytes_done=done, bytes_total=size, files_total=count))

    def _note_unplaced(self, path: bytes, error: OSError) -> None:
        if error.errno in _FULL:
            self._trouble = self._trouble or Reason(
                code="no_space", message=f"there is no space left: {error}"
            )
        self._cautions.append(Caution(code="not_restored", message=error.strerror or str(error), path=path))

    def _is_bad(self, entry: SnapshotEntry) -> bool:
        return bool(self._bad) and entry.kind is not NodeKind.DIRECTORY and as_shown(entry.path) in self._bad

    def _is_time_to_tell(self) -> bool:
        now = time.monotonic()
        due = now - self._told_at >= 1
        self._told_at = now if due else self._told_at
        return due

    # --- judging ---

    def judge(self) -> StepResult:
        """Look at every entry that was to be new or replaced, and say what is there."""
        stopped = self._steps.stop.requested or any(finished.stopped for finished in self._attempt.finished)
        found = self._look_again(strictly=stopped)
        facts = {
            "files_restored": found.files,
            "bytes_restored": found.size_bytes,
            "target": self._survey.landing,
        }
        special = named(found.special, found.special_count)
        missing = named(found.missing, found.missing_count)
        warnings = [*missing, *special, *found.lost_targets(), *self._all_cautions()]
        entries, files, size = self._survey.wanted
        if stopped and found.missing_count:
            sizes = f"{humanize.size(found.size_bytes)} of {humanize.size(size)}"
            message = f"cancelled; {found.files} of {files} files ({sizes}) are back"
            return StepResult(Outcome.CANCELLED, Reason(code="cancelled", message=message), warnings, facts)
        reason = self._failure(found, entries)
        if reason is not None:
            return StepResult(Outcome.FAILURE, reason, warnings, facts)
        failed = self._attempt.failed
        if not warnings and failed is not None and failed.reason is not None:
            warnings = [Caution(code=self._opened.words.failed, message=failed.reason.message)]
        if not warnings:
            return StepResult(facts=facts)
        first = warnings[0]
        where = f"{path_for_people(first.path)}: " if first.path else ""
        return StepResult(
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
            message = (
                f"{self._opened.words.name} could not restore all of it: {self._attempt.cautions[0].message}"
            )
            return Reason(code="restore_incomplete", message=message)
        if not entries and not self._stands():
            if self._survey.tallies[EntryVerdict.OWN].entries:
                message = f"nothing was restored: {OWN_IS_LEFT}"
                return Reason(code="nothing_restored", message=message)
            if self._survey.tallies[EntryVerdict.OTHER_KEPT].entries:
                message = "nothing was restored: something of another kind is in the way"
                return Reason(code="nothing_restored", message=message)
        return None

    def _stands(self) -> bool:
        tallies = self._survey.tallies
        return bool(tallies[EntryVerdict.UNCHANGED].files or tallies[EntryVerdict.KEPT].files)

    def _look_again(self, *, strictly: bool) -> _Found:
        found = _Found()
        with self._place.files() as files:
            for entry in self._survey.spool.read():
                if entry.verdict not in WANTED:
                    continue
                path = self._survey.target_of(entry)
                try:
                    there = files.status(path)
                except OSError:
                    there = None
                exact = strictly or entry.verdict is EntryVerdict.REPLACED
                whole = not self._is_bad(entry) and _is_whole(entry, there, exact=exact)
                found.add(entry, path, whole=whole)
                if whole and entry.kind is NodeKind.SYMLINK and LOST in files.read_link(path):
                    found.lost.append(path)
        return found

    def _all_cautions(self) -> list[Caution]:
        left = self._survey.tallies[EntryVerdict.OTHER_KEPT]
        message = "not restored: something of another kind is there, and it was left"
        others = [Caution(code="other_kind_kept", message=message, path=path) for path in left.examples]
        if left.entries > len(left.examples):
            rest = left.entries - len(left.examples)
            others.append(
                Caution(code="other_kind_kept", message=f"{rest} more were left for the same reason")
            )
        others += [
            Caution(code="own_files_kept", message=OWN_IS_LEFT, path=path)
            for path in self._survey.tallies[EntryVerdict.OWN].examples[:1]
        ]
        if self._survey.files.user != 0 and self._survey.foreign_owners:
            message = "not run as root, so files of other owners now belong to the one who restored them"
            others.append(Caution(code="owner_not_restored", message=message))
        said = [*self._cautions, *self._attempt.cautions]
        return [*others, *named(said, len(said) + self._attempt.unlisted)]


@dataclass
class _Found:
    """What the second look saw."""

    files: int = 0
    size_bytes: int = 0
    missing_count: int = 0
    missing: list[Caution] = field(default_factory=list)
    special_count: int = 0
    special: list[Caution] = field(default_factory=list)
    lost: list[bytes] = field(default_factory=list)
    """Links whose targets came back without the bytes that are no UTF-8."""

    def lost_targets(self) -> list[Caution]:
        """Links that lead elsewhere than they did, named."""
        message = "this link was saved without the bytes of its target that are not UTF-8, as restic did before 0.16"
        lost = [
            Caution(code="link_target_lost", message=message, path=path) for path in self.lost[:MOST_NAMED]
        ]
        return named(lost, len(self.lost))

    def add(self, entry: SnapshotEntry, path: bytes, *, whole: bool) -> None:
        """Count one entry; a special file that is missing is a caution only."""
        if whole:
            self.files += entry.kind is not NodeKind.DIRECTORY
            self.size_bytes += entry.size
            return
        if entry.kind is NodeKind.OTHER:
            self.special_count += 1
            if len(self.special) < MOST_NAMED:
                message = "a special file was not made"
                self.special.append(Caution(code="special_file_missing", message=message, path=path))
            return
        self.missing_count += 1
        if len(self.missing) < MOST_NAMED:
            message = "it is missing or incomplete"
            self.missing.append(Caution(code="restore_incomplete", message=message, path=path))


def _is_whole(entry: SnapshotEntry, there: Status | None, *, exact: bool) -> bool:
    if there is None or kind_of(there) is not entry.kind:
        return False
    if entry.kind is not NodeKind.FILE:
        return True
    same_time = abs(there.st_mtime_ns - entry.modified_ns) < COARSE_NS
    return there.st_size == entry.size and (same_time or not exact)


def _first_folder(files: Files, path: bytes) -> bytes:
    """The path where it is a directory, else the first one above it; never by a link."""
    for folder in (path, *ancestors(path)):
        there = files.status(folder)
        if there is not None and stat.S_ISDIR(there.st_mode):
            return folder
    return b"/"
