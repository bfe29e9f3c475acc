"""What of the messages of agents was refused: counted for each host, and told where people look.

The log speaks of it at the first, second, fourth, eighth time and so on, so that nobody fills it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from highball.hub.storage.database import Database
from highball.hub.storage.schema import agents

MOST_COUNTED = 2**31 - 1
MOST_LOGGED = 300
"""So many characters of what others chose are written to the log."""

_LOG = logging.getLogger(__name__)


class Refused(Exception):
    """An agent told or asked what it has no right to."""


@dataclass(frozen=True)
class HostRefusals:
    """How much was refused of what a host's agent told or asked, and why the last of it was."""

    count: int
    why: str
    at: datetime


class Refusals:
    """The count of each host that has an agent; it begins anew when the host is joined again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, host: str, why: str, now: datetime, *, times: int = 1) -> None:
        """Count what was refused of a host's agent."""
        here = agents.c.host == host
        with self._database.write() as connection:
            known = connection.execute(sa.select(agents.c.refused).where(here)).scalar() or 0
            count = min(known + times, MOST_COUNTED)
            told = {"refused": count, "refused_why": why[:MOST_LOGGED], "refused_at": now}
            connection.execute(agents.update().where(here).values(**told))
        if is_told(known, count):
            _LOG.warning("%s messages of %s are refused by now, the last: %s", count, host, quote(why))

    def list_them(self) -> dict[str, HostRefusals]:
        """The hosts of whose agents something was refused."""
        asked = sa.select(agents.c.host, agents.c.refused, agents.c.refused_why, agents.c.refused_at)
        with self._database.read() as connection:
            rows = connection.execute(asked.where(agents.c.refused > 0)).all()
        return {row.host: HostRefusals(row.refused, row.refused_why, row.refused_at) for row in rows}


def is_told(before: int, count: int) -> bool:
    """Whether the log speaks of it: a power of two was reached."""
    return count.bit_length() > before.bit_length()


def quote(text: str) -> str:
    """What others chose, as one line of the log."""
    return ascii(text)[1:-1][:MOST_LOGGED]
