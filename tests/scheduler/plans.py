"""Short ways to plan, to tick and to look at what came of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from highball.hub.runs.scheduler import Fired, Scheduler
from highball.hub.runs.subjects import Planned
from highball.hub.storage.database import Database
from highball.hub.storage.schema import fires, runs
from highball.model.run import Action
from highball.schedule import Schedule, fire_id

HOST = "web1"
EVERYONE = frozenset({HOST, "nas1", "hub"})


def at(text: str) -> datetime:
    """`06-01 03:00`, of 2026 in UTC; or a whole time."""
    whole = text if text.startswith("20") else f"2026-{text}"
    found = datetime.fromisoformat(whole)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def plan(
    cron: str = "0 3 * * *",
    subject: str = "backup:docs",
    *,
    host: str = HOST,
    zone: str = "UTC",
    jitter: timedelta = timedelta(0),
    catch_up: timedelta | None = None,
) -> Planned:
    task = subject.partition(":")[0]
    action = {
        "backup": Action.BACKUP,
        "discard": Action.FORGET,
        "hub-backup": Action.BACKUP,
        "history": Action.HISTORY,
        "verify": Action.VERIFY,
    }
    schedule = Schedule(cron=cron, jitter=jitter)
    return Planned(subject, action.get(task, Action.CHECK), host, schedule, zone, catch_up)


class Clockwork:
    """A scheduler with one host that has reported, and its database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.scheduler = Scheduler(database)
        self.reported: frozenset[str] = EVERYONE

    def plan(self, now: str, *planned: Planned) -> list[Fired]:
        return self.scheduler.reconcile(planned, at(now))

    def tick(self, now: str) -> list[Fired]:
        return self.scheduler.tick(at(now), self.reported)

    def told(self, subject: str = "backup:docs") -> list[str]:
        """What each run of a subject is, by its nominal time: `06-01 03:00 queued`, `06-02 03:00+2 missed`."""
        asked = sa.select(runs).where(runs.c.subject == subject).order_by(runs.c.nominal_at)
        with self.database.read() as connection:
            return [_spell(row) for row in connection.execute(asked)]

    def rows(self, table: sa.Table) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.execute(sa.select(table)))

    def due(self, subject: str = "backup:docs") -> datetime | None:
        """When it is due next."""
        asked = sa.select(fires.c.due_at).where(fires.c.subject == subject)
        with self.database.read() as connection:
            return connection.execute(asked).scalar()

    def finish(self, subject: str = "backup:docs", now: str = "06-01 04:00") -> None:
        """The run of a subject that is open ends well."""
        here = (runs.c.subject == subject) & (runs.c.state != "done")
        with self.database.write() as connection:
            told = {"state": "done", "outcome": "success", "ended_at": at(now)}
            connection.execute(runs.update().where(here).values(**told))

    def report(self, nominal: str, subject: str = "backup:docs", action: str = "backup") -> None:
        """The agent tells of a run that it began by itself."""
        when = at(nominal)
        row: dict[str, Any] = {
            "id": fire_id(subject, HOST, action, when),
            "kind": "backup",
            "action": action,
            "host": HOST,
        }
        row |= {"job": "docs", "state": "done", "outcome": "success", "created_at": when, "last_seq": 9}
        with self.database.write() as connection:
            connection.execute(runs.insert().values(**row, subject=subject, nominal_at=when))


def _spell(row: Any) -> str:
    more = f"+{row.missed_count - 1}" if row.missed_count else ""
    return f"{row.nominal_at:%m-%d %H:%M}{more} {row.outcome or row.state}"
