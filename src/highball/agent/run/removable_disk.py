"""A repository on a disk that comes and goes: whether it is away, and the wait for it.

Only a backup that a schedule began waits, until its next time is near; maintenance that a schedule began is skipped,
and what a person began fails. The wait is in a process of its own: so neither the agent nor the hub is needed for it,
and what is taken up after a kill has begun nothing that could be done twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from highball.agent.run.steps import Steps
from highball.agent.run_directory import RunDirectory
from highball.engine.base import passed_over
from highball.errors import Cancelled
from highball.model.event import (
    DISK_AWAY,
    RunStarted,
    Waiting,
)
from highball.model.run import Reason
from highball.protocol.tasks import Assignment, BackupTask
from highball.schedule import next_times

LOOK_SECONDS = 5.0
STOP_SECONDS = 0.5
ROOM = timedelta(minutes=1)
"""So long before the next time comes the wait ends, that its own run may begin."""


def list_away(steps: Steps, repositories: Sequence[str]) -> list[str]:
    """Those that were there before and whose disk is away now, where that is waited for."""
    return [key for key in repositories if _is_waited_for(steps.assignment, key) and not _is_here(steps, key)]


def until(assignment: Assignment, task: BackupTask, now: datetime) -> datetime | None:
    """Until when a disk is waited for; None where the backup has no next time, or where somebody ordered it."""
    if assignment.nominal_at is None or task.dry_run:
        return None
    following = next(iter(next_times(task.job.schedule, now, assignment.timezone)), None)
    if following is None:
        return None
    return following - min(ROOM, (following - now) / 10)


def wait(steps: Steps, away: Sequence[str], end: datetime) -> list[str]:
    """Wait until one of the disks is back, or the time is over; which are back. Raises Cancelled."""
    places = " and ".join(f"{key} ({_folder(steps.assignment, key)})" for key in away)
    reason = Reason(code=DISK_AWAY, message=f"waiting for the disk of {places}")
    steps.say(Waiting, safely=True, reason=reason, until=end)
    look_at = time.monotonic()
    while datetime.now(UTC) < end:
        if steps.stop.requested:
            raise Cancelled("cancelled while waiting for the disk")
        if time.monotonic() >= look_at:
            look_at = time.monotonic() + LOOK_SECONDS
            if back := [key for key in away if _is_here(steps, key)]:
                return back
        time.sleep(STOP_SECONDS)
    return []


def only_waited(directory: RunDirectory) -> bool:
    """Whether a run whose process vanished had done nothing yet but wait for a disk: then it may wait on."""
    events = list(directory.read_events())
    waited = any(isinstance(event, Waiting) and event.reason.code == DISK_AWAY for event in events)
    return waited and all(isinstance(event, RunStarted | Waiting) for event in events)


def skipped(assignment: Assignment, key: str) -> Reason:
    """Why nothing was done in it."""
    return passed_over(key, assignment.repositories[key])


def is_passed_over(steps: Steps, key: str) -> bool:
    """Whether maintenance that came by itself has to do without the disk of this repository."""
    return steps.assignment.nominal_at is not None and bool(list_away(steps, [key]))


def _is_waited_for(assignment: Assignment, key: str) -> bool:
    return key in assignment.identities and assignment.repositories[key].comes_and_goes


def _is_here(steps: Steps, key: str) -> bool:
    try:
        with steps.workplace.place.files() as files:
            return steps.assignment.repositories[key].is_in_its_folder(files)
    except OSError:  # a disk that is just going
        return False


def _folder(assignment: Assignment, key: str) -> Path:
    folder = assignment.repositories[key].local_folder
    assert folder is not None
    return folder
