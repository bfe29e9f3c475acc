"""Ticks, edits, pauses, reports, crashes and clocks that jump, in any order: every fire in exactly one run."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from highball.hub.audit import HUB
from highball.hub.runs import scheduler as rooms
from highball.hub.runs.scheduler import Scheduler
from highball.hub.runs.subjects import Planned
from highball.hub.storage.database import Database, open_database
from highball.hub.storage.schema import (
    fires,
    pauses,
    runs,
)
from highball.schedule import (
    fire_id,
    interval,
    jitter_of,
    next_times,
)
from scheduler.killing import Killed, killed_at
from scheduler.plans import plan

SUBJECTS = ("backup:docs", "backup:photos", "check:nas")
HOSTS = ("web1", "laptop")
PLANS = st.builds(
    plan,
    st.sampled_from(["0 * * * *", "*/20 * * * *", "30 2 * * *", "0 9-17 * * 1-5", "15 */6 * * *", "manual"]),
    st.just(""),
    host=st.sampled_from(HOSTS),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    jitter=st.sampled_from([timedelta(0), timedelta(minutes=15), timedelta(hours=2)]),
    catch_up=st.sampled_from([None, None, timedelta(0), timedelta(hours=5)]),
)
SOME_PLANS = st.dictionaries(st.sampled_from(SUBJECTS), PLANS)
STEPS = st.sampled_from([1, 5, 13, 20, 47, 60, 61, 180, 24 * 60, 5 * 24 * 60])


START = datetime(2026, 3, 28, 20, 0, 30, tzinfo=UTC)

Predicted = tuple[str, str, datetime, str]
"""A subject, its host, the time, and what becomes of it. When the clock was set back, another host may have missed
times around this one."""


@dataclass
class Told:
    """What the oracle knows of a subject."""

    plan: Planned | None = None
    mark: datetime = START
    """The newest time that was dealt with, or when the plan began."""
    fired: datetime | None = None
    paused: bool = False
    until: datetime | None = None
    expected: set[tuple[str, datetime]] = field(default_factory=set)

    def is_paused(self, due: datetime) -> bool:
        return self.paused and (self.until is None or due < self.until)

    def late(self) -> timedelta:
        assert self.plan is not None
        return jitter_of(self.plan.subject, self.plan.host, self.plan.schedule)

    def come(self, now: datetime, closing: bool) -> list[datetime]:
        """The nominal times that have come since the mark."""
        if self.plan is None:
            return []
        found, limit = [], now if closing else now - self.late()
        after = self.mark
        while times := next_times(self.plan.schedule, after, self.plan.timezone):
            if times[0] > limit:
                break
            after = times[0]
            found.append(after)
        return found


class Scheduling(RuleBasedStateMachine):
    """The scheduler beside an oracle that remembers every time which should have come."""

    def __init__(self) -> None:
        super().__init__()
        self.database: Database = open_database(None)
        self.told = {subject: Told() for subject in SUBJECTS}
        self.reported = {"web1"}
        self.ran: set[tuple[str, str, datetime]] = set()
        self.now = START

    @initialize(plans=SOME_PLANS)
    def begin(self, plans: dict[str, Planned]) -> None:
        self.edit(plans)

    # --- what happens ---

    @rule(minutes=STEPS)
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(minutes=STEPS)
    def tick(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        self.ticks()

    @rule(minutes=st.sampled_from([1, 30, 300, 3000]))
    def the_clock_is_set_back(self, minutes: int) -> None:
        self.now -= timedelta(minutes=minutes)
        self.ticks()

    @rule(minutes=STEPS, statement=st.integers(1, 40))
    def tick_and_be_killed(self, minutes: int, statement: int) -> None:
        self.now += timedelta(minutes=minutes)
        self.ticks(statement)

    @rule(changed=SOME_PLANS, removed=st.sets(st.sampled_from(SUBJECTS)))
    def change(self, changed: dict[str, Planned], removed: set[str]) -> None:
        kept = {s: told.plan for s, told in self.told.items() if told.plan and s not in removed}
        self.edit({**kept, **changed})

    @rule(changed=SOME_PLANS, statement=st.integers(1, 30))
    def change_and_be_killed(self, changed: dict[str, Planned], statement: int) -> None:
        self.edit(changed, statement)

    @rule(subject=st.sampled_from(SUBJECTS))
    def finish(self, subject: str) -> None:
        here = (runs.c.subject == subject) & (runs.c.state != "done")
        with self.database.write() as connection:
            connection.execute(runs.update().where(here).values(state="done", outcome="success"))

    @rule(subject=st.sampled_from(SUBJECTS), minutes=st.none() | st.sampled_from([10, 100, 2000]))
    def pause(self, subject: str, minutes: int | None) -> None:
        told = self.told[subject]
        if told.plan is None:
            return
        until = None if minutes is None else self.now + timedelta(minutes=minutes)
        predicted = self.predict(subject, closing=False, reported=set())
        Scheduler(self.database).pause(subject, until, HUB, self.now)
        self.check(predicted)
        told.paused, told.until = True, until

    @rule(subject=st.sampled_from(SUBJECTS))
    def resume(self, subject: str) -> None:
        if self.told[subject].plan is None:
            return
        predicted = self.predict(subject, closing=False, reported=set())
        Scheduler(self.database).resume(subject, HUB, self.now)
        self.check(predicted)
        self.told[subject].paused = False

    @rule(host=st.sampled_from(HOSTS))
    def the_host_goes_quiet(self, host: str) -> None:
        self.reported.discard(host)

    @rule(host=st.sampled_from(HOSTS), draw=st.randoms(use_true_random=False))
    def the_host_reports(self, host: str, draw: Any) -> None:
        """It tells of some fires of its own, among those that nobody has dealt with."""
        if host in self.reported:
            return
        accounted = self.accounts()
        with self.database.write() as connection:
            for subject, told in self.told.items():
                times = {time for of, time in told.expected if of == host}
                if told.plan and told.plan.host == host:
                    times |= set(told.come(self.now, False))
                for time in sorted(times):
                    if (subject, host, time) not in accounted and draw.random() < 0.5:
                        self.insert_own(connection, subject, host, time)
        self.reported.add(host)
        self.ticks()

    def insert_own(self, connection: sa.Connection, subject: str, host: str, time: datetime) -> None:
        task = subject.partition(":")[0]
        row: dict[str, Any] = {
            "id": fire_id(subject, host, task, time),
            "kind": "backup",
            "action": task,
            "host": host,
        }
        row |= {"state": "done", "outcome": "success", "created_at": time, "last_seq": 3}
        connection.execute(runs.insert().values(**row, subject=subject, nominal_at=time))
        self.ran.add((subject, host, time))

    # --- doing it, beside the oracle ---

    def ticks(self, statement: int | None = None) -> None:
        predicted = [
            told for s in SUBJECTS for told in self.predict(s, closing=False, reported=self.reported)
        ]
        self.repeat(lambda one: one.tick(self.now, self.reported), statement)
        while self.is_due():  # more than one tick takes on
            Scheduler(self.database).tick(self.now, self.reported)
        self.check(predicted)
        for told in self.told.values():
            if told.paused and told.until is not None and told.until <= self.now:
                told.paused = False

    def edit(self, plans: dict[str, Planned], statement: int | None = None) -> None:
        named = {
            s: Planned(s, one.action, one.host, one.schedule, one.timezone, one.catch_up)
            for s, one in plans.items()
        }
        wanted = {s: plan_like(s, one) for s, one in named.items()}
        changed = [s for s in SUBJECTS if not same(self.told[s].plan, wanted.get(s))]
        predicted = [
            told
            for s in changed
            for told in self.predict(s, closing=True, reported=set(), gone=s not in wanted)
        ]
        self.repeat(lambda one: one.reconcile(wanted.values(), self.now), statement)
        self.check(predicted)
        for subject in changed:
            told = self.told[subject]
            if subject not in wanted:
                owes = self.owed(subject)
                told.fired = told.fired if owes else None
            told.plan = wanted.get(subject)
            told.mark = max(self.now, told.fired or self.now)

    def repeat(self, act: Callable[[Scheduler], object], statement: int | None) -> None:
        """Do it; where it was killed, begin anew."""
        try:
            with killed_at(self.database.engine, statement):
                act(Scheduler(self.database))
        except Killed:
            act(Scheduler(self.database))

    def predict(
        self, subject: str, *, closing: bool, reported: set[str], gone: bool = False
    ) -> list[Predicted]:
        """What the newest time that has come is to become."""
        told = self.told[subject]
        come = told.come(self.now, closing)
        if not come or told.plan is None:
            return []
        told.mark = told.fired = come[-1]
        times = [time for time in come if not told.is_paused(time + told.late())]
        host = told.plan.host
        told.expected |= {(host, time) for time in times}
        if not times or (subject, host, times[-1]) in self.ran:
            return []
        newest = times[-1]
        if self.is_too_late(told.plan, newest, self.now - newest - told.late()):
            return [(subject, host, newest, "missed" if host in reported else "owed")]
        if gone:
            return [(subject, host, newest, "skipped")]
        if self.is_open(subject):
            return [(subject, host, newest, "skipped" if host in reported else "owed")]
        return [(subject, host, newest, "queued")]

    @staticmethod
    def is_too_late(planned: Planned, newest: datetime, late: timedelta) -> bool:
        usual = interval(planned.schedule, newest, planned.timezone)
        allowed = usual if planned.catch_up is None else planned.catch_up
        assert allowed is not None
        return late >= max(allowed, timedelta(minutes=1))

    def check(self, predicted: list[Predicted]) -> None:
        """The newest became what it should, unless its host told meanwhile that it ran it."""
        for subject, host, time, expected in predicted:
            of_host = [row for row in self.rows(subject) if row.host == host]
            (found,) = [row for row in of_host if covers(row, time)] or [None]
            if expected == "owed":
                assert found is None
            else:
                assert found is not None
                assert (found.outcome or found.state) == expected

    # --- what must hold ---

    @invariant()
    def every_fire_is_in_exactly_one_run(self) -> None:
        found = self.accounts()
        for subject, told in self.told.items():
            expected = {(subject, host, time) for host, time in told.expected}
            mine = {key for key in found if key[0] == subject}
            assert mine <= expected | self.ran
            for _, host, time in expected - mine:
                assert any(host == of and after < time <= until for of, after, until in self.owed(subject))

    @invariant()
    def every_run_has_its_id_and_one_outcome(self) -> None:
        for subject in SUBJECTS:
            rows = self.rows(subject)
            for row in rows:
                assert row.id == fire_id(subject, row.host, row.action, row.nominal_at)
                assert (row.state == "done") == (row.outcome is not None)
            assert sum(row.state != "done" for row in rows) <= 1

    @invariant()
    def the_table_equals_what_is_planned(self) -> None:
        with self.database.read() as connection:
            found = {row.subject for row in connection.execute(sa.select(fires)) if row.schedule}
            resting = {row.subject for row in connection.execute(sa.select(pauses))}
        assert found == {subject for subject, told in self.told.items() if told.plan is not None}
        assert resting == {subject for subject, told in self.told.items() if told.paused}

    def accounts(self) -> set[tuple[str, str, datetime]]:
        """The fires that runs stand for; none twice."""
        found: set[tuple[str, str, datetime]] = set()
        for subject, told in self.told.items():
            expected = {host: sorted(time for of, time in told.expected if of == host) for host in HOSTS}
            for row in self.rows(subject):
                times = [row.nominal_at]
                if row.missed_count is not None:
                    those = expected[row.host]
                    times = those[bisect_left(those, row.nominal_at) : bisect_right(those, row.missed_last)]
                    assert len(times) == row.missed_count
                    assert row.nominal_at in times
                    assert row.missed_last in times
                for time in times:
                    assert (subject, row.host, time) not in found
                    found.add((subject, row.host, time))
        return found

    def rows(self, subject: str) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.execute(sa.select(runs).where(runs.c.subject == subject)))

    def owed(self, subject: str) -> list[tuple[str, datetime, datetime]]:
        asked = sa.select(fires.c.owed).where(fires.c.subject == subject)
        with self.database.read() as connection:
            told = connection.execute(asked).scalar() or []
        read = datetime.fromisoformat
        return [(span["host"], read(span["after"]), read(span["until"])) for span in told]

    def is_open(self, subject: str) -> bool:
        return any(row.state != "done" for row in self.rows(subject))

    def is_due(self) -> bool:
        with self.database.read() as connection:
            return connection.execute(sa.select(fires).where(fires.c.due_at <= self.now)).first() is not None


def plan_like(subject: str, one: Planned) -> Planned:
    made = plan(subject=subject)
    return Planned(subject, made.action, one.host, one.schedule, one.timezone, one.catch_up)


def same(one: Planned | None, other: Planned | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.told, one.host) == (other.told, other.host)


def covers(row: Any, time: datetime) -> bool:
    return bool(row.nominal_at <= time <= (row.missed_last or row.nominal_at))


class TestScheduling(Scheduling.TestCase):  # type: ignore[misc, valid-type]
    """The machine, with transactions so small that all their seams are met."""

    settings = settings(max_examples=16, stateful_step_count=25, deadline=None)

    @pytest.fixture(autouse=True)
    def small_transactions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rooms, "MOST_ROWS", 1)
        monkeypatch.setattr(rooms, "MOST_TIMES", 7)
