"""Each nominal time becomes one run: queued, skipped, missed; none is lost, and none comes twice."""

from __future__ import annotations

from datetime import timedelta

import pytest

from config.declared import document
from highball.errors import Misuse, Unknown
from highball.hub.audit import Actor
from highball.hub.runs.subjects import Planned, planned_of
from highball.hub.storage.schema import (
    audit,
    fires,
    pauses,
    runs,
)
from highball.model.run import Action
from highball.schedule import (
    Schedule,
    fire_id,
    jitter_of,
)
from scheduler.plans import HOST, Clockwork, at, plan

ANNA = Actor("anna")
HOUR = timedelta(hours=1)
DAILY = plan()
HOURLY = plan("0 * * * *")

# --- a fire ------------------------------------------------------------------------------------------


def test_a_fire_becomes_a_queued_run_once(clockwork: Clockwork) -> None:
    clockwork.plan("06-01 00:00", DAILY)
    assert clockwork.tick("06-01 02:59:59") == []
    (fired,) = clockwork.tick("06-01 03:00")
    assert clockwork.tick("06-01 03:00") == []
    (row,) = clockwork.rows(runs)
    assert row.id == fired.run == fire_id("backup:docs", HOST, "backup", at("06-01 03:00"))
    assert (row.kind, row.action, row.job, row.repository, row.host) == (
        "backup",
        "backup",
        "docs",
        None,
        HOST,
    )
    assert (row.state, row.outcome, row.origin, row.actor) == ("queued", None, "schedule", "hub")
    assert (row.subject, row.nominal_at, row.order) == ("backup:docs", at("06-01 03:00"), {"task": "backup"})
    (fire,) = clockwork.rows(fires)
    assert (fire.next_at, fire.due_at, fire.fired_at) == (
        at("06-02 03:00"),
        at("06-02 03:00"),
        at("06-01 03:00"),
    )


@pytest.mark.parametrize(
    ("subject", "kind", "action", "job", "repository", "task"),
    [
        ("backup:docs", "backup", "backup", "docs", None, "backup"),
        ("discard:nas", "maintenance", "forget", None, "nas", "discard"),
        ("check:nas", "maintenance", "check", None, "nas", "check"),
        ("verify:nas:docs", "maintenance", "verify", "docs", "nas", "verify"),
        ("hub-backup:hub", "maintenance", "backup", None, None, "hub-backup"),
        ("history:hub", "maintenance", "history", None, None, "history"),
    ],
)
def test_what_is_fired_is_told_in_the_run(
    clockwork: Clockwork, subject: str, kind: str, action: str, job: str, repository: str, task: str
) -> None:
    clockwork.plan("06-01 00:00", plan(subject=subject))
    clockwork.tick("06-01 03:00")
    (row,) = clockwork.rows(runs)
    assert (row.kind, row.action, row.job, row.repository) == (kind, action, job, repository)
    assert row.order == {"task": task}


def test_the_id_of_a_fire_never_changes() -> None:
    """Agents of other versions compute it too."""
    found = fire_id("backup:docs", "web1", "backup", at("06-01 03:00"))
    assert found == "5ad77d62-c8ff-5a21-afb1-40359e9e5f9c"
    assert found == fire_id("backup:docs", "web1", "backup", at("2026-06-01T05:00:00+02:00"))


def test_a_fire_that_meets_its_own_job_is_skipped(clockwork: Clockwork) -> None:
    clockwork.plan("06-01 00:00", HOURLY)
    clockwork.tick("06-01 01:00")
    (fired,) = clockwork.tick("06-01 02:00")
    assert fired.outcome == "skipped"
    clockwork.finish()
    clockwork.tick("06-01 03:00")
    assert clockwork.told() == ["06-01 01:00 success", "06-01 02:00 skipped", "06-01 03:00 queued"]
    row = next(row for row in clockwork.rows(runs) if row.outcome == "skipped")
    assert (row.reason_code, row.order) == ("still_running", None)
    assert row.reason_message == "skipped: the previous run is still waiting to run"


