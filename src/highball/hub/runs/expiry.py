"""What the record forgets with time: logs first, then whole runs, never one that still says something.

A run stays whatever its age while its snapshot is there, while a hold names it, and as long as it is the newest of its
job or repository that was good, that failed, that was a warning, or that tested a restore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from highball.config.settings import History
from highball.hub.storage.database import Database
from highball.hub.storage.schema import (
    events,
    holds,
    marks,
    moment_to_text,
    runs,
    snapshots,
    steps,
)
from highball.humanize import counted
from highball.model.run import Outcome, RunState

EXPIRED_AT = "history_expired_at"
"""The mark of when a machine without a hub did this last."""

TOLD_AGAIN = timedelta(days=15)
"""Runs as young as this stay: an agent tells again what it has of one that the hub lacks, so it would be back."""

AT_ONCE = 200
"""So many runs are removed in one transaction: nobody waits for the rest."""


@dataclass(frozen=True)
class Expired:
    """How much was removed."""

    runs: int
    logs: int
    """The runs of which only what was printed is gone."""

    @property
    def in_words(self) -> str:
        """What a log says of it."""
        return f"{counted(self.runs, 'run')} and {counted(self.logs, 'log')} of other runs removed"


def expire(database: Database, history: History, now: datetime) -> Expired:
    """Remove what is older than the settings keep."""
    with database.read() as connection:
        telling = _list_telling(connection)
        old = [id for id in _list_old_runs(connection, history, now) if id not in telling]
        logs = [id for id in _list_old_logs(connection, now - history.logs) if id not in telling]
    for some in _portions(old):
        with database.write() as connection:
            connection.execute(runs.delete().where(runs.c.id.in_(some)))
    gone = set(old)
    logs = [id for id in logs if id not in gone]
    for some in _portions(logs):
        with database.write() as connection:
            connection.execute(events.delete().where(events.c.run.in_(some)))
    return Expired(len(old), len(logs))


def expire_daily(database: Database, history: History, now: datetime) -> None:
    """Remove what is too old, where that was not done within a day: for a machine without a hub."""
    with database.read() as connection:
        last = connection.execute(sa.select(marks.c.value).where(marks.c.name == EXPIRED_AT)).scalar()
    if last is not None and moment_to_text(now - timedelta(days=1)) < last <= moment_to_text(now):
        return
    expire(database, history, now)
    with database.write() as connection:
        connection.execute(marks.delete().where(marks.c.name == EXPIRED_AT))
        connection.execute(marks.insert().values(name=EXPIRED_AT, value=moment_to_text(now)))


def _portions(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[first : first + AT_ONCE] for first in range(0, len(ids), AT_ONCE)]


def _list_old_runs(connection: sa.Connection, history: History, now: datetime) -> list[str]:
    """Those before the time that is kept, but for the last ones of each job, or of what is done to a repository."""
    number = sa.func.row_number().over(
        partition_by=(runs.c.kind, runs.c.action, runs.c.job, runs.c.repository),
        order_by=(runs.c.created_at.desc(), runs.c.id.desc()),
    )
    numbered = sa.select(runs.c.id, runs.c.created_at, runs.c.state, number.label("number")).subquery()
    asked = sa.select(numbered.c.id).where(
        numbered.c.created_at < now - max(history.runs, TOLD_AGAIN),
        numbered.c.state == RunState.DONE.value,
        numbered.c.number > history.last,
    )
    return [row.id for row in connection.execute(asked)]


def _list_old_logs(connection: sa.Connection, before: datetime) -> list[str]:
    asked = (
        sa.select(events.c.run)
        .distinct()
        .join(runs, runs.c.id == events.c.run)
        .where(runs.c.created_at < before, runs.c.state == RunState.DONE.value)
    )
    return [row.run for row in connection.execute(asked)]


def _list_telling(connection: sa.Connection) -> set[str]:
    """The runs that still say something, however old they are."""
    outcomes = [Outcome.SUCCESS.value, Outcome.WARNING.value, Outcome.FAILURE.value]
    number = sa.func.row_number().over(
        partition_by=(steps.c.action, steps.c.repository, steps.c.job, steps.c.outcome),
        order_by=steps.c.ended_at.desc(),
    )
    numbered = sa.select(steps.c.run, number.label("number")).where(steps.c.outcome.in_(outcomes)).subquery()
    newest = sa.select(numbered.c.run).where(numbered.c.number == 1)
    saved = sa.select(snapshots.c.run).where(snapshots.c.run.is_not(None), snapshots.c.forgotten_at.is_(None))
    held = sa.select(holds.c.run).where(holds.c.run.is_not(None), holds.c.lifted_at.is_(None))
    return {row[0] for asked in (newest, saved, held) for row in connection.execute(asked)}
