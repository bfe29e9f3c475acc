"""Pauses, as rows: until when something scheduled does not fire, who said so, and why.

What was due before a pause begins or ends is the scheduler's to deal with; here is only what is written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from highball.errors import Misuse
from highball.hub.audit import Actor, write_down
from highball.hub.storage.schema import pauses
from highball.model.text import time_to_text

LONGEST_PAUSE = timedelta(days=3653)


@dataclass(frozen=True)
class Pause:
    """A subject that does not fire; `until` None is until somebody resumes it."""

    subject: str
    since: datetime
    until: datetime | None
    actor: str
    reason: str | None = None

    def covers(self, due_at: datetime) -> bool:
        """Whether what is due then does not fire. What was due before the pause was dealt with when it began."""
        return self.until is None or due_at < self.until

    def outlasts(self, until: datetime | None) -> bool:
        """Whether it lasts as long as one until then, or longer."""
        return self.until is None or (until is not None and self.until >= until)


def demand_end(until: datetime | None, now: datetime) -> None:
    """Raises Misuse for an end in the past, or far away."""
    if until is not None and until <= now:
        raise Misuse("a pause must end in the future", code="pause_over", hint="give a later time, or none")
    if until is not None and until - now > LONGEST_PAUSE:
        raise Misuse(
            f"a pause lasts {LONGEST_PAUSE.days} days at most",
            code="pause_too_long",
            hint="give no time: then it lasts until resumed",
        )


def pauses_of(
    connection: sa.Connection, now: datetime | None, subjects: Sequence[str] | None = None
) -> dict[str, Pause]:
    """The pauses that hold now; without a time also those that are over but were not dealt with."""
    asked = sa.select(pauses)
    if now is not None:
        asked = asked.where(pauses.c.until.is_(None) | (pauses.c.until > now))
    if subjects is not None:
        asked = asked.where(pauses.c.subject.in_(subjects))
    return {row.subject: as_pause(row) for row in connection.execute(asked)}


def as_pause(row: sa.Row[Any]) -> Pause:
    """A row of the table."""
    return Pause(**row._mapping)


def begin_pause(connection: sa.Connection, pause: Pause, actor: Actor, now: datetime) -> None:
    """Write it down instead of one that holds already, which then began it."""
    before = pauses_of(connection, now, [pause.subject]).get(pause.subject)
    connection.execute(pauses.delete().where(pauses.c.subject == pause.subject))
    begun = {**vars(pause), "since": before.since if before else now}
    connection.execute(pauses.insert().values(**begun))
    after = {"until": None if pause.until is None else time_to_text(pause.until)}
    _audit(connection, actor, "paused", pause.subject, now, after=after, message=pause.reason)


def end_pause(connection: sa.Connection, pause: Pause, actor: Actor, now: datetime) -> None:
    """Take it away, and write down who did."""
    connection.execute(pauses.delete().where(pauses.c.subject == pause.subject))
    before = {"until": None if pause.until is None else time_to_text(pause.until)}
    _audit(connection, actor, "resumed", pause.subject, now, before=before)


def _audit(
    connection: sa.Connection, actor: Actor, action: str, subject: str, now: datetime, **told: Any
) -> None:
    write_down(connection, actor, action, now, kind="schedule", key=subject, **told)
