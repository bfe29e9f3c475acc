"""Which times a schedule names: complete, in order, none twice, also where clocks change."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from highball.schedule import (
    Schedule,
    interval,
    next_times,
    previous_time,
)

BERLIN = "Europe/Berlin"
ZONES = ("UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Santiago")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def daily(hour: int, minute: int = 0) -> Schedule:
    return Schedule(cron=f"{minute} {hour} * * *")


def test_next_times_are_later_and_in_utc() -> None:
    found = next_times(Schedule(cron="daily"), at("2026-06-01T03:00:00+02:00"), BERLIN, 2)
    assert found == [at("2026-06-02T01:00:00+00:00"), at("2026-06-03T01:00:00+00:00")]
    assert [time.tzinfo for time in found] == [UTC, UTC]


def test_a_schedule_has_a_say_in_its_zone() -> None:
    schedule = Schedule(cron="daily", timezone="America/New_York")
    assert next_times(schedule, at("2026-06-01T00:00:00Z"), BERLIN) == [at("2026-06-01T07:00:00Z")]


def test_manual_names_no_time() -> None:
    now = at("2026-06-01T00:00:00Z")
    assert next_times(Schedule(), now, "UTC", 5) == []
    assert previous_time(Schedule(), now, "UTC") is None
    assert interval(Schedule(), now, "UTC") is None


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        # 29 March 2026: from 02:00 the clocks show 03:00.
        (daily(2, 30), "2026-03-28T12:00:00Z", ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
        (
            Schedule(cron="0,30 2 * * *"),
            "2026-03-28T12:00:00Z",
            ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"],
        ),
        (Schedule(cron="hourly"), "2026-03-29T00:00:00Z", ["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]),
        # 25 October 2026: at 03:00 the clocks show 02:00 again.
        (daily(2, 30), "2026-10-24T12:00:00Z", ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
        (daily(2, 30), "2026-10-25T01:10:00Z", ["2026-10-26T01:30:00Z", "2026-10-27T01:30:00Z"]),
        (Schedule(cron="hourly"), "2026-10-25T00:00:00Z", ["2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"]),
    ],
)
def test_clocks_change_as_in_debians_cron(schedule: Schedule, after: str, expected: list[str]) -> None:
    assert next_times(schedule, at(after), BERLIN, 2) == [at(text) for text in expected]


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-06-01T03:00:00Z", "2026-06-01T03:00:00Z"),
        ("2026-06-01T03:00:00.5Z", "2026-06-01T03:00:00Z"),
        ("2026-06-01T02:59:59Z", "2026-05-31T03:00:00Z"),
    ],
)
def test_previous_time_is_at_or_before(moment: str, expected: str) -> None:
    assert previous_time(Schedule(cron="daily"), at(moment), "UTC") == at(expected)


MOMENTS = st.datetimes(
    min_value=datetime(2025, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2027, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC),
)
CRONS = st.one_of(
    st.builds("{} {} * * *".format, st.integers(0, 59), st.integers(0, 4)),
    st.builds("{} * * * *".format, st.integers(0, 59)),
    st.builds("*/{} {}-4 * * *".format, st.integers(1, 40), st.integers(0, 3)),
    st.builds("{} 1,2,3 * * {}".format, st.integers(0, 59), st.integers(0, 6)),
    st.sampled_from(["0,30 2 * * *", "15 */6 * * *", "0 3 1 * *"]),
)
CHANGES = st.sampled_from(
    [
        at("2026-03-29T01:00:00Z"),
        at("2026-10-25T01:00:00Z"),
        at("2026-03-08T07:00:00Z"),
        at("2026-04-04T15:00:00Z"),
    ]
)
NEAR_CHANGES = st.builds(
    lambda moment, minutes: moment + timedelta(minutes=minutes), CHANGES, st.integers(-400, 400)
)


@given(CRONS, MOMENTS | NEAR_CHANGES, st.sampled_from(ZONES))
@example("0,30 2 * * *", at("2026-03-29T00:30:00Z"), BERLIN)
@settings(max_examples=150, deadline=None)
def test_times_are_in_order_and_previous_undoes_next(cron: str, moment: datetime, zone: str) -> None:
    schedule = Schedule(cron=cron)
    times = next_times(schedule, moment, zone, 12)
    assert all(later > earlier for earlier, later in pairwise([moment, *times]))
    for time, following in pairwise(times):
        assert previous_time(schedule, time, zone) == time
        assert previous_time(schedule, following - timedelta(seconds=1), zone) == time
        assert next_times(schedule, time, zone) == [following]
    before = previous_time(schedule, moment, zone)
    assert before is not None
    assert next_times(schedule, before, zone) == times[:1]


@given(st.integers(0, 59), st.integers(0, 23), MOMENTS | NEAR_CHANGES, st.sampled_from(ZONES))
@settings(max_examples=100, deadline=None)
def test_a_daily_time_comes_once_a_day(minute: int, hour: int, moment: datetime, zone: str) -> None:
    """The oracle: of each day the wall clock time where it exists, else the moment the clocks jumped."""
    wall = ZoneInfo(zone)
    for found in next_times(daily(hour, minute), moment, zone, 5):
        local = found.astimezone(wall)
        exact = local.replace(hour=hour, minute=minute, second=0, fold=0)
        exists = exact.astimezone(UTC).astimezone(wall).replace(fold=0) == exact
        if exists:
            assert found == exact.astimezone(UTC)
        else:
            assert (
                found.astimezone(wall).utcoffset()
                != (found - timedelta(seconds=1)).astimezone(wall).utcoffset()
            )


@pytest.mark.parametrize(
    ("cron", "hours"),
    [
        ("hourly", 1),
        ("daily", 24),
        ("weekly", 168),
        ("*/20 * * * *", 1 / 3),
        ("0 9-17 * * 1-5", 1),
        ("0 0,12 * * *", 12),
        ("monthly", 31 * 24),
    ],
)
def test_interval_is_the_usual_gap(cron: str, hours: float) -> None:
    found = interval(Schedule(cron=cron), at("2026-06-03T10:00:00Z"), "UTC")
    assert found == timedelta(hours=hours)


def test_rare_times_are_found_quickly() -> None:
    found = next_times(Schedule(cron="0 0 */28 2 MON#5"), at("2026-01-01T00:00:00Z"), "UTC", 2)
    assert found == [at("2044-02-29T00:00:00Z"), at("2072-02-29T00:00:00Z")]
