"""Remove the lock that a killed engine of ours left in a repository, and never another.

It is told from all others by what the run directory says of the processes that were started: their host, pid and
time. Until it is gone, nobody can forget, prune or check there.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from highball.agent.run.steps import Steps
from highball.agent.state_dir import describe_lock
from highball.errors import HighballError
from highball.model.event import Event, ProcessStarted
from highball.model.snapshot import Lock
from highball.place.base import Place
from highball.process.child import Stop


def remove_own_lock(steps: Steps, repository: str, events: Iterable[Event]) -> None:
    """Unlock, when the lock of a dead program of this run is there and no other that would go with it."""
    place = steps.workplace.place
    processes = [event for event in events if isinstance(event, ProcessStarted)]
    try:
        opened = steps.open(repository).having(stop=Stop())
        if opened.locks is None:
            return
        engine, locks = opened.words.name, opened.locks.list_locks()
        for found in locks:
            if any(_names(place, found, process) for process in processes):
                place.await_reaped(found.pid)
        ours = [lock for lock in locks if any(_is_of_dead(place, lock, process) for process in processes)]
        others = [lock for lock in locks if lock not in ours and opened.locks.is_stale(lock)]
        if ours and others:
            other = describe_lock(others[0])
            steps.log(
                "highball",
                f"{repository}: the lock of a killed {engine} stays; unlocking would remove another: {other}",
            )
        elif ours:
            opened.locks.unlock().demand()
            steps.log(
                "highball",
                f"{repository}: a {engine} was killed, so its lock was removed: {describe_lock(ours[0])}",
            )
    except HighballError as error:
        steps.log(
            "highball", f"{repository}: the lock of a killed program could not be looked for: {error.message}"
        )


def _is_of_dead(place: Place, lock: Lock, process: ProcessStarted) -> bool:
    return _names(place, lock, process) and not place.is_alive(lock.pid)


def _names(place: Place, lock: Lock, process: ProcessStarted) -> bool:
    # the time as well: in containers of one host name, process ids alone would tell nothing
    since = lock.created_at >= process.at - timedelta(seconds=10)
    return since and lock.hostname == process.hostname == place.hostname and lock.pid == process.pid