def test_a_run_by_hand_counts_as_its_own_job(clockwork: Clockwork) -> None:
    clockwork.plan("06-01 00:00", DAILY, plan(subject="discard:nas"))
    told = {"host": HOST, "state": "running", "created_at": at("06-01 02:00"), "last_seq": 0}
    with clockwork.database.write() as connection:
        connection.execute(runs.insert().values(id="a", kind="backup", action="backup", job="docs", **told))
        prune = {"kind": "maintenance", "action": "prune", "repository": "nas"}
        connection.execute(runs.insert().values(id="b", **prune, **told))
        restore = {"kind": "restore", "action": "restore", "job": "docs", "repository": "nas"}
        connection.execute(runs.insert().values(id="c", **restore, **told))
    assert [fired.outcome for fired in clockwork.tick("06-01 03:00")] == ["skipped", "skipped"]


def test_a_dry_run_that_goes_on_keeps_no_backup_from_its_time(clockwork: Clockwork) -> None:
    clockwork.plan("06-01 00:00", DAILY)
    row = {"host": HOST, "state": "running", "created_at": at("06-01 02:00"), "last_seq": 0, "job": "docs"}
    told = {"kind": "backup", "action": "backup", "order": {"task": "backup", "dry_run": True}}
    with clockwork.database.write() as connection:
        connection.execute(runs.insert().values(id="a", subject="backup:docs", **told, **row))
    assert [fired.outcome for fired in clockwork.tick("06-01 03:00")] == [None]


def test_ids_that_are_known_are_left_as_they_are(clockwork: Clockwork) -> None:
    clockwork.plan("06-01 00:00", DAILY)
    clockwork.report("06-01 03:00")
    assert clockwork.tick("06-01 03:00") == []
    assert clockwork.told() == ["06-01 03:00 success"]
    assert clockwork.due() == at("06-02 03:00")


# --- missed fires --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planned", "now", "expected"),
    [
        (DAILY, "06-01 14:00", ["06-01 03:00 queued"]),
        (DAILY, "06-02 02:59", ["06-01 03:00 queued"]),
        (DAILY, "06-02 03:00", ["06-01 03:00+0 missed", "06-02 03:00 queued"]),
        (DAILY, "06-05 12:00", ["06-01 03:00+3 missed", "06-05 03:00 queued"]),
        (HOURLY, "06-01 03:30", ["06-01 01:00+1 missed", "06-01 03:00 queued"]),
        # office hours: on Monday morning Friday's is not made up for
        (plan("0 9-17 * * 1-5"), "06-01 09:30", ["06-01 09:00 queued"]),
        (plan("0 9-17 * * 1-5"), "06-01 18:30", ["06-01 09:00+8 missed"]),
        (plan("0 9-17 * * 1-5"), "06-01 17:59", ["06-01 09:00+7 missed", "06-01 17:00 queued"]),
        # as settled
        (plan(catch_up=2 * HOUR), "06-01 04:59", ["06-01 03:00 queued"]),
        (plan(catch_up=2 * HOUR), "06-01 05:00", ["06-01 03:00+0 missed"]),
        (plan(catch_up=timedelta(0)), "06-01 03:00:59", ["06-01 03:00 queued"]),
        (plan(catch_up=timedelta(0)), "06-01 03:01", ["06-01 03:00+0 missed"]),
        (
            plan("0 9-17 * * 1-5", catch_up=72 * HOUR),
            "06-01 23:00",
            ["06-01 09:00+7 missed", "06-01 17:00 queued"],
        ),
        # a clock that jumps by years
        (HOURLY, "2028-06-01 00:30", ["06-01 01:00+17542 missed", "06-01 00:00 queued"]),
    ],
)
def test_the_newest_runs_if_it_is_not_too_late(
    clockwork: Clockwork, planned: Planned, now: str, expected: list[str]
) -> None:
    clockwork.plan("06-01 00:00", planned)
    while clockwork.tick(now):
        pass
    assert clockwork.told() == expected


def test_a_row_of_missed_times_is_one_run_with_first_last_and_count(clockwork: Clockwork) -> None:
    clockwork.plan("06-01 00:00", plan(catch_up=timedelta(0)))
    clockwork.tick("06-03 04:00")
    (row,) = clockwork.rows(runs)
    assert row.id == fire_id("backup:docs", HOST, "backup", at("06-01 03:00"))
    assert (row.nominal_at, row.missed_last, row.missed_count) == (at("06-01 03:00"), at("06-03 03:00"), 3)
    assert (row.state, row.outcome, row.reason_code) == ("done", "missed", "missed")
    assert (row.reason_message, row.ended_at) == ("missed 3 times in a row", at("06-03 04:00"))
    clockwork.tick("06-04 04:00")
    assert clockwork.told() == ["06-01 03:00+3 missed"]
    clockwork.tick("06-05 03:00")
    clockwork.tick("06-06 04:00")
    assert clockwork.told() == ["06-01 03:00+3 missed", "06-05 03:00 queued", "06-06 03:00+0 missed"]


