"""Locks of repositories: what is known of whoever holds one, and which were seen lately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from highball import humanize
from highball.model.snapshot import Lock

STALE = timedelta(minutes=30)
"""A lock that nobody has renewed for so long is shown as abandoned."""


@dataclass(frozen=True)
class LockTold:
    """A lock, and what is known of whoever holds it."""

    lock: Lock
    stale: bool
    known: str


def judge_lock(lock: Lock, host: str, now: datetime) -> LockTold:
    """Whether whoever holds a lock is gone, by what the machine that looked says of it."""
    process = f"process {lock.pid}"
    if lock.alive:
        return LockTold(lock, False, f"In use: {process} is running, says the agent on {host}.")
    if lock.alive is False:
        return LockTold(lock, True, f"Stale: {process} is no longer running, says the agent on {host}.")
    quiet = now - lock.created_at
    if quiet > STALE:
        silent = (
            f"Most likely stale: locks are renewed every 5 min, this one was not for {humanize.about(quiet)}."
        )
        return LockTold(lock, True, silent)
    return LockTold(
        lock, False, f"Most likely in use: renewed {humanize.age(lock.created_at, now)} on another machine."
    )


class SeenLocks:
    """What a look into each repository found lately, for what is drawn beside: to look anew takes a process."""

    LASTS = timedelta(minutes=2)

    def __init__(self) -> None:
        self._found: dict[str, tuple[datetime, str | None]] = {}

    def note(self, key: str, locks: Sequence[LockTold], now: datetime) -> None:
        """Keep what a look found: an abandoned lock, or one that nobody may work beside."""
        tone = "bad" if any(one.stale for one in locks) else "warn"
        shuts = any(one.stale or one.lock.exclusive for one in locks)
        self._found[key] = (now, tone if shuts else None)

    def forget(self, key: str) -> None:
        """Somebody changes what was found."""
        self._found.pop(key, None)

    def tell(self, key: str, now: datetime) -> str | None:
        """The tone of a repository's lock; None where none is known."""
        at, tone = self._found.get(key, (now, None))
        return tone if now - at < self.LASTS else None
