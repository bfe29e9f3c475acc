"""Schedules are told in words, where people have words for them."""

from __future__ import annotations

import pytest

from highball import humanize
from highball.schedule import NAMED


@pytest.mark.parametrize(
    ("cron", "told"),
    [
        (None, "Manual"),
        (NAMED["hourly"], "Every hour, on the hour"),
        (NAMED["daily"], "Daily at 03:00"),
        (NAMED["weekly"], "Sundays at 03:00"),
        (NAMED["monthly"], "On the 1st of each month at 03:00"),
        ("15 * * * *", "Every hour at 15 past"),
        ("*/15 * * * *", "Every 15 minutes"),
        ("0 */6 * * *", "Every 6 hours"),
        ("5 */6 * * *", "Every 6 hours, at 05 past"),
        ("30 12,3 * * *", "Daily at 03:30 and 12:30"),
        ("0 4 * * 1", "Mondays at 04:00"),
        ("0 4 * * mon,7,thu", "Mondays, Thursdays and Sundays at 04:00"),
        ("30 3 * * 1-5", "Monday to Friday at 03:30"),
        ("30 3 * * 1,2,3,4,5", "Monday to Friday at 03:30"),
        ("30 3 * * fri-mon", "Mondays, Fridays, Saturdays and Sundays at 03:30"),
        ("30 3 * * 0-6", "Daily at 03:30"),
        ("0 22 22 * *", "On the 22nd of each month at 22:00"),
        ("0 22 13 * *", "On the 13th of each month at 22:00"),
    ],
)
def test_a_schedule_is_told_in_words(cron: str | None, told: str) -> None:
    assert humanize.rhythm(cron) == told


@pytest.mark.parametrize(
    "cron", ["*/7 * * * *", "0 4 * 5 *", "0 4 1 * 1", "0 4 L * *", "0 4 * * 1#2", "1-5 3 * * *"]
)
def test_what_has_no_short_words_stays_as_it_is(cron: str) -> None:
    assert humanize.rhythm(cron) == cron
