"""How each job stands in each of its repositories: computed from the schedule and the record, never from silence.

However many jobs are asked about, the record is asked six times; each question looks up the newest rows of every
pair by an index, so that its cost grows with the number of pairs and not with the length of the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from highball.config.document import Document, effective_job
from highball.hub.runs.holds import covering, list_open
from highball.hub.storage.database import Database
from highball.hub.storage.dialects import as_rows
from highball.hub.storage.schema import (
    ANEW,
    NOT_REHEARSED,
    UNTESTED,
    is_since_anew,
    marks,
    repositories,
    runs,
    snapshots,
    steps,
)
from highball.model.run import (
    Action,
    Outcome,
    Reason,
)
from highball.model.standing import Hold, Standing
from highball.retention import LARGEST_SKEW
from highball.schedule import Schedule, health


@dataclass(frozen=True)
class _Pair:
    """A job and one of its repositories; `host` is whose data it is."""

    job: str
    repository: str
    host: str


def has_failed(outcome: Outcome | None, reason: Reason | None) -> bool:
    """A backup that a failing hook kept from beginning has failed as well; one that a hook skipped has not."""
    return outcome is Outcome.FAILURE or (reason is not None and reason.code == "hook_failed")


def list_standings(
    document: Document, database: Database, host: str, now: datetime, jobs: Sequence[str]
) -> list[Standing]:
    """How these jobs stand, one line per repository; `host` is whose the jobs are that name none."""
    wanted = {job: effective_job(document, job) for job in jobs}
    pairs = [
        _Pair(key, repository, job.host or host)
        for key, job in wanted.items()
        for repository in job.repositories
    ]
    with database.read() as connection:
        newest = _newest_of_pairs(connection, pairs, now)
        reasons = _reasons_of(connection, newest)
        kept = _newest_of_repositories(connection, sorted({pair.repository for pair in pairs}), now)
        still = list_open(connection)
        marked = _list_marks(connection, ANEW, UNTESTED)
    anew = {key: datetime.fromisoformat(at) for key, at in marked[ANEW]}
    untested = {key: reason for key, _, reason in map(_as_untested, marked[UNTESTED])}
    zone = document.settings.timezone
    return [
        _standing(
            *(newest[pair], reasons.get(pair), kept[pair.repository]),
            covering(still, pair.repository, pair.job),
            *(wanted[pair.job].schedule, zone, now),
            anew.get(pair.repository),
            untested.get(pair.repository),
        )
        for pair in pairs
    ]


def _standing(
    newest: sa.Row[Any],
    reason: Reason | None,
    kept: sa.Row[Any],
    still: tuple[Hold, ...],
    schedule: Schedule,
    zone: str,
    now: datetime,
    anew: datetime | None,
    untested: Reason | None,
) -> Standing:
    success, proof, check = (_since(anew, at) for at in (newest.success_at, newest.proof_at, kept.check_at))
    outcome = Outcome(newest.outcome) if newest.outcome else None
    last_run = newest.last_run
    if _since(anew, newest.ended_at) is None:
        outcome, reason, last_run = None, None, None
    failed = has_failed(outcome, reason)
    return Standing(
        job=newest.job,
        repository=newest.repository,
        state=health(success, failed, schedule, now, zone),
        last_success_at=success,
        age_seconds=None if success is None else max(0, int((now - success).total_seconds())),
        snapshots=newest.snapshots,
        last_outcome=Outcome.FAILURE if failed else outcome,
        last_reason=reason,
        last_run=last_run,
        failures=newest.failures,
        last_check_at=check,
        last_restore_proof_at=proof,
        last_retention_at=_since(anew, newest.retention_at),
        size_bytes=newest.size_bytes,
        repository_bytes=kept.bytes_stored,
        unknown_snapshots=None if kept.listed is None else max(0, kept.listed - kept.ours),
        holds=still,
        untested=untested,
    )


def _since(anew: datetime | None, at: datetime | None) -> datetime | None:
    """A time, unless a repository was begun anew after it: what was proved by the lost one proves nothing."""
    return None if anew is not None and at is not None and at <= anew else at


# --- the questions -------------------------------------------------------------------------------


def _list_marks(connection: sa.Connection, *kinds: str) -> dict[str, list[tuple[str, str]]]:
    """The marks of these kinds, each with the key that it is about: when a repository was begun anew, for one."""
    asked = sa.select(marks).where(
        sa.or_(*(marks.c.name.startswith(kind, autoescape=True) for kind in kinds))
    )
    rows = connection.execute(asked).all()
    return {
        kind: [(row.name.removeprefix(kind), row.value) for row in rows if row.name.startswith(kind)]
        for kind in kinds
    }


def list_untested(connection: sa.Connection) -> list[tuple[str, datetime, Reason]]:
    """Repositories that were saved so that no test of them has succeeded yet: since when, and why."""
    return [_as_untested(told) for told in _list_marks(connection, UNTESTED)[UNTESTED]]


def _as_untested(told: tuple[str, str]) -> tuple[str, datetime, Reason]:
    key, value = told
    since, _, why = value.partition(" ")
    return key, datetime.fromisoformat(since), Reason(code="untested", message=why)


def _newest_of_pairs(
    connection: sa.Connection, pairs: Sequence[_Pair], now: datetime
) -> dict[_Pair, sa.Row[Any]]:
    told = [(pair.job, pair.repository, pair.host) for pair in pairs]
    pair = as_rows(connection, ("job", "repository", "host"), told)
    here = (steps.c.repository == pair.c.repository) & (steps.c.job == pair.c.job) & _not_after(now)
    held = _held_of(snapshots, pair)
    other = snapshots.alias()
    own = _held_of(other, pair) & other.c.run.is_not(None)  # what was adopted says nothing of the job's size
    last = sa.select(other.c.run).where(own).order_by(other.c.time.desc()).limit(1).correlate(pair)
    together = held & (
        snapshots.c.run == last.scalar_subquery()
    )  # each set of the job is a snapshot of its own
    newest = sa.select(sa.func.sum(snapshots.c.size_bytes)).where(together)
    last_run = column_of_newest(steps.c.run, Action.BACKUP, here)
    asked = sa.select(
        pair,
        last_run.label("last_run"),
        _worst_of(last_run, pair).label("outcome"),
        column_of_newest(steps.c.ended_at, Action.BACKUP, here).label("ended_at"),
        column_of_newest(steps.c.ended_at, Action.BACKUP, here & ~_is_partly_bad(), Outcome.SUCCESS).label(
            "success_at"
        ),
        _count_failures(pair, now).label("failures"),
        column_of_newest(steps.c.ended_at, Action.VERIFY, here, Outcome.SUCCESS).label("proof_at"),
        column_of_newest(steps.c.ended_at, Action.FORGET, here, Outcome.SUCCESS).label("retention_at"),
        sa.select(sa.func.count()).where(held).scalar_subquery().label("snapshots"),
        newest.scalar_subquery().label("size_bytes"),
    )
    return {_Pair(row.job, row.repository, row.host): row for row in connection.execute(asked)}


def _held_of(table: sa.FromClause, pair: sa.FromClause) -> sa.ColumnElement[bool]:
    """That a repository holds a snapshot of the job, whichever its set."""
    return (
        (table.c.repository == pair.c.repository)
        & (table.c.host == pair.c.host)
        & (table.c.job == pair.c.job)
        & table.c.forgotten_at.is_(None)
        & table.c.missing_since.is_(None)
    )


def _worst_of(run: sa.ScalarSelect[Any], pair: sa.FromClause) -> sa.ScalarSelect[Any]:
    """How the backup of a pair ended in a run: each set of the job has a step of its own."""
    each = steps.alias()
    rank = sa.case({outcome.value: outcome.rank for outcome in Outcome}, value=each.c.outcome, else_=-1)
    return (
        sa.select(each.c.outcome)
        .where(each.c.run == run.correlate(pair), each.c.action == Action.BACKUP.value)
        .where(each.c.repository == pair.c.repository, each.c.job == pair.c.job)
        .order_by(rank.desc())
        .limit(1)
        .scalar_subquery()
    )


def _is_partly_bad() -> sa.ColumnElement[bool]:
    """Whether another set of the same job was not backed up well by the same run into the same repository."""
    other = steps.alias()
    return (
        sa.select(other.c.run)
        .where(other.c.run == steps.c.run, other.c.action == Action.BACKUP.value)
        .where(other.c.repository == steps.c.repository, other.c.job == steps.c.job)
        .where(other.c.outcome != Outcome.SUCCESS.value)
        .correlate(steps)
        .exists()
    )


def _count_failures(pair: sa.FromClause, now: datetime) -> sa.ScalarSelect[Any]:
    """How many backups of a pair have failed since its last good one."""
    failed = steps.alias()
    here = (steps.c.repository == pair.c.repository) & (steps.c.job == pair.c.job) & _not_after(now)
    good = column_of_newest(
        steps.c.ended_at, Action.BACKUP, here & ~_is_partly_bad(), Outcome.SUCCESS
    ).correlate(pair)
    ended = sa.type_coerce(failed.c.ended_at, sa.Text)
    rehearsed = runs.c.order["dry_run"].as_boolean()
    return (
        sa.select(sa.func.count(sa.distinct(failed.c.run)))
        .select_from(failed.join(runs, runs.c.id == failed.c.run))
        .where(failed.c.action == Action.BACKUP.value, failed.c.outcome == Outcome.FAILURE.value)
        .where(failed.c.repository == pair.c.repository, failed.c.job == pair.c.job)
        .where(ended > sa.func.coalesce(sa.type_coerce(good, sa.Text), ""))
        .where(is_since_anew(failed.c.ended_at, pair.c.repository))
        .where(sa.func.coalesce(rehearsed, sa.false()).is_(sa.false()))
        .scalar_subquery()
    )


def _reasons_of(connection: sa.Connection, newest: Mapping[_Pair, sa.Row[Any]]) -> dict[_Pair, Reason | None]:
    """Why the newest backup of a pair was not a success. All steps of its run are asked for: by any other column SQLite
    goes through all that a job ever did."""
    unwell = {
        (row.last_run, row.job, row.repository): pair
        for pair, row in newest.items()
        if row.outcome not in (None, Outcome.SUCCESS.value)
    }
    last = as_rows(connection, ("run",), sorted({(run,) for run, _, _ in unwell}))
    reason = steps.c.account["reason"].label("reason")
    asked = (
        sa.select(steps.c.run, steps.c.job, steps.c.repository, steps.c.outcome, reason)
        .join(last, steps.c.run == last.c.run)
        .where(steps.c.action == Action.BACKUP.value, steps.c.ended_at.is_not(None))
        .order_by(steps.c.ended_at)  # of several in one run that ended alike the last one tells
    )
    found: dict[_Pair, Reason | None] = {}
    rows = connection.execute(asked).all()
    for row in sorted(rows, key=lambda row: Outcome(row.outcome).rank if row.outcome else -1):
        pair = unwell.get((row.run, row.job, row.repository))
        if pair is not None:
            found[pair] = Reason.model_validate(row.reason) if row.reason else None
    return found


def _newest_of_repositories(
    connection: sa.Connection, keys: Sequence[str], now: datetime
) -> dict[str, sa.Row[Any]]:
    one = as_rows(connection, ("repository",), [(key,) for key in keys])
    here = (steps.c.repository == one.c.repository) & _not_after(now)
    known = repositories.c.key == one.c.repository
    size = sa.select(repositories.c.bytes_stored).where(known)
    listed = sa.select(repositories.c.snapshots_listed).where(known)
    looked_at = sa.select(repositories.c.listed_at).where(known).scalar_subquery()
    forgotten = snapshots.c.forgotten_at
    ours = sa.select(sa.func.count()).where(  # when it was last looked into: figures of one moment
        snapshots.c.repository == one.c.repository,
        snapshots.c.time <= looked_at,
        sa.or_(forgotten.is_(None), forgotten > looked_at),
        snapshots.c.missing_since.is_(None),
    )
    asked = sa.select(
        one,
        column_of_newest(steps.c.ended_at, Action.CHECK, here, Outcome.SUCCESS).label("check_at"),
        size.scalar_subquery().label("bytes_stored"),
        listed.scalar_subquery().label("listed"),
        ours.scalar_subquery().label("ours"),
    )
    return {row.repository: row for row in connection.execute(asked)}


def _not_after(now: datetime) -> sa.ColumnElement[bool]:
    """What ended under a clock that ran ahead would look new for as long as it did so: nobody knows its age."""
    return steps.c.ended_at <= now + LARGEST_SKEW


def column_of_newest(
    column: sa.Column[Any],
    action: Action,
    here: sa.ColumnElement[bool],
    outcome: Outcome | None = None,
) -> sa.ScalarSelect[Any]:
    """A column of the step of some kind that ended last; one that only rehearsed is none."""
    asked = (
        sa.select(column)
        .join(runs, runs.c.id == steps.c.run)
        .where(steps.c.action == action.value, here, steps.c.ended_at.is_not(None))
        .where(NOT_REHEARSED)
    )
    if outcome is not None:
        asked = asked.where(steps.c.outcome == outcome.value)
    return asked.order_by(steps.c.ended_at.desc()).limit(1).scalar_subquery()
