"""A run's log as lines for a page: from its events, the last ones first asked for, and nothing in them that acts.

What programs print is hostile: it steers terminals, never ends its lines, and comes by the million. Here it is
made plain, cut where it is long, and only as much of it is read as is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from markupsafe import escape

from highball.config.document import Document
from highball.engine.kinds import USUAL
from highball.hub.runs.record import Record
from highball.humanize import counted
from highball.model.event import (
    Event,
    LogLine,
    RunEnded,
    RunStarted,
    SnapshotSaved,
    StepEnded,
    StepStarted,
    Waiting,
    WarningSeen,
)
from highball.model.run import (
    Action,
    Outcome,
    Reason,
    Run,
    Step,
)
from highball.web.ui import run_summary, status_looks

LAST_LINES = 500
"""So many lines are shown of a log that is longer."""

MOST_CHARACTERS = 90_000
"""And so much of them, as HTML: a page stays small though its lines are long."""

LONGEST_LINE = 1_000
"""What is longer is cut, with a way to the whole."""

_ANSI = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~]?)"
    r"|\x9b[0-?]*[ -/]*[@-~]?"
)


@dataclass(frozen=True)
class LogRow:
    """One line: when, who said it, what, and how bad it is; `left` counts the characters that were cut off."""

    seq: int
    at: datetime
    origin: str
    text: str
    tone: str | None = None
    left: int = 0

    @property
    def cost(self) -> int:
        """How much of a page it takes."""
        return len(escape(self.text).encode("utf-8", "replace")) + 120


@dataclass(frozen=True)
class LogPart:
    """Some lines in order; `last` numbers the last event that was looked at, `more` says that there are others."""

    rows: tuple[LogRow, ...]
    last: int
    more: bool


def plain(text: str) -> str:
    """Text that steers nothing: colours and cursor moves are gone, other control characters are spelled."""
    text = _ANSI.sub("", text).replace("\r\n", "\n")
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape", "replace").decode() for c in text
    )


def read_end(record: Record, document: Document, run: Run) -> LogPart:
    """The last lines of a run."""
    found: list[LogRow] = []
    speakers = _Speakers.of(document, run)
    last, cost, more = 0, 0, False
    for event in record.read_events_back(run.id):
        last = max(last, event.seq)
        row = _row(event, speakers)
        if row is None:
            continue
        cost += row.cost
        if len(found) == LAST_LINES or cost > MOST_CHARACTERS:
            more = True
            break
        found.append(row)
    return LogPart(tuple(reversed(found)), last, more)


def read_on(record: Record, document: Document, run: Run, after: int, find: str = "") -> LogPart:
    """The lines behind a number, as many as a page holds; of those that hold a text, where one is sought."""
    found: list[LogRow] = []
    last, cost = after, 0
    for row, seq in _rows(record.read_events(run.id, after=after), _Speakers.of(document, run)):
        if row is not None and find.casefold() in row.text.casefold():
            cost += row.cost
            if found and (len(found) == LAST_LINES or cost > MOST_CHARACTERS):
                return LogPart(tuple(found), last, more=True)
            found.append(row)
        last = seq
    return LogPart(tuple(found), last, more=False)


def each_line(document: Document, run: Run, events: Iterable[Event]) -> Iterator[str]:
    """All that happened, as text: what a person reads on the page, in a file."""
    speakers = _Speakers.of(document, run)
    for event in events:
        row = _row(event, speakers, longest=None)
        if row is not None:
            yield f"{row.at:%Y-%m-%d %H:%M:%SZ} {row.origin}: {row.text}\n"


def read_whole(record: Record, document: Document, run: Run, seq: int) -> LogRow | None:
    """One line with all its characters; None where no line has that number."""
    for event in record.read_events(run.id, after=seq - 1):
        return _row(event, _Speakers.of(document, run), longest=None) if event.seq == seq else None
    return None


def _rows(events: Iterable[Event], speakers: _Speakers) -> Iterator[tuple[LogRow | None, int]]:
    for event in events:
        yield _row(event, speakers), event.seq


@dataclass(frozen=True)
class _Speakers:
    """Whose words a run's steps hold: those of a hook, or of the engine of a repository."""

    engines: Mapping[str, str]
    steps: Mapping[int | None, Step]

    @classmethod
    def of(cls, document: Document, run: Run) -> _Speakers:
        engines = {key: repository.engine for key, repository in document.repositories.items()}
        return cls(engines, {step.number: step for step in run.steps})

    def in_step(self, number: int | None) -> str:
        step = self.steps.get(number)
        if step is not None and step.action is Action.HOOK:
            return "hook"
        return self.in_repository(step.repository if step is not None else None)

    def in_repository(self, key: str | None) -> str:
        return self.engines.get(key or "", USUAL.words.name)


def _row(event: Event, speakers: _Speakers, longest: int | None = LONGEST_LINE) -> LogRow | None:
    """An event as a line; None of one that only programs need."""
    told = _tell(event, speakers)
    if told is None:
        return None
    origin, text, tone = told
    left = len(text) - longest if longest is not None and len(text) > longest else 0
    return LogRow(event.seq, event.at, origin, plain(text[:longest] if left else text), tone, left)


Told = tuple[str, str, str | None]


def _tell(event: Event, speakers: _Speakers) -> Told | None:
    """Who says it, what, and with which tone."""
    match event:
        case LogLine(stream="highball"):
            return "highball", event.text, None
        case LogLine():
            return speakers.in_step(event.step), event.text, "warn" if event.stream == "stderr" else None
        case Waiting():
            return "highball", event.reason.message, "run"
        case WarningSeen():
            many = f" ({counted(event.warning.count, 'time')})" if event.warning.count > 1 else ""
            return "highball", f"{event.warning.message}{many}", "warn"
        case SnapshotSaved():
            words = f"Snapshot {event.snapshot_id[:8]} saved in {event.repository}"
            return speakers.in_repository(event.repository), words, None
        case _:
            return _tell_course(event)


def _tell_course(event: Event) -> Told | None:
    """What begins, and what ends."""
    match event:
        case RunStarted():
            return "highball", f"Run started (process {event.pid})", None
        case StepStarted():
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            return "highball", f"{run_summary.title_of(event.running)} started{again}", None
        case StepEnded():
            return _ending(run_summary.title_of(event.done), event.done.outcome, event.done.reason)
        case RunEnded():
            return _ending("Run", event.outcome, event.reason)
        case _:
            return None


def _ending(what: str, outcome: Outcome | None, reason: Reason | None) -> Told:
    look = status_looks.OUTCOMES[outcome or Outcome.FAILURE]
    why = f": {reason.message}" if reason is not None and outcome is not Outcome.SUCCESS else ""
    tone = look.tone if outcome in (Outcome.WARNING, Outcome.FAILURE) else None
    return "highball", f"{what} ended: {look.word.lower()}{why}", tone
