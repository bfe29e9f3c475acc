"""Which snapshots are kept, and why: by example, and what must hold for every set and policy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from highball.errors import ConfigurationInvalid
from highball.model.snapshot import Snapshot
from highball.retention import (
    Retention,
    Verdict,
    decide,
)

from .samples import NOW, OFFSETS, policies, sets, snapshot, snapshots_at


def _reasons(verdicts: tuple[Verdict, ...]) -> dict[str, list[str]]:
    return {f"{v.time:%m-%d %H:%M}": [reason.message for reason in v.reasons] for v in verdicts}


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_reasons_are_words_that_people_know() -> None:
    times = ["05-04T11:00", "05-04T10:30", "05-03T22:00", "05-03T21:00", "04-01T09:00", "04-01T08:00"]
    policy = Retention(last=2, hourly=1, daily=2, weekly=2, monthly=3, yearly=1, within="1h")
    verdicts = decide(policy, snapshots_at(*(_at(f"2026-{at}+02:00") for at in times)), now=NOW)
    assert _reasons(verdicts) == {
        "05-04 11:00": [
            "last 1 of 2",
            "hourly 1 of 1",
            "daily 1 of 2",
            "weekly 1 of 2",
            "monthly 1 of 3",
            "yearly 1 of 1",
            "within 1h",
        ],
        "05-04 10:30": ["last 2 of 2", "within 1h"],
        "05-03 22:00": ["daily 2 of 2", "weekly 2 of 2"],
        "05-03 21:00": [],
        "04-01 09:00": ["monthly 2 of 3"],
        "04-01 08:00": ["monthly 3 of 3 (oldest)"],
    }
    assert [reason.code for reason in verdicts[2].reasons] == ["daily", "weekly"]
    assert [verdict.keep for verdict in verdicts] == [True, True, True, False, True, True]


def test_rules_with_a_length_of_time_keep_one_a_period_and_the_oldest() -> None:
    times = [_at(f"2026-05-{at}:00+00:00") for at in ("04T11:00", "04T09:00", "03T11:00", "03T10:00")]
    verdicts = decide(Retention(within_daily="30d"), snapshots_at(*times), now=NOW)
    assert _reasons(verdicts) == {
        "05-04 11:00": ["daily within 30d"],
        "05-04 09:00": [],
        "05-03 11:00": ["daily within 30d"],
        "05-03 10:00": ["daily within 30d (oldest)"],
    }


def test_a_day_ends_at_midnight_of_the_offset_that_was_recorded() -> None:
    nepal = [_at("2026-05-02T00:10:00+05:45"), _at("2026-05-01T23:50:00+05:45")]
    in_utc = [at.astimezone(UTC) for at in nepal]
    # An older one takes the favour that the oldest enjoys.
    older = _at("2026-05-01T01:00:00+00:00")
    kept = [
        sum(v.keep for v in decide(Retention(daily=2), snapshots_at(*times, older), now=NOW))
        for times in (nepal, in_utc)
    ]
    assert kept == [2, 2]
    assert decide(Retention(daily=2), snapshots_at(*nepal, older), now=NOW)[1].keep
    assert not decide(Retention(daily=2), snapshots_at(*in_utc, older), now=NOW)[1].keep


def test_a_week_belongs_to_one_year_only() -> None:
    times = [
        _at("2026-01-01T12:00:00+00:00"),
        _at("2025-12-29T12:00:00+00:00"),
        _at("2025-12-28T12:00:00+00:00"),
    ]
    verdicts = decide(Retention(weekly=2), snapshots_at(*times), now=NOW)
    assert list(_reasons(verdicts).values()) == [["weekly 1 of 2"], [], ["weekly 2 of 2"]]


@pytest.mark.parametrize(
    ("newest", "length", "edge"),
    [
        ("2026-03-31T12:00:00+00:00", "1m", "2026-03-03T12:00:00+00:00"),  # there is no 31 February
        ("2024-02-29T12:00:00+00:00", "1y", "2023-03-01T12:00:00+00:00"),
        ("2026-01-15T12:00:00+01:00", "2m1d3h", "2025-11-14T09:00:00+01:00"),
    ],
)
def test_a_length_of_time_goes_back_by_the_calendar_from_the_newest(
    newest: str, length: str, edge: str
) -> None:
    times = [_at(newest), _at(edge) + timedelta(seconds=1), _at(edge)]
    verdicts = decide(Retention(within=length), snapshots_at(*times), now=NOW)
    assert [verdict.keep for verdict in verdicts] == [True, True, False]


def test_a_snapshot_of_the_future_is_counted_but_nothing_is_measured_from_it() -> None:
    times = [NOW + timedelta(days=400), NOW - timedelta(hours=1), NOW - timedelta(hours=2)]
    assert [v.keep for v in decide(Retention(last=1), snapshots_at(*times), now=NOW)] == [True, False, False]
    assert [v.keep for v in decide(Retention(within="1h"), snapshots_at(*times), now=NOW)] == [
        True,
        True,
        False,
    ]


def test_where_all_are_of_the_future_none_is_too_old() -> None:
    times = [NOW + timedelta(days=400), NOW + timedelta(days=1)]
    assert all(v.keep for v in decide(Retention(within="1h"), snapshots_at(*times), now=NOW))


@pytest.mark.parametrize("length", ["2026y", "999999y999999m999999d999999h", "999999d"])
def test_a_length_of_time_beyond_the_calendar_keeps_everything(length: str) -> None:
    times = [NOW, NOW - timedelta(days=50_000)]
    assert all(v.keep for v in decide(Retention(within=length), snapshots_at(*times), now=NOW))


def test_snapshots_of_the_very_same_time_stay_together() -> None:
    twins = snapshots_at(NOW, NOW.astimezone(OFFSETS[3]), NOW - timedelta(days=1))
    verdicts = decide(Retention(last=1), twins, now=NOW)
    assert [verdict.keep for verdict in verdicts] == [True, True, False]
    assert [reason.code for reason in verdicts[1].reasons] == ["same_time"]


def test_times_of_a_named_zone_are_compared_as_moments() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2025, 10, 26, 2, 40, tzinfo=berlin)  # in summer time
    second = datetime(2025, 10, 26, 2, 20, fold=1, tzinfo=berlin)  # forty minutes later
    verdicts = decide(Retention(last=1), snapshots_at(first, second), now=NOW)
    assert [verdict.time.isoformat() for verdict in verdicts if verdict.keep] == ["2025-10-26T02:20:00+01:00"]


def test_a_time_without_an_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        decide(Retention(), [snapshot(datetime(2026, 1, 1))], now=NOW)  # noqa: DTZ001


def test_a_policy_that_keeps_nothing_decides_nothing() -> None:
    with pytest.raises(ConfigurationInvalid):
        decide(Retention(last=0), snapshots_at(NOW), now=NOW)


@given(policies, sets())
def test_every_snapshot_is_judged_once_newest_first(policy: Retention, snapshots: list[Snapshot]) -> None:
    verdicts = decide(policy, snapshots, now=NOW)
    assert sorted(verdict.id for verdict in verdicts) == sorted(s.id for s in snapshots)
    assert list(verdicts) == sorted(verdicts, key=lambda verdict: verdict.time, reverse=True)
    assert all(verdict.keep == bool(verdict.reasons) for verdict in verdicts)


@given(policies, sets())
def test_the_newest_is_kept_by_every_policy(policy: Retention, snapshots: list[Snapshot]) -> None:
    assert all(verdict.keep for verdict in decide(policy, snapshots, now=NOW)[:1])


@given(policies, sets(), st.randoms(use_true_random=False))
def test_the_order_of_the_listing_does_not_matter(
    policy: Retention, snapshots: list[Snapshot], rng: object
) -> None:
    shuffled = list(snapshots)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert decide(policy, shuffled, now=NOW) == decide(policy, snapshots, now=NOW)


@given(policies, sets())
def test_what_is_kept_once_is_kept_again(policy: Retention, snapshots: list[Snapshot]) -> None:
    kept = {verdict.id for verdict in decide(policy, snapshots, now=NOW) if verdict.keep}
    again = decide(policy, [s for s in snapshots if s.id in kept], now=NOW)
    assert all(verdict.keep for verdict in again)


@given(sets(), st.integers(1, 50))
def test_last_keeps_exactly_so_many_moments_at_most(snapshots: list[Snapshot], count: int) -> None:
    verdicts = decide(Retention(last=count), snapshots, now=NOW)
    kept = [verdict for verdict in verdicts if verdict.keep]
    twins = [verdict for verdict in kept if verdict.reasons[0].code == "same_time"]
    assert len(kept) - len(twins) == min(count, len(snapshots))


def test_a_verdict_in_json_is_in_utc() -> None:
    (verdict,) = decide(Retention(), snapshots_at(_at("2026-05-02T00:10:00+05:45")), now=NOW)
    assert verdict.model_dump(mode="json")["time"] == "2026-05-01T18:25:00Z"