def test_nothing_is_missed_before_the_host_has_told_what_it_ran_itself(clockwork: Clockwork) -> None:
    clockwork.reported = frozenset()
    clockwork.plan("06-01 00:00", HOURLY)
    clockwork.tick("06-01 06:30")
    assert clockwork.told() == ["06-01 06:00 queued"]
    clockwork.report("06-01 02:00")
    clockwork.report("06-01 03:00")
    assert clockwork.tick("06-01 06:31") == []
    clockwork.reported = frozenset({HOST})
    clockwork.tick("06-01 06:32")
    assert clockwork.told() == [
        "06-01 01:00+0 missed",
        "06-01 02:00 success",
        "06-01 03:00 success",
        "06-01 04:00+1 missed",
        "06-01 06:00 queued",
    ]
    assert clockwork.tick("06-01 06:33") == []


def test_what_a_host_ran_itself_is_not_missed_although_it_told_late(clockwork: Clockwork) -> None:
    """Its newest run waits in the queue; what comes meanwhile may be run by the host itself."""
    clockwork.reported = frozenset()
    clockwork.plan("06-01 00:00", HOURLY)
    for hour in range(1, 7):
        clockwork.tick(f"06-01 0{hour}:00")
    assert clockwork.told() == ["06-01 01:00 queued"]
    clockwork.report("06-01 04:00")
    clockwork.reported = frozenset({HOST})
    clockwork.tick("06-01 06:30")
    assert clockwork.told() == [
        "06-01 01:00 queued",
        "06-01 02:00+1 missed",
        "06-01 04:00 success",
        "06-01 05:00+1 missed",
    ]


def test_what_waits_for_a_report_outlives_an_edit_and_the_end_of_the_job(clockwork: Clockwork) -> None:
    clockwork.reported = frozenset()
    clockwork.plan("06-01 00:00", HOURLY)
    clockwork.tick("06-01 04:30")
    clockwork.plan("06-01 04:40", DAILY)
    clockwork.plan("06-01 04:50")
    assert len(clockwork.rows(fires)) == 1
    assert clockwork.scheduler.upcoming(5, at("06-01 04:50")) == []
    clockwork.plan("06-01 04:55")
    clockwork.report("06-01 02:00")
    clockwork.reported = frozenset({HOST})
    clockwork.tick("06-01 05:00")
    assert clockwork.told() == [
        "06-01 01:00+0 missed",
        "06-01 02:00 success",
        "06-01 03:00+0 missed",
        "06-01 04:00 queued",
    ]
    assert clockwork.rows(fires) == []


# --- clocks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "cron", "start", "times"),
    [
        # 2026-03-29, Berlin: 02:00 is 03:00.  2026-10-25: 03:00 is 02:00.
        ("Europe/Berlin", "30 2 * * *", "03-28 12:00", ["03-29 01:00", "03-30 00:30"]),
        ("Europe/Berlin", "30 2 * * *", "10-24 12:00", ["10-25 00:30", "10-26 01:30"]),
        ("Europe/Berlin", "0 * * * *", "03-29 00:00", ["03-29 01:00", "03-29 02:00"]),
        ("Europe/Berlin", "0 * * * *", "10-24 23:30", ["10-25 00:00", "10-25 01:00", "10-25 02:00"]),
        ("Europe/Berlin", "0 3 * * *", "03-28 12:00", ["03-29 01:00", "03-30 01:00"]),
        ("Europe/Berlin", "0 3 * * *", "10-24 12:00", ["10-25 02:00", "10-26 02:00"]),
        # 2026-03-08, New York: 02:00 is 03:00.  2026-11-01: 02:00 is 01:00.
        ("America/New_York", "30 2 * * *", "03-07 12:00", ["03-08 07:00", "03-09 06:30"]),
        ("America/New_York", "30 1 * * *", "10-31 12:00", ["11-01 05:30", "11-02 06:30"]),
        ("America/New_York", "0 * * * *", "03-08 06:30", ["03-08 07:00", "03-08 08:00"]),
        ("America/New_York", "0 * * * *", "11-01 04:30", ["11-01 05:00", "11-01 06:00", "11-01 07:00"]),
    ],
)
def test_each_time_comes_once_where_clocks_change(
    clockwork: Clockwork, zone: str, cron: str, start: str, times: list[str]
) -> None:
    clockwork.plan(start, plan(cron, zone=zone))
    now = at(start)
    while now <= at(times[-1]):
        clockwork.scheduler.tick(now, clockwork.reported)
        clockwork.finish(now=f"{now:%Y-%m-%d %H:%M}")
        now += timedelta(minutes=10)
    assert clockwork.told() == [f"{time} success" for time in times]


