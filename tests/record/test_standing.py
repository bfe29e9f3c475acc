"""How many jobs stand at once, and how their days went: the same as told job by job from the record."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from highball.config.document import (
    Document,
    build,
    effective_job,
)
from highball.hub.runs.holds import covering
from highball.hub.runs.ingest import SetOf
from highball.hub.runs.record import Record
from highball.hub.status.daily_outcomes import DAYS, list_strips
from highball.hub.status.health import has_failed, list_standings
from highball.hub.storage.database import Database, new_run_id
from highball.hub.storage.schema import runs
from highball.model.run import (
    Action,
    Outcome,
    Reason,
)
from highball.model.snapshot import FILES_SET
from highball.model.standing import Standing
from highball.protocol.tasks import VerifyTask
from highball.schedule import health
from record.stories import START, Story, check, measure, snapshot

SCHEDULES = ("hourly", "daily", "manual", "30 4 * * 1-5", {"cron": "0 3 * * *", "timezone": "Asia/Tokyo"})
NOW = START + timedelta(hours=201)
CHANCE = 20260301


def many_jobs(count: int) -> Document:
    repository = {"password": {"env": "X"}}
    return build(
        {
            "settings": {"timezone": "Europe/Vienna"},
            "repositories": {key: {"url": f"/mnt/{key}", **repository} for key in ("nas", "far")},
            "jobs": {
                f"job-{n}": {
                    "sources": ["/data"],
                    "repositories": ["nas", "far"][: 1 + n % 2],
                    "schedule": SCHEDULES[n % len(SCHEDULES)],
                }
                for n in range(count)
            },
        }
    )


def count_failures(record: Record, job: str, repository: str, since: datetime | None) -> int:
    """How many backups failed since then, by going through all runs."""
    return sum(
        step.outcome is Outcome.FAILURE
        for run in record.list_runs(job=job, limit=500)
        for step in run.steps
        if step.action is Action.BACKUP and step.repository == repository and step.ended_at is not None
        if since is None or step.ended_at > since
    )


def told_one_by_one(document: Document, record: Record, now: datetime) -> list[Standing]:
    """Each standing by questions of its own."""
    found = []
    for key in document.jobs:
        job = effective_job(document, key)
        for repository in job.repositories:
            good = (Outcome.SUCCESS,)
            last = record.find_last(Action.BACKUP, repository, job=key)
            success = record.find_last(Action.BACKUP, repository, job=key, outcomes=good)
            check_ = record.find_last(Action.CHECK, repository, outcomes=good)
            proof = record.find_last(Action.VERIFY, repository, job=key, outcomes=good)
            governed = record.list_governed(SetOf(repository, "here", key, FILES_SET))
            failed = last is not None and has_failed(last.outcome, last.account.reason)
            state = health(
                success.ended_at if success else None, failed, job.schedule, now, document.settings.timezone
            )
            found.append(
                Standing(
                    job=key,
                    repository=repository,
                    state=state,
                    last_success_at=success.ended_at if success else None,
                    age_seconds=int((now - success.ended_at).total_seconds()) if success else None,
                    snapshots=len(governed),
                    last_outcome=Outcome.FAILURE if failed else last.outcome if last else None,
                    last_reason=last.account.reason if last else None,
                    last_run=last.run if last else None,
                    failures=count_failures(record, key, repository, success.ended_at if success else None),
                    last_check_at=check_.ended_at if check_ else None,
                    last_restore_proof_at=proof.ended_at if proof else None,
                    size_bytes=governed[0].size_bytes if governed else None,
                    repository_bytes=record.find_size(repository),
                    holds=covering(record.holds.list_open(), repository, key),
                )
            )
    return found


def live_through(record: Record, jobs: list[str], chance: random.Random) -> None:
    """Weeks of backups of all endings, verified now and then, with snapshots that went or are missing."""
    for number in range(1, 200):
        job = chance.choice(jobs)
        if chance.random() < 0.1:
            task = VerifyTask(repository="nas", snapshot_id="f")
            outcome = chance.choice([Outcome.SUCCESS, Outcome.FAILURE])
            Story(number, task, job=job).step(Action.VERIFY, outcome).into(record)
            continue
        outcome = chance.choice([*Outcome][:4])
        story = Story(number, job=job)
        made = f"{number:064x}"
        reason = Reason(code=chance.choice(["unreachable", "hook_failed"]), message="it was so")
        facts: dict[str, Any] = {"reason": None if outcome is Outcome.SUCCESS else reason}
        if outcome in (Outcome.SUCCESS, Outcome.WARNING):
            at = story.assignment.created_at
            shows = [snapshot(made, at=at, run=story.run).model_copy(update={"job": job})]
            shows = shows if chance.random() < 0.2 else [*shows, *map(snapshot, held_of(record, job))]
            facts |= {"snapshot_id": made, "bytes_processed": chance.randrange(10**9), "shows": shows}
        story.step(outcome=outcome, **facts).into(record)


def held_of(record: Record, job: str) -> list[str]:
    return [one.id for one in record.list_governed(SetOf("nas", "here", job, FILES_SET))]


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that reach the database meanwhile."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(("BEGIN", "SHOW", "select pg_catalog")):
            seen.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(database.engine, "before_cursor_execute", note)


def test_many_jobs_stand_as_each_stands_alone_and_six_questions_tell(
    database: Database, record: Record
) -> None:
    document = many_jobs(12)
    live_through(record, list(document.jobs)[:10], random.Random(CHANCE))
    check(record, 200, "1/20", Outcome.SUCCESS)
    measure(201).into(record)
    with counted(database) as questions:
        found = list_standings(document, database, "here", NOW, list(document.jobs))
    assert found == told_one_by_one(document, record, NOW)
    assert {one.state for one in found} >= {"never", "overdue", "failed"}
    assert max(one.snapshots for one in found) > 1
    assert max(one.failures for one in found) > 1
    assert len(questions) == 6
    assert list_standings(document, database, "here", NOW, []) == []


def test_a_rehearsal_is_no_backup(database: Database, record: Record) -> None:
    Story(1, job="job-0").step(snapshot_id="1" * 64).into(record)
    Story(2, job="job-0").step(outcome=Outcome.FAILURE).into(record)
    with database.write() as connection:
        rehearsed = runs.c.id == Story(2).run
        connection.execute(runs.update().where(rehearsed).values(order={"task": "backup", "dry_run": True}))
    (one,) = list_standings(many_jobs(1), database, "here", START + timedelta(hours=3), ["job-0"])
    assert one.last_outcome is Outcome.SUCCESS


def test_a_jobs_snapshots_are_those_of_its_own_host(database: Database, record: Record) -> None:
    of_web = {"sources": ["/data"], "repositories": ["nas"], "host": "web"}
    document = build({**many_jobs(0).tables, "hosts": {"web": {}}, "jobs": {"site": of_web}})
    story = Story(1, job="site")
    story.assignment = story.assignment.model_copy(update={"host": "web"})
    shows = [snapshot("1" * 64).model_copy(update={"host": "web"})]
    story.step(snapshot_id="1" * 64, bytes_processed=7, shows=shows).into(record)
    (one,) = list_standings(document, database, "here", START, ["site"])
    assert (one.snapshots, one.size_bytes) == (1, 7)


def test_what_ended_under_a_clock_that_ran_ahead_hides_nothing(database: Database, record: Record) -> None:
    Story(1, job="job-0").step().into(record)
    Story(300, job="job-0").step().into(record)  # days ahead, before the clock was set right
    Story(2, job="job-0").step(outcome=Outcome.FAILURE).into(record)
    (now,) = list_standings(many_jobs(1), database, "here", START + timedelta(hours=2, minutes=1), ["job-0"])
    assert (now.last_run, now.last_outcome, now.state) == (Story(2).run, Outcome.FAILURE, "failed")
    assert (now.age_seconds or 0) > 3600
    (then,) = list_standings(many_jobs(1), database, "here", START + timedelta(hours=301), ["job-0"])
    assert (then.last_run, then.last_outcome) == (Story(300).run, Outcome.SUCCESS)


# --- strips -----------------------------------------------------------------------------------------


def ran(database: Database, job: str, at: datetime, outcome: Outcome | None, **told: Any) -> str:
    run = new_run_id(at, random.getrandbits(74))
    row: dict[str, Any] = {
        "id": run,
        "kind": "backup",
        "action": "backup",
        "job": job,
        "host": "here",
        "state": "done",
    }
    row |= {"created_at": at, "ended_at": at, "last_seq": 1, "outcome": outcome, **told}
    with database.write() as connection:
        connection.execute(runs.insert().values(**row))
    return run


def strip(database: Database, job: str, now: datetime) -> list[Outcome | None]:
    return list(list_strips(many_jobs(3), database, now, [job])[job])


def test_a_day_is_as_bad_as_the_worst_that_ran_on_it(database: Database) -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    for days, outcomes in {
        0: [Outcome.SUCCESS, Outcome.FAILURE, Outcome.WARNING],
        1: [Outcome.SUCCESS, Outcome.SKIPPED],
        2: [Outcome.SUCCESS, Outcome.CANCELLED, Outcome.WARNING],
        DAYS - 1: [Outcome.WARNING, Outcome.SUCCESS],
        DAYS: [Outcome.FAILURE],
    }.items():
        for hours, outcome in enumerate(outcomes):
            ran(database, "job-0", now - timedelta(days=days, hours=hours), outcome)
    ran(database, "job-1", now, Outcome.FAILURE)
    ran(database, "job-0", now, Outcome.FAILURE, kind="restore")
    ran(database, "job-2", now, None, state="running")
    found = strip(database, "job-0", now)
    assert [found[0], *found[-3:]] == ["warning", "cancelled", "success", "failure"]
    assert found[1:-3] == [None] * (DAYS - 4)
    assert strip(database, "job-2", now) == [None] * DAYS


@pytest.mark.parametrize(
    ("at", "day"),
    [
        ("2026-10-24T21:59:59Z", -5),  # the last second of the 24th in Vienna, in summer time
        ("2026-10-24T22:00:00Z", -4),
        ("2026-10-25T22:59:59Z", -4),  # the 25th has 25 hours
        ("2026-10-25T23:00:00Z", -3),
        ("2026-10-28T22:59:59Z", -1),
    ],
)
def test_days_are_cut_where_the_settings_zone_cuts_them(database: Database, at: str, day: int) -> None:
    ran(database, "job-0", datetime.fromisoformat(at), Outcome.SUCCESS)
    found = strip(database, "job-0", datetime(2026, 10, 28, 12, tzinfo=UTC))
    assert [n - DAYS for n, outcome in enumerate(found) if outcome] == [day]


def test_missed_times_show_on_the_days_on_which_they_were_due(database: Database) -> None:
    first, last = datetime(2026, 11, 12, 3, 30, tzinfo=UTC), datetime(2026, 11, 17, 3, 30, tzinfo=UTC)
    row = {"subject": "backup:job-3", "nominal_at": first, "missed_last": last, "missed_count": 4}
    ran(database, "job-3", last + timedelta(days=3), Outcome.MISSED, **row)
    found = list_strips(many_jobs(4), database, datetime(2026, 11, 22, 12, tzinfo=UTC), ["job-3"])["job-3"]
    # Thursday, Friday, Monday, Tuesday: nothing was due at the weekend, nor when it was noticed.
    assert [22 - DAYS + 1 + n for n, outcome in enumerate(found) if outcome is Outcome.MISSED] == [
        12,
        13,
        16,
        17,
    ]


def test_a_row_of_missed_times_that_began_long_ago_reaches_into_the_strip(database: Database) -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    row = {"nominal_at": now - timedelta(days=90), "missed_last": now, "missed_count": 90}
    ran(database, "job-1", now - timedelta(days=89), Outcome.MISSED, subject="backup:job-1", **row)
    assert strip(database, "job-1", now) == [Outcome.MISSED] * DAYS


def test_strips_of_many_jobs_are_told_by_two_questions(database: Database) -> None:
    document = many_jobs(40)
    with counted(database) as questions:
        found = list_strips(document, database, NOW, list(document.jobs))
    assert len(questions) == 2
    assert set(found) == set(document.jobs)
