"""How facts look: the tone, icon and word of every state, and the pictures drawn from them.

A tone says how good something is (ok, warn, bad, run, idle) and is never the only thing that says it: every state
has an icon and a word. What is said in sentences lies in the pages' templates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from markupsafe import Markup

from highball.actions import words_of
from highball.hub.status.overview import JobOverview, ProblemKind
from highball.hub.status.repository_status import Coverage
from highball.humanize import (
    counted,
    length,
    sample,
    size,
)
from highball.model.run import (
    Action,
    Outcome,
    Run,
    RunState,
)
from highball.model.standing import Health, Standing
from highball.model.text import path_for_people
from highball.schedule import Schedule

PROOF_IS_OLD = timedelta(days=35)
"""A restore test older than this is shown as a warning: it says little of today's snapshots."""


MOST_PARTS_DRAWN = 40
"""More parts of a repository's data than this are drawn as so many."""


@dataclass(frozen=True)
class Look:
    """How a state is shown."""

    tone: str
    icon: str
    word: str

    @property
    def turns(self) -> bool:
        """Whether its icon turns round."""
        return self.icon == "loader-circle"


OUTCOMES = {
    Outcome.SUCCESS: Look("ok", "circle-check", "Success"),
    Outcome.WARNING: Look("warn", "triangle-alert", "Warning"),
    Outcome.FAILURE: Look("bad", "circle-x", "Failed"),
    Outcome.CANCELLED: Look("idle", "ban", "Cancelled"),
    Outcome.SKIPPED: Look("idle", "skip-forward", "Skipped"),
    Outcome.MISSED: Look("bad", "calendar-x", "Missed"),
}

STATES = {
    RunState.QUEUED: Look("run", "list-end", "Queued"),
    RunState.WAITING: Look("run", "hourglass", "Waiting"),
    RunState.RUNNING: Look("run", "loader-circle", "Running"),
}

HEALTHS = {
    Health.HEALTHY: Look("ok", "circle-check", "Protected"),
    Health.LATE: Look("warn", "clock-alert", "Late"),
    Health.OVERDUE: Look("bad", "clock-alert", "Overdue"),
    Health.FAILED: Look("bad", "circle-x", "Failed"),
    Health.NEVER: Look("idle", "circle-dashed", "No backup yet"),
}

PROBLEMS = {
    ProblemKind.UNWRITABLE: Look("bad", "triangle-alert", "cannot write its database"),
    ProblemKind.INVALID: Look("bad", "triangle-alert", "cannot be used"),
    ProblemKind.FAILURE: Look("bad", "circle-x", "failed"),
    ProblemKind.OVERDUE: Look("bad", "clock-alert", "overdue"),
    ProblemKind.NEVER: Look("warn", "circle-dashed", "never been backed up"),
    ProblemKind.MISSED: Look("bad", "calendar-x", "missed"),
    ProblemKind.OFFLINE: Look("bad", "unplug", "offline"),
    ProblemKind.TWIN: Look("bad", "triangle-alert", "two agents with the same key"),
    ProblemKind.UNTESTED: Look("bad", "unplug", "saved without a successful test"),
    ProblemKind.HELD: Look("warn", "hand", "on hold"),
    ProblemKind.WARNING: Look("warn", "triangle-alert", "warning"),
    ProblemKind.UNPROVED: Look("idle", "shield-question-mark", "never been restore-tested"),
}

DRY_RUN = Look("idle", "flask-conical", "Dry run")
PAUSED = Look("idle", "circle-pause", "Paused")
NO_GOOD_BACKUP = Look("warn", "circle-dashed", "No good backup yet")
WARNS = Look("warn", "triangle-alert", "Warning")

SECTIONS = {"job": "Jobs", "host": "Hosts", "repository": "Repositories"}
"""The entry of the rail that an object belongs to; all others are found from the settings."""


def look_of_run(run: Run) -> Look:
    """A run as it is now."""
    look = OUTCOMES[run.outcome] if run.outcome is not None else STATES[run.state]
    if not run.dry_run:
        return look
    if run.outcome is Outcome.SUCCESS:
        return DRY_RUN
    return Look(look.tone, look.icon, f"Dry run, {look.word.lower()}")


def look_of_job(job: JobOverview) -> Look:
    """A job as it stands: the worst of its repositories, or that it is paused."""
    if job.health is Health.HEALTHY:
        if job.paused or not job.enabled:
            return PAUSED
        if any(one.last_outcome is Outcome.WARNING for one in job.standings):
            return WARNS
    if job.health is Health.NEVER and any(one.last_outcome is not None for one in job.standings):
        return NO_GOOD_BACKUP
    return HEALTHS[job.health]


