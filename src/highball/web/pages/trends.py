"""How a job's backups change over time: what is new, how long they take, how fast they read; a line each."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta, tzinfo
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from markupsafe import Markup

from highball import humanize
from highball.config.document import effective_job
from highball.hub.runs.record import utc_now
from highball.hub.runs.recorded import Figures
from highball.web.authorize import Sees
from highball.web.dependencies import TheHub, ThePages
from highball.web.ui import charts

PERIODS = {30: "30 d", 90: "90 d", 365: "1 y"}

Reading = tuple[date, float]

router = APIRouter(include_in_schema=False)


@router.get("/jobs/{key}/trend")
def show(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    key: str,
    _: Sees,
    days: Annotated[int, Query(ge=1, le=366)] = 30,
) -> Response:
    job, now = effective_job(hub.document(), key), utc_now()
    found = hub.record.list_figures(key, now - timedelta(days=days))
    told = {"key": key, "title": job.title, "days": days, "periods": PERIODS}
    return pages.answer(request, "job-trend", {**told, "plots": draw(found, days, now, pages.zone())})


def draw(found: Sequence[Figures], days: int, now: datetime, zone: tzinfo) -> list[tuple[str, Markup]]:
    """The lines, each with its title; none where all was on one day."""
    last = now.astimezone(zone).date()
    first = last - timedelta(days=days)
    added = _by_day(((one.at, one.added) for one in found), zone, sum)
    took = _by_day(((one.at, one.seconds) for one in found), zone, statistics.median)
    speed = _by_day(((one.at, one.speed) for one in found), zone, statistics.median)
    if not added or added[0][0] == last:
        return []

    def per_second(value: float) -> str:
        return f"{humanize.size(value)}/s"

    return [
        (
            "New data per day",
            _draw("New data per day", added, first, last, charts.scale_of_sizes, humanize.size),
        ),
        (
            "Duration",
            _draw("Duration", took, first, last, charts.scale_of_times, humanize.length, small=True),
        ),
        (
            "Read speed",
            _draw("Read speed", speed, first, last, charts.scale_of_sizes, per_second, small=True),
        ),
    ]


def _draw(
    what: str,
    points: Sequence[Reading],
    first: date,
    last: date,
    scale: Callable[..., charts.Scale],
    tell: Callable[[float], str],
    *,
    small: bool = False,
) -> Markup:
    marks = scale(max(value for _, value in points), parts=2 if small else 3)
    return charts.draw(points, first, last, marks, charts.in_words(what, points, tell), small=small)


def _by_day(
    readings: Iterable[tuple[datetime, float]], zone: tzinfo, come_to: Callable[[list[float]], float]
) -> list[Reading]:
    """What the readings of each day come to, by the pages' clocks."""
    days: dict[date, list[float]] = defaultdict(list)
    for at, value in readings:
        days[at.astimezone(zone).date()].append(value)
    return [(day, come_to(values)) for day, values in sorted(days.items())]
