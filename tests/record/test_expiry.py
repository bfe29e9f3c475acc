"""The record forgets what is old, and never what still says something."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from highball.agent.run_archive import KEPT_FOR
from highball.config.settings import History
from highball.hub.runs.expiry import (
    TOLD_AGAIN,
    expire,
    expire_daily,
)
from highball.hub.runs.record import Record
from highball.hub.storage.database import Database
from highball.hub.storage.schema import (
    events,
    runs,
    snapshots,
)
from highball.model.event import LogLine
from highball.model.run import (
    Action,
    Outcome,
    Reason,
)
from highball.protocol.tasks import CheckTask, VerifyTask
from record.stories import START, Story, run_id, snapshot

HISTORY = History(last=2)
LATER = START + timedelta(days=500)


def back_up(record: Record, number: int) -> None:
    """A backup that saved a snapshot, to its end."""
    story, made = Story(number), f"{number:064x}"
    shown = snapshot(made, at=story.assignment.created_at, run=story.run, size=1000)
    story.step(snapshot_id=made, bytes_processed=1000, shows=[shown])
    story.tell(LogLine, step=1, stream="stdout", text="saved").end().into(record)


def check(record: Record, number: int, outcome: Outcome, code: str | None = None) -> None:
    """A check, to its end."""
    reason = None if code is None else Reason(code=code, message=code)
    story = Story(number, CheckTask(repository="nas"), job=None)
    story.step(Action.CHECK, outcome, reason=reason).end(outcome).into(record)


def known(record: Record) -> set[str]:
    """The runs in the record."""
    return {run.id for run in record.list_runs(limit=500)}


def with_logs(database: Database) -> set[str]:
    """The runs of which there is still something that happened."""
    with database.read() as connection:
        return {row.run for row in connection.execute(sa.select(events.c.run).distinct())}


def forget_snapshots(database: Database) -> None:
    with database.write() as connection:
        connection.execute(snapshots.update().values(forgotten_at=START))


def test_what_is_old_goes_but_for_the_last_runs_of_each_job(record: Record, database: Database) -> None:
    for number in range(1, 6):
        back_up(record, number)
    forget_snapshots(database)
    expired = expire(database, HISTORY, LATER)
    assert expired.runs == 3
    assert known(record) == {run_id(4), run_id(5)}
    assert expire(database, HISTORY, LATER).runs == 0


def test_nothing_goes_before_its_time(record: Record, database: Database) -> None:
    for number in range(1, 6):
        back_up(record, number)
    forget_snapshots(database)
    assert expire(database, HISTORY, START + timedelta(days=80)).in_words.startswith("0 runs")
    assert len(known(record)) == 5 and with_logs(database) == known(record)


def test_no_run_goes_that_an_agent_may_tell_again(record: Record, database: Database) -> None:
    for number in range(1, 6):
        back_up(record, number)
    forget_snapshots(database)
    short = History(runs=timedelta(days=2), last=1)
    assert KEPT_FOR < TOLD_AGAIN
    assert expire(database, short, START + KEPT_FOR).runs == 0
    assert expire(database, short, START + TOLD_AGAIN + timedelta(days=1)).in_words.startswith("4 runs and ")


def test_logs_go_before_runs_do(record: Record, database: Database) -> None:
    for number in range(1, 6):
        back_up(record, number)
    forget_snapshots(database)
    expired = expire(database, HISTORY, START + timedelta(days=100))
    assert (expired.runs, expired.logs) == (0, 4)
    assert len(known(record)) == 5
    assert with_logs(database) == {run_id(5)}, "of the newest good run what happened stays, too"


def test_a_run_stays_as_long_as_its_snapshot(record: Record, database: Database) -> None:
    for number in range(1, 6):
        back_up(record, number)
    assert expire(database, HISTORY, LATER).runs == 0
    with database.write() as connection:
        connection.execute(snapshots.update().where(snapshots.c.run == run_id(2)).values(forgotten_at=START))
    expire(database, HISTORY, LATER)
    assert known(record) == {run_id(number) for number in (1, 3, 4, 5)}


def test_the_newest_good_failed_and_tested_runs_stay_however_many_came_after(
    record: Record, database: Database
) -> None:
    back_up(record, 1)
    Story(2).step(outcome=Outcome.FAILURE).end(Outcome.FAILURE).into(record)
    test = VerifyTask(repository="nas", snapshot_id=f"{1:064x}")
    Story(3, test).step(Action.VERIFY).end().into(record)
    check(record, 4, Outcome.SUCCESS)
    for number in range(5, 12):
        Story(number).step(outcome=Outcome.CANCELLED).end(Outcome.CANCELLED).into(record)
    forget_snapshots(database)
    expire(database, HISTORY, LATER)
    assert known(record) == {run_id(number) for number in (1, 2, 3, 4, 10, 11)}


def test_what_has_not_ended_and_what_a_hold_names_stays(record: Record, database: Database) -> None:
    record.begin(Story(1).assignment)
    Story(2).step(shows=[], reason=None).end().into(record)
    check(record, 3, Outcome.FAILURE, "repository_damaged")
    for number in range(4, 9):
        check(record, number, Outcome.FAILURE, "out_of_reach")
    [hold] = record.holds.list_open()
    assert hold.run == run_id(3)
    expire(database, HISTORY, LATER)
    assert {run_id(1), run_id(3)} <= known(record)


def test_a_machine_without_a_hub_does_so_once_a_day(record: Record, database: Database) -> None:
    def age() -> int:
        with database.read() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(runs)).scalar() or 0)

    for number in range(1, 6):
        back_up(record, number)
    expire_daily(database, HISTORY, LATER)
    forget_snapshots(database)
    expire_daily(database, HISTORY, LATER + timedelta(hours=23))
    assert age() == 5
    expire_daily(database, HISTORY, LATER + timedelta(hours=25))
    assert age() == 2
