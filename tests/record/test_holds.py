"""What holds retention: opened by what runs show, lifted by the contrary or by a person's word (promise P5)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from highball.errors import Misuse, NotAllowed, Unknown
from highball.hub.audit import Actor
from highball.hub.runs.record import Record
from highball.hub.storage.database import Database, open_database
from highball.hub.storage.dialects import WRITING, open_engine
from highball.hub.storage.schema import audit
from highball.hub.storage.upgrade import migrate
from highball.model.run import (
    Action,
    Outcome,
    Reason,
)
from highball.model.standing import HoldCause
from highball.protocol.tasks import VerifyTask

from .stories import START, Story, back_up, check, run_id, snapshot

ANNA = Actor("anna")


def causes(record: Record) -> list[HoldCause]:
    return [hold.cause for hold in record.holds.list_open()]


def prove(record: Record, number: int, outcome: Outcome, code: str, job: str | None = "docs") -> None:
    """A restore test."""
    story = Story(number, VerifyTask(repository="nas", snapshot_id="a" * 64), job=job)
    story.step(Action.VERIFY, outcome, reason=Reason(code=code, message=code)).into(record)


def test_a_shrunken_newest_holds_its_own_set_until_one_of_the_usual_size_follows(record: Record) -> None:
    first = back_up(record, 1, 1000)
    second = back_up(record, 2, 10, before=[first], warnings=["shrank"])
    [hold] = record.holds.list_open()
    assert (hold.cause, hold.repository, hold.job, hold.set) == ("newest_shrank", "nas", "docs", "files")
    assert (hold.run, hold.about, hold.acceptable) == (run_id(2), second, True)
    third = back_up(record, 3, 11, before=[first, second], warnings=["shrank"])
    [again] = record.holds.list_open()
    assert (again.id, again.since, again.about) == (hold.id, hold.since, third), (
        "one hold, from its beginning"
    )
    back_up(record, 4, 1000, before=[first, second, third])
    assert causes(record) == []


def test_an_older_backup_that_is_told_late_changes_nothing_about_the_newest(record: Record) -> None:
    late = Story(1).step(snapshot_id="1" * 64, bytes_processed=1000, shows=[snapshot("1" * 64)])
    back_up(record, 2, 10, warnings=["shrank"])
    late.into(record)
    assert causes(record) == ["newest_shrank"]


def test_damage_holds_the_whole_repository_until_a_check_succeeds_whatever_is_told_last(
    record: Record,
) -> None:
    check(record, 3, None, Outcome.FAILURE, "repository_damaged")
    check(record, 1, None, Outcome.SUCCESS)
    [hold] = record.holds.list_open()
    assert (hold.cause, hold.job, hold.acceptable) == ("check_failed", None, False)
    for lift in (
        lambda: record.holds.accept(hold.id, ANNA, START),
        lambda: record.holds.accept_repository("nas", ANNA, START),
        lambda: record.holds.accept_run(run_id(3), ANNA, START),
    ):
        with pytest.raises(NotAllowed, match="until a check succeeds"):
            lift()
    check(record, 5, None, Outcome.SUCCESS)
    check(record, 4, None, Outcome.FAILURE, "repository_damaged")
    assert causes(record) == []


def test_a_failed_restore_test_holds_its_job_there_until_one_succeeds(record: Record) -> None:
    prove(record, 1, Outcome.FAILURE, "unreachable")
    assert causes(record) == []
    prove(record, 2, Outcome.FAILURE, "proof_failed")
    prove(record, 3, Outcome.SUCCESS, "compared", job="other")
    [hold] = record.holds.list_open()
    assert (hold.cause, hold.job, hold.set) == ("restore_test_failed", "docs", None)
    prove(record, 4, Outcome.SUCCESS, "compared")
    assert causes(record) == []


def test_what_others_deleted_holds_until_it_is_back_or_a_person_accepts_it(
    record: Record, database: Database
) -> None:
    first = back_up(record, 1, 5)
    second = back_up(record, 2, 5, before=[first])
    third = back_up(record, 3, 5)
    assert causes(record) == ["deleted_elsewhere"]
    back_up(record, 4, 5, before=[first, third])
    assert causes(record) == ["deleted_elsewhere"], "one of the two is still away"
    back_up(record, 5, 5, before=[first, second, third, f"{4:064x}"])
    assert causes(record) == []
    back_up(record, 6, 5, before=[first])
    [hold] = record.holds.accept_repository("nas", ANNA, START + timedelta(days=1), "tidied up by hand")
    assert "deleted elsewhere" in hold.message
    back_up(record, 7, 5, before=[first, f"{6:064x}"])
    assert causes(record) == [], "what was accepted holds no more"
    with database.read() as connection:
        [row] = connection.execute(sa.select(audit)).all()
    assert (row.actor, row.action, row.kind, row.key) == ("anna", "accepted", "repository", "nas")
    assert (row.message, row.before["cause"]) == ("tidied up by hand", "deleted_elsewhere")


def test_a_word_for_what_does_not_hold_is_refused(record: Record) -> None:
    with pytest.raises(Unknown):
        record.holds.accept("0" * 36, ANNA, START)
    with pytest.raises(Misuse):
        record.holds.accept_repository("nas", ANNA, START)
    assert record.holds.accept_run(run_id(1), ANNA, START) == []


def test_the_word_for_one_run_is_not_good_for_one_that_is_smaller_still(record: Record) -> None:
    first = back_up(record, 1, 1000)
    second = back_up(record, 2, 100, before=[first], warnings=["shrank"])
    back_up(record, 3, 1, before=[first, second], warnings=["shrank"])
    assert record.holds.accept_run(run_id(2), ANNA, START) == []
    assert len(record.holds.accept_run(run_id(3), ANNA, START)) == 1


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Path]:
    """A database of the program before holds, in which one set's newest shrank and one repository is damaged."""
    path = tmp_path / "older.db"
    at = "2026-03-01T02:00:00.000000Z"
    with open_engine(path).execution_options(**WRITING).begin() as connection:
        migrate(connection, "0006")
        insert = sa.text(
            'insert into snapshots (repository, id, host, job, "set", run, time, shrank) values'
            " ('nas', :id, 'here', :job, 'files', :run, :time, :shrank)"
        )
        for number, job, shrank in (
            (1, "docs", True),
            (2, "docs", True),
            (3, "pics", True),
            (4, "pics", False),
        ):
            time = f"2026-03-0{number}T02:00:00.000000Z"
            row = {"id": str(number) * 64, "job": job, "run": run_id(number), "time": time, "shrank": shrank}
            connection.execute(insert, row)
        connection.execute(
            sa.text(
                "insert into runs (id, kind, action, host, state, created_at, last_seq)"
                " values (:id, 'maintenance', 'check', 'here', 'done', :at, 0)"
            ),
            {"id": run_id(9), "at": at},
        )
        told = {"reason": {"code": "repository_damaged", "message": "it is"}}
        connection.execute(
            sa.text(
                "insert into steps (run, number, action, repository, outcome, ended_at, account)"
                " values (:run, 1, 'check', 'far', 'failure', :at, :told)"
            ),
            {"run": run_id(9), "at": at, "told": json.dumps(told)},
        )
    yield path


def test_what_held_before_holds_were_objects_goes_on_holding(older: Path) -> None:
    record = Record(open_database(older))
    found = {(hold.repository, hold.job, hold.cause.value, hold.about) for hold in record.holds.list_open()}
    assert found == {("nas", "docs", "newest_shrank", "2" * 64), ("far", None, "check_failed", None)}
    assert len(record.holds.accept_run(run_id(2), ANNA, START)) == 1