def test_a_clock_that_is_set_back_fires_nothing_again(clockwork: Clockwork) -> None:
    clockwork.plan("06-01 00:00", HOURLY)
    clockwork.tick("06-01 02:00")
    clockwork.finish()
    for minute in range(30, 60):
        assert clockwork.tick(f"06-01 00:{minute}") == []
    assert clockwork.tick("06-01 02:00") == []
    clockwork.plan("06-01 01:00", plan("*/30 * * * *"))
    assert clockwork.tick("06-01 02:00") == []
    clockwork.tick("06-01 02:30")
    assert clockwork.told() == ["06-01 01:00+0 missed", "06-01 02:00 success", "06-01 02:30 queued"]


# --- a delay by chance ---------------------------------------------------------------------------------


def test_jitter_delays_the_run_and_not_its_nominal_time(clockwork: Clockwork) -> None:
    planned = plan(jitter=HOUR)
    late = jitter_of("backup:docs", HOST, planned.schedule)
    assert timedelta(0) < late < HOUR
    clockwork.plan("06-01 00:00", planned)
    assert clockwork.due() == at("06-01 03:00") + late
    assert clockwork.scheduler.tick(at("06-01 03:00") + late - timedelta(seconds=1), {HOST}) == []
    (fired,) = clockwork.scheduler.tick(at("06-01 03:00") + late, {HOST})
    assert fired.nominal_at == at("06-01 03:00")
    assert clockwork.due() == at("06-02 03:00") + late


def test_jitter_is_stable_and_spreads() -> None:
    schedule = Schedule(cron="daily", jitter=timedelta(minutes=10))
    found = [jitter_of(f"backup:job{n}", HOST, schedule) for n in range(600)]
    assert found == [jitter_of(f"backup:job{n}", HOST, schedule) for n in range(600)]
    assert all(timedelta(0) <= late <= timedelta(minutes=10) for late in found)
    assert min(found) < timedelta(minutes=1)
    assert max(found) > timedelta(minutes=9)
    assert jitter_of("backup:docs", HOST, Schedule(cron="daily")) == timedelta(0)


def test_a_time_whose_jitter_runs_while_it_is_edited_is_not_lost(clockwork: Clockwork) -> None:
    planned = plan(jitter=HOUR)
    due_at = at("06-01 03:00") + jitter_of("backup:docs", HOST, planned.schedule)
    clockwork.plan("06-01 00:00", planned)
    clockwork.plan("06-01 03:01", plan("0 12 * * *"))
    (row,) = clockwork.rows(runs)
    assert (row.state, row.nominal_at, row.not_before) == ("queued", at("06-01 03:00"), due_at)
    assert clockwork.due() == at("06-01 12:00")


# --- what is planned -----------------------------------------------------------------------------------


def test_the_table_equals_what_is_planned(clockwork: Clockwork) -> None:
    check = plan("0 2 * * 0", "check:nas", host="nas1")
    clockwork.plan("06-01 00:00", DAILY, check, plan("manual", "backup:rare"))
    assert {(row.subject, row.host, row.next_at) for row in clockwork.rows(fires)} == {
        ("backup:docs", HOST, at("06-01 03:00")),
        ("check:nas", "nas1", at("06-07 02:00")),
        ("backup:rare", HOST, None),
    }
    before = clockwork.rows(fires)
    clockwork.plan("06-01 02:00", DAILY, check, plan("manual", "backup:rare"))
    assert clockwork.rows(fires) == before
    clockwork.plan("06-01 02:00", check)
    assert [row.subject for row in clockwork.rows(fires)] == ["check:nas"]


