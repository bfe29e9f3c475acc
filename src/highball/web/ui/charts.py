"""Figures drawn by the server: a line through what was measured on some days, its scale in words beside it.

The SVG stretches with the page and holds nothing but shapes; what it says stands in its label, and the words of its
axes are HTML that never scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from markupsafe import Markup, escape

Points = Sequence[tuple[date, float]]

X_MARKS = 6


@dataclass(frozen=True)
class Scale:
    """Where an axis ends, and how its marks are called, the largest first."""

    top: float
    marks: tuple[str, ...]


def scale_of_sizes(largest: float, parts: int = 3) -> Scale:
    """A scale for bytes: only the largest mark names the unit."""
    unit, name = 1.0, "B"
    for name in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):  # noqa: B007 - the last one tried is the unit
        if largest < unit * 1024:
            break
        unit *= 1024
    else:
        unit /= 1024
    step = _round_up(max(largest, 1.0) / unit / parts)
    marks = [f"{step * place:g}" for place in range(parts, -1, -1)]
    return Scale(step * parts * unit, (f"{marks[0]} {name}", *marks[1:]))


def scale_of_times(largest: float, parts: int = 2) -> Scale:
    """A scale for seconds, in the unit that people would say; only the largest mark names it."""
    unit, name = next(
        (one for one in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")) if largest >= 2 * one[0]), (1.0, "s")
    )
    step = _round_up(max(largest / unit, 0.1) / parts)
    marks = [f"{step * place:g}" for place in range(parts, -1, -1)]
    return Scale(step * parts * unit, (f"{marks[0]} {name}", *marks[1:]))


def scale_of_numbers(largest: float, parts: int = 2, suffix: str = "", *, whole: bool = True) -> Scale:
    """A scale for counts, or for factors where they need not be whole."""
    step = _round_up(max(largest, 1.0) / parts)
    if whole:
        step = max(1.0, math.ceil(step))
    return Scale(step * parts, tuple(f"{step * place:,g}{suffix}" for place in range(parts, -1, -1)))


def _round_up(step: float) -> float:
    """The next number that people count in: 1, 2, 2.5, 4 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * one for one in (1, 2, 2.5, 4, 5, 10) if power * one >= step * 0.999999)


def draw(points: Points, first: date, last: date, scale: Scale, label: str, *, small: bool = False) -> Markup:
    """A line from the first measured day to the last day shown; what was measured holds until it is measured anew."""
    shown = [*points, (last, points[-1][1])] if points[-1][0] < last else list(points)
    days = max(1, (last - first).days)
    path = " L".join(
        f"{100 * (day - first).days / days:.2f} {100 - 100 * value / scale.top:.1f}" for day, value in shown
    )
    begin, end = (100 * (day - first).days / days for day in (shown[0][0], shown[-1][0]))
    lines = len(scale.marks) - 1
    grid = "".join(f"M0 {100 * place / lines:.1f}H100" for place in range(lines + 1))
    area = "" if small else f'<path class="area" d="M{path} L{end:.2f} 100 L{begin:.2f} 100Z"/>'
    return Markup(  # noqa: S704 - numbers, our own words, and an escaped label
        f'<figure class="plot"{" data-size=sm" if small else ""}>'
        f'<div class="y" aria-hidden="true">{"".join(f"<span>{mark}</span>" for mark in scale.marks)}</div>'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f'<path class="grid" d="{grid}"/>{area}<path class="{"line-2" if small else "line"}" d="M{path}"/></svg>'
        f"{'' if small else _days(first, last)}</figure>"
    )


def _days(first: date, last: date) -> str:
    days = (last - first).days
    shown = [first + timedelta(days=round(days * place / (X_MARKS - 1))) for place in range(X_MARKS)]
    return f'<div class="x" aria-hidden="true">{"".join(f"<span>{day.day} {day:%b}</span>" for day in shown)}</div>'


def in_words(what: str, points: Points, tell: Callable[[float], str]) -> str:
    """`Stored: from 69 GiB on 24 May to 85.1 GiB on 22 November`."""
    (begun, before), (ended, now) = points[0], points[-1]
    if len(points) == 1:
        return f"{what}: {tell(now)}, measured on {_day(ended)} only"
    return f"{what}: from {tell(before)} on {_day(begun)} to {tell(now)} on {_day(ended)}"


def _day(day: date) -> str:
    return f"{day.day} {day:%B}"


def growth_a_week(points: Points) -> float | None:
    """How much more it becomes a week, on average; None where less than a week was measured."""
    if not points:
        return None
    (begun, before), (ended, now) = points[0], points[-1]
    days = (ended - begun).days
    return (now - before) * 7 / days if days >= 7 else None
