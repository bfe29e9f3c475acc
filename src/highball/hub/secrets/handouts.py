"""Which sealed secrets were handed to which agent, and what for: written down before they leave.

Of a run each time; of questions (a listing, a test) what goes to the same host again within the hour is one entry.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

import sqlalchemy as sa

from highball.errors import StateUnusable
from highball.hub.audit import HUB, write_down
from highball.hub.runs.record import utc_now
from highball.hub.storage.database import Database
from highball.hub.storage.schema import objects

SAME_FOR = timedelta(hours=1)
MOST_REMEMBERED = 10_000


class HandOuts:
    """What was handed out, for the audit."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[tuple[str, frozenset[str]], datetime] = {}

    async def note(self, host: str, places: Iterable[str], run: str | None = None) -> None:
        """Write down that the values at these places are handed to a host's agent."""
        handed, now = frozenset(places), utc_now()
        noted = self._noted.get((host, handed))
        if not handed or (run is None and noted is not None and now < noted + SAME_FOR):
            return
        with suppress(StateUnusable):  # a full disk keeps nobody from looking; runs are not begun then
            await asyncio.to_thread(self._write, host, handed, run, now)
        if len(self._noted) >= MOST_REMEMBERED:
            self._noted.clear()
        self._noted[host, handed] = now

    def _write(self, host: str, handed: frozenset[str], run: str | None, now: datetime) -> None:
        slots: dict[str, list[str]] = defaultdict(list)
        for place in sorted(handed):
            _, id, slot = place.split(":", 2)
            slots[id].append(slot)
        with self._database.write() as connection:
            asked = sa.select(objects.c.id, objects.c.key).where(objects.c.id.in_(slots))
            for id, key in connection.execute(asked).all():
                after = {"secrets": slots[id], "host": host} | ({"run": run} if run else {})
                write_down(connection, HUB, "handed_out", now, kind="repository", key=key, after=after)
