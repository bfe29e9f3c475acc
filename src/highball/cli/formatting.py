"""How the terminal tells ages and times: in the zone of the person who looks, so that lines can be compared."""

from __future__ import annotations

from datetime import datetime

from highball.humanize import (
    UNKNOWN,
    counted,
    length,
    number,
    sample,
    size,
)

__all__ = ("age", "counted", "length", "moment", "number", "sample", "size")


def age(seconds: int | None) -> str:
    """`5 min ago`; a dash where there is nothing."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return "just now"
    minutes = seconds // 60
    if minutes < 120:
        return f"{minutes} min ago"
    hours = minutes // 60
    return f"{hours} h ago" if hours < 48 else f"{hours // 24} d ago"


def moment(at: datetime | None) -> str:
    """A time in the zone of the person who looks; a dash where there is none."""
    return UNKNOWN if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
