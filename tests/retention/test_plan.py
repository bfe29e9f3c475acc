"""The plan of one set, what guards it, and what stops it (promise P5)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from highball.model.snapshot import Snapshot
from highball.retention import (
    FreshLook,
    GapsKnown,
    OnRecord,
    Plan,
    PlannedSet,
    Retention,
    decide,
    judge_removal,
    make_plan,
    stands_still,
    what_is_odd,
)

from .samples import NOW, policies, sets, snapshot, snapshots_at

HELD = stands_still("check_failed", "the last check failed", until="one succeeds")


OF = PlannedSet("nas", "web", "documents", "files")
LOOKED_AT = {one.name for one in fields(FreshLook)}


def _plan(
    listing: Iterable[Snapshot],
    retention: Retention | None = None,
    *,
    of: PlannedSet = OF,
    approval: str | None = None,
    **given: Any,
) -> Plan:
    """A plan with nothing against it, but for what is given."""
    snapshots = list(listing)
    everything = {s.id for s in snapshots}
    look: dict[str, Any] = {"now": NOW, "listing": snapshots, "judge_removes": everything}
    record: dict[str, Any] = {"governed": everything}
    for name, value in given.items():
        (look if name in LOOKED_AT else record)[name] = value
    return make_plan(of, retention or Retention(last=1), FreshLook(**look), OnRecord(**record), approval)


def _days(count: int, newest: datetime = NOW) -> list[Snapshot]:
    return snapshots_at(*(newest - timedelta(days=n) for n in range(count)))


def _codes(plan: Plan) -> list[str]:
    return [reason.code for reason in plan.messages]


def _why(plan: Plan) -> dict[str, list[str]]:
    return {verdict.id: [reason.code for reason in verdict.reasons] for verdict in plan.keep}


# --- what is in it -------------------------------------------------------------------------------


def test_a_plan_lists_what_goes_and_what_stays_newest_first() -> None:
    listing = _days(4)
    plan = _plan(reversed(listing), Retention(last=2))
    assert plan.ids_to_stay == (listing[0].id, listing[1].id)
    assert plan.ids_to_remove == (listing[2].id, listing[3].id)
    assert plan.held is None
    assert plan.messages == ()


def test_the_newest_the_last_verified_and_the_pinned_stay_and_it_says_why() -> None:
    listing = _days(5)
    plan = _plan(listing, last_verified=listing[2].id, pinned=[listing[3].id])
    assert plan.ids_to_remove == (listing[1].id, listing[4].id)
    assert _why(plan) == {
        listing[0].id: ["last", "newest"],
        listing[2].id: ["last_verified"],
        listing[3].id: ["pinned"],
    }


def test_a_pin_by_a_short_id_protects() -> None:
    first, second = (Snapshot(id=c * 64, time=NOW, host="web", repository="nas") for c in "ab")
    older = second.model_copy(update={"time": NOW - timedelta(days=1)})
    assert _plan([first, older]).ids_to_remove == (older.id,)
    assert _plan([first, older], pinned=["bbbbbbbb"]).ids_to_remove == ()
    assert _plan([first, older], last_verified="bbbbbbbb").ids_to_remove == ()


def test_a_snapshot_that_the_record_does_not_know_is_shown_and_neither_removed_nor_counted() -> None:
    listing = _days(6)
    ours = [listing[n].id for n in (1, 3, 5)]
    plan = _plan(listing, Retention(last=2), governed=ours)
    assert plan.ids_to_stay == tuple(ours[:2])
    assert plan.ids_to_remove == tuple(ours[2:])
    assert set(plan.unknown) == {listing[n].id for n in (0, 2, 4)}
    assert "newest" in _why(plan)[ours[0]]


def test_a_set_of_which_nothing_is_known_loses_nothing() -> None:
    plan = _plan(_days(3), governed=())
    assert (plan.remove, plan.keep, len(plan.unknown)) == ((), (), 3)


def test_a_plan_survives_json_unchanged() -> None:
    plan = _plan(_days(4), holds=[HELD])
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


@given(st.sets(st.sampled_from(["repository", "host", "job", "set"]), min_size=1))
def test_the_id_of_a_plan_is_of_its_place(changed: set[str]) -> None:
    other = _plan(_days(3), of=replace(OF, **dict.fromkeys(changed, "other")))
    assert other.id != _plan(_days(3)).id


def test_the_id_of_a_plan_is_of_what_goes_and_of_what_stays_and_of_nothing_else() -> None:
    listing = _days(4)
    plan = _plan(listing)
    assert len(plan.id) == 16
    assert _plan(listing, holds=[HELD], judge_removes=(), now=NOW + timedelta(days=9)).id == plan.id
    assert _plan([*listing, snapshot(NOW, 99)], governed=[s.id for s in listing]).id == plan.id
    assert _plan(listing, pinned=[listing[3].id]).id != plan.id
    assert _plan(listing[:3]).id != plan.id
    assert _plan([*listing, snapshot(NOW - timedelta(minutes=1), 99)]).id != plan.id


# --- what stops it -------------------------------------------------------------------------------


def test_nothing_goes_that_restic_would_keep() -> None:
    listing = _days(7)
    plan = _plan(listing, judge_removes={listing[1].id, listing[6].id})
    assert _codes(plan) == ["differs_from_restic"]
    assert "4 (00000000, 00000000, 00000000, …)" in plan.messages[0].message
    assert len(plan.remove) == 6, "what would go is still shown"


def test_restic_may_remove_more_than_the_plan() -> None:
    listing = _days(3)
    assert _plan(listing, Retention(last=2), judge_removes={s.id for s in listing}).held is None


@pytest.mark.parametrize(
    "given",
    [
        {"skew": timedelta(minutes=2, seconds=1)},
        {"skew": -timedelta(minutes=3)},
        {"newest_known": NOW + timedelta(seconds=1)},
        {"now": NOW - timedelta(microseconds=1)},
    ],
)
def test_a_wrong_clock_stops_everything(given: dict[str, Any]) -> None:
    plan = _plan(_days(3), **given)
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC|clocks of hub and agent", plan.messages[0].message)
    assert _codes(plan) == ["clock_wrong"]
    assert plan.held == plan.messages[0]


def test_a_snapshot_of_tomorrow_stops_everything_even_one_that_we_do_not_know() -> None:
    listing = _days(3)
    stranger = snapshot(NOW + timedelta(days=1), 99)
    assert _codes(_plan([*listing, stranger], governed=[s.id for s in listing])) == ["clock_wrong"]


def test_clocks_that_nearly_agree_stop_nothing() -> None:
    assert _plan(_days(3), skew=timedelta(minutes=2), newest_known=NOW).held is None


def test_what_the_record_holds_stops_everything() -> None:
    plan = _plan(_days(3), holds=[HELD])
    assert plan.messages == (HELD,)
    assert plan.held == HELD
    assert what_is_odd(HELD) == "the last check failed"


@pytest.mark.parametrize(
    ("of_all", "kept", "waits"),
    [(22, 1, True), (21, 1, False), (40, 19, True), (42, 21, False), (43, 21, True)],
)
def test_more_than_half_and_more_than_twenty_wait_for_a_person(of_all: int, kept: int, waits: bool) -> None:
    plan = _plan(_days(of_all), Retention(last=kept))
    assert _codes(plan) == (["approval_required"] if waits else [])
    if waits:
        assert f"--approve {plan.id}" in plan.messages[0].message


def test_unknown_snapshots_do_not_make_a_large_part_small() -> None:
    listing = _days(60)
    assert _codes(_plan(listing, governed=[s.id for s in listing[:22]])) == ["approval_required"]


def test_an_approval_is_of_exactly_this_plan() -> None:
    listing = _days(30)
    approved = _plan(listing).id
    assert _plan(listing, approval=approved).held is None
    later = _plan([*listing, snapshot(NOW - timedelta(hours=1), 99)], approval=approved)
    assert _codes(later) == ["approval_required"]
    assert f"changed since {approved}" in later.messages[0].message


def test_an_approval_lifts_no_other_guard() -> None:
    listing = _days(30)
    approved = _plan(listing).id
    plan = _plan(listing, approval=approved, holds=[HELD], judge_removes=())
    assert _codes(plan) == ["check_failed", "differs_from_restic"]


def test_an_adopted_snapshot_that_no_dry_run_can_see_waits_for_a_person() -> None:
    listing = _days(3)
    seen, adopted = {listing[1].id}, {listing[2].id}
    plan = _plan(listing, judge_removes=seen, unjudged=adopted)
    assert _codes(plan) == ["approval_required"]
    assert _plan(listing, judge_removes=seen, unjudged=adopted, approval=plan.id).held is None
    assert _plan(listing, Retention(last=3), judge_removes=(), unjudged=adopted).held is None
    assert _plan(listing, judge_removes=seen, unjudged=adopted, agreed=adopted).held is None
    assert _plan(listing, judge_removes=seen, unjudged=adopted, agreed=seen).held == plan.held


def test_beside_adopted_snapshots_what_the_dry_run_would_keep_stays() -> None:
    listing = _days(4)
    seen, adopted = {listing[1].id}, {listing[3].id}
    plan = _plan(listing, Retention(last=1), judge_removes=seen, unjudged=adopted)
    assert plan.ids_to_remove == (listing[1].id, listing[3].id)
    assert _why(plan)[listing[2].id] == ["restic"]
    assert plan.adopted == (listing[3].id,)
    assert _codes(plan) == ["approval_required"]


def test_all_that_holds_a_plan_is_said_in_a_fixed_order() -> None:
    plan = _plan(
        _days(30),
        now=NOW - timedelta(days=1),
        skew=timedelta(days=1),
        holds=[HELD],
        judge_removes=(),
    )
    assert _codes(plan) == [
        "clock_wrong",
        "clock_wrong",
        "check_failed",
        "differs_from_restic",
        "approval_required",
    ]
    assert plan.held == plan.messages[0]


# --- an odd gap ----------------------------------------------------------------------------------

DAILY = GapsKnown(timedelta(days=1))
LATER = NOW + timedelta(hours=1)
MONTH = Retention(within="30d")


def _old_days(count: int, ago: int, newest: int = 1) -> list[Snapshot]:
    """So many daily ones from so many days ago back, behind so many of these days."""
    return [*_days(newest), *_days(ago + count, NOW)[ago:]]


@pytest.mark.parametrize("newest", [1, 2, 10])
def test_a_gap_from_before_which_nothing_would_be_left_waits_for_a_person(newest: int) -> None:
    listing = _old_days(8, 41, newest)
    plan = _plan(listing, MONTH, now=LATER, gaps=DAILY)
    assert _codes(plan) == ["gap"]
    assert len(plan.remove) == 8
    assert plan.gap == listing[newest].id
    assert "nothing was saved for" in plan.messages[0].message
    accepted = GapsKnown(timedelta(days=1), accepted=[listing[newest].id])
    assert _plan(listing, MONTH, now=LATER, gaps=accepted).held is None


@pytest.mark.parametrize(
    ("listing", "retention", "known"),
    [
        (_old_days(8, 41), Retention(within="30d", last=3), DAILY),  # some from before stay
        (_old_days(8, 41), MONTH, GapsKnown(timedelta(days=14))),  # it comes every fortnight
        (_old_days(8, 6), Retention(within="2d"), DAILY),  # not a week
        (_old_days(1, 60), MONTH, GapsKnown()),  # nobody knows how often it comes
        (_old_days(1, 20, newest=7), Retention(last=7), DAILY),  # without the gap it would go as well
        (_days(8), MONTH, DAILY),
    ],
)
def test_a_gap_that_takes_nothing_from_before_stops_nothing(
    listing: list[Snapshot], retention: Retention, known: GapsKnown
) -> None:
    assert _plan(listing, retention, now=LATER, gaps=known).held is None


def test_without_a_schedule_a_gap_is_measured_by_the_usual_distance() -> None:
    assert _codes(_plan(_old_days(3, 41), MONTH, now=LATER, gaps=GapsKnown())) == ["gap"]
    fortnightly = snapshots_at(*(NOW - timedelta(days=n) for n in (0, 41, 55, 69)))
    assert _plan(fortnightly, MONTH, now=LATER, gaps=GapsKnown()).held is None


def test_a_gap_that_holds_does_so_however_many_snapshots_follow() -> None:
    listing = _old_days(3, 41, newest=2)
    assert _plan(listing, Retention(last=1), now=LATER, gaps=DAILY).held is None
    holding = GapsKnown(timedelta(days=1), holding=listing[2].id)
    assert _codes(_plan(listing, Retention(last=1), now=LATER, gaps=holding)) == ["gap"]


# --- for every set and policy --------------------------------------------------------------------


@st.composite
def _situations(draw: st.DrawFn) -> tuple[list[Snapshot], dict[str, Any]]:
    listing = draw(sets())
    ids: list[str] = [s.id for s in listing]
    some = st.sets(st.sampled_from(ids)) if ids else st.just(set[str]())
    return listing, {
        "retention": draw(policies),
        "governed": draw(st.just(set(ids)) | some),
        "pinned": draw(some),
        "last_verified": draw(st.sampled_from([None, *ids])),
        "judge_removes": draw(st.just(set(ids)) | some),
        "holds": draw(st.sampled_from([(), (HELD,)])),
    }


@given(_situations())
def test_what_a_guard_protects_never_goes(situation: tuple[list[Snapshot], dict[str, Any]]) -> None:
    listing, given_facts = situation
    plan = _plan(listing, **given_facts)
    going = set(plan.ids_to_remove)
    ours = [s for s in listing if s.id in given_facts["governed"]]
    assert going <= {s.id for s in ours}
    assert not going & {*given_facts["pinned"], given_facts["last_verified"]}
    if ours:
        newest = max(s.time for s in ours)
        assert any(s.time == newest and s.id not in going for s in ours)
        assert "newest" in _why(plan)[plan.keep[0].id]


@given(_situations())
def test_a_plan_removes_no_more_than_its_policy(situation: tuple[list[Snapshot], dict[str, Any]]) -> None:
    listing, given_facts = situation
    ours = [s for s in listing if s.id in given_facts["governed"]]
    by_policy = {v.id for v in decide(given_facts["retention"], ours, now=NOW) if not v.keep}
    assert set(_plan(listing, **given_facts).ids_to_remove) <= by_policy


@given(_situations())
def test_every_snapshot_is_in_exactly_one_list(situation: tuple[list[Snapshot], dict[str, Any]]) -> None:
    listing, given_facts = situation
    plan = _plan(listing, **given_facts)
    assert sorted((*plan.ids_to_remove, *plan.ids_to_stay, *plan.unknown)) == sorted(s.id for s in listing)


@given(_situations())
def test_what_may_go_is_within_what_restic_would_remove(
    situation: tuple[list[Snapshot], dict[str, Any]],
) -> None:
    listing, given_facts = situation
    plan = _plan(listing, **given_facts)
    if plan.held is None:
        assert set(plan.ids_to_remove) <= given_facts["judge_removes"]
        assert not given_facts["holds"]


@given(_situations())
def test_a_plan_carried_out_leaves_nothing_to_remove(
    situation: tuple[list[Snapshot], dict[str, Any]],
) -> None:
    listing, given_facts = situation
    plan = _plan(listing, **given_facts)
    after = [s for s in listing if s.id not in plan.ids_to_remove]
    again = _plan(after, **given_facts)
    assert again.ids_to_remove == ()
    assert again.ids_to_stay == plan.ids_to_stay
    assert judge_removal(plan.ids_to_remove, plan.ids_to_stay, [s.id for s in after]) is None


# --- looking again -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "code"),
    [
        (["c", "d", "new"], None),
        (["b", "c", "d"], "not_deleted"),
        (["d"], "deleted_elsewhere"),
        (["a", "b", "c"], "deleted_elsewhere"),
        ([], "deleted_elsewhere"),
    ],
)
def test_what_is_gone_must_be_what_was_planned(there: Collection[str], code: str | None) -> None:
    verdict = judge_removal(["a", "b"], ["c", "d"], there)
    assert (verdict and verdict.code) == code


def test_both_what_is_left_and_what_is_lost_are_said() -> None:
    verdict = judge_removal(["a" * 64, "b" * 64], ["c" * 64], ["b" * 64])
    assert verdict is not None
    assert "cccccccc" in verdict.message
    assert "bbbbbbbb" in verdict.message
