"""Sizes and times read the same wherever they stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from highball import humanize

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 8, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (None, "–"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1024, "1.00 KiB"),
        (38.2 * 2**30, "38.2 GiB"),
        (412 * 2**20, "412 MiB"),
        (1.62 * 2**40, "1.62 TiB"),
        (5000 * 2**50, "5000 PiB"),
    ],
)
def test_a_size_has_three_digits_that_count(count: float | None, told: str) -> None:
    assert humanize.size(count) == told


@given(st.integers(0, 2**62))
def test_a_size_is_never_longer_than_a_column(count: int) -> None:
    assert len(humanize.size(count)) <= 8


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "–"),
        (0.42, "0.4 s"),
        (59.94, "59.9 s"),
        (59.99, "1 min"),
        (192, "3 min 12 s"),
        (2 * 3600 + 48 * 60, "2 h 48 min"),
        (29 * 3600, "1 d 5 h"),
    ],
)
def test_a_length_of_time_has_two_units_at_most(seconds: float | None, told: str) -> None:
    assert humanize.length(seconds) == told


@pytest.mark.parametrize(
    ("at", "told", "age"),
    [
        (None, "not yet", "not yet"),
        (NOW, "09:12", "just now"),
        (NOW - timedelta(minutes=10), "09:02", "10 min ago"),
        (NOW - timedelta(hours=2, minutes=48), "06:24", "2 h 48 min ago"),
        (NOW - timedelta(days=1), "Sat 09:12", "1 d ago"),
        (NOW - timedelta(days=6), "Mon 09:12", "6 d ago"),
        (NOW - timedelta(days=7), "15 November", "7 d ago"),
        (NOW - timedelta(days=547), "24 May 2025", "547 d ago"),
        (NOW + timedelta(minutes=48), "10:00", "in 48 min"),
        (NOW + timedelta(hours=16), "Mon 01:12", "in 16 h"),
        (NOW + timedelta(seconds=20), "09:12", "in a moment"),
    ],
)
def test_a_time_is_told_by_how_near_it_is(at: datetime | None, told: str, age: str) -> None:
    assert (humanize.moment(at, NOW, BERLIN), humanize.age(at, NOW)) == (told, age)


def test_all_of_a_time() -> None:
    assert humanize.full_moment(NOW, BERLIN) == "Sunday 22 November 2026, 09:12:00 CET"
