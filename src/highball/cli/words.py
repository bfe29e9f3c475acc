"""Sizes, times and lengths of time as people read them."""

from __future__ import annotations

from datetime import datetime

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: int | None) -> str:
    """`1.5 GiB`; a dash where it is not known."""
    if count is None:
        return "–"
    value = float(count)
    for unit in _UNITS:
        if abs(value) < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    if unit == "B":
        return f"{count} B"
    return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"


def number(count: int | None) -> str:
    """`12,345`; a dash where it is not known."""
    return "–" if count is None else f"{count:,}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 snapshot`, `2 snapshots`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def length(seconds: float | None) -> str:
    """`3.2 s`, `4 min 5 s`, `2 h 10 min`, `3 d 4 h`; a dash where it is not known."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def age(seconds: int | None) -> str:
    """`5 min ago`; a dash where there is nothing."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return "just now"
    minutes = seconds // 60
    if minutes < 120:
        return f"{minutes} min ago"
    hours = minutes // 60
    return f"{hours} h ago" if hours < 48 else f"{hours // 24} d ago"


def moment(at: datetime | None) -> str:
    """A time in the zone of the person who looks; a dash where there is none."""
    return "–" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
