"""The rule for success: what must be seen before anything is called good. Pure; it judges evidence.

A backup is good when its engine said so, gave a summary, reported no error, every source was sound, a listing of
its own shows the new snapshot and all the earlier ones, and the snapshot is not suspiciously small. It is a
warning when the snapshot is there but something of that is missing, and a failure otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from highball import humanize
from highball.engine.base import LACKING, EngineWords, PruneReport, Summary
from highball.model.event import DISK_AWAY
from highball.model.run import (
    Action,
    Caution,
    Outcome,
    Reason,
    Step,
    worst,
)
from highball.model.snapshot import Snapshot
from highball.model.text import as_listed, path_for_people
from highball.source.patterns import pattern_of


@dataclass(frozen=True)
class StepVerdict:
    """How something ended, why, and what was odd about it."""

    outcome: Outcome
    reason: Reason | None = None
    warnings: tuple[Caution, ...] = ()
    snapshot: Snapshot | None = None


@dataclass(frozen=True)
class BackupEvidence:
    """All that is known when a backup of one set into one repository has ended."""

    run: str
    repository: str
    engine: EngineWords
    stopped: bool
    summary: Summary | None
    complaints: Sequence[Caution]
    """What could not be read, and what was wrong with the sources."""
    failure: Reason | None
    """Why the engine failed; None where it calls it a success."""
    listing: Sequence[Snapshot] | None
    """The independent listing; None when it could not be had."""
    listing_failure: Reason | None
    paths: Sequence[bytes]
    expected_ids: Sequence[str] = ()
    sizes: Sequence[int] = ()
    shrink_limit: float = 0.5


def judge_backup(evidence: BackupEvidence) -> StepVerdict:
    """The outcome of one backup, from the evidence alone."""
    snapshot = _find_snapshot(evidence)
    if snapshot is None:
        return _without_snapshot(evidence)
    lacking = [one for one in evidence.complaints if one.code == LACKING]
    warnings = (
        *(one for one in evidence.complaints if one.code != LACKING),
        *_odd_ending(evidence),
        *_other_snapshot(evidence, snapshot),
        *_missing_paths(evidence, snapshot),
        *_missing_snapshots(evidence),
        *lacking,  # of a repository that was put back to an older state it is what follows
        *_shrunken(evidence, snapshot),
    )
    if not warnings:
        return StepVerdict(Outcome.SUCCESS, None, (), snapshot)
    return StepVerdict(Outcome.WARNING, _first_reason(warnings, evidence), warnings, snapshot)


def judge_prune(report: PruneReport, engine: EngineWords, run: str) -> tuple[Outcome, Reason | None]:
    """The outcome of a prune that the engine calls a success."""
    if not report.is_shown:
        return Outcome.FAILURE, no_result("prune", engine, run)
    if report.left:
        files = humanize.counted(report.left, "file")
        message = f"{files} could not be removed, see the log: highball logs {run}"
        return Outcome.WARNING, Reason(code="prune_incomplete", message=message)
    return Outcome.SUCCESS, None


def no_result(command: str, engine: EngineWords, run: str) -> Reason:
    """Why a command that ended well is no success all the same."""
    seen = f"{engine.name} reported success, but its {command} shows no result"
    message = f"{seen}; see what it said: highball logs {run}"
    return Reason(code="no_proof", message=message)


def judge_run(steps: Sequence[Step]) -> Outcome:
    """How a run of these steps ended: as the worst of them.

    Where every backup was skipped it saved nothing, so that a hook's warning is no more than that; where some
    were, because a disk was away, the success of the others is not all of it.
    """
    outcome = worst(step.outcome for step in steps if step.outcome is not None)
    backups = [step.outcome for step in steps if step.action is Action.BACKUP]
    away = any(step.reason is not None and step.reason.code == DISK_AWAY for step in steps)
    if away and outcome is Outcome.SUCCESS and Outcome.SUCCESS in backups:  # saved, but not everywhere
        return Outcome.WARNING
    is_skipped = bool(backups) and set(backups) == {Outcome.SKIPPED}
    return Outcome.SKIPPED if is_skipped and outcome.rank <= Outcome.WARNING.rank else outcome


def shrank(size: int, sizes: Sequence[int], limit: float) -> bool:
    """Whether a size lies below the median of the earlier ones by more than this share of it; 0 is never."""
    return bool(sizes) and limit > 0 and median(sizes) - size > median(sizes) * limit


def missing_ids(expected: Iterable[str], listing: Iterable[Snapshot]) -> tuple[str, ...]:
    """The expected ids that a listing does not show; whose tags were changed has another id, and tells its first."""
    shown = {id for snapshot in listing for id in (snapshot.id, snapshot.original)}
    return tuple(id for id in expected if id not in shown)


def _find_snapshot(evidence: BackupEvidence) -> Snapshot | None:
    """The one that the engine named, else the latest that carries this run's tag."""
    mine = [snapshot for snapshot in evidence.listing or () if snapshot.run == evidence.run]
    return max(mine, key=lambda snapshot: (_is_named(evidence, snapshot), snapshot.time), default=None)


