"""When something may begin: windows of the local day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from highball.schedule import (
    is_within,
    next_opening,
    read_window,
    window_to_text,
)

VIENNA = "Europe/Vienna"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def at(text: str, zone: str = VIENNA) -> datetime:
    """A moment by the clocks of that zone."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


# 2026-06-05 is a Friday
@pytest.mark.parametrize(
    ("window", "moment", "inside"),
    [
        ("22:00-06:00", "2026-06-05T22:00", True),
        ("22:00-06:00", "2026-06-05T05:59", True),
        ("22:00-06:00", "2026-06-05T06:00", False),
        ("22:00-06:00", "2026-06-05T21:59:59", False),
        ("09:00-17:00", "2026-06-05T09:00", True),
        ("09:00-17:00", "2026-06-05T17:00", False),
        ("mon-fri 22:00-06:00", "2026-06-06T05:00", True),  # Friday's night reaches into Saturday
        ("mon-fri 22:00-06:00", "2026-06-06T23:00", False),
        ("mon-fri 22:00-06:00", "2026-06-08T05:00", False),  # Monday morning is Sunday's night
        ("sat,sun 00:00-24:00", "2026-06-06T00:00", True),
        ("sat,sun 00:00-24:00", "2026-06-05T23:59", False),
        ("fri-mon 10:00-11:00", "2026-06-07T10:30", True),
        ("fri-mon 10:00-11:00", "2026-06-09T10:30", False),
        ("tue 10:00-11:00", "2026-06-09T10:30", True),
        ("22:00-24:00", "2026-06-05T23:59", True),
        ("22:00-24:00", "2026-06-05T00:00", False),
        ("24:00-06:00", "2026-06-05T00:00", True),
    ],
)
def test_a_moment_is_inside_or_not(window: str, moment: str, inside: bool) -> None:
    assert is_within([window], at(moment), VIENNA) is inside


def test_without_windows_it_is_always_time() -> None:
    assert is_within([], at("2026-06-05T12:00"), VIENNA)
    assert next_opening([], at("2026-06-05T12:00"), VIENNA) == at("2026-06-05T12:00")


def test_one_of_several_windows_is_enough() -> None:
    windows = ["mon-fri 22:00-06:00", "sat,sun 00:00-24:00"]
    assert is_within(windows, at("2026-06-07T12:00"), VIENNA)
    assert not is_within(windows, at("2026-06-05T12:00"), VIENNA)
    assert next_opening(windows, at("2026-06-05T12:00:30"), VIENNA) == at("2026-06-05T22:00")
    assert next_opening(windows, at("2026-06-05T23:00:30"), VIENNA) == at("2026-06-05T23:00:30")


def test_an_hour_that_clocks_skip_opens_nothing_and_the_next_week_does() -> None:
    skipped = at("2026-03-29T01:30")
    assert next_opening(["sun 02:00-03:00"], skipped, VIENNA) == at("2026-04-05T02:00")
    assert is_within(["02:00-03:00"], datetime(2026, 10, 25, 0, 30, tzinfo=UTC), VIENNA)
    assert is_within(["02:00-03:00"], datetime(2026, 10, 25, 1, 30, tzinfo=UTC), VIENNA), "it comes twice"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("noon", "is not a span of times"),
        ("", "is not a span of times"),
        ("22:00", "is not a span of times"),
        ("22-06", "is not a span of times"),
        ("22:60-23:00", "22:60 is not a time of day"),
        ("25:00-26:00", "25:00 is not a time of day"),
        ("24:01-23:00", "24:01 is not a time of day"),
        ("10:00-10:00", "ends when it starts"),
        ("24:00-00:00", "ends when it starts"),
        ("mon-fri-sun 10:00-11:00", "mon-fri-sun is not a span of days"),
        ("mo 10:00-11:00", "is not a span of times"),
        ("xyz 10:00-11:00", "xyz is not a day of the week"),
        ("mon, 10:00-11:00", "is not a span of times"),
    ],
)
def test_what_is_no_window_is_told_in_words(text: str, said: str) -> None:
    with pytest.raises(PydanticCustomError, match=said):
        read_window(text)


def test_a_window_is_always_written_alike() -> None:
    assert window_to_text("  MON-Fri   22:00 - 06:00 ") == "mon-fri 22:00-06:00"


MINUTES = st.integers(0, 24 * 60 - 1)
FIRST, LAST = datetime(2020, 1, 1), datetime(2035, 1, 1)  # noqa: DTZ001 - hypothesis wants them so


@given(
    days=st.lists(st.sampled_from(DAYS), max_size=3, unique=True),
    begins=MINUTES,
    length=st.integers(1, 24 * 60 - 1),
    moment=st.datetimes(FIRST, LAST).map(lambda naive: naive.replace(tzinfo=UTC)),
)
def test_a_window_holds_what_counting_from_its_beginnings_says(
    days: list[str], begins: int, length: int, moment: datetime
) -> None:
    ends = (begins + length) % (24 * 60)
    text = f"{begins // 60:02}:{begins % 60:02}-{ends // 60:02}:{ends % 60:02}"
    text = f"{','.join(days)} {text}" if days else text
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    expected = any(
        start <= moment < start + timedelta(minutes=length)
        for back in (0, 1)
        for start in [midnight - timedelta(days=back) + timedelta(minutes=begins)]
        if not days or DAYS[start.weekday()] in days
    )
    assert is_within([text], moment, "UTC") is expected
    opening = next_opening([text], moment, "UTC")
    assert opening >= moment
    assert is_within([text], opening, "UTC")
    assert (opening == moment) is expected
    assert opening == moment or not is_within([text], opening - timedelta(minutes=1), "UTC")
