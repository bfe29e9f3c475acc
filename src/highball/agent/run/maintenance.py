"""Keep a repository in order: forget by id, prune, check, unlock, measure, make.

Each compares the repository's identity first. Nothing here decides what is to be forgotten: the assignment
names the ids that go and the ids that stay, and anything else in the listing is a reason to stop.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from highball.agent.run.steps import StepResult, Steps
from highball.agent.run.success import judge_prune, no_result
from highball.agent.state_dir import PATIENCE, describe_lock
from highball.engine.base import CheckReport, Finished, OpenRepository, PruneReport
from highball.errors import Cancelled, HighballError, RepositoryError
from highball.humanize import counted
from highball.model.event import Statistics
from highball.model.run import (
    Action,
    Outcome,
    Reason,
)
from highball.model.snapshot import Snapshot
from highball.process.child import Stop
from highball.protocol.tasks import (
    CheckTask,
    ForgetTask,
    Removal,
    UnlockTask,
)
from highball.retention import judge_removal

LISTING_TIMEOUT = timedelta(minutes=15)


def forget(steps: Steps, task: ForgetTask) -> None:
    """Remove what the approved plan names, one step for each set, and look again."""
    for removal in task.removals:

        def body(removal: Removal = removal) -> StepResult:
            return steps.with_identity(
                task.repository, lambda opened: _remove(steps, opened, removal), admin=True
            )

        steps.step(
            Action.FORGET,
            task.repository,
            body,
            job=removal.job,
            set=removal.set,
            host=removal.host,
        )
    for held in task.held:
        reason = Reason(code=held.code, message=held.message)
        steps.leave_out(Action.FORGET, task.repository, Outcome.WARNING, reason, job=held.job)


def _remove(steps: Steps, opened: OpenRepository, removal: Removal) -> StepResult:
    listing = tuple(list_set(opened, removal))
    if {snapshot.id for snapshot in listing} != {*removal.remove, *removal.stay, *removal.unknown}:
        message = "the repository changed since this plan was made, so nothing was removed; plan again"
        return StepResult(Outcome.FAILURE, Reason(code="listing_changed", message=message))
    if not removal.remove:
        facts = {"snapshots_removed": (), "snapshots_kept": len(removal.stay)}
        return StepResult(facts=facts, snapshots=listing)
    finished = steps.finish(lambda: opened.remove(removal.remove))
    looking = opened.having(stop=Stop())  # a cancelled run wants the truth as well
    return _judge(removal, finished, list_set(looking, removal))


def list_set(
    opened: OpenRepository, removal: Removal, timeout: timedelta = LISTING_TIMEOUT
) -> list[Snapshot]:
    """What the repository holds of the set: by its tags, and what was adopted into it by id."""
    hosts = (removal.host, *removal.former_hosts)
    tagged = opened.list_snapshots(hosts=hosts, tags=removal.tags, timeout=timeout)
    apart = set(removal.adopted).difference(snapshot.id for snapshot in tagged)
    if not apart:
        return tagged
    return [*tagged, *(one for one in opened.list_snapshots(timeout=timeout) if one.id in apart)]


def _judge(removal: Removal, finished: Finished, listing: list[Snapshot]) -> StepResult:
    after = {snapshot.id for snapshot in listing}
    gone = tuple(id for id in removal.remove if id not in after)
    facts = {"snapshots_removed": gone, "snapshots_kept": len(after - set(removal.unknown))}
    reason = judge_removal(removal.remove, (*removal.stay, *removal.unknown), after)
    if reason is None:
        return StepResult(facts=facts, snapshots=tuple(listing))
    if finished.stopped:
        reason = Reason(code="cancelled", message=f"cancelled: {reason.message}")
        return StepResult(Outcome.CANCELLED, reason, (), facts, tuple(listing))
    if finished.last_words is not None:
        reason = Reason(code=reason.code, message=f"{reason.message}: {finished.last_words.message}")
    return StepResult(Outcome.FAILURE, reason, (), facts, tuple(listing))


def prune(steps: Steps, repository: str) -> StepResult:
    """Remove data that no snapshot needs.

    How much that was, the engine tells; measuring before and after would show no difference where it counts what
    snapshots need.
    """

    def body(opened: OpenRepository) -> StepResult:
        reports: list[PruneReport] = []

        def call() -> Finished:
            finished, report = opened.prune()
            reports.append(report)
            return finished

        steps.finish(call).demand()
        stored = _tell_sizes(steps, opened)
        outcome, reason = judge_prune(reports[-1], opened.words, steps.assignment.run)
        return StepResult(outcome, reason, (), {"bytes_freed": reports[-1].freed, "bytes_stored": stored})

    return steps.with_identity(repository, body, admin=True)


def check(steps: Steps, task: CheckTask) -> StepResult:
    """Check the structure and, where a slice is named, read that part of the data."""

    def body(opened: OpenRepository) -> StepResult:
        reports: list[CheckReport] = []

        def call() -> Finished:
            finished, report = opened.check(task.slice)
            reports.append(report)
            return finished

        finished = steps.finish(call)
        if finished.stopped:
            raise Cancelled("cancelled")
        facts, report = {"slice": task.slice}, reports[-1]
        if finished.failure is None and not report.is_shown:
            return StepResult(
                Outcome.FAILURE, no_result("check", opened.words, steps.assignment.run), (), facts
            )
        if finished.failure is None and not report.is_damaged:
            _tell_sizes(steps, opened)
            return StepResult(facts=facts)
        return StepResult(
            Outcome.FAILURE, _damage(report) if report.is_damaged else finished.reason, (), facts
        )

    return steps.with_identity(task.repository, body)


def _damage(report: CheckReport) -> Reason:
    count = counted(report.errors, "error") if report.errors else "errors"
    message = (
        f"the repository is damaged: {count} found, see the log; keep every other copy, retention is on hold"
    )
    return Reason(code="repository_damaged", message=message)


def unlock(steps: Steps, task: UnlockTask) -> StepResult:
    """Remove the locks that its engine calls stale, or every lock; those that stay are named."""

    def body(opened: OpenRepository) -> StepResult:
        locks = opened.locks
        if locks is None:
            return StepResult(facts={"locks_removed": 0})
        before = locks.list_locks()
        locks.unlock(remove_all=task.remove_all).demand()
        left = locks.list_locks()
        for lock in left:
            steps.log("highball", f"left: {describe_lock(lock)}")
        _tell_sizes(steps, opened, measures=False)
        return StepResult(
            facts={"locks_removed": len({lock.id for lock in before} - {lock.id for lock in left})}
        )

    return steps.with_identity(task.repository, body)


def _tell_sizes(steps: Steps, opened: OpenRepository, *, measures: bool = True) -> int | None:
    """What the repository holds now, as far as it can be had: what was done before is done all the same."""
    told: dict[str, Any] = {}
    try:
        told["snapshots"] = len(opened.list_snapshots(timeout=LISTING_TIMEOUT))
        if measures:
            told["bytes_stored"] = opened.measure()
    except HighballError as error:
        steps.log("highball", f"what it holds now is not known: {error.message}")
    steps.say(Statistics, step=steps.current, repository=opened.key, **told)
    stored: int | None = told.get("bytes_stored")
    return stored


def measure(steps: Steps, repository: str) -> StepResult:
    """Measure what the repository stores."""

    def body(opened: OpenRepository) -> StepResult:
        stored, count = opened.measure(), len(opened.list_snapshots())
        steps.say(Statistics, step=steps.current, repository=repository, bytes_stored=stored, snapshots=count)
        return StepResult(facts={"bytes_stored": stored, "snapshots_kept": count})

    return steps.with_identity(repository, body)


def initialise(steps: Steps, repository: str) -> StepResult:
    """Make the repository, or meet the one that is there; never make one where one was met before and is gone."""
    opened = steps.open(repository).having(patience=PATIENCE)
    try:
        steps.meet(repository, opened)
        if repository not in steps.assignment.identities:
            _tell_sizes(
                steps, opened
            )  # what others stored there nothing else tells before a check or a prune
        return StepResult(reason=Reason(code="met", message="it was there already"))
    except RepositoryError as error:
        if error.code != "repository_missing":
            raise
    opened.initialise()
    steps.meet(repository, opened, bytes_stored=0, snapshots=0)
    return StepResult(reason=Reason(code="made", message="made"))


PLAIN: dict[str, Callable[[Steps, str], StepResult]] = {
    "prune": prune,
    "stats": measure,
    "init": initialise,
}
"""How each verb is carried out that needs no more than a repository."""
