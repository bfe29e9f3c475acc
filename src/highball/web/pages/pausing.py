"""How long a pause may last, as pages offer it: a choice of a button, or a day, as the moment when it ends."""

from __future__ import annotations

from datetime import datetime, time, timedelta, tzinfo

from highball.errors import HighballError, Misuse
from highball.web.page import Said
from highball.web.pages.asking import begin_of
from highball.web.showing import sentence

MORNING = time(6)
UNTIL_RESUMED = "resumed"

_CHOICES = {
    "hour": "For an hour",
    "morning": "Until tomorrow 06:00",
    "week": "For a week",
    UNTIL_RESUMED: "Until somebody resumes it",
}


def choices() -> list[tuple[str, str]]:
    """What a page offers besides a day: what the button sends, and its words."""
    return list(_CHOICES.items())


def end_of(choice: str, day: str, now: datetime, zone: tzinfo) -> datetime | None:
    """When the pause ends; None where somebody has to end it. Raises Misuse and ConfigurationInvalid."""
    match choice:
        case "hour":
            return now + timedelta(hours=1)
        case "morning":
            return datetime.combine(now.astimezone(zone).date() + timedelta(days=1), MORNING, zone)
        case "week":
            return now + timedelta(days=7)
        case "day":
            return begin_of(day, zone, "day")
        case "resumed":
            return None
    raise Misuse(f'"{choice[:20]}" is no length of a pause', code="pause_unknown")


def why_not(error: HighballError) -> Said:
    """What kept it from being paused, as it is told on the next page."""
    hint = f" {sentence(error.hint)}" if error.hint else ""
    return Said(f"Not paused: {error.message}.{hint}", "warn")