def look_of_standing(standing: Standing) -> Look:
    """The same in one of its repositories."""
    if standing.state is Health.NEVER and standing.last_outcome is not None:
        return NO_GOOD_BACKUP
    return HEALTHS[standing.state]


def look_of_proof(at: datetime | None, now: datetime) -> Look:
    """When data were last really read back; the word is for the page to say."""
    if at is None:
        return Look("idle", "shield-question-mark", "Never")
    return (
        Look("warn", "shield-alert", "Old")
        if now - at > PROOF_IS_OLD
        else Look("ok", "shield-check", "Passed")
    )


def actor(name: str) -> str:
    """Who did something, for people: a person's name, or which token."""
    kind, _, key = name.partition(":")
    return f"the token {key}" if kind == "token" and key else name


def path(found: str | bytes) -> str:
    """A path for people: what is no character, or moves the cursor, is spelled."""
    return path_for_people(found.encode("utf-8", "surrogateescape") if isinstance(found, str) else found)


def sentence(text: str) -> str:
    """A message as a sentence: it begins large, unless with a key (`nas: …`), and ends with a full stop."""
    first = text[:1] if text.partition(" ")[0].endswith(":") else text[:1].upper()
    return f"{first}{text[1:]}" + ("" if text.endswith((".", "!", "?", ":")) else ".")


