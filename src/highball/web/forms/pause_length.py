"""How long a pause may last, as pages offer it: a button's choice, or a day and an hour, as the moment when it ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo

from highball import humanize
from highball.errors import HighballError, Misuse
from highball.hub.hub import Hub
from highball.hub.runs.subjects import planned_of
from highball.web.forms.fields import begin_of
from highball.web.ui.status_looks import sentence
from highball.web.ui.templating import Said

MORNING = time(6)
UNTIL_RESUMED = "resumed"

_CHOICES = {
    "hour": "For an hour",
    "morning": "Until tomorrow 06:00",
    "week": "For a week",
    UNTIL_RESUMED: "Until resumed",
}


def choices() -> list[tuple[str, str]]:
    """What a page offers besides a day: what the button sends, and its words."""
    return list(_CHOICES.items())


def end_of(choice: str, day: str, hour: str, now: datetime, zone: tzinfo) -> datetime | None:
    """When the pause ends; None where somebody has to end it. Raises Misuse and ConfigurationInvalid."""
    match choice:
        case "hour":
            return now + timedelta(hours=1)
        case "morning":
            return datetime.combine(now.astimezone(zone).date() + timedelta(days=1), MORNING, zone)
        case "week":
            return now + timedelta(days=7)
        case "day":
            return datetime.combine(begin_of(day, zone, "day").date(), _hour(hour), zone)
        case "resumed":
            return None
    raise Misuse(f'"{choice[:20]}" is not the length of a pause', code="pause_unknown")


def _hour(text: str) -> time:
    """The hour of that day; where none is told, the day's begin."""
    if not text:
        return time()
    try:
        return time.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        raise Misuse("that is not an hour", code="pause_hour", hint="write it like 06:00") from None


def lasting(until: datetime | None, now: datetime, zone: tzinfo) -> str:
    """How long, behind what is paused: ` until Mon 30 Nov 06:00`."""
    return f" until {humanize.appointment(until, now, zone)}" if until else " until resumed"


@dataclass(frozen=True)
class Rest:
    """What is paused of all that runs by itself."""

    paused: int
    all_jobs: bool
    all_upkeep: bool
    until: datetime | None
    """When the last of the pauses ends; None while one of them has no end."""


def find_rest(hub: Hub) -> Rest:
    """How much is paused now, and until when."""
    held = hub.operations.list_pauses()
    subjects = {one.subject for one in planned_of(hub.document(), hub.host)}
    going = subjects - {pause.subject for pause in held}
    backups = {subject for subject in subjects if subject.startswith("backup:")}
    ends = [pause.until for pause in held if pause.until is not None]
    return Rest(
        paused=len(held),
        all_jobs=bool(backups) and not backups & going,
        all_upkeep=not (subjects - backups) & going,
        until=max(ends, default=None) if len(ends) == len(held) else None,
    )


def why_not(error: HighballError) -> Said:
    """What kept it from being paused, as it is told on the next page."""
    hint = f" {sentence(error.hint)}" if error.hint else ""
    return Said(f"Not paused: {error.message}.{hint}", "warn")
