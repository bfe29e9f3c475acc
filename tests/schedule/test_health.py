"""How a job stands: the first of never, overdue, failed, late that applies, else healthy."""

from datetime import UTC, datetime, timedelta

import pytest

from highball.model.standing import Health
from highball.schedule import Schedule, health

NOW = datetime(2026, 6, 3, 10, 0, tzinfo=UTC)  # a Wednesday
DAILY = Schedule(cron="daily")
OFFICE_HOURS = Schedule(cron="0 9-17 * * 1-5")


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-06-{text}:00+00:00")


@pytest.mark.parametrize(
    ("schedule", "last_good", "failed", "now", "expected"),
    [
        (DAILY, None, False, NOW, Health.NEVER),
        (DAILY, None, True, NOW, Health.NEVER),
        # daily at 03:00
        (DAILY, at("03T03:00"), False, at("03T10:00"), Health.HEALTHY),
        (DAILY, at("03T03:00"), True, at("03T10:00"), Health.FAILED),
        (DAILY, at("03T03:00"), False, at("04T03:00"), Health.HEALTHY),
        (DAILY, at("03T03:00"), False, at("04T03:01"), Health.LATE),
        (DAILY, at("03T03:00"), True, at("04T03:01"), Health.FAILED),
        (DAILY, at("03T03:00"), False, at("04T15:00"), Health.LATE),
        (DAILY, at("03T03:00"), False, at("04T15:01"), Health.OVERDUE),
        (DAILY, at("03T03:00"), True, at("04T15:01"), Health.OVERDUE),
        # a backup by hand in between: overdue counts from the newest good backup
        (DAILY, at("03T20:00"), False, at("05T07:59"), Health.LATE),
        (DAILY, at("03T20:00"), False, at("05T08:01"), Health.OVERDUE),
        # from the future (a clock was wrong)
        (DAILY, at("04T20:00"), False, at("03T20:00"), Health.HEALTHY),
        # hourly in office hours: nights and weekends are nobody's fault
        (OFFICE_HOURS, at("05T17:00"), False, at("06T12:00"), Health.HEALTHY),
        (OFFICE_HOURS, at("05T17:00"), False, at("08T09:00"), Health.HEALTHY),
        (OFFICE_HOURS, at("05T17:00"), False, at("08T09:10"), Health.LATE),
        (OFFICE_HOURS, at("05T17:00"), False, at("08T09:31"), Health.OVERDUE),
        # a delay by chance belongs to the schedule
        (
            Schedule(cron="daily", jitter=timedelta(hours=1)),
            at("03T03:40"),
            False,
            at("04T03:59"),
            Health.HEALTHY,
        ),
        (
            Schedule(cron="daily", jitter=timedelta(hours=1)),
            at("03T03:40"),
            False,
            at("04T04:01"),
            Health.LATE,
        ),
    ],
)
def test_with_a_schedule(
    schedule: Schedule, last_good: datetime | None, failed: bool, now: datetime, expected: Health
) -> None:
    assert health(last_good, failed, schedule, now, "UTC") is expected


@pytest.mark.parametrize("schedule", [None, Schedule()])
@pytest.mark.parametrize(
    ("age", "failed", "expected"),
    [
        (timedelta(hours=23, minutes=59), False, Health.HEALTHY),
        (timedelta(hours=1), True, Health.FAILED),
        (timedelta(hours=24), False, Health.LATE),
        (timedelta(hours=47, minutes=59), False, Health.LATE),
        (timedelta(hours=47, minutes=59), True, Health.FAILED),
        (timedelta(hours=48), False, Health.OVERDUE),
        (timedelta(hours=48), True, Health.OVERDUE),
    ],
)
def test_without_a_schedule(
    schedule: Schedule | None, age: timedelta, failed: bool, expected: Health
) -> None:
    assert health(NOW - age, failed, schedule, NOW, "UTC") is expected


@pytest.mark.parametrize("hours", range(1, 100))
def test_where_all_gaps_are_alike_overdue_is_older_than_one_and_a_half(hours: int) -> None:
    """DESIGN's words, checked against the plain formula for every age of a backup taken when it was due."""
    now = at("10T03:00") + timedelta(minutes=7)
    last_good = now - timedelta(hours=hours)
    found = health(last_good, False, Schedule(cron="hourly"), now, "UTC")
    assert (found is Health.OVERDUE) == (hours > 1.5)
