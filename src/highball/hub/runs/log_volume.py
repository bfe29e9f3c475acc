"""Volume: how much is kept of what an agent tells of one run, whatever it sends.

Lines of the log are left out first, and the log says how many; at the outer bound nothing counts any more but that
the run ended. An agent of this version keeps far below both. All of it works within the transaction of whoever takes
the events in.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from highball.hub.runs.ingest import chunk
from highball.hub.storage.schema import events
from highball.humanize import counted
from highball.model.event import Event, LogLine

MOST_BY_WORD = 1024 * 1024
"""So many bytes are kept of the account of a run that nobody here ordered, as they are stored."""

MOST_OF_LOG = 32 * 1024 * 1024
"""Where so many bytes are stored of a run, further lines of its log are left out."""

MOST_OF_RUN = 64 * 1024 * 1024
"""Where so many are stored, all else is refused but its end."""

_NOTE = 0
"""The number under which is kept how many lines were left out, and where that is said: no event has it."""


def within_bounds(
    connection: sa.Connection,
    run: str,
    fresh: Sequence[Event],
    refuse: Callable[[str], None],
    *,
    ordered: bool,
    is_over: bool,
) -> list[Event]:
    """Those of new events that are taken in; `refuse` is told where others are not."""
    told = _told_bytes(connection, run)
    if told > (MOST_OF_RUN if ordered else MOST_BY_WORD):
        whose = "a run" if ordered else "a run that nobody here ordered"
        refuse(f"it tells more of {whose} than is kept of one")
        ends: list[Event] = [event for event in fresh if event.type == "run.ended"]
        return [] if is_over else ends[:1]
    if ordered and told > MOST_OF_LOG:
        return _without_lines(connection, run, fresh)
    return list(fresh)


def _told_bytes(connection: sa.Connection, run: str) -> int:
    asked = sa.select(sa.func.sum(sa.func.length(events.c.lines))).where(events.c.run == run)
    return connection.execute(asked).scalar() or 0


def _without_lines(connection: sa.Connection, run: str, fresh: Sequence[Event]) -> list[Event]:
    """The same without the lines of the log, which are counted in a line that stands for all of them."""
    lines = [event for event in fresh if isinstance(event, LogLine)]
    if lines:
        _note(connection, run, lines[0], len(lines))
    return [event for event in fresh if not isinstance(event, LogLine)]


def _note(connection: sa.Connection, run: str, first: LogLine, more: int) -> None:
    note = (events.c.run == run) & (events.c.first_seq == _NOTE)
    found = connection.execute(sa.select(events.c.lines).where(note)).scalar()
    at, count = json.loads(zlib.decompress(found)) if found else (first.seq, 0)
    words = f"{counted(count + more, 'further line')} left out: the hub keeps no more of one run's log"
    told = first.model_copy(update={"seq": at, "step": None, "stream": "highball", "text": words})
    kept = json.dumps([at, count + more]).encode()
    here = (events.c.run == run) & events.c.first_seq.in_([_NOTE, at])
    connection.execute(events.delete().where(here))
    noted = {"run": run, "first_seq": _NOTE, "last_seq": _NOTE, "lines": zlib.compress(kept)}
    connection.execute(events.insert(), [chunk(run, [told]), noted])