def plain(value: object) -> str:
    """A declared value in one line: simple lists and tables by commas, what is nested as JSON."""
    if value and isinstance(value, list) and all(isinstance(one, str | int) for one in value):
        return ", ".join(plain(one) for one in value)
    if value and isinstance(value, dict) and all(isinstance(one, str | int) for one in value.values()):
        return ", ".join(f"{name}: {plain(one)}" for name, one in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def doing(run: Run) -> str:
    """What a run is at, while nothing tells how far it is."""
    going = [step for step in run.steps if step.ended_at is None and step.started_at is not None]
    if not going:
        return "starting"
    step = going[-1]
    return f"{words_of(step.action).noun}{f' in {step.repository}' if step.repository else ''} "


def came_to(run: Run, *, took: bool = True) -> str:
    """What a run of maintenance did, in a few words."""
    if run.reason is not None and run.outcome is not Outcome.SUCCESS:
        return sentence(run.reason.message)
    parts = []
    removed = [step.snapshots_removed for step in run.steps if step.snapshots_removed is not None]
    if removed:
        parts.append(f"{counted(sum(map(len, removed)), 'snapshot')} removed")
    freed = [step.bytes_freed for step in run.steps if step.bytes_freed is not None]
    if freed:
        parts.append(f"{size(sum(freed))} freed")
    if run.action is Action.HISTORY and run.reason is not None:
        parts.append(run.reason.message)
    for step in run.steps:
        if step.slice is not None:
            parts.append(f"part {step.slice.replace('/', ' of ')} of the data read")
        if step.files_compared is not None:
            parts.append(f"{sample(step.files_compared, step.files_held)} restored and compared")
        if step.locks_removed is not None:
            parts.append(f"{counted(step.locks_removed, 'lock')} removed")
        if step.action is Action.STATS and step.bytes_stored is not None:
            parts.append(f"{size(step.bytes_stored)} stored")
    if took and run.started_at and run.ended_at:
        parts.append(f"took {length(run.ended_at - run.started_at)}")
    return ", ".join(parts)


def coverage(found: Coverage) -> Markup:
    """The parts of a repository's data, those that were read filled."""
    told = f"{found.done} of {found.parts} parts of the data read"
    if found.parts > MOST_PARTS_DRAWN:
        done, parts = round(found.done * MOST_PARTS_DRAWN / found.parts), MOST_PARTS_DRAWN
    else:
        done, parts = found.done, found.parts
    cells = "<i></i>" * done + '<i class="todo"></i>' * (parts - done)
    return Markup(f'<div class="coverage" role="img" aria-label="{told}">{cells}</div>')  # noqa: S704 - numbers only


def legend(kind: str) -> Markup:
    """One bar, to explain the others."""
    return _drawn([kind], "")


# --- the strip -----------------------------------------------------------------------------------

_PITCH = 9.0
_BAR = 7.0
_TALL = 20
_HEIGHTS = {"ok": 20, "warn": 13, "bad": 7, "run": 13, "none": 2}
_DRAWN = {
    Outcome.SUCCESS: "ok",
    Outcome.WARNING: "warn",
    Outcome.FAILURE: "bad",
    Outcome.CANCELLED: "warn",
    Outcome.MISSED: "missed",
    Outcome.SKIPPED: "none",
    None: "none",
}
_TOLD = {
    "ok": "good",
    "warn": "with warnings",
    "bad": "with failures",
    "missed": "missed",
    "none": "with nothing scheduled",
}


def strip(days: Sequence[Outcome | None]) -> Markup:
    """A row of bars, one a day: the height is the outcome, one path a tone, so that a row stays small."""
    return _drawn([_DRAWN[day] for day in days], strip_in_words(days))


def _drawn(kinds: Sequence[str], label: str) -> Markup:
    width = len(kinds) * _PITCH - 2
    paths = "".join(
        f'<path class="{name}" d="{"".join(drawn)}"/>'
        for name in ("ok", "warn-bed", "warn", "bad-bed", "bad", "missed", "none")
        if (drawn := list(_bars(name, kinds)))
    )
    told = f'role="img" aria-label="{label}"' if label else 'aria-hidden="true"'
    return Markup(  # noqa: S704 - numbers and our own words only
        f'<svg class="strip" {told} width="{width:g}" height="{_TALL}" '
        f'viewBox="0 0 {width:g} {_TALL}" preserveAspectRatio="none">{paths}</svg>'
    )


def _bars(name: str, kinds: Sequence[str]) -> Iterator[str]:
    of, _, bed = name.partition("-")
    for place, kind in enumerate(kinds):
        if kind != of:
            continue
        if kind == "missed":
            yield f"M{place * _PITCH + 0.75:g} 0.75h{_BAR - 1.5:g}v{_TALL - 1.5:g}h-{_BAR - 1.5:g}z"
        else:
            yield f"M{place * _PITCH + _BAR / 2:g} {_TALL}v-{_TALL if bed else _HEIGHTS[of]}"


def strip_in_words(days: Sequence[Outcome | None]) -> str:
    """`28 days good, 2 days with failures, the last of them today`."""
    kinds = [_DRAWN[day] for day in days]
    parts = [
        f"{counted(kinds.count(kind), 'day')} {told}" for kind, told in _TOLD.items() if kinds.count(kind)
    ]
    return ", ".join(parts) or "nothing yet"


def days_of(first: date, days: Sequence[Outcome | None]) -> list[tuple[date, str, str]]:
    """Each day with its tone and what it came to, for a strip whose days can be followed."""
    tones = {"ok": "ok", "warn": "warn", "bad": "bad", "missed": "missed", "none": "idle"}
    return [
        (first + timedelta(days=place), tones[kind], _TOLD[kind])
        for place, kind in enumerate(_DRAWN[day] for day in days)
    ]


# --- schedules -----------------------------------------------------------------------------------

_DAYS = ("Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays")
_WHEN = re.compile(
    rf"(?P<day>daily|{'|'.join(_DAYS)})(?: at)? (?P<hour>\d{{1,2}}):(?P<minute>\d\d)", re.IGNORECASE
)


def when(schedule: Schedule, *, begins: bool = False) -> str:
    """A schedule as people say it: `daily 03:00`, `Sundays 02:00`; else its cron fields. `begins` a sentence or not."""
    told = _when(schedule.expression)
    return f"{told[:1].upper()}{told[1:]}" if begins else told


def _when(expression: str | None) -> str:
    if expression is None:
        return "manual"
    minute, hour, *days = expression.split()
    if not (minute.isdigit() and hour.isdigit()):
        return "hourly" if expression == "0 * * * *" else expression
    at = f"{int(hour):02}:{int(minute):02}"
    if days == ["*", "*", "*"]:
        return f"daily {at}"
    if days[:2] == ["*", "*"] and days[2].isdigit():
        return f"{_DAYS[int(days[2]) % 7]} {at}"
    return f"monthly {at}" if days == ["1", "*", "*"] else expression


def read_when(text: str) -> str:
    """What people type for a schedule as its cron fields; what is not understood stays as it is."""
    found = _WHEN.fullmatch(" ".join(text.split()))
    if found is None:
        return text.strip()
    name = found["day"].capitalize()
    day = str(_DAYS.index(name)) if name in _DAYS else "*"
    return f"{int(found['minute'])} {int(found['hour'])} * * {day}"
