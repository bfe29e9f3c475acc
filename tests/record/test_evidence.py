"""What one listing lacked the next good one corrects; a tag alone proves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from highball.hub.runs.record import Record
from highball.model.event import RunEnded, RunStarted
from highball.model.run import (
    Action,
    Outcome,
    Reason,
)
from highball.model.snapshot import Snapshot
from record.stories import OF, Story, back_up, run_id, snapshot, to_remove

NO_PROOF = Reason(code="no_proof", message="could not be listed")


def unproved(record: Record, number: int = 1) -> Story:
    """A backup that restic called good, and whose listing failed."""
    story = Story(number).tell(RunStarted, pid=1)
    return story.step(outcome=Outcome.FAILURE, reason=NO_PROOF).end(Outcome.FAILURE, NO_PROOF).into(record)


def saved_by(story: Story, **odd: Any) -> Snapshot:
    """What that backup had saved all the same."""
    made = snapshot(f"{1:064x}", at=story.assignment.created_at + timedelta(seconds=2), run=story.run, size=9)
    return made.model_copy(update=odd)


def governed(record: Record) -> set[str]:
    return {one.id for one in record.list_governed(OF)}


def test_what_a_run_saved_is_its_own_as_soon_as_a_listing_shows_it(record: Record) -> None:
    story = unproved(record)
    lost = saved_by(story)
    newer = back_up(record, 2, 10, before=[])
    assert governed(record) == {newer}
    Story(3).step(outcome=Outcome.FAILURE, reason=NO_PROOF, shows=[lost]).end().into(record)
    assert lost.id in governed(record)
    assert [one.run for one in record.list_governed(OF) if one.id == lost.id] == [story.run]


def test_whoever_looks_hands_in_what_he_sees(record: Record) -> None:
    lost = saved_by(unproved(record))
    for _ in range(2):
        record.witness("nas", [lost], lost.time + timedelta(days=1))
        assert governed(record) == {lost.id}
    [known] = record.recognise("nas", [lost])
    assert (known.governed, known.size_bytes) == (True, 9)


@pytest.mark.parametrize(
    "odd",
    [
        {"time": saved_by(Story(1)).time - timedelta(days=400)},
        {"time": saved_by(Story(1)).time + timedelta(minutes=1)},
        {"run": run_id(99)},
        {"run": "x" * 36},
        {"run": None},
        {"host": "elsewhere"},
        {"job": "other"},
        {"set": "dump"},
    ],
)
def test_a_forged_tag_makes_nothing_ours(record: Record, odd: dict[str, Any]) -> None:
    forged = saved_by(unproved(record), **odd)
    record.witness("nas", [forged], forged.time + timedelta(days=1))
    record.witness("other", [forged], forged.time + timedelta(days=1))
    assert governed(record) == set()


def test_the_real_id_of_a_run_whose_snapshot_is_known_makes_nothing_ours(record: Record) -> None:
    known = back_up(record, 1, 10)
    forged = saved_by(Story(1), id="f" * 64)
    record.witness("nas", [snapshot(known), forged], forged.time + timedelta(days=1))
    assert governed(record) == {known}


def test_of_two_that_claim_one_run_neither_is_ours(record: Record) -> None:
    story = unproved(record)
    both = [saved_by(story), saved_by(story, id="f" * 64)]
    record.witness("nas", both, both[0].time + timedelta(days=1))
    assert governed(record) == set()


def test_what_a_run_that_goes_on_saved_is_its_own_matter(record: Record) -> None:
    story = Story(1).tell(RunStarted, pid=1).step(outcome=Outcome.FAILURE, reason=NO_PROOF).into(record)
    record.witness("nas", [saved_by(story)], story.at + timedelta(days=1))
    assert governed(record) == set()
    record.absorb(story.run, story.tell(RunEnded, outcome=Outcome.FAILURE, reason=NO_PROOF).events)
    record.witness("nas", [saved_by(story)], story.at + timedelta(days=1))
    assert governed(record) == {saved_by(story).id}


def show(record: Record, number: int, shows: Sequence[Snapshot], action: Action = Action.BACKUP) -> None:
    task = to_remove() if action is Action.FORGET else None
    story = Story(number, task)
    story.step(action, Outcome.FAILURE, reason=NO_PROOF, shows=shows).end(Outcome.FAILURE, NO_PROOF).into(
        record
    )


def test_one_empty_listing_hides_nothing_for_longer_than_the_next(record: Record) -> None:
    known = back_up(record, 1, 10)
    show(record, 2, [])
    assert governed(record) == set()
    record.witness("nas", [snapshot(known)], saved_by(Story(3)).time)
    assert governed(record) == {known}
    show(record, 4, [])
    assert governed(record) == set()
    show(record, 5, [snapshot(known)], Action.FORGET)
    assert governed(record) == {known}