def _is_named(evidence: BackupEvidence, snapshot: Snapshot) -> bool:
    # an older program names only the first characters
    named = evidence.summary.snapshot_id if evidence.summary else None
    return named is not None and snapshot.id.startswith(named)


def _without_snapshot(evidence: BackupEvidence) -> StepVerdict:
    warnings = tuple(evidence.complaints)
    if evidence.stopped:
        return StepVerdict(
            Outcome.CANCELLED,
            Reason(code="cancelled", message="cancelled before a snapshot was saved"),
            warnings,
        )
    if evidence.failure is not None:
        return StepVerdict(Outcome.FAILURE, evidence.failure, warnings)
    if evidence.listing is None and evidence.listing_failure is not None:
        why = evidence.listing_failure.message
        message = f"{evidence.engine.name} reported success, but the repository could not be listed: {why}"
        return StepVerdict(Outcome.FAILURE, Reason(code="no_proof", message=message), warnings)
    message = f"{evidence.engine.name} reported success, but the repository shows no snapshot of this run"
    return StepVerdict(Outcome.FAILURE, Reason(code="no_proof", message=message), warnings)


def _odd_ending(evidence: BackupEvidence) -> Iterable[Caution]:
    if evidence.summary is None:
        yield Caution(
            code="no_summary",
            message=f"{evidence.engine.name} gave no summary, so the content of the snapshot is not known",
        )
    if evidence.stopped:
        yield Caution(code="cancelled", message="cancelled, but the snapshot was already saved")
    elif evidence.failure is not None and not evidence.complaints:
        message = f"a snapshot was saved, but {evidence.failure.message}"
        yield Caution(code=evidence.engine.failed, message=message)


def _other_snapshot(evidence: BackupEvidence, snapshot: Snapshot) -> Iterable[Caution]:
    if evidence.summary is not None and not _is_named(evidence, snapshot):
        named = (evidence.summary.snapshot_id or "none")[:8]
        message = (
            f"the repository shows the snapshot {snapshot.id[:8]} of this run, "
            f"where {evidence.engine.name} named {named}"
        )
        yield Caution(code="other_snapshot", message=message)


def _missing_paths(evidence: BackupEvidence, snapshot: Snapshot) -> Iterable[Caution]:
    for path in evidence.paths:
        if path not in snapshot.paths and as_listed(path) not in snapshot.paths:
            message = f"{path_for_people(path)} is not among the snapshot's paths"
            yield Caution(code="path_left_out", message=message, path=path)


def _missing_snapshots(evidence: BackupEvidence) -> Iterable[Caution]:
    missing = missing_ids(evidence.expected_ids, evidence.listing or ())
    if missing:
        shown = ", ".join(id[:8] for id in missing[:5]) + (" …" if len(missing) > 5 else "")
        count = "1 earlier snapshot is" if len(missing) == 1 else f"{len(missing)} earlier snapshots are"
        message = f"deleted elsewhere: {count} gone from the repository ({shown})"
        yield Caution(code="deleted_elsewhere", message=message)


def _shrunken(evidence: BackupEvidence, snapshot: Snapshot) -> Iterable[Caution]:
    size = evidence.summary.bytes_processed if evidence.summary else snapshot.size_bytes
    if size is not None and shrank(size, evidence.sizes, evidence.shrink_limit):
        usual = int(median(evidence.sizes))
        yield Caution(
            code="shrank",
            message=f"the snapshot holds {humanize.size(size)} where {humanize.size(usual)} is usual; "
            f"if that is expected, accept it with: highball accept {evidence.run}",
        )


def _first_reason(warnings: Sequence[Caution], evidence: BackupEvidence) -> Reason:
    first = warnings[0]
    count = sum(warning.count for warning in warnings)
    more = f" (and {count - 1:,} more)" if count > 1 else ""
    where = f"{path_for_people(first.path)}: " if first.path and first.code == "file_unreadable" else ""
    helps = _what_helps(first, evidence)
    return Reason(code=first.code, message=f"{where}{first.message}{more}{helps}")


def _what_helps(first: Caution, evidence: BackupEvidence) -> str:
    """What to do about a file that can never be read: it would keep its job from ever being good; or a repository."""
    if first.code == LACKING:
        return f" — check for further damage: highball check {evidence.repository}"
    if first.code != "file_unreadable" or first.path is None:
        return ""
    pattern = pattern_of(first.path, evidence.paths)
    named = "" if pattern is None else f": exclude = [{json.dumps(pattern, ensure_ascii=False)}]"
    return f" — make it readable, or exclude it{named}"
