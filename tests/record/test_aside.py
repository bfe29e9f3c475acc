"""One bad word bricks nothing: what cannot be taken in is set aside, told, and stops nothing that follows."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from highball.hub.runs.ingest import SetOf
from highball.hub.runs.record import Record
from highball.hub.storage.database import Database
from highball.hub.storage.schema import steps
from highball.model.event import (
    Event,
    RunStarted,
    Statistics,
    StepEnded,
    WarningSeen,
)
from highball.model.event_lines import (
    CODE,
    read_line,
    read_told,
)
from highball.model.run import Outcome, RunState
from highball.model.snapshot import Snapshot
from record.stories import START, Story, back_up, measure, run_id, snapshot

HUGE = 10**30
LONG = "x" * 100


def told(story: Story, number: int, at: str, value: Any) -> list[Event]:
    """The events of a story as they come from elsewhere, one field of one of them spoilt."""
    lines = [event.model_dump(mode="json", exclude_none=True) for event in story.events]
    *above, name = at.split(".")
    place = lines[number - 1]
    for part in above:
        place = place.setdefault(part, {})
    place[name] = value
    found = [read_told(line, story.run) for line in lines]
    assert [one[0] for one in found if one] == [event.seq for event in story.events]
    return [one[1] for one in found if one and one[1] is not None]


def good_story(number: int = 1) -> Story:
    """A backup that went well: begun, its step, its end."""
    made = f"{number:064x}"
    story = Story(number).tell(RunStarted, pid=1)
    shown = snapshot(made, at=story.at, run=story.run, size=10)
    return story.step(snapshot_id=made, bytes_processed=7, shows=[shown]).end()


STEP_ENDED = 3


@pytest.mark.parametrize(
    ("at", "value"),
    [
        ("done.bytes_processed", HUGE),
        ("done.bytes_processed", 2**63),
        ("done.files_new", -5),
        ("done.bytes_added", 1.5),
        ("done.number", 2**31),
        ("done.repository", LONG),
        ("done.snapshot_id", LONG),
        ("done.ended_at", "yesterday"),
        ("done.warnings", [{"code": "x", "message": "y"}] * 20_000),
        ("done.outcome", "splendid"),
        ("snapshots", [{"id": LONG, "time": "2026-03-01T00:00:00Z", "host": "here", "repository": "nas"}]),
        ("run", run_id(2)),
        ("attempt", -1),
        ("step", HUGE),
    ],
)
def test_a_step_whose_end_cannot_be_taken_in_is_no_success_and_stops_nothing(
    record: Record, at: str, value: Any
) -> None:
    story = good_story()
    record.begin(story.assignment)
    assert record.absorb(story.run, told(story, STEP_ENDED, at, value)) == story.events[-1].seq
    run = record.find_run(story.run)
    assert (run.state, run.outcome, run.reason and run.reason.code) == (RunState.DONE, Outcome.FAILURE, CODE)
    [step] = run.steps
    assert (step.outcome, [warning.code for warning in step.warnings]) == (Outcome.FAILURE, [CODE])
    [aside] = [event for event in record.read_events(story.run) if isinstance(event, WarningSeen)]
    assert (aside.seq, aside.set_aside and aside.set_aside.type) == (STEP_ENDED, "step.ended")
    assert aside.set_aside is not None
    assert at.rpartition(".")[2] in aside.set_aside.text, "what was said is kept with the run"
    back_up(record, 3, 10)
    assert [one.id for one in record.list_governed(SetOf("nas", "here", "docs", "files"))] == [f"{3:064x}"]


def test_what_is_odd_before_a_steps_end_makes_it_a_warning(record: Record) -> None:
    story = good_story()
    record.begin(story.assignment)
    for event in told(story, 2, "running.started_at", "yesterday"):
        record.absorb(story.run, [event])
    run = record.find_run(story.run)
    assert (run.outcome, run.steps[0].outcome) == (Outcome.WARNING, Outcome.WARNING)
    assert run.steps[0].snapshot_id == f"{1:064x}"
    assert run.reason is not None
    assert "step.started" in run.reason.message


def test_a_run_whose_end_cannot_be_taken_in_is_over_and_failed(record: Record) -> None:
    story = good_story()
    record.begin(story.assignment)
    record.absorb(story.run, told(story, 4, "outcome", "splendid"))
    run = record.find_run(story.run)
    assert (run.state, run.outcome, run.reason and run.reason.code) == (RunState.DONE, Outcome.FAILURE, CODE)


def test_a_thousand_odd_events_are_one_account_that_does_not_grow(record: Record) -> None:
    story = good_story()
    record.begin(story.assignment)
    odd = [{"type": "log", "seq": number, "run": story.run, "step": 1} for number in range(1, 1001)]
    record.absorb(story.run, [found[1] for one in odd if (found := read_told(one, story.run)) and found[1]])
    [step] = record.find_run(story.run).steps
    assert len(step.warnings) == 10
    assert sum(warning.count for warning in step.warnings) == 1000


def test_what_the_database_refuses_is_set_aside_like_what_makes_no_sense(record: Record) -> None:
    story = good_story()
    broken = story.events[STEP_ENDED - 1]
    assert isinstance(broken, StepEnded)
    shown = Snapshot.model_construct(**{**dict(broken.snapshots[0]), "size_bytes": HUGE})  # type: ignore[index]
    told_of = {"snapshots": (shown,), "done": broken.done.model_copy(update={"bytes_processed": HUGE})}
    story.events[STEP_ENDED - 1] = broken.model_copy(update=told_of)
    story.into(record)
    assert record.find_run(story.run).outcome is Outcome.FAILURE
    assert [event.seq for event in record.read_events(story.run)] == [1, 2, 3, 4]


def test_characters_that_a_database_cannot_look_into_are_marked(record: Record) -> None:
    story = good_story()
    record.begin(story.assignment)
    odd = {"code": "x", "message": "a\0b", "path": "/a\0b"}
    record.absorb(story.run, told(story, STEP_ENDED, "done.warnings", [odd]))
    [step] = record.find_run(story.run).steps
    assert (step.outcome, step.warnings[0].message) == (Outcome.SUCCESS, "a\ufffdb")
    assert [figures.read for figures in record.list_figures("docs", START)] == [7.0]


def test_sizes_that_are_too_much_together_are_summed_all_the_same(record: Record) -> None:
    made: list[str] = []
    for number in (1, 2, 3):
        made.append(back_up(record, number, 2**63 - 1, before=made))
    measure(4).tell(Statistics, repository="nas", bytes_stored=100).into(record)
    [day] = record.list_days("nas", START.date())
    assert (day.snapshots, day.bytes_restorable) == (3, 2**63 - 1)


def test_what_an_earlier_program_wrote_down_is_read_without_what_cannot_be(
    record: Record, database: Database
) -> None:
    story = good_story().into(record)
    account = story.events[STEP_ENDED - 1].done.model_dump(mode="json", exclude_none=True)  # type: ignore[union-attr]
    account |= {"files_new": -5, "bytes_processed": 7 * 10**25}
    with database.write() as connection:
        connection.execute(sa.update(steps).values(account=account))
    [step] = record.find_run(story.run).steps
    assert (step.files_new, step.bytes_processed, step.snapshot_id) == (None, None, f"{1:064x}")


def test_a_time_at_the_end_of_all_times_is_said_as_well_as_can_be(record: Record) -> None:
    story = good_story()
    record.begin(story.assignment)
    for text in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        found = read_told({**story.events[0].model_dump(mode="json"), "at": text}, story.run)
        assert found is not None
        assert found[1] is not None
        assert found[1].model_dump(mode="json")["at"][:4] == text[:4]
        assert found[1].at.astimezone(ZoneInfo("America/New_York"))
        record.absorb(story.run, [found[1].model_copy(update={"seq": record.find_last_seq(story.run) + 1})])
    assert len(list(record.read_events(story.run))) == 2


NO_EVENTS = [b"", b"{", b"null", b"[]", b"[" * 10**5, b'{"type":"log"}', b'{"seq":"1"}', b'{"seq":-1}']
NO_EVENTS += [b'{"seq":1e30}', b'{"seq":' + b"9" * 30 + b',"type":"log"}', b'{"seq":' + b"9" * 5000 + b"}"]


@pytest.mark.parametrize("line", NO_EVENTS)
def test_a_line_without_a_number_is_no_event(line: bytes) -> None:
    assert read_line(line) is None