@pytest.mark.parametrize(
    ("before", "after", "told", "due"),
    [
        (HOURLY, DAILY, ["06-01 01:00+0 missed", "06-01 02:00 queued"], "06-01 03:00"),
        (HOURLY, plan("30 * * * *"), ["06-01 01:00+0 missed", "06-01 02:00 queued"], "06-01 02:30"),
        (
            HOURLY,
            plan("0 * * * *", host="nas1"),
            ["06-01 01:00+0 missed", "06-01 02:00 queued"],
            "06-01 03:00",
        ),
        (DAILY, HOURLY, [], "06-01 03:00"),
        (DAILY, plan(zone="Europe/Berlin"), [], "06-02 01:00"),
        (HOURLY, plan("manual"), ["06-01 01:00+0 missed", "06-01 02:00 queued"], None),
    ],
)
def test_an_edit_loses_and_doubles_nothing(
    clockwork: Clockwork, before: Planned, after: Planned, told: list[str], due: str | None
) -> None:
    """Nobody ticked since midnight; at 02:10 the schedule changes."""
    clockwork.plan("06-01 00:00", before)
    clockwork.plan("06-01 02:10", after)
    clockwork.tick("06-01 02:10")
    assert clockwork.told() == told
    assert clockwork.due() == (due and at(due))


def test_a_time_that_came_just_before_the_end_of_a_job_has_an_outcome(clockwork: Clockwork) -> None:
    clockwork.plan("06-01 00:00", DAILY)
    (fired,) = clockwork.plan("06-01 03:01")
    assert fired.outcome == "skipped"
    (row,) = clockwork.rows(runs)
    assert (row.reason_code, row.reason_message) == ("unplanned", "skipped: no longer scheduled")
    assert clockwork.rows(fires) == []


def test_prunes_and_restore_tests_have_times_of_their_own() -> None:
    times = {
        "discard_schedule": ["weekly", "after-backup"],
        "prune_schedule": "monthly",
        "verify_schedule": "daily",
    }
    job = {"sources": ["/srv"], "repositories": ["nas"]}
    declared = document(
        repositories={"nas": {"url": "/nas", "password": {"env": "X"}, **times}},
        hosts={"web": {}},
        jobs={"docs": job, "site": {**job, "host": "web"}, "idle": {**job, "enabled": False}},
    )
    found = [one for one in planned_of(declared, "hub") if one.subject.split(":")[1] == "nas"]
    assert [(one.subject, one.action, one.host) for one in found] == [
        ("discard:nas", Action.FORGET, "hub"),
        ("prune:nas", Action.PRUNE, "hub"),
        ("check:nas", Action.CHECK, "hub"),
        ("verify:nas:docs", Action.VERIFY, "hub"),
        ("verify:nas:site", Action.VERIFY, "web"),
    ]


def test_what_a_document_wants() -> None:
    declared = document(
        {"schedule": "hourly"},
        settings={"timezone": "Europe/Berlin"},
        repositories={
            "far": {"url": "/far", "password": {"env": "X"}, "maintained_by": "nas1"},
            "old": {"url": "/o", "password": {"env": "X"}, "maintenance": "off", "accept_growth": True},
        },
        jobs={
            "docs": {"sources": ["/srv"], "repositories": ["nas"], "schedule": "hourly"},
            "idle": {"sources": ["/srv"], "repositories": ["nas"], "enabled": False},
        },
    )
    found = planned_of(declared, "hub")
    assert [(one.subject, one.action, one.host, one.schedule.expression) for one in found] == [
        ("backup:docs", Action.BACKUP, "hub", "0 * * * *"),
        ("discard:nas", Action.FORGET, "hub", "0 3 * * *"),
        ("check:nas", Action.CHECK, "hub", "0 2 * * 0"),
        ("discard:far", Action.FORGET, "nas1", "0 3 * * *"),
        ("check:far", Action.CHECK, "nas1", "0 2 * * 0"),
        ("hub-backup:hub", Action.BACKUP, "hub", "0 4 * * *"),
        ("history:hub", Action.HISTORY, "hub", "30 4 * * *"),
    ]
    assert {one.timezone for one in found} == {"Europe/Berlin"}


