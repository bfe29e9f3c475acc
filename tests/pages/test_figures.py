"""Figures that stand beside each other come from one moment, and what others saved is told apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.whole import Whole, whole_hub
from highball.hub.status.repository_status import Holding, list_holdings
from highball.model.event import Statistics
from highball.model.fact import LARGEST_NUMBER
from highball.model.run import (
    Action,
    Outcome,
    Reason,
)
from highball.web.ui.status_looks import came_to
from record.stories import Story, back_up, measure, run_id, to_remove


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Whole]:
    """A hub of this test's own: its repository nas holds one snapshot of 1000 bytes, and was never measured."""
    with whole_hub(tmp_path / "hub") as made:
        yield made


def nas(whole: Whole) -> Holding:
    [held] = list_holdings(whole.hub, ["nas"])
    return held


def tell(whole: Whole, number: int, **told: int) -> None:
    measure(number).tell(Statistics, repository="nas", **told).into(whole.hub.record)


def test_what_was_saved_is_told_as_it_was_when_it_was_measured(whole: Whole) -> None:
    assert (nas(whole).bytes_stored, nas(whole).saved) == (None, None)
    tell(whole, 20, bytes_stored=500)
    assert nas(whole).saved == 2.0
    first = f"{1:064x}"
    back_up(whole.hub.record, 30, 500_000, before=[first])  # this restic does not say what was stored by it
    held = nas(whole)
    assert (held.bytes_protected, held.bytes_stored, held.saved) == (501_000, 500, 2.0)
    back_up(whole.hub.record, 40, 500_000, before=[first, f"{30:064x}"], bytes_packed=10)
    assert nas(whole).bytes_stored == 500, "what run 30 stored is not known"
    tell(whole, 50, bytes_stored=10_000)
    assert nas(whole).saved == 100.1


def test_where_more_is_stored_than_protected_nothing_was_saved(whole: Whole) -> None:
    tell(whole, 20, bytes_stored=900)
    assert "1.1 ×" in whole.client().get("/repositories/nas").text
    tell(whole, 21, bytes_stored=40_000)
    page = whole.client().get("/repositories/nas").text
    assert "0.0 ×" not in page and "more is stored than protected" in page


def test_what_was_removed_of_the_old_history_is_told(whole: Whole) -> None:
    tell(whole, 22, bytes_stored=500)
    told = {"action": Action.HISTORY, "reason": Reason(code="expired", message="8 runs removed")}
    run = whole.hub.record.find_run(run_id(22)).model_copy(update={"outcome": Outcome.SUCCESS, **told})
    assert "8 runs removed" in came_to(run)


def test_a_backup_that_says_what_it_stored_is_counted(whole: Whole) -> None:
    tell(whole, 20, bytes_stored=500)
    back_up(whole.hub.record, 30, 4000, before=[f"{1:064x}"], bytes_packed=2000)
    held = nas(whole)
    assert (held.bytes_stored, held.bytes_protected, held.saved) == (2500, 5000, 2.0)
    [day] = whole.hub.record.list_days("nas", held.measured_at.date() if held.measured_at else None)  # type: ignore[arg-type]
    assert (day.bytes_stored, day.bytes_restorable, day.snapshots) == (2500, 5000, 2)
    back_up(whole.hub.record, 40, 4000, before=[f"{1:064x}", f"{30:064x}"], bytes_packed=7, attempts=2)
    assert nas(whole).bytes_stored == 2500, "the first attempt may have stored something, too"


def test_figures_stay_within_what_a_database_holds(whole: Whole) -> None:
    tell(whole, 20, bytes_stored=LARGEST_NUMBER)
    back_up(whole.hub.record, 30, 1, before=[f"{1:064x}"], bytes_packed=LARGEST_NUMBER)
    assert nas(whole).bytes_stored == LARGEST_NUMBER


def test_what_is_told_late_changes_nothing_that_is_newer(whole: Whole) -> None:
    late = measure(20).tell(Statistics, repository="nas", bytes_stored=1, snapshots=7)
    tell(whole, 30, bytes_stored=500, snapshots=1)
    late.into(whole.hub.record)
    held = nas(whole)
    assert (held.bytes_stored, held.others) == (500, 0)


def test_others_snapshots_are_named_apart(whole: Whole) -> None:
    assert nas(whole).others is None
    tell(whole, 20, bytes_stored=500, snapshots=71)
    held = nas(whole)
    assert (held.snapshots, held.others, held.saved) == (1, 70, None)
    page = whole.client().get("/repositories/nas").text
    assert "in 1 snapshot, and 70 foreign" in page
    assert "data is stored here too" in page
    assert "and 70 foreign" in whole.client().get("/repositories").text
    # one that is removed later was ours when all were counted
    removed = Story(30, to_remove(f"{1:064x}"))
    removed.step(Action.FORGET, snapshots_removed=(f"{1:064x}",), shows=[]).into(whole.hub.record)
    assert (nas(whole).snapshots, nas(whole).others) == (0, 70)
