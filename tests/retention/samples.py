"""Snapshots, sets and policies: strategies for hypothesis, and a quick seeded kind for the oracle."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

from highball.model.snapshot import Snapshot
from highball.retention import Retention

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

# Nepal, the Chathams and the Marquesas, and the first and the last to see a day.
OFFSETS = tuple(
    timezone(timedelta(minutes=minutes)) for minutes in (0, 60, 120, 345, 765, 840, -570, -480, -210, -720)
)


def snapshot(at: datetime, number: int = 0, **more: str) -> Snapshot:
    """A snapshot of this time with an id of the real length."""
    return Snapshot(id=f"{number:064x}", time=at, host="web", repository="nas", **more)


def snapshots_at(*times: datetime) -> list[Snapshot]:
    """A snapshot for each time, numbered from 0."""
    return [snapshot(at, number) for number, at in enumerate(times)]


# --- for hypothesis ------------------------------------------------------------------------------

_spans = st.builds(
    lambda number, unit: f"{number}{unit}", st.integers(1, 40), st.sampled_from("ymdh")
) | st.sampled_from(["1y2m3d4h", "6m15d", "9999y"])

_policies = st.builds(
    Retention,
    **{
        name: st.none() | st.integers(0, 9)
        for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")
    },
    **{name: st.none() | _spans for name in Retention.model_fields if name.startswith("within")},
)
policies = _policies.filter(
    lambda policy: any(policy.model_dump().values()) or not policy.model_dump(exclude_none=True)
)
"""Policies that keep something, the one that names nothing among them."""

_times = st.builds(
    lambda minutes, offset: (NOW - timedelta(minutes=minutes)).astimezone(offset),
    # Minutes to years back, so that every rule finds periods with several snapshots and with none.
    st.integers(0, 90) | st.integers(0, 3000) | st.integers(0, 60_000) | st.integers(0, 3_000_000),
    st.sampled_from(OFFSETS),
)


def sets(*, largest: int = 40) -> st.SearchStrategy[list[Snapshot]]:
    """The snapshots of one set, none of them in the future, some of the very same time."""
    return st.lists(_times, max_size=largest).map(lambda times: snapshots_at(*times))


# --- for the oracle ------------------------------------------------------------------------------


def random_policy(rng: random.Random) -> Retention:
    """A policy of one to five rules."""
    named: dict[str, int | str] = {}
    for name in rng.sample(sorted(Retention.model_fields), rng.randint(1, 5)):
        if name.startswith("within"):
            most = {"y": 3, "m": 18, "d": 90, "h": 400}
            units = [unit for unit in most if rng.random() < 0.4] or ["d"]
            named[name] = "".join(f"{rng.randint(1, most[unit])}{unit}" for unit in units)
        else:
            named[name] = rng.choice([1, 2, 3, 5, 8, 13, 30])
    return Retention.model_validate(named)


def random_times(rng: random.Random, now: datetime) -> list[datetime]:
    """The times of one set, of a kind that real or broken machines make; none within ten minutes of `now`."""
    start = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=rng.randint(0, 800_000))
    kind = rng.choice([_regular, _summer_time, _clusters, _travelling, _edges, _twins, _future, _around])
    times = kind(rng, start, now)
    rng.shuffle(times)
    return times


def _regular(rng: random.Random, start: datetime, _: datetime) -> list[datetime]:
    step = timedelta(minutes=rng.choice([30, 60, 240, 720, 1440, 7 * 1440, 30 * 1440]))
    offset = rng.choice(OFFSETS)
    late = [timedelta(seconds=rng.randint(0, 900), microseconds=rng.randint(0, 999_999)) for _ in range(40)]
    return [(start + n * step + late[n]).astimezone(offset) for n in range(rng.randint(1, 40))]


def _summer_time(rng: random.Random, _start: datetime, _: datetime) -> list[datetime]:
    """Every half hour or hour, while the offset changes by an hour and, half a year later, back."""
    changes = rng.choice([datetime(2025, 3, 30, 1, tzinfo=UTC), datetime(2025, 10, 26, 1, tzinfo=UTC)])
    before, after = rng.sample([timezone(timedelta(hours=1)), timezone(timedelta(hours=2))], 2)
    step = timedelta(minutes=rng.choice([30, 60, 720]))
    times = [changes + n * step for n in range(-rng.randint(1, 15), rng.randint(1, 15))]
    return [at.astimezone(before if at < changes else after) for at in times]


def _clusters(rng: random.Random, start: datetime, _: datetime) -> list[datetime]:
    offset = rng.choice(OFFSETS)
    centres = [start + timedelta(days=rng.randint(0, 900)) for _ in range(rng.randint(1, 5))]
    # Milliseconds apart, each of its own, so that none are twins.
    ticks = rng.sample(range(7_200_000), 30)
    return [(rng.choice(centres) + timedelta(milliseconds=tick)).astimezone(offset) for tick in ticks]


def _travelling(rng: random.Random, start: datetime, _: datetime) -> list[datetime]:
    """Each snapshot with another offset: the dates jump to and fro."""
    step = rng.choice([3, 11, 100])
    return [
        (start + timedelta(hours=n * step)).astimezone(rng.choice(OFFSETS)) for n in range(rng.randint(2, 30))
    ]


def _edges(rng: random.Random, _start: datetime, _: datetime) -> list[datetime]:
    """On, just before and just after midnight on the wall, at ends of weeks, months and years."""
    offset = rng.choice(OFFSETS)
    days = [
        (2024, 2, 29),
        (2024, 3, 1),
        (2024, 12, 30),
        (2025, 1, 1),
        (2025, 12, 29),
        (2026, 1, 1),
        (2026, 1, 31),
    ]
    nudges = [timedelta(0), timedelta(microseconds=-1), timedelta(hours=1), timedelta(hours=-1)]
    every = [datetime(*day, tzinfo=offset) + nudge for day in days for nudge in nudges]
    return rng.sample(every, rng.randint(1, len(every)))


def _twins(rng: random.Random, start: datetime, now: datetime) -> list[datetime]:
    times = _regular(rng, start, now)
    return times + rng.choices(times, k=rng.randint(1, 6))


def _future(rng: random.Random, start: datetime, now: datetime) -> list[datetime]:
    """Some, or all, long after now."""
    ahead = [
        datetime(2090, 1, 1, tzinfo=rng.choice(OFFSETS)) + timedelta(hours=rng.randint(0, 50) * 7 + n / 60)
        for n in range(rng.randint(1, 6))
    ]
    return ahead + (_regular(rng, start, now) if rng.random() < 0.8 else [])


def _around(rng: random.Random, _start: datetime, now: datetime) -> list[datetime]:
    """Some days before now to some after it, so that a period holds both."""
    minutes = [n for n in rng.sample(range(-6000, 3000), 30) if abs(n) > 10]
    return [(now + timedelta(minutes=n)).astimezone(rng.choice(OFFSETS)) for n in minutes]
