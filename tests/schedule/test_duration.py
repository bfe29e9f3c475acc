"""A length of time is written as people say it, and reads back as the same."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from highball.schedule import (
    Duration,
    duration_from_value,
    duration_to_text,
)

DURATION = TypeAdapter(Duration)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("45s", 45),
        ("10m", 600),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
        ("1w2d3h4m5s", 788_645),
        ("90", 90),
        ("0.5s", 0.5),
        ("0", 0),
        (90, 90),
        (0.25, 0.25),
        (timedelta(minutes=3), 180),
    ],
)
def test_spellings(written: object, seconds: float) -> None:
    assert duration_from_value(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written", ["", " ", "soon", "1.5h", "30m1h", "1m1m", "-5m", "٣m", "m", "1y", True, None, [], -1]
)
def test_refused(written: object) -> None:
    with pytest.raises(ValueError):
        duration_from_value(written)


@pytest.mark.parametrize(
    "written",
    [1e400, float("nan"), 10**5000, 10**300, "99999999w"],
    ids=["infinite", "no number", "huge", "large", "text"],
)
def test_out_of_all_bounds(written: object) -> None:
    with pytest.raises(ValueError, match="between 0 and 100 years"):
        duration_from_value(written)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (45, "45s"),
        (5400, "1h30m"),
        (172_800, "2d"),
        (0.5, "0.5s"),
        (86_461, "1d1m1s"),
        (60.000001, "1m0.000001s"),
    ],
)
def test_text(seconds: float, text: str) -> None:
    assert duration_to_text(timedelta(seconds=seconds)) == text


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=36500)))
def test_text_reads_back_as_the_same(duration: timedelta) -> None:
    assert duration_from_value(duration_to_text(duration)) == duration
    assert DURATION.validate_python(json.loads(DURATION.dump_json(duration))) == duration


def test_the_complaint_says_how_to_write_it() -> None:
    with pytest.raises(ValidationError) as caught:
        DURATION.validate_python("soon")
    assert caught.value.errors()[0]["ctx"] == {
        "message": '"soon" is not a length of time',
        "hint": 'write it like "45s", "10m", "1h30m" or "2d"',
    }


def test_schema_of_editors() -> None:
    assert DURATION.json_schema()["anyOf"][0]["type"] == "string"
