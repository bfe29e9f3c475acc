"""How each day of a job went: for every day the worst that its backups came to, by the record alone."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from highball.config.document import Document, effective_job
from highball.hub.storage.database import Database
from highball.hub.storage.dialects import as_rows, bytewise
from highball.hub.storage.schema import NOT_REHEARSED, runs
from highball.model.run import Outcome, RunKind
from highball.model.run import worst as worst_of
from highball.schedule import Schedule, next_times

DAYS = 30

Strip = tuple[Outcome | None, ...]
"""Days up to today, the oldest first; None is a day on which nothing was due and nothing ran."""

_Seen = tuple[str, int, Outcome]


@dataclass(frozen=True)
class _Days:
    """The days of a strip, each with the moment at which it begins."""

    first: date
    begin: tuple[datetime, ...]
    zone: str

    @classmethod
    def until(cls, now: datetime, zone: str) -> _Days:
        there = ZoneInfo(zone)
        first = now.astimezone(there).date() - timedelta(days=DAYS - 1)
        days = (first + timedelta(days=n) for n in range(DAYS))
        return cls(first, tuple(datetime.combine(day, time(), there).astimezone(UTC) for day in days), zone)

    def day_of(self, at: datetime) -> int:
        """The day of a moment; less than 0 before the first."""
        return bisect_right(self.begin, at) - 1


def first_day(now: datetime, zone: str) -> date:
    """The day with which strips begin."""
    return _Days.until(now, zone).first


def list_strips(
    document: Document, database: Database, now: datetime, jobs: Sequence[str]
) -> dict[str, Strip]:
    """The last days of these jobs, cut by the clocks of the settings' time zone.

    A run belongs to the day on which it came to be, a missed time to the one on which it was due.
    """
    days = _Days.until(now, document.settings.timezone)
    worst: dict[str, list[Outcome | None]] = {job: [None] * DAYS for job in jobs}
    with database.read() as connection:
        seen = [*_ran(connection, days, jobs), *_missed(connection, document, days, jobs)]
    for job, day, outcome in seen:
        before = worst[job][day]
        worst[job][day] = outcome if before is None else worst_of((before, outcome))
    return {job: tuple(strip) for job, strip in worst.items()}


def _ran(connection: sa.Connection, days: _Days, jobs: Sequence[str]) -> Iterator[_Seen]:
    wanted = as_rows(connection, ("job",), [(job,) for job in jobs])
    day = _day_in_sql(bytewise(connection, runs.c.created_at), days.begin, 0).label("day")
    asked = (
        sa.select(runs.c.job, day, runs.c.outcome)
        .join(wanted, runs.c.job == wanted.c.job)
        .where(runs.c.kind == RunKind.BACKUP.value, runs.c.created_at >= days.begin[0])
        .where(runs.c.outcome.is_not(None), runs.c.outcome != Outcome.MISSED.value, NOT_REHEARSED)
        .distinct()
    )
    for row in connection.execute(asked):
        yield row.job, row.day, Outcome(row.outcome)


def _day_in_sql(
    column: sa.ColumnElement[datetime], begin: Sequence[datetime], number: int
) -> sa.ColumnElement[int]:
    """The number of the day that a time lies in, by halves: zones and their summer times are Python's matter."""
    if len(begin) == 1:
        return sa.literal(number)
    half = len(begin) // 2
    return sa.case(
        (column < begin[half], _day_in_sql(column, begin[:half], number)),
        else_=_day_in_sql(column, begin[half:], number + half),
    )


# --- missed times --------------------------------------------------------------------------------


def _missed(
    connection: sa.Connection, document: Document, days: _Days, jobs: Sequence[str]
) -> Iterator[_Seen]:
    wanted = as_rows(connection, ("job",), [(job,) for job in jobs])
    asked = (
        sa.select(runs.c.job, runs.c.nominal_at, runs.c.missed_last)
        .join(wanted, runs.c.job == wanted.c.job)
        .where(runs.c.missed_last >= days.begin[0])
    )
    for row in connection.execute(asked):
        first, last = max(0, days.day_of(row.nominal_at)), days.day_of(row.missed_last)
        ends = {days.day_of(row.nominal_at), last}
        schedule = effective_job(document, row.job).schedule
        for day in range(first, last + 1):
            # A row tells its first and last time: between them the job's schedule says which days had one.
            if day in ends or _is_due_on(schedule, days.first + timedelta(days=day), days.zone):
                yield row.job, day, Outcome.MISSED


@lru_cache(maxsize=8192)
def _is_due_on(schedule: Schedule, day: date, zone: str) -> bool:
    begin = datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(zone)).astimezone(UTC)
    due = next_times(schedule, begin - timedelta(seconds=1), zone)
    return bool(due) and due[0] < end
