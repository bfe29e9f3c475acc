"""Scopes: what a run was ordered to do, and so what its events may change in the record.

A scope comes from the assignment that the hub gave, never from fields inside what an agent tells. A run that the hub
never ordered has one, too, by its agent's word: that one narrows what its log may speak of, and gives no right to
anything. All of it is pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from highball.actions import step_of
from highball.model.event import (
    Event,
    SnapshotSaved,
    Statistics,
    StepEnded,
    StepStarted,
)
from highball.model.fact import Fact
from highball.model.run import (
    Action,
    RunKind,
    Step,
)
from highball.model.text import UtcTime
from highball.protocol.tasks import (
    Assignment,
    BackupTask,
    CheckTask,
    ForgetTask,
    RestoreTask,
    VerifyTask,
)

MOST_STEPS = 10_000
"""More steps than that no run has."""

_ACTIONS: Mapping[str, Collection[Action]] = {
    "backup": (Action.HOOK, Action.BACKUP),
    "forget": (Action.FORGET, Action.PRUNE),
}
"""The steps of tasks whose name does not say it."""

_ON_SETS = (Action.BACKUP, Action.FORGET)
"""The steps that are about one set, and list it."""


class CoveredSet(Fact):
    """A set of snapshots that a run was ordered to add to, or to remove these ids from."""

    repository: str
    host: str
    job: str
    set: str
    removes: tuple[str, ...] = ()


class Scope(Fact):
    """What a run was ordered to do; where it was not `ordered`, what its agent says of it at most."""

    run: str
    host: str
    kind: RunKind
    task: str
    job: str | None = None
    jobs: tuple[str, ...] = ()
    """All that its steps may be about."""
    repositories: tuple[str, ...] = ()
    sets: tuple[CoveredSet, ...] = ()
    snapshot: str | None = None
    """The one that it reads, as it was named to it."""
    part: str | None = None
    """The part of the data that it checks."""
    rehearses: bool = False
    ordered: bool = True
    created_at: UtcTime

    @property
    def text(self) -> bytes:
        """What the hub signs of it."""
        told: dict[str, Any] = {**self.model_dump(mode="json"), "ordered": True}
        return b"highball order 1\0" + hashlib.sha256(json.dumps(told, sort_keys=True).encode()).digest()

    def find_set(self, step: Step) -> CoveredSet | None:
        """The set that a step is about, if the run was ordered to work at it."""
        about = (step.repository, step.host or self.host, step.job, step.set)
        found = (one for one in self.sets if (one.repository, one.host, one.job, one.set) == about)
        return next(found, None)


def scope_of(assignment: Assignment) -> Scope:
    """What an assignment covers."""
    task = assignment.task
    named = () if isinstance(task, BackupTask) else (task.repository,)
    jobs = [assignment.job]
    if isinstance(task, ForgetTask):
        jobs += [one.job for one in task.removals]
        jobs += [one.job for one in task.held]
    return Scope(
        run=assignment.run,
        host=assignment.host,
        kind=assignment.kind,
        task=task.type,
        job=assignment.job,
        jobs=tuple(sorted({job for job in jobs if job is not None})),
        repositories=tuple(sorted({*assignment.repositories, *named})),
        sets=_sets_of(assignment),
        snapshot=task.snapshot_id if isinstance(task, VerifyTask | RestoreTask) else None,
        part=task.slice if isinstance(task, CheckTask) else None,
        rehearses=isinstance(task, BackupTask) and task.dry_run,
        created_at=assignment.created_at,
    )


def _sets_of(assignment: Assignment) -> tuple[CoveredSet, ...]:
    task, job = assignment.task, assignment.job
    if isinstance(task, BackupTask) and job is not None:
        about = {"host": assignment.host, "job": job}
        return tuple(
            CoveredSet(repository=key, set=set, **about)
            for key in sorted(assignment.repositories)
            for set in task.sets
        )
    if isinstance(task, ForgetTask):
        return tuple(
            CoveredSet(
                repository=task.repository, host=one.host, job=one.job, set=one.set, removes=one.remove
            )
            for one in task.removals
        )
    return ()


def scope_of_word(assignment: Assignment, host: str, allowed: Mapping[str, Collection[str]]) -> Scope:
    """What a run covers at most that an agent says it holds and that the hub never ordered.

    `allowed` are the jobs of this host, each with its repositories. No right comes of it: no secret, no snapshot that
    counts, nothing that is shown as how things stand.
    """
    told = scope_of(assignment)
    reachable = {key for job in allowed.values() for key in job}
    return told.model_copy(
        update={
            "host": host,
            "job": told.job if told.job in allowed else None,
            "jobs": tuple(job for job in told.jobs if job in allowed),
            "repositories": tuple(key for key in told.repositories if key in reachable),
            "sets": (),
            "ordered": False,
        }
    )


def find_overreach(event: Event, scope: Scope) -> str | None:
    """Why an event goes beyond what its run was ordered to do; None where it does not."""
    if event.run != scope.run:
        return "it speaks of another run"
    match event:
        case StepStarted(running=step):
            return _find_overreach_of(step, scope)
        case StepEnded(done=step):
            return _find_overreach_of(step, scope) or _find_wrong_listing(event, scope)
        case Statistics(repository=key) | SnapshotSaved(repository=key):
            return _not_of_its_own(key, scope)
        case _:
            return None


def _not_of_its_own(repository: str | None, scope: Scope) -> str | None:
    if repository is None or repository in scope.repositories:
        return None
    return f"its run has nothing to do with the repository {repository}"


def _find_overreach_of(step: Step, scope: Scope) -> str | None:
    if step.number > MOST_STEPS:
        return f"no run has {step.number} steps"
    if step.action not in _ACTIONS.get(scope.task, (step_of(scope.task),)):
        return f"its run was to {scope.task}, not to {step.action}"
    if step.job is not None and step.job not in scope.jobs:
        return f"its run has nothing to do with the job {step.job}"
    if step.host not in (None, scope.host, *(one.host for one in scope.sets)):
        return f"its run has nothing to do with the host {step.host}"
    return _not_of_its_own(step.repository, scope) or _find_wrong_snapshots(step, scope)


def _find_wrong_snapshots(step: Step, scope: Scope) -> str | None:
    covered = scope.find_set(step) if step.action in _ON_SETS else None
    is_named = None not in (step.repository, step.job, step.set)
    if scope.ordered and step.action in _ON_SETS and is_named and covered is None:
        return f"its run has nothing to do with the set {step.set}"
    if step.snapshots_removed and not set(step.snapshots_removed) <= set(covered.removes if covered else ()):
        return "it was not ordered to remove these snapshots"
    if step.action is Action.BACKUP and step.snapshot_id is not None and scope.rehearses:
        return "a rehearsal saves nothing"
    if scope.snapshot is not None and step.snapshot_id not in (None, scope.snapshot):
        return f"its run was to read the snapshot {scope.snapshot[:8]}"
    if step.slice not in (None, scope.part):
        return "its run was to read another part of the data"
    return None


def _find_wrong_listing(event: StepEnded, scope: Scope) -> str | None:
    step = event.done
    if event.snapshots is None or not scope.ordered:
        return None
    if step.action not in _ON_SETS or scope.find_set(step) is None:
        return "its step lists no snapshots"
    return None
