"""The record learns from events, and each fact only once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from highball.errors import Unknown
from highball.hub.audit import COMMAND
from highball.hub.runs.ingest import SetOf
from highball.hub.runs.queue import Backlog, RunOrder
from highball.hub.runs.record import Record, utc_now
from highball.hub.runs.recorded import RunFilter
from highball.hub.storage.database import (
    Database,
    new_run_id,
    open_database,
)
from highball.hub.storage.schema import events, snapshots
from highball.model.event import (
    LogLine,
    ProcessStarted,
    RunEnded,
    RunStarted,
    SnapshotSaved,
    Statistics,
    StepEnded,
    StepStarted,
    Waiting,
    WarningSeen,
)
from highball.model.run import (
    Action,
    Outcome,
    Reason,
    Run,
    RunKind,
    RunState,
    Step,
)
from highball.model.run import Caution as CautionFact
from highball.protocol.tasks import VerifyTask
from highball.schedule import fire_id
from record.stories import OF, START, Story, back_up, measure, order, run_id, snapshot, to_remove
from scheduler.plans import Clockwork, at, plan

LOCKED = Reason(code="repository_locked", message="waiting: locked")


def whole_story(number: int = 1) -> Story:
    """A backup with all that may happen in one."""
    made = f"{number:064x}"
    story = Story(number)
    story.tell(RunStarted, pid=1).tell(Statistics, repository="nas", repository_id="f" * 64)
    story.tell(LogLine, stream="stdout", text="hello\nthere \u2028")
    story.tell(Waiting, step=1, reason=LOCKED).tell(ProcessStarted, pid=2, hostname="m")
    story.tell(WarningSeen, warning=CautionFact(code="x", message="y", path=b"/\xff"))
    story.tell(SnapshotSaved, repository="nas", snapshot_id=made)
    shown = snapshot(made, at=story.at, run=story.run, size=10)
    story.step(snapshot_id=made, bytes_processed=7, shows=[shown], warnings=["shrank"])
    return story.tell(RunEnded, outcome=Outcome.WARNING, reason=Reason(code="shrank", message="small"))


# --- a run's states ---------------------------------------------------------------------------------


def state(record: Record, story: Story) -> tuple[RunState, str | None]:
    found = record.find_run(story.run)
    return found.state, found.reason.code if found.reason else None


def test_the_states_of_a_run_one_after_the_other(record: Record) -> None:
    story = Story(1)
    record.begin(story.assignment)
    assert state(record, story) == (RunState.QUEUED, None)
    assert record.list_open() == [story.run]

    begun = Step(number=1, action=Action.BACKUP, repository="nas")
    second = Step(number=2, action=Action.BACKUP, repository="nas")
    ended = begun.model_copy(update={"outcome": Outcome.SUCCESS})
    expected: list[tuple[type[object], dict[str, object], tuple[RunState, str | None]]] = [
        (RunStarted, {"pid": 1}, (RunState.RUNNING, None)),
        (StepStarted, {"running": begun}, (RunState.RUNNING, None)),
        (ProcessStarted, {"pid": 2, "hostname": "m"}, (RunState.RUNNING, None)),
        (Waiting, {"reason": LOCKED}, (RunState.WAITING, "repository_locked")),
        (LogLine, {"stream": "stderr", "text": "x"}, (RunState.WAITING, "repository_locked")),
        (ProcessStarted, {"pid": 3, "hostname": "m"}, (RunState.RUNNING, None)),
        (Waiting, {"reason": LOCKED}, (RunState.WAITING, "repository_locked")),
        (StepEnded, {"done": ended}, (RunState.RUNNING, None)),
        (Waiting, {"reason": LOCKED}, (RunState.WAITING, "repository_locked")),
        (StepStarted, {"running": second}, (RunState.RUNNING, None)),
        (RunEnded, {"outcome": Outcome.WARNING, "reason": LOCKED}, (RunState.DONE, "repository_locked")),
    ]
    for make, facts, after in expected:
        story.tell(make, **facts)
        record.absorb(story.assignment.run, story.events)
        assert state(record, story) == after, make
    run = record.find_run(story.run)
    assert (run.outcome, run.started_at, run.ended_at) == (
        Outcome.WARNING,
        story.events[0].at,
        story.events[-1].at,
    )
    assert record.list_open() == []


def test_what_follows_the_end_does_not_open_a_run_again(record: Record) -> None:
    story = whole_story()
    story.into(record)
    before = record.find_run(story.run)
    story.step(Action.HOOK, Outcome.FAILURE, number=2)
    story.tell(Waiting, reason=LOCKED).tell(ProcessStarted, pid=9, hostname="m").tell(RunStarted, pid=9)
    story.tell(RunEnded, outcome=Outcome.SUCCESS)
    record.absorb(story.assignment.run, story.events)
    after = record.find_run(story.run)
    assert after.model_copy(update={"steps": ()}) == before.model_copy(update={"steps": ()})
    assert [step.number for step in after.steps] == [1, 2]
    assert record.list_open() == []


def test_a_run_of_which_nothing_is_left_is_ended_and_stays_so(record: Record) -> None:
    story = Story(1)
    record.begin(story.assignment)
    record.abandon(story.run, START)
    run = record.find_run(story.run)
    assert (run.state, run.outcome, run.ended_at) == (RunState.DONE, Outcome.FAILURE, START)
    assert run.reason is not None
    assert run.reason.code == "interrupted"
    done = whole_story(2).into(record)
    before = record.find_run(done.run)
    record.abandon(done.run, START)
    assert record.find_run(done.run) == before


def told_at_once(story: Story) -> Run:
    """The run as a record has it that heard all of it in order."""
    record = Record(open_database(None))
    story.into(record)
    return record.find_run(story.run)


def test_a_run_that_was_given_up_gets_its_true_end_when_it_is_told(record: Record) -> None:
    story = whole_story()
    record.begin(story.assignment)
    record.absorb(story.run, story.events[:2])
    record.abandon(story.run, START)
    assert record.list_lacking("here", {story.run: len(story.events), "unheard": 3}) == {
        story.run: 2,
        "unheard": 0,
    }
    assert record.list_lacking("elsewhere", {story.run: len(story.events)}) == {}
    record.absorb(story.run, story.events)
    assert record.list_lacking("here", {story.run: len(story.events)}) == {}
    assert record.find_run(story.run) == told_at_once(story)


def test_a_time_that_was_recorded_as_missed_becomes_the_run_that_it_was(
    database: Database, record: Record
) -> None:
    clockwork = Clockwork(database)
    clockwork.plan("06-01 00:00", plan("0 * * * *"))
    clockwork.tick("06-01 05:10")
    [missed] = [run for run in record.list_runs() if run.outcome is Outcome.MISSED]
    assert missed.missed_count == 4
    subject, host = "backup:docs", missed.host or ""

    for hour, left in ((2, [3]), (1, [2]), (4, [1]), (3, [])):
        nominal = at(f"06-01 0{hour}:00")
        story = Story(1).tell(RunStarted, pid=1).tell(RunEnded, outcome=Outcome.SUCCESS)
        run = fire_id(subject, host, "backup", nominal)
        told = {"run": run, "host": host, "subject": subject, "nominal_at": nominal}
        if record.find_host(run) is None:
            record.begin(story.assignment.model_copy(update=told))
        record.absorb(run, [event.model_copy(update={"run": run}) for event in story.events])
        assert record.find_run(run).outcome is Outcome.SUCCESS
        assert record.find_run(run).nominal_at == nominal
        rest = [run for run in record.list_runs() if run.outcome is Outcome.MISSED]
        assert [run.missed_count for run in rest] == left


def test_what_is_told_late_neither_loses_snapshots_nor_brings_removed_ones_back(record: Record) -> None:
    made = {number: f"{number:064x}" for number in (1, 2, 3)}
    stories = []
    for number in (1, 2, 3):
        story = Story(number)
        shows = [snapshot(made[n], at=Story(n).at) for n in range(1, number + 1)]
        stories.append(story.step(snapshot_id=made[number], bytes_processed=1, shows=shows))
    forget = Story(4, to_remove(made[1]))
    stories.append(forget.step(Action.FORGET, snapshots_removed=(made[1],), shows=shows[1:]))
    for story in reversed(stories):
        story.into(record)
    assert [known.id for known in record.list_governed(OF)] == [made[3], made[2]]


def test_a_settled_run_is_judged_by_what_was_told_later(record: Record) -> None:
    story = Story(1).tell(RunStarted, pid=1)
    story.into(record)
    story.step(outcome=Outcome.WARNING, snapshot_id="a" * 64, shows=[snapshot("a" * 64, size=5)])
    story.tell(RunEnded, outcome=Outcome.WARNING, reason=Reason(code="interrupted", message="x"))
    record.absorb(story.assignment.run, story.events)
    assert state(record, story) == (RunState.DONE, "interrupted")
    assert [one.id for one in record.list_governed(OF)] == ["a" * 64]


# --- every fact once --------------------------------------------------------------------------------


def contents(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """All rows but the chunks of events, whose borders depend on how they came; ids of holds are drawn by chance."""
    from highball.hub.storage.schema import holds, metadata

    def rows(connection: sa.Connection, table: sa.Table) -> list[tuple[object, ...]]:
        columns = [column for column in table.columns if column is not holds.c.id]
        return sorted(map(tuple, connection.execute(sa.select(*columns))), key=repr)

    with database.read() as connection:
        told = [table for table in metadata.sorted_tables if table is not events]
        return {table.name: rows(connection, table) for table in told}


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=8), st.booleans())
def test_however_events_are_cut_and_repeated_the_record_is_the_same(
    pieces: list[tuple[int, int]], twice_in_one: bool
) -> None:
    story = whole_story()
    story.step(Action.HOOK, number=2)
    expected = open_database(None)
    Record(expected).begin(story.assignment)
    Record(expected).absorb(story.assignment.run, story.events)

    database = open_database(None)
    record = Record(database)
    record.begin(story.assignment)
    known = 0
    for start, length in pieces:  # repeats what is known, and goes on without a gap
        first = min(start, known)
        record.absorb(story.assignment.run, story.events[first : first + length])
        known = max(known, first + length)
    record.absorb(story.assignment.run, story.events * 2 if twice_in_one else story.events)

    assert contents(database) == contents(expected)
    assert list(record.read_events(story.run)) == story.events


def test_events_come_back_as_they_were(record: Record) -> None:
    story = whole_story().into(record)
    assert list(record.read_events(story.run)) == story.events
    assert list(record.read_events(run_id(99))) == []


def test_events_of_a_run_that_nobody_began_are_refused(record: Record) -> None:
    with pytest.raises(Unknown, match="there is no run"):
        record.absorb(order(1).run, whole_story().events)


def test_a_failure_in_the_middle_leaves_nothing_half_done(record: Record, database: Database) -> None:
    story = whole_story()
    record.begin(story.assignment)
    before = contents(database)
    broken = story.events[-1].model_copy(update={"outcome": "no outcome"})
    with pytest.raises(AttributeError):
        record.absorb(story.assignment.run, [*story.events[:-1], broken])
    assert contents(database) == before
    record.absorb(story.assignment.run, story.events)
    assert list(record.read_events(story.run)) == story.events


# --- finding ----------------------------------------------------------------------------------------


def test_a_run_is_found_by_the_beginning_of_its_id(record: Record) -> None:
    whole_story(1).into(record)
    whole_story(12).into(record)
    assert record.find_run(run_id(1)).id == run_id(1)
    assert record.find_run(run_id(12).upper()).id == run_id(12)
    for start, why in [
        ("019b", "more than one run"),
        ("", "more than one"),
        ("ff", "no run begins"),
        ("%", "no run"),
    ]:
        with pytest.raises(Unknown, match=why):
            record.find_run(start)


def test_runs_are_listed_newest_first(record: Record) -> None:
    for number in (1, 3, 2):
        whole_story(number).into(record)
    measure(4).tell(RunStarted, pid=1).into(record)
    assert [run.id for run in record.list_runs()] == [run_id(number) for number in (4, 3, 2, 1)]
    assert [run.id for run in record.list_runs(job="docs", limit=2)] == [run_id(3), run_id(2)]
    newest: Run = record.list_runs(limit=1)[0]
    assert (newest.repository, newest.steps, newest.job) == ("nas", (), None)
    assert record.list_runs(job="docs")[0].steps[0].snapshot_id == f"{3:064x}"


@given(st.integers(0, 2**38), st.integers(0, 2**74 - 1))
def test_run_ids_are_uuids_of_version_7_that_sort_by_time(milliseconds: int, bits: int) -> None:
    now = datetime(1971, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    made = UUID(new_run_id(now, bits))
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == pytest.approx(now.timestamp() * 1000, abs=1)
    assert new_run_id(now + timedelta(milliseconds=2), 0) > str(made)
    assert str(made) != new_run_id(now, bits ^ 1)


# --- repositories -----------------------------------------------------------------------------------


def test_only_what_was_measured_is_changed(record: Record) -> None:
    assert (record.find_identity("nas"), record.find_size("nas"), record.list_identities()) == (
        None,
        None,
        {},
    )
    story = measure(1).tell(Statistics, repository="nas", bytes_stored=100)
    story.into(record)
    assert (record.find_identity("nas"), record.find_size("nas"), record.list_identities()) == (None, 100, {})
    story.tell(Statistics, repository="nas", repository_id="f" * 64).tell(Statistics, repository="nas")
    record.absorb(story.assignment.run, story.events)
    assert (record.find_identity("nas"), record.find_size("nas")) == ("f" * 64, 100)
    story.tell(Statistics, repository="nas", bytes_stored=0)
    record.absorb(story.assignment.run, story.events)
    assert (record.list_identities(), record.find_size("nas")) == ({"nas": "f" * 64}, 0)


def test_a_backup_that_only_rehearsed_is_none(database: Database, record: Record) -> None:
    for number, rehearsed in ((1, False), (2, True)):
        story = Story(number).step().tell(RunEnded, outcome=Outcome.SUCCESS)
        wanted = RunOrder(task="backup", job="docs", dry_run=rehearsed)
        Backlog(database).enqueue(wanted, "here", story.at, id=story.run, actor=COMMAND)
        record.absorb(story.run, story.events)
    last = record.find_last(Action.BACKUP, "nas", job="docs")
    assert last is not None
    assert last.run == run_id(1)


def test_events_are_read_from_a_number_on(record: Record) -> None:
    story = whole_story()
    record.begin(story.assignment)
    for event in story.events:
        record.absorb(story.run, [event])
    for after in (0, 1, len(story.events) - 1, len(story.events), 1000):
        assert list(record.read_events(story.run, after=after)) == story.events[after:]


# --- snapshots --------------------------------------------------------------------------------------


def test_only_snapshots_that_the_listing_showed_are_governed(record: Record) -> None:
    story = Story(1).step(snapshot_id="a" * 64, shows=[snapshot("b" * 64)])
    story.step(number=2, snapshot_id="c" * 64).step(Action.CHECK, number=3, snapshot_id="d" * 64)
    story.into(record)
    assert record.list_governed(OF) == []
    assert record.newest_time("nas") is None
    assert record.list_sets() == []


def test_the_tags_of_a_snapshot_prove_nothing_alone(record: Record) -> None:
    made = back_up(record, 1, 5)
    ours, forged = record.recognise("nas", [snapshot(made), snapshot("f" * 64)])
    assert (ours.job, ours.governed, ours.size_bytes) == ("docs", True, 5)
    assert (forged.job, forged.run, forged.set, forged.governed) == (None, None, None, False)


def test_a_step_without_a_set_changes_no_snapshots(record: Record) -> None:
    made = back_up(record, 1, 5)
    story = Story(2, to_remove(made))
    done = Step(number=1, action=Action.FORGET, repository="nas", job="docs", snapshots_removed=(made,))
    story.tell(StepEnded, done=done, snapshots=()).into(record)
    assert [one.id for one in record.list_governed(OF)] == [made]


def test_a_snapshot_is_governed_once_with_its_size(record: Record) -> None:
    made = back_up(record, 1, 5)
    unsized = Story(2)
    shows = [snapshot("b" * 64, at=unsized.at, size=77), snapshot(made)]
    unsized.step(snapshot_id="b" * 64, shows=shows).step(number=2, snapshot_id=made, shows=shows).into(record)
    newest, older = record.list_governed(OF)
    assert (newest.id, newest.size_bytes, newest.run) == ("b" * 64, 77, run_id(2))
    assert (older.id, older.size_bytes, older.run, older.shrank) == (made, 5, run_id(1), False)
    assert record.newest_time("nas") == unsized.assignment.created_at


def test_what_a_backup_should_find(record: Record) -> None:
    empty = record.expect(OF)
    assert (empty.snapshot_ids, empty.parent, empty.sizes) == ((), None, ())
    ids: list[str] = []
    for number in range(1, 13):
        ids.insert(0, back_up(record, number, number, before=ids))
    expected = record.expect(OF)
    assert expected.snapshot_ids == tuple(ids)
    assert expected.parent == ids[0]
    assert expected.sizes == tuple(range(12, 2, -1)), "the last ten, newest first"


def test_shrunken_snapshots_do_not_become_what_is_usual_until_accepted(record: Record) -> None:
    ids: list[str] = []
    for number, size, warnings in [(1, 1000, ()), (2, 1000, ()), (3, 10, ("shrank",)), (4, 11, ("shrank",))]:
        ids.insert(0, back_up(record, number, size, before=ids, warnings=warnings))
    assert record.expect(OF).sizes == (1000, 1000)
    assert [one.shrank for one in record.list_governed(OF)] == [True, True, False, False]

    assert len(record.holds.accept_run(run_id(3), COMMAND, START)) == 1
    assert record.expect(OF).sizes == (11,), "what was before the accepted size is not compared any more"
    assert record.holds.accept_run(run_id(3), COMMAND, START) == []
    back_up(record, 5, 12, before=ids)
    assert record.expect(OF).sizes == (12, 11)
    assert record.holds.accept_run(run_id(99), COMMAND, START) == []


def test_forgotten_snapshots_are_not_expected_but_their_sizes_count(record: Record) -> None:
    old = back_up(record, 1, 100)
    new = back_up(record, 2, 200, before=[old])
    story = Story(3, to_remove(old)).step(Action.FORGET, snapshots_removed=(old,), shows=[snapshot(new)])
    story.into(record)
    expected = record.expect(OF)
    assert (expected.snapshot_ids, expected.parent, expected.sizes) == ((new,), new, (200, 100))
    assert record.list_sets() == [OF]


def test_missing_snapshots_are_told_once_and_come_back(record: Record, database: Database) -> None:
    old = back_up(record, 1, 100)
    new = back_up(record, 2, 200)
    assert record.expect(OF).snapshot_ids == (new,), "the second listing did not show the first"
    with database.read() as connection:
        since = dict(
            connection.execute(
                snapshots.select().with_only_columns(snapshots.c.id, snapshots.c.missing_since)
            ).all()
        )
    assert since[new] is None
    assert since[old] is not None
    third = back_up(record, 3, 300, before=[old, new])
    assert record.expect(OF).snapshot_ids == (third, new, old)


def test_a_snapshot_forgotten_by_us_is_never_missing(record: Record, database: Database) -> None:
    old = back_up(record, 1, 100)
    Story(2, to_remove(old)).step(Action.FORGET, snapshots_removed=(old,), shows=[]).into(record)
    back_up(record, 3, 100)
    with database.read() as connection:
        found = connection.execute(snapshots.select().where(snapshots.c.id == old)).one()
    assert found.missing_since is None
    assert found.forgotten_at is not None


def test_more_snapshots_than_one_statement_takes(record: Record) -> None:
    for number in range(1, 40):
        back_up(record, number, number, before=[f"{n:064x}" for n in range(1, number)])
    every = tuple(f"{n:064x}" for n in range(1, 40)) + tuple(f"{n:064x}" for n in range(1000, 1700))
    Story(100, to_remove(*every)).step(Action.FORGET, snapshots_removed=every, shows=[]).into(record)
    assert record.list_governed(OF) == []


def test_sets_are_listed_by_job_and_repository(record: Record) -> None:
    back_up(record, 1, 1)
    assert record.list_sets(job="docs", repository="nas") == [OF]
    assert record.list_sets(job="other") == []
    assert record.list_sets(repository="other") == []
    assert record.expect(SetOf("nas", "other-host", "docs", "files")).snapshot_ids == ()


def test_the_last_step_of_a_kind(record: Record) -> None:
    back_up(record, 1, 1)
    Story(2).step(outcome=Outcome.FAILURE).into(record)
    last = record.find_last(Action.BACKUP, "nas", job="docs")
    good = record.find_last(Action.BACKUP, "nas", job="docs", outcomes=(Outcome.SUCCESS,))
    assert last is not None
    assert good is not None
    assert (last.outcome, last.run, good.run) == (Outcome.FAILURE, run_id(2), run_id(1))
    assert good.account.snapshot_id == f"{1:064x}"
    assert record.find_last(Action.BACKUP, "other") is None
    assert record.find_last(Action.BACKUP, "nas", job="other") is None


def test_the_last_snapshot_that_was_proved_restorable(record: Record) -> None:
    assert record.find_last_verified(OF) is None
    made = back_up(record, 1, 1)
    task = VerifyTask(repository="nas", snapshot_id=made)
    Story(2, task).step(Action.VERIFY, snapshot_id=made).into(record)
    Story(3, task).step(Action.VERIFY, Outcome.FAILURE, snapshot_id="x").into(record)
    assert record.find_last_verified(OF) == made


def test_the_clock_is_in_utc() -> None:
    assert utc_now().tzinfo is UTC


def test_a_repository_tells_what_it_held_at_the_end_of_each_day(record: Record) -> None:
    first = back_up(record, 1, 10)
    measure(2).tell(Statistics, repository="nas", bytes_stored=100).into(record)
    back_up(record, 3, 10, before=[first])
    measure(4).tell(Statistics, repository="nas", bytes_stored=70).into(record)
    [day] = record.list_days("nas", START.date())
    assert (day.day, day.bytes_stored, day.snapshots) == (f"{START:%Y-%m-%d}", 70, 2)
    assert record.list_days("nas", START.date() + timedelta(days=1)) == []
    assert record.list_days("other", START.date()) == []


def test_figures_are_those_of_backups_that_came_to_something(record: Record) -> None:
    for number, outcome in ((1, Outcome.SUCCESS), (2, Outcome.FAILURE), (3, Outcome.WARNING)):
        story = Story(number).tell(RunStarted, pid=1)
        story.step(outcome=outcome, bytes_added=number << 33, bytes_processed=6000).end(outcome).into(record)
    found = record.list_figures("docs", START)
    assert [(one.added, one.read) for one in found] == [(1 << 33, 6000), (3 << 33, 6000)]
    assert all(one.seconds > 0 for one in found)


# --- lists of a long record -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "index"),
    [
        (RunFilter(kind=RunKind.RESTORE), "runs_not_backup"),
        (RunFilter(outcome=Outcome.CANCELLED), "runs_not_success"),
        (RunFilter(job="docs", outcome=Outcome.FAILURE), "runs_of_job"),
        (RunFilter(repository="nas", kind=RunKind.MAINTENANCE), "runs_of_repository"),
        (RunFilter(), "runs_by_time"),
        (RunFilter(kind=RunKind.BACKUP), "runs_by_time"),
        (RunFilter(outcome=Outcome.SUCCESS), "runs_by_time"),
    ],
)
def test_a_list_goes_by_the_index_with_the_fewest_runs(tmp_path: Path, chosen: RunFilter, index: str) -> None:
    """SQLite knows nothing of how many there are: what a question says decides how it is answered."""
    database = open_database(tmp_path / "highball.db")
    asked: list[tuple[str, Any]] = []
    sa.event.listen(
        database.engine,
        "before_cursor_execute",
        lambda _c, _k, text, told, _x, _m: asked.append((text, told)),
    )
    Record(database).list_runs(chosen)
    text, told = next((text, told) for text, told in asked if "FROM runs" in text)
    with database.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", told).all()
    assert any(f"USING INDEX {index} " in f"{row.detail} " for row in plan), plan
    assert not any(row.detail.removeprefix("USE ") == "TEMP B-TREE FOR ORDER BY" for row in plan)
