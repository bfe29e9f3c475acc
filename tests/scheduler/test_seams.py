"""Two schedulers at once, and one that is killed between any two statements: none lost, none doubled."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from highball.hub.audit import HUB
from highball.hub.runs import scheduler as rooms
from highball.hub.runs.scheduler import Fired, Scheduler
from highball.hub.storage.database import Database, open_database
from highball.hub.storage.schema import (
    audit,
    fires,
    pauses,
    runs,
)
from scheduler.killing import Killed, killed_at
from scheduler.plans import EVERYONE, Clockwork, at, plan

HOURLY = plan("0 * * * *")
MANY = [plan("0 * * * *", f"backup:job{number}") for number in range(60)]


def contents(database: Database) -> list[Any]:
    """All that a scheduler wrote, but for the ids of audit entries."""
    found: list[Any] = []
    with database.read() as connection:
        for table in (runs, fires, pauses):
            found += [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
        found += sorted(connection.execute(sa.select(audit.c.action, audit.c.key)).all())
    return found


# --- kill at every seam --------------------------------------------------------------------------------

Act = Callable[[Scheduler], object]

ACTS: dict[str, Act] = {
    "tick": lambda one: one.tick(at("06-01 05:10"), EVERYONE),
    "tick without a report": lambda one: one.tick(at("06-01 05:10"), ()),
    "edit": lambda one: one.reconcile(
        [plan("30 * * * *"), plan("0 3 * * *", "check:nas")], at("06-01 05:10")
    ),
    "end": lambda one: one.reconcile([], at("06-01 05:10")),
    "pause": lambda one: one.pause("backup:docs", None, HUB, at("06-01 05:10")),
    "resume": lambda one: one.resume("check:nas", HUB, at("06-01 05:10")),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_killed_at_any_statement_and_done_again_is_as_if_done_once(
    act: Act, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "MOST_ROWS", 1)

    start = tmp_path / "start.db"
    clockwork = Clockwork(open_database(start))
    clockwork.plan("06-01 00:00", HOURLY, plan("*/30 * * * *", "check:nas"), plan(subject="backup:other"))
    clockwork.reported = frozenset()
    clockwork.tick("06-01 02:10")  # so that times are owed
    clockwork.scheduler.pause("check:nas", at("06-01 04:10"), HUB, at("06-01 02:20"))

    path = tmp_path / "killed.db"
    shutil.copy(start, path)
    act(Scheduler(open_database(path)))
    expected = contents(open_database(path))
    for statement in range(1, 200):
        shutil.copy(start, path)
        database = open_database(path)
        try:
            with killed_at(database.engine, statement):
                act(Scheduler(database))
            break  # there were not so many statements
        except Killed:
            pass
        act(Scheduler(open_database(path)))
        assert contents(open_database(path)) == expected, statement
    else:
        pytest.fail("it was killed each time")
    assert statement > 5


# --- two at once ---------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Opens one database again and again."""
    if request.param == "sqlite":
        yield lambda: open_database(tmp_path / "shared.db")
        return
    yield request.getfixturevalue("postgresql")


def at_once(acts: list[Callable[[], list[Fired]]]) -> list[Fired]:
    """Do all of it at the same time; what each fired, together."""
    fired: list[Fired] = []
    errors: list[BaseException] = []
    ready = threading.Barrier(len(acts))

    def act(do: Callable[[], list[Fired]]) -> None:
        try:
            ready.wait()
            fired.extend(do())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=act, args=(do,)) for do in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    return fired


def test_two_schedulers_on_one_database_double_nothing(
    shared: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "MOST_ROWS", 7)
    both = [Scheduler(shared()), Scheduler(shared()), Scheduler(shared())]
    start = at("06-01 00:00")
    at_once([lambda one=one: one.reconcile(MANY, start) for one in both])  # type: ignore[misc]
    told: Counter[str] = Counter()
    for hours in (1, 2, 5, 6, 12):
        now = start + timedelta(hours=hours, minutes=10)
        found = at_once([lambda one=one, n=now: one.tick(n, EVERYONE) for one in both])  # type: ignore[misc]
        told.update(fired.run for fired in found)
        with both[0]._database.write() as connection:
            connection.execute(
                runs.update().where(runs.c.state != "done").values(state="done", outcome="success")
            )
    assert set(told.values()) == {1}
    with both[0]._database.read() as connection:
        rows = connection.execute(sa.select(runs)).all()
    assert len(rows) == len(told)
    covered: Counter[str] = Counter()
    for row in rows:
        covered[row.subject] += row.missed_count or 1
    assert covered == {planned.subject: 12 for planned in MANY}


def test_an_edit_beside_a_tick_loses_nothing(shared: Callable[[], Database]) -> None:
    one, other = Scheduler(shared()), Scheduler(shared())
    one.reconcile(MANY, at("06-01 00:00"))
    changed = [plan("30 * * * *", planned.subject) for planned in MANY]
    now = at("06-01 01:00")
    at_once([lambda: one.tick(now, EVERYONE), lambda: other.reconcile(changed, now)])
    with one._database.read() as connection:
        found = [(row.subject, row.nominal_at) for row in connection.execute(sa.select(runs))]
        due = set(connection.execute(sa.select(fires.c.due_at)).scalars())
    assert sorted(found) == sorted((planned.subject, now) for planned in MANY)
    assert due == {at("06-01 01:30")}
