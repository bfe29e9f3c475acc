"""A repository that is reached otherwise than before is a problem from that moment on, whichever way it was changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from document.conftest import ANNA, DOCS, NAS, NOW, Desk
from highball.config.document import build
from highball.config.repository import class_of, is_reached_otherwise
from highball.hub.document.store import Documents
from highball.hub.runs.record import Record
from highball.hub.status.health import list_standings
from highball.model.event import Statistics
from highball.model.run import Outcome, Reason
from record.stories import Story, measure

ELSEWHERE = {**NAS, "url": "/mnt/elsewhere"}
TIDY = {**NAS, "title": "Attic", "append_only": True, "answer_within": "5m", "check_share": "10%"}


def untested(desk: Desk, key: str = "nas") -> str | None:
    """Why it is said that a repository is untested."""
    document = Documents(desk.database).document()
    found = list_standings(document, desk.database, "here", NOW, list(document.jobs))
    reasons: list[Reason | None] = [one.untested for one in found if one.repository == key]
    assert all(one is None or one.code == "untested" for one in reasons)
    return reasons[0].message if reasons and reasons[0] else None


def reach(desk: Desk, later: timedelta = timedelta(minutes=1)) -> None:
    """A run meets the repository."""
    story = measure(len(Record(desk.database).list_runs()) + 1)
    story.at = NOW + later
    story.tell(Statistics, repository="nas", repository_id="ab" * 32).end().into(Record(desk.database))


def patch(desk: Desk, spec: dict[str, Any]) -> None:
    desk.change("repository", "nas", **spec)


def put(desk: Desk, spec: dict[str, Any]) -> None:
    revision = desk.revision("repository", "nas")
    desk.documents.change("repository", "nas", spec, expected=revision, **desk.told)


def write_back(desk: Desk, spec: dict[str, Any]) -> None:
    text = desk.documents.as_yaml().replace("/mnt/nas", spec["url"])
    desk.documents.write_back(text, expected=desk.documents.token(), **desk.told)


def apply(desk: Desk, spec: dict[str, Any]) -> None:
    document = build({"repositories": {"nas": spec}})
    desk.documents.apply(document, file="fleet.yaml", **desk.told)


def load(desk: Desk, spec: dict[str, Any]) -> None:
    document = build({"repositories": {"nas": spec}, "jobs": {"docs": DOCS}})
    desk.documents.load(document, now=NOW, actor=ANNA, file="/etc/highball/highball.toml")


def undo(desk: Desk, spec: dict[str, Any]) -> None:
    put(desk, spec)
    reach(desk)
    assert untested(desk) is None
    told = {**desk.told, "now": NOW + timedelta(hours=1)}
    revision = desk.revision("repository", "nas")
    desk.documents.undo("repository", "nas", 1, expected=revision, **told)


def restore(desk: Desk, spec: dict[str, Any]) -> None:
    desk.delete("job", "docs")
    desk.delete("repository", "nas")
    desk.documents.restore("repository", "nas", spec=spec, **desk.told)
    desk.documents.restore("job", "docs", **desk.told)


WAYS = [patch, put, write_back, apply, load, undo, restore]


@pytest.mark.parametrize("change", WAYS)
def test_what_is_reached_otherwise_is_untested_until_something_reaches_it(
    desk: Desk, change: Callable[[Desk, dict[str, Any]], None]
) -> None:
    desk.start()
    reach(desk)
    assert untested(desk) is None
    change(desk, ELSEWHERE)
    assert "was changed" in (untested(desk) or "")
    reach(desk, timedelta(seconds=-5))
    assert untested(desk) is not None, "told too late: that was the one before"
    reach(desk, timedelta(hours=2))
    assert untested(desk) is None


@pytest.mark.parametrize("change", [put, apply, load, restore])
def test_what_is_reached_as_before_was_tested_before(
    desk: Desk, change: Callable[[Desk, dict[str, Any]], None]
) -> None:
    desk.start()
    reach(desk)
    change(desk, TIDY)
    assert untested(desk) is None


def test_a_new_one_is_untested_unless_the_hubs_own_file_declares_it(desk: Desk) -> None:
    load(desk, NAS)
    assert untested(desk) is None, "its first set-up or run will tell"
    apply_to = build(
        {"repositories": {"far": ELSEWHERE}, "jobs": {"pics": {**DOCS, "repositories": ["far"]}}}
    )
    desk.documents.apply(apply_to, file="fleet.yaml", **desk.told)
    assert "declared" in (untested(desk, "far") or "")


def test_it_stays_untested_under_another_key(desk: Desk) -> None:
    desk.start()
    desk.rekey("repository", "nas", "attic")
    assert untested(desk, "attic") is not None


def test_what_was_begun_anew_stays_so_under_another_key(desk: Desk) -> None:
    desk.start()
    record = Record(desk.database)
    Story(1).step(snapshot_id=f"{1:064x}").end().into(record)
    record.give_up("nas", ANNA, NOW)
    desk.rekey("repository", "nas", "attic")
    document = Documents(desk.database).document()
    [standing] = list_standings(document, desk.database, "here", NOW, ["docs"])
    assert (standing.repository, standing.last_success_at) == ("attic", None)


def test_failures_of_the_one_that_was_given_up_are_not_those_of_the_one_in_its_place(desk: Desk) -> None:
    desk.start()
    record = Record(desk.database)

    def fail(number: int, at: datetime) -> None:
        story = Story(number)
        story.at = at
        gone = Reason(code="repository_gone", message="it is gone")
        story.step(outcome=Outcome.FAILURE, reason=gone).end(Outcome.FAILURE, gone).into(record)

    def told() -> tuple[Outcome | None, Reason | None, int]:
        found = list_standings(Documents(desk.database).document(), desk.database, "here", NOW, ["docs"])
        return found[0].last_outcome, found[0].last_reason, found[0].failures

    fail(1, NOW - timedelta(minutes=9))
    assert told()[0] is Outcome.FAILURE
    record.give_up("nas", ANNA, NOW - timedelta(minutes=5))
    assert told() == (None, None, 0)
    fail(2, NOW - timedelta(minutes=1))
    assert (told()[0], told()[2]) == (Outcome.FAILURE, 1)


def test_every_field_of_a_repository_reaches_it_or_does_not() -> None:
    others = {
        *("title", "answer_within", "when_back", "append_only", "maintenance", "accept_growth", "retention"),
        *("discard_schedule", "prune_schedule", "verify_schedule", "check_schedule", "check_share"),
    }
    for name in class_of({}).model_fields:
        assert is_reached_otherwise({}, {name: "said"}) == (name not in others), name
        assert not is_reached_otherwise({name: "said"}, {name: "said"})
    assert others <= set(class_of({}).model_fields)
