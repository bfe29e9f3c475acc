"""The rule for success: whatever is taken away from a perfect backup, it is not a success any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from highball.agent.run.success import (
    BackupEvidence,
    judge_backup,
    judge_run,
    missing_ids,
    shrank,
)
from highball.engine.base import EngineWords, Summary
from highball.model.run import (
    Action,
    Caution,
    Outcome,
    Reason,
    Step,
    worst,
)
from highball.model.snapshot import Snapshot

RUN = "019b0000-0000-7000-8000-000000000001"
RESTIC = EngineWords(name="restic", failed="restic_failed", passing=frozenset())
NEW = "a" * 64
OLD = "b" * 64
OLDER = "c" * 64
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def snapshot(snapshot_id: str, run: str | None, *, days: int = 0, size: int | None = 1000) -> Snapshot:
    return Snapshot(
        id=snapshot_id,
        time=NOON - timedelta(days=days),
        run=run,
        job="docs",
        set="files",
        host="here",
        paths=(b"/home", b"/etc"),
        repository="nas",
        size_bytes=size,
    )


SUMMARY = Summary(NEW, files_new=1, files_changed=2, files_unmodified=3, bytes_processed=1000, bytes_added=10)
LISTING = (snapshot(OLDER, "other", days=2), snapshot(OLD, "another", days=1), snapshot(NEW, RUN))

PERFECT = BackupEvidence(
    repository="nas",
    run=RUN,
    engine=RESTIC,
    stopped=False,
    summary=SUMMARY,
    complaints=(),
    failure=None,
    listing=LISTING,
    listing_failure=None,
    paths=(b"/home", b"/etc"),
    expected_ids=(OLD, OLDER),
    sizes=(1000, 1100, 900),
)

UNREADABLE = Caution(code="file_unreadable", message="permission denied", path=b"/home/x")
NO_SOURCE = Caution(code="source_missing", message="/etc does not exist", path=b"/etc")
FAILED = Reason(code="restic_failed", message="restic failed: boom")


def test_a_perfect_backup_is_a_success() -> None:
    verdict = judge_backup(PERFECT)
    assert (verdict.outcome, verdict.reason, verdict.warnings) == (Outcome.SUCCESS, None, ())
    assert verdict.snapshot == LISTING[2]
    assert SUMMARY.files == 6


def test_a_first_backup_with_a_short_id_is_a_success() -> None:
    """restic 0.14 names only the first eight characters."""
    first = replace(
        PERFECT, summary=replace(SUMMARY, snapshot_id=NEW[:8]), listing=LISTING[2:], expected_ids=(), sizes=()
    )
    assert judge_backup(first).outcome is Outcome.SUCCESS


TAKEN_AWAY: list[tuple[str, dict[str, Any], Outcome, str]] = [
    (
        "restic's own success, with a snapshot",
        {"failure": FAILED},
        Outcome.WARNING,
        "restic_failed",
    ),
    ("the end of its own will", {"failure": FAILED, "stopped": True}, Outcome.WARNING, "cancelled"),
    ("a summary", {"summary": None}, Outcome.WARNING, "no_summary"),
    (
        "an id in the summary",
        {"summary": replace(SUMMARY, snapshot_id=None)},
        Outcome.WARNING,
        "other_snapshot",
    ),
    (
        "the id of the snapshot that is there",
        {"summary": replace(SUMMARY, snapshot_id="d" * 64)},
        Outcome.WARNING,
        "other_snapshot",
    ),
    ("a readable file", {"complaints": (UNREADABLE,)}, Outcome.WARNING, "file_unreadable"),
    ("a sound source", {"complaints": (NO_SOURCE,)}, Outcome.WARNING, "source_missing"),
    ("a path in the snapshot", {"paths": (b"/home", b"/etc", b"/srv")}, Outcome.WARNING, "path_left_out"),
    ("the new snapshot in the listing", {"listing": LISTING[:2]}, Outcome.FAILURE, "no_proof"),
    ("this run's tag", {"listing": (*LISTING[:2], snapshot(NEW, None))}, Outcome.FAILURE, "no_proof"),
    ("any snapshot", {"listing": ()}, Outcome.FAILURE, "no_proof"),
    ("the listing", {"listing": None}, Outcome.FAILURE, "no_proof"),
    (
        "the listing, with its reason",
        {"listing": None, "listing_failure": FAILED},
        Outcome.FAILURE,
        "no_proof",
    ),
    ("an earlier snapshot", {"listing": LISTING[1:]}, Outcome.WARNING, "deleted_elsewhere"),
    ("all earlier snapshots", {"listing": LISTING[2:]}, Outcome.WARNING, "deleted_elsewhere"),
    ("its usual size", {"sizes": (3000, 3000, 2001)}, Outcome.WARNING, "shrank"),
]


@pytest.mark.parametrize(
    ("change", "outcome", "code"), [t[1:] for t in TAKEN_AWAY], ids=[t[0] for t in TAKEN_AWAY]
)
def test_without_any_one_thing_it_is_no_success(change: dict[str, Any], outcome: Outcome, code: str) -> None:
    verdict = judge_backup(replace(PERFECT, **change))
    assert verdict.outcome is outcome
    assert verdict.reason is not None
    assert verdict.reason.code == code
    assert (verdict.snapshot is None) == (outcome is Outcome.FAILURE)


def test_exit_0_without_summary_and_snapshot_is_a_failure() -> None:
    verdict = judge_backup(replace(PERFECT, summary=None, listing=LISTING[:2]))
    assert verdict.outcome is Outcome.FAILURE
    assert "no snapshot of this run" in (verdict.reason.message if verdict.reason else "")


def test_a_failure_says_why_restic_failed_and_keeps_what_was_odd() -> None:
    verdict = judge_backup(
        replace(PERFECT, failure=FAILED, listing=(), complaints=(UNREADABLE,), summary=None)
    )
    assert (verdict.outcome, verdict.reason, verdict.warnings) == (Outcome.FAILURE, FAILED, (UNREADABLE,))


def test_a_listing_that_failed_says_why() -> None:
    verdict = judge_backup(replace(PERFECT, listing=None, listing_failure=FAILED))
    assert "could not be listed: restic failed: boom" in (verdict.reason.message if verdict.reason else "")


def test_a_step_cancelled_before_its_snapshot_is_cancelled() -> None:
    verdict = judge_backup(replace(PERFECT, failure=FAILED, stopped=True, summary=None, listing=LISTING[:2]))
    assert verdict.outcome is Outcome.CANCELLED
    assert verdict.reason is not None
    assert verdict.reason.code == "cancelled"


def test_a_step_cancelled_after_its_snapshot_is_judged_by_the_same_rule() -> None:
    verdict = judge_backup(replace(PERFECT, failure=FAILED, stopped=True, listing=LISTING[1:]))
    assert verdict.outcome is Outcome.WARNING
    assert [warning.code for warning in verdict.warnings] == ["cancelled", "deleted_elsewhere"]


def test_the_latest_of_two_snapshots_of_a_run_is_its_own() -> None:
    both = (*LISTING, snapshot("e" * 64, RUN, days=1))
    assert judge_backup(replace(PERFECT, listing=both)).snapshot == LISTING[2]


def test_the_snapshot_that_restic_named_counts_even_if_another_of_the_run_is_later() -> None:
    both = (*LISTING, snapshot("e" * 64, RUN, days=-1))
    verdict = judge_backup(replace(PERFECT, listing=both))
    assert (verdict.outcome, verdict.snapshot) == (Outcome.SUCCESS, LISTING[2])


def test_the_first_reason_names_the_file_and_how_many_more() -> None:
    verdict = judge_backup(replace(PERFECT, complaints=(UNREADABLE, NO_SOURCE), listing=LISTING[1:]))
    assert verdict.reason is not None
    assert (
        verdict.reason.message
        == '/home/x: permission denied (and 2 more) — make it readable, or exclude it: exclude = ["/x"]'
    )


def test_missing_snapshots_are_counted_and_the_first_five_named() -> None:
    many = tuple(f"{number:x}" * 64 for number in range(2, 9))
    verdict = judge_backup(replace(PERFECT, expected_ids=many))
    message = verdict.warnings[0].message
    assert message.startswith(
        "deleted elsewhere: 7 earlier snapshots are gone from the repository (22222222, "
    )
    assert message.endswith(" …)")
    one = judge_backup(replace(PERFECT, expected_ids=many[:1])).warnings[0].message
    assert one == "deleted elsewhere: 1 earlier snapshot is gone from the repository (22222222)"
    eleven = tuple(f"{number:064x}" for number in range(11))
    assert (
        "11 earlier snapshots are gone"
        in judge_backup(replace(PERFECT, expected_ids=eleven)).warnings[0].message
    )


# --- paths whose bytes a listing loses --------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "held"),
    [
        (b"/caf\xe9", "/caf\ufffd"),
        (b"/\xe2\x82", "/\ufffd\ufffd"),  # a character cut short: restic shows one U+FFFD a byte
        (b"/\xf0\x9f\x92x", "/\ufffd\ufffd\ufffdx"),
        (b"/\xed\xa0\x80", "/\ufffd\ufffd\ufffd"),
        (b"/ok", "/ok"),
        ("/\ufffd".encode(), "/\ufffd"),
    ],
)
def test_a_path_is_found_as_restic_shows_it(path: bytes, held: str) -> None:
    shown = snapshot(NEW, RUN).model_copy(update={"paths": (held.encode(),)})
    verdict = judge_backup(replace(PERFECT, listing=(*LISTING[:2], shown), paths=(path,)))
    assert verdict.outcome is Outcome.SUCCESS


def test_an_odd_path_does_not_hide_that_another_one_is_missing() -> None:
    shown = snapshot(NEW, RUN).model_copy(update={"paths": ("/caf\ufffd".encode(),)})
    verdict = judge_backup(replace(PERFECT, listing=(*LISTING[:2], shown), paths=(b"/caf\xe9", b"/etc")))
    assert [(warning.code, warning.path) for warning in verdict.warnings] == [("path_left_out", b"/etc")]


# --- size -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "sizes", "limit", "small"),
    [
        (499, (1000,), 0.5, True),
        (500, (1000,), 0.5, False),
        (0, (1000,), 0.5, True),
        (0, (), 0.5, False),
        (0, (0, 0), 0.5, False),
        (0, (1000,), 0.0, False),  # 0 is never
        (1, (1000, 2, 2), 0.5, False),  # exactly half of the median
        (600, (500, 1500), 0.5, False),
        (400, (500, 1500), 0.5, True),
        # "shrank by more than this share of the usual size", as the setting says
        (800, (1000,), 0.2, False),
        (799, (1000,), 0.2, True),
        (100, (1000,), 0.9, False),
        (99, (1000,), 0.9, True),
        (0, (1000,), 1.0, False),
        (0, (0,), 0.5, False),
        (2000, (1000,), 0.5, False),
    ],
)
def test_suspiciously_small(size: int, sizes: tuple[int, ...], limit: float, small: bool) -> None:
    assert shrank(size, sizes, limit) is small


def test_without_a_summary_the_size_is_the_listings() -> None:
    small = (*LISTING[:2], snapshot(NEW, RUN, size=1))
    codes = [w.code for w in judge_backup(replace(PERFECT, summary=None, listing=small)).warnings]
    assert codes == ["no_summary", "shrank"]
    unknown = (*LISTING[:2], snapshot(NEW, RUN, size=None))
    codes = [w.code for w in judge_backup(replace(PERFECT, summary=None, listing=unknown)).warnings]
    assert codes == ["no_summary"]


def test_a_snapshot_that_shrank_says_how_to_accept_it() -> None:
    verdict = judge_backup(replace(PERFECT, sizes=(5000,)))
    assert "holds 0.98 KiB where 4.88 KiB is usual" in verdict.warnings[0].message
    assert "highball accept" in verdict.warnings[0].message


# --- sets of outcomes -------------------------------------------------------------------------------


def test_the_worst_of_some_outcomes() -> None:
    order = [
        Outcome.FAILURE,
        Outcome.MISSED,
        Outcome.CANCELLED,
        Outcome.WARNING,
        Outcome.SUCCESS,
        Outcome.SKIPPED,
    ]
    assert set(order) == set(Outcome)
    for number, outcome in enumerate(order):
        assert worst(order[number:]) is outcome
        assert worst(reversed(order[number:])) is outcome
    assert worst([]) is Outcome.SUCCESS


@pytest.mark.parametrize(
    ("steps", "outcome"),
    [
        ([("hook", "skipped"), ("backup", "skipped")], Outcome.SKIPPED),
        ([("hook", "skipped"), ("backup", "skipped"), ("hook", "success")], Outcome.SKIPPED),
        ([("hook", "skipped"), ("backup", "skipped"), ("hook", "warning")], Outcome.SKIPPED),
        ([("hook", "skipped"), ("backup", "skipped"), ("hook", "failure")], Outcome.FAILURE),
        ([("hook", "failure"), ("backup", "skipped")], Outcome.FAILURE),
        ([("hook", "cancelled"), ("backup", "cancelled")], Outcome.CANCELLED),
        ([("backup", "skipped"), ("backup", "success")], Outcome.SUCCESS),
        ([("backup", "success"), ("hook", "warning")], Outcome.WARNING),
        ([("check", "success")], Outcome.SUCCESS),
        ([], Outcome.SUCCESS),
    ],
)
def test_a_run_is_as_bad_as_its_worst_step_unless_nothing_was_backed_up(
    steps: list[tuple[str, str]], outcome: Outcome
) -> None:
    told = [Step(number=n, action=Action(a), outcome=Outcome(o)) for n, (a, o) in enumerate(steps)]
    assert judge_run(told) is outcome


def test_missing_ids_keep_their_order() -> None:
    assert missing_ids(["x", OLD, "y"], LISTING) == ("x", "y")


# --- removing evidence never improves the outcome ---------------------------------------------------

GOODNESS = {Outcome.FAILURE: 0, Outcome.CANCELLED: 1, Outcome.WARNING: 2, Outcome.SUCCESS: 3}

ids = st.sampled_from([NEW, OLD, OLDER, "d" * 64, NEW[:8] + "e" * 56])
listed = st.builds(
    snapshot,
    ids,
    st.sampled_from([RUN, "other", None]),
    days=st.integers(-1, 3),
    size=st.none() | st.integers(0, 3000),
)
summaries = st.builds(
    replace,
    st.just(SUMMARY),
    snapshot_id=st.sampled_from([NEW, NEW[:8], OLD, None]),
    bytes_processed=st.integers(0, 3000),
)
evidences = st.builds(
    replace,
    st.just(PERFECT),
    engine=st.just(RESTIC),
    stopped=st.booleans(),
    summary=st.none() | summaries,
    complaints=st.lists(st.sampled_from([UNREADABLE, NO_SOURCE]), max_size=2),
    listing=st.none() | st.lists(listed, max_size=4),
    expected_ids=st.lists(ids, max_size=2),
    sizes=st.lists(st.integers(0, 3000), max_size=3),
)


def without_summary(evidence: BackupEvidence) -> BackupEvidence:
    return replace(evidence, summary=None)


def without_id(evidence: BackupEvidence) -> BackupEvidence:
    return replace(evidence, summary=evidence.summary and replace(evidence.summary, snapshot_id=None))


def without_listing(evidence: BackupEvidence) -> BackupEvidence:
    return replace(evidence, listing=None)


def with_failure(evidence: BackupEvidence) -> BackupEvidence:
    return replace(evidence, failure=FAILED)


def with_complaint(evidence: BackupEvidence) -> BackupEvidence:
    return replace(evidence, complaints=(*evidence.complaints, UNREADABLE))


def with_expectation(evidence: BackupEvidence) -> BackupEvidence:
    return replace(evidence, expected_ids=(*evidence.expected_ids, OLDER))


def with_path(evidence: BackupEvidence) -> BackupEvidence:
    return replace(evidence, paths=(*evidence.paths, b"/srv"))


LESS = [
    without_summary,
    without_id,
    without_listing,
    with_failure,
    with_complaint,
    with_expectation,
    with_path,
]


@given(evidences, st.sampled_from(LESS))
def test_less_evidence_never_makes_a_better_outcome(
    evidence: BackupEvidence, less: Callable[[BackupEvidence], BackupEvidence]
) -> None:
    assert GOODNESS[judge_backup(less(evidence)).outcome] <= GOODNESS[judge_backup(evidence).outcome]


@given(evidences, st.data())
def test_a_shorter_listing_never_makes_a_better_outcome(
    evidence: BackupEvidence, data: st.DataObject
) -> None:
    listing = list(evidence.listing or ())
    if listing:
        listing.pop(data.draw(st.integers(0, len(listing) - 1)))
    shorter = replace(evidence, listing=listing)
    # the same id twice, of two runs, is no listing that restic can give
    distinct = len({one.id for one in evidence.listing or ()}) == len(evidence.listing or ())
    if distinct and evidence.listing is not None:
        assert GOODNESS[judge_backup(shorter).outcome] <= GOODNESS[judge_backup(evidence).outcome]


@given(evidences)
def test_success_means_all_of_it(evidence: BackupEvidence) -> None:
    verdict = judge_backup(evidence)
    if verdict.outcome is Outcome.SUCCESS:
        assert evidence.failure is None
        assert not evidence.stopped
        assert evidence.summary is not None
        assert evidence.summary.snapshot_id
        assert verdict.snapshot is not None
        assert verdict.snapshot.id.startswith(evidence.summary.snapshot_id)
        assert verdict.snapshot.run == evidence.run
        assert not evidence.complaints
        assert not missing_ids(evidence.expected_ids, evidence.listing or ())
    else:
        assert verdict.reason is not None