def test_a_schedule_that_cannot_be_read_stops_no_other(
    clockwork: Clockwork, caplog: pytest.LogCaptureFixture
) -> None:
    """A zone, say, that an update of the system took away; the next reconciling makes it good."""
    clockwork.plan("06-01 00:00", DAILY, plan(subject="backup:other"))
    with clockwork.database.write() as connection:
        broken = '{"schedule":{"cron":"daily","timezone":"Europe/Atlantis"}}'
        here = fires.c.subject == "backup:docs"
        connection.execute(fires.update().where(here).values(schedule=broken))
    assert [fired.subject for fired in clockwork.tick("06-01 03:00")] == ["backup:other"]
    assert "backup:docs does not fire, for its schedule cannot be read" in caplog.text
    clockwork.plan("06-01 03:30", DAILY, plan(subject="backup:other"))
    assert clockwork.due() == at("06-02 03:00")


# --- pauses --------------------------------------------------------------------------------------------


def test_paused_means_no_fires_and_nothing_missed(clockwork: Clockwork) -> None:
    clockwork.plan("06-01 00:00", HOURLY)
    clockwork.scheduler.pause("backup:docs", at("06-01 03:30"), ANNA, at("06-01 00:30"), "moving house")
    clockwork.tick("06-01 01:00")
    clockwork.tick("06-01 03:00")
    (pause,) = clockwork.scheduler.list_pauses(at("06-01 03:00"))
    assert (pause.until, pause.actor, pause.reason) == (at("06-01 03:30"), "anna", "moving house")
    assert clockwork.told() == []
    clockwork.tick("06-01 04:00")
    assert clockwork.told() == ["06-01 04:00 queued"]
    assert clockwork.rows(pauses) == []


def test_a_pause_that_began_and_ended_while_the_hub_was_down(clockwork: Clockwork) -> None:
    clockwork.plan("06-01 00:00", HOURLY)
    clockwork.scheduler.pause("backup:docs", at("06-01 02:30"), ANNA, at("06-01 00:30"))
    clockwork.tick("06-01 05:10")
    assert clockwork.told() == ["06-01 03:00+1 missed", "06-01 05:00 queued"]
    assert clockwork.rows(pauses) == []


def test_a_pause_holds_until_somebody_resumes_it(clockwork: Clockwork) -> None:
    clockwork.plan("06-01 00:00", HOURLY)
    clockwork.scheduler.pause("backup:docs", None, ANNA, at("06-01 01:10"))
    assert clockwork.told() == ["06-01 01:00 queued"]
    clockwork.finish()
    clockwork.tick("07-01 00:00")
    clockwork.scheduler.resume("backup:docs", Actor("bert"), at("07-01 02:10"))
    clockwork.tick("07-01 02:10")
    assert clockwork.told() == ["06-01 01:00 success"]
    clockwork.tick("07-01 03:00")
    assert clockwork.told() == ["06-01 01:00 success", "07-01 03:00 queued"]
    told = [(row.actor, row.action, row.kind, row.key) for row in clockwork.rows(audit)]
    assert told == [
        ("anna", "paused", "schedule", "backup:docs"),
        ("bert", "resumed", "schedule", "backup:docs"),
    ]


def test_a_pause_is_changed_by_another_and_holds_when_its_job_comes_back(clockwork: Clockwork) -> None:
    clockwork.plan("06-01 00:00", HOURLY)
    clockwork.scheduler.pause("backup:docs", at("06-01 02:00"), ANNA, at("06-01 00:10"))
    clockwork.scheduler.pause("backup:docs", at("06-01 09:00"), ANNA, at("06-01 00:20"))
    (pause,) = clockwork.scheduler.list_pauses(at("06-01 00:20"))
    assert (pause.since, pause.until) == (at("06-01 00:10"), at("06-01 09:00"))
    clockwork.plan("06-01 00:30")
    assert clockwork.scheduler.list_pauses(at("06-01 00:30")) == [], "nothing is scheduled that it is about"
    clockwork.plan("06-01 00:40", HOURLY)
    assert clockwork.scheduler.list_pauses(at("06-01 00:40")) == [pause]
    clockwork.tick("06-01 01:00")
    assert clockwork.told() == []
    clockwork.tick("06-01 09:00")
    assert clockwork.told() == ["06-01 09:00 queued"]


def test_pauses_that_make_no_sense_are_refused(clockwork: Clockwork) -> None:
    clockwork.plan("06-01 00:00", HOURLY)
    with pytest.raises(Unknown, match='nothing is scheduled as "backup:dogs"'):
        clockwork.scheduler.pause("backup:dogs", None, ANNA, at("06-01 00:10"))
    with pytest.raises(Misuse, match="a pause must end in the future"):
        clockwork.scheduler.pause("backup:docs", at("06-01 00:10"), ANNA, at("06-01 00:10"))
    clockwork.scheduler.resume("backup:docs", ANNA, at("06-01 00:10"))
    assert clockwork.rows(audit) == []


