"""What the hub carries out itself: it copies its database, and lets the record forget what is old.

No agent has a part in it, and it is told by events like every other run.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from highball.errors import HighballError
from highball.hub.bus.base import Newsroom
from highball.hub.data import HubData
from highball.hub.disaster.self_backup import back_up
from highball.hub.runs.expiry import expire
from highball.hub.runs.queue import Queued
from highball.hub.runs.record import utc_now
from highball.model.event import Event, LogLine, RunEnded, RunStarted, StepEnded, StepStarted
from highball.model.run import Action, Outcome, Reason, Step


class OwnWork:
    """Carries it out, in the state that it is given."""

    def __init__(self, data: HubData, state: Path, newsroom: Newsroom) -> None:
        self._data = data
        self._state = state
        self._newsroom = newsroom

    def carry_out(self, queued: Queued, left_out: Step | None = None) -> None:
        """Do all of a run; `left_out` is the step that was to follow, where it cannot be done."""
        if not self._data.backlog.mark_assigned(queued.id, utc_now()):
            return
        expires = queued.action is Action.HISTORY
        running = _expiring(utc_now()) if expires else _copying(utc_now())
        words, step = self._try(running, expires=expires)
        self._data.record.absorb(queued.id, _as_told(queued.id, running, words, step, left_out))
        self._newsroom.publish("run", queued.id, ended=True)

    def _try(self, running: Step, *, expires: bool) -> tuple[str, Step]:
        """What to say of it, and its account, whether it could be done or not."""
        try:
            if expires:
                return self._expire()
            path, step = self.copy()
            return f"hub backup saved to {path}", step
        except (HighballError, OSError) as error:
            words = error.message if isinstance(error, HighballError) else str(error)
            code = "history_not_expired" if expires else "hub_backup_failed"
            failed = {"outcome": Outcome.FAILURE, "reason": Reason(code=code, message=words)}
            return words, running.model_copy(update={**failed, "ended_at": utc_now()})

    def copy(self) -> tuple[Path, Step]:
        """Copy the hub's own database into the state, and account for that; raises StateUnusable."""
        step = _copying(utc_now())
        path = back_up(self._data.database, self._state, step.started_at or utc_now())
        told = {"outcome": Outcome.SUCCESS, "bytes_stored": path.stat().st_size, "ended_at": utc_now()}
        return path, step.model_copy(update=told)

    def _expire(self) -> tuple[str, Step]:
        """Let the record forget what is old; what to say of it, and its account."""
        begun = utc_now()
        expired = expire(self._data.database, self._data.document().settings.history, begun)
        reason = Reason(code="expired", message=expired.in_words)
        told = {"outcome": Outcome.SUCCESS, "reason": reason, "ended_at": utc_now()}
        return expired.in_words, _expiring(begun).model_copy(update=told)


def _as_told(run: str, running: Step, words: str, step: Step, left_out: Step | None) -> list[Event]:
    """The events of a run that has one step, and maybe one that could not be done."""
    told: dict[str, Any] = {"run": run, "at": utc_now()}
    events: list[Event] = [
        RunStarted(seq=1, pid=os.getpid(), **told),
        StepStarted(seq=2, step=1, running=running, **told),
        LogLine(seq=3, step=1, stream="highball", text=words, **told),
        StepEnded(seq=4, step=1, done=step, **told),
    ]
    if left_out is not None:
        events.append(StepEnded(seq=5, step=2, done=left_out, **told))
    last = left_out if left_out is not None and step.outcome is Outcome.SUCCESS else step
    ended = {"outcome": last.outcome, "reason": last.reason}
    events.append(RunEnded.model_validate({"seq": len(events) + 1, **ended, **told}))
    return events


def _copying(now: datetime) -> Step:
    return Step(number=1, action=Action.BACKUP, title="hub backup", started_at=now)


def _expiring(now: datetime) -> Step:
    return Step(number=1, action=Action.HISTORY, title="old runs and logs", started_at=now)
