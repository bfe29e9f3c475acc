"""A job over time: what was new, how long it took, how fast it was read, as lines that say in words what they draw."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from highball.hub.runs.recorded import Figures
from highball.web.pages.trends import draw
from highball.web.ui import charts
from hub.served import Served
from pages.looking import Looker

MIB = float(1 << 20)
DAY = timedelta(days=1)


def test_a_day_is_drawn_by_all_its_backups() -> None:
    now = datetime(2026, 3, 10, 12, tzinfo=UTC)
    found = [
        Figures(now - 2 * DAY, 10, 1 * MIB, 100 * MIB),
        Figures(now - 2 * DAY + timedelta(hours=1), 30, 2 * MIB, 300 * MIB),
        Figures(now, 40, 6 * MIB, 80 * MIB),
    ]
    labels = [re.search('aria-label="([^"]+)"', drawn) for _, drawn in draw(found, 30, now, UTC)]
    assert [label[1] for label in labels if label] == [
        "New data per day: from 3.00 MiB on 8 March to 6.00 MiB on 10 March",
        "Duration: from 20.0 s on 8 March to 40.0 s on 10 March",
        "Read speed: from 10.0 MiB/s on 8 March to 2.00 MiB/s on 10 March",
    ]
    assert draw(found[2:], 30, now, UTC) == [], "one day makes no line"


@pytest.mark.parametrize(
    ("largest", "marks"), [(3, ("4 s", "2", "0")), (150, ("4 min", "2", "0")), (9000, ("4 h", "2", "0"))]
)
def test_a_scale_of_times_is_in_the_unit_that_people_would_say(
    largest: float, marks: tuple[str, ...]
) -> None:
    assert charts.scale_of_times(largest).marks == marks


def test_a_job_shows_its_trend_on_its_page_and_on_one_of_its_own(anna: Looker, served: Served) -> None:
    page = anna.go("/jobs/docs")
    expect(page.locator("#trend")).to_contain_text("after two days")
    page.locator("#trend").get_by_role("link", name="1 y").click()
    expect(page.locator("#trend").get_by_role("link", name="1 y")).to_have_attribute("aria-current", "true")
    assert "/trend" not in page.url
    assert anna.complaints("/jobs/docs/trend") == []