def test_everything_is_paused_at_once_and_no_longer_pause_is_cut_short(clockwork: Clockwork) -> None:
    every = [
        DAILY,
        plan("0 * * * *", "backup:pics"),
        plan("0 * * * *", "backup:music"),
        plan("0 4 * * *", "check:nas"),
    ]
    clockwork.plan("06-01 00:00", *every)
    scheduler, until, now = clockwork.scheduler, at("06-03 06:00"), at("06-01 00:10")
    scheduler.pause("backup:pics", None, ANNA, now)
    scheduler.pause("backup:music", at("06-02 06:00"), ANNA, now)
    assert scheduler.pause_all(until, ANNA, now) == ["backup:docs", "backup:music"]
    assert {one.subject: one.until for one in scheduler.list_pauses(now)} == {
        "backup:docs": until,
        "backup:music": until,
        "backup:pics": None,
    }
    assert scheduler.pause_all(until, ANNA, now, maintenance=True) == ["check:nas"]
    clockwork.tick("06-02 12:00")
    assert clockwork.told() == []
    with pytest.raises(Misuse, match="a pause must end in the future"):
        scheduler.pause_all(now, ANNA, now)
    clockwork.tick("06-03 06:00")
    assert [one.subject for one in scheduler.list_pauses(at("06-03 06:00"))] == ["backup:pics"]
    assert scheduler.resume_all(ANNA, at("06-03 06:00")) == ["backup:pics"]
    assert scheduler.resume_all(ANNA, at("06-03 06:00")) == []
    assert clockwork.rows(pauses) == []


# --- what comes next -----------------------------------------------------------------------------------


def test_upcoming_is_in_the_order_in_which_it_is_due(clockwork: Clockwork) -> None:
    spread = [plan("0 3 * * *", f"discard:nas{number}", jitter=HOUR) for number in range(5)]
    clockwork.plan("06-01 00:00", *spread, plan("5 3 * * *", "backup:docs"))
    due = [one.due_at for one in clockwork.scheduler.upcoming(12, at("06-01 00:00"))]
    assert due == sorted(due) and len(set(due[:6])) == 6
    assert [one.due_at for one in clockwork.scheduler.upcoming(2, at("06-01 00:00"))] == due[:2]


def test_upcoming_is_in_order_and_without_what_is_paused(clockwork: Clockwork) -> None:
    every = plan("*/20 * * * *", "backup:often")
    clockwork.plan(
        "06-01 00:00", DAILY, every, plan("15 * * * *", "backup:held"), plan("25 * * * *", "backup:rests")
    )
    clockwork.scheduler.pause("backup:held", None, ANNA, at("06-01 00:00"))
    clockwork.scheduler.pause("backup:rests", at("06-01 01:00"), ANNA, at("06-01 00:00"))
    found = [(f"{one.at:%H:%M}", one.subject) for one in clockwork.scheduler.upcoming(6, at("06-01 00:00"))]
    assert found == [
        ("00:20", "backup:often"),
        ("00:40", "backup:often"),
        ("01:00", "backup:often"),
        ("01:20", "backup:often"),
        ("01:25", "backup:rests"),
        ("01:40", "backup:often"),
    ]


def test_next_of_tells_when_a_subject_fires(clockwork: Clockwork) -> None:
    clockwork.plan("06-01 00:00", plan(jitter=HOUR), plan("manual", "backup:rare"))
    late = jitter_of("backup:docs", HOST, plan(jitter=HOUR).schedule)
    found = clockwork.scheduler.next_of("backup:docs", at("06-01 00:00"))
    assert found and (found.at, found.due_at) == (at("06-01 03:00"), at("06-01 03:00") + late)
    assert clockwork.scheduler.next_of("backup:rare", at("06-01 00:00")) is None
    assert clockwork.scheduler.next_of("backup:none", at("06-01 00:00")) is None
    clockwork.scheduler.pause("backup:docs", at("06-03 00:00"), ANNA, at("06-01 00:00"))
    found = clockwork.scheduler.next_of("backup:docs", at("06-01 00:00"))
    assert found and found.at == at("06-03 03:00")
