"""The overview: what needs somebody, how jobs stand, what runs and what is next, as facts in one answer."""

from __future__ import annotations

import html
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from api.whole import ANNA, Whole, whole_hub
from highball.errors import ConfigurationInvalid
from highball.hub.audit import Actor
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.subjects import planned_of
from highball.hub.status.overview import (
    JobFilter,
    Overview,
    ProblemKind,
    StandingProblem,
    look_over,
    survey,
)
from highball.hub.storage.database import new_run_id
from highball.hub.storage.schema import repositories, runs
from highball.model.event import (
    DISK_AWAY,
    RunStarted,
    Statistics,
    Waiting,
)
from highball.model.role import Role
from highball.model.run import (
    Action,
    Outcome,
    Progress,
    Reason,
    RunState,
)
from highball.protocol.tasks import CheckTask, VerifyTask
from record.stories import START, Story, back_up, measure, run_id

SOON = START + timedelta(hours=8)


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """A hub of this test's own: docs goes to nas each day and was backed up once, pics to nas and far, never."""
    folder = tmp_path_factory.mktemp("overview")
    with whole_hub(folder, folder / "highball.db") as whole:
        yield whole


def problems(hub: Whole, now: datetime = SOON, **chosen: Any) -> list[StandingProblem]:
    found = look_over(hub.hub, survey(hub.hub, now)).problems
    return [one for one in found if all(getattr(one, name) == value for name, value in chosen.items())]


def kinds(hub: Whole, job: str, now: datetime = SOON) -> list[ProblemKind]:
    return [one.kind for one in problems(hub, now, job=job)]


def test_what_was_never_backed_up_or_never_proved_is_told(hub: Whole) -> None:
    found = look_over(hub.hub, survey(hub.hub, SOON))
    never, unproved = (problems(hub, job=job)[0] for job in ("pics", "docs"))
    assert (never.kind, never.repositories, never.last_good_at) == ("never", ("nas", "far"), None)
    assert (unproved.kind, unproved.repositories, unproved.last_good_in) == ("unproved", ("nas",), "nas")
    told = found.verdict
    assert (told.jobs, told.need, told.unproved, told.oldest_proof_at) == (2, 1, 1, None)
    assert told.health == {"healthy": 1, "never": 1}
    assert [job.key for job in found.jobs] == ["pics", "docs"], "what needs somebody comes first"
    assert look_over(hub.hub, survey(hub.hub, SOON), limit=1, offset=1).jobs[0].key == "docs"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (JobFilter(), ["pics", "docs"]),
        (JobFilter(text="PIC"), ["pics"]),
        (JobFilter(host="here"), ["pics", "docs"]),
        (JobFilter(host="elsewhere"), []),
        (JobFilter(tag="no-such"), []),
        (JobFilter(state="needs-you"), ["pics"]),
        (JobFilter(state="never"), ["pics"]),
        (JobFilter(state="healthy"), ["docs"]),
        (JobFilter(state="unproved"), ["docs"]),
        (JobFilter(state="paused"), ["docs"]),
        (JobFilter(state="paused", text="pics"), []),
    ],
)
def test_the_jobs_are_narrowed_by_name_state_host_and_tag(
    hub: Whole, wanted: JobFilter, found: list[str]
) -> None:
    hub.hub.scheduler.reconcile(planned_of(hub.hub.document(), "here"), SOON)
    hub.hub.scheduler.pause("backup:docs", None, ANNA, SOON)
    told = look_over(hub.hub, survey(hub.hub, SOON), wanted=wanted)
    assert ([job.key for job in told.jobs], told.matching) == (found, len(found))
    assert (told.verdict.paused, told.verdict.paused_until) == (1, None)


def test_the_figures_of_repositories_are_told_as_their_pages_tell_them(hub: Whole) -> None:
    story = measure(5).tell(
        Statistics, repository="nas", repository_id="ab" * 32, bytes_stored=500, snapshots=3
    )
    story.step(Action.STATS).end().into(hub.hub.record)
    client = hub.client(Role.VIEWER)
    told = client.get("/api/v1/repositories/nas/figures").json()
    names = ("bytes_stored", "bytes_protected", "snapshots", "others", "saved", "jobs")
    assert [told[name] for name in names] == [500, 1000, 1, 2, None, ["docs", "pics"]]
    page = client.get("/repositories/nas").text
    assert "500 B" in page and "in 1 snapshot, and 2 foreign" in page
    each = client.get("/api/v1/repository-figures").json()
    assert [one["key"] for one in each] == ["far", "nas"] and each[1] == told
    assert client.get("/api/v1/repositories/none/figures").status_code == 404


def test_a_failure_tells_since_when_why_and_where_the_last_good_backup_lies(hub: Whole) -> None:
    reason = Reason(code="repository_locked", message="nas is locked")
    for number in (2, 3):
        Story(number).step(outcome=Outcome.FAILURE, reason=reason).into(hub.hub.record)
    (found,) = problems(hub, kind=ProblemKind.FAILURE, job="docs")
    assert (found.reason, found.run, found.last_good_in) == (reason, Story(3).run, "nas")
    assert "2 times in a row" in hub.client().get("/", headers={"accept": "text/html"}).text
    assert START + timedelta(hours=2) < (found.since or START) < START + timedelta(hours=3)
    assert kinds(hub, "docs", START + timedelta(days=9))[0] == "failure", "overdue by now, and it says why"
    back_up(hub.hub.record, 4, 1000, before=[f"{1:064x}"])
    assert kinds(hub, "docs") == ["unproved"]


def test_a_backup_that_waits_for_its_disk_is_overdue_as_any_other(hub: Whole) -> None:
    away = Reason(code=DISK_AWAY, message="waiting for the disk of nas")
    waiting = Story(2).tell(RunStarted, pid=1).tell(Waiting, reason=away).into(hub.hub.record)
    assert hub.hub.record.find_run(waiting.run).state is RunState.WAITING
    assert kinds(hub, "docs") == ["unproved"]
    assert kinds(hub, "docs", START + timedelta(days=9))[0] == "overdue"


def test_two_keys_of_one_repository_are_told_on_its_page_and_in_the_overview(hub: Whole) -> None:
    told = [{"key": key, "identity": "ab" * 32} for key in ("nas", "far")]
    with hub.hub.database.write() as connection:
        connection.execute(repositories.delete())
        connection.execute(repositories.insert(), told)
    client = hub.client(Role.VIEWER)
    for key, twin in (("nas", "far"), ("far", "nas")):
        sentence = f"{key} and {twin} are the same repository, so backups to both are one copy only"
        for address in (f"/repositories/{key}", "/"):
            page = html.unescape(client.get(address, headers={"accept": "text/html"}).text)
            assert sentence in page, address


def test_what_holds_retention_is_told_until_a_person_accepts_it(hub: Whole) -> None:
    back_up(hub.hub.record, 2, 1000)  # its listing lacks the first
    (found,) = problems(hub, kind=ProblemKind.HELD)
    assert (found.job, found.repositories, found.run) == ("docs", ("nas",), run_id(2))
    assert found.reason is not None
    assert found.reason.code == "deleted_elsewhere"
    client = hub.client()
    [standing] = client.get("/api/v1/status?job=docs").json()
    assert [one["id"] for one in standing["holds"]] == [found.hold]
    assert client.get("/api/v1/holds?repository=far").json() == []
    address = "/api/v1/repositories/nas/accept"
    assert client.post(address, json={"reson": "typed wrong"}).status_code == 422
    assert client.post(address, json={"reason": "tidied up"}).json()["accepted"] == 1
    assert client.post(address).json()["code"] == "nothing_to_accept"
    assert problems(hub, kind=ProblemKind.HELD) == []


@pytest.mark.parametrize(
    ("code", "more", "told"),
    [
        ("shrank", [], [ProblemKind.HELD]),
        ("deleted_elsewhere", [], [ProblemKind.HELD]),
        ("shrank", ["file_unreadable"], [ProblemKind.HELD, ProblemKind.WARNING]),
    ],
)
def test_one_cause_is_told_once(hub: Whole, code: str, more: list[str], told: list[ProblemKind]) -> None:
    reason = Reason(code=code, message="odd")
    before = [] if code == "deleted_elsewhere" else [f"{1:064x}"]
    facts: dict[str, Any] = {"outcome": Outcome.WARNING, "reason": reason, "warnings": [code, *more]}
    back_up(hub.hub.record, 2, 10, before=before, **facts)
    assert [kind for kind in kinds(hub, "docs") if kind is not ProblemKind.UNPROVED] == told
    assert "docs" in {job.key for job in look_over(hub.hub, survey(hub.hub, SOON)).jobs[:2]}
    assert look_over(hub.hub, survey(hub.hub, SOON)).verdict.need == 2


def test_a_failed_check_says_itself_that_it_holds_retention(hub: Whole) -> None:
    reason = Reason(code="repository_damaged", message="pack 12 is damaged")
    story = Story(10, CheckTask(repository="nas"), job=None)
    story.step(Action.CHECK, Outcome.FAILURE, reason=reason).end(Outcome.FAILURE, reason).into(hub.hub.record)
    [hold] = hub.client().get("/api/v1/holds").json()
    assert problems(hub, kind=ProblemKind.HELD) == []
    [found] = problems(hub, kind=ProblemKind.FAILURE)
    assert (found.repositories, found.hold) == (("nas",), hold["id"])
    page = hub.client().get("/").text
    assert "Nothing is removed there until this is resolved." in page
    assert 'href="/repositories/nas/repair"' in page


def test_a_warning_is_told_until_a_backup_is_good(hub: Whole) -> None:
    reason = Reason(code="unreadable", message="3 files could not be read")
    Story(2).step(outcome=Outcome.WARNING, reason=reason).into(hub.hub.record)
    (found,) = problems(hub, kind=ProblemKind.WARNING)
    assert (found.job, found.reason, found.repositories) == ("docs", reason, ("nas",))
    assert look_over(hub.hub, survey(hub.hub, SOON)).verdict.need == 2


def test_what_is_overdue_says_since_when_it_was_due(hub: Whole) -> None:
    (found,) = problems(hub, START + timedelta(days=4), kind=ProblemKind.OVERDUE)
    assert (found.job, found.since) == ("docs", START.replace(day=2, hour=3))


def test_missed_times_are_told_until_the_next_good_backup(hub: Whole) -> None:
    nominal = START + timedelta(hours=5)
    row: dict[str, Any] = {"id": new_run_id(nominal, 7), "kind": "backup", "action": "backup"}
    row |= {"job": "docs", "host": "here"}
    row |= {"state": "done", "outcome": "missed", "reason_code": "missed", "reason_message": "missed 2 times"}
    row |= {"created_at": SOON, "last_seq": 0, "nominal_at": nominal, "missed_last": SOON, "missed_count": 2}
    with hub.hub.database.write() as connection:
        connection.execute(runs.insert().values(**row))
    (found,) = problems(hub, kind=ProblemKind.MISSED)
    assert (found.job, found.since, found.run) == ("docs", nominal, row["id"])
    assert found.reason == Reason(code="missed", message="missed 2 times")
    (late,) = problems(hub, START + timedelta(days=4), kind=ProblemKind.OVERDUE)
    assert late.reason == found.reason, "why it is overdue"
    back_up(hub.hub.record, 20, 1000)
    assert problems(hub, START + timedelta(hours=21), kind=ProblemKind.MISSED) == []


def test_a_proof_puts_the_light_on_and_shows_its_age(hub: Whole) -> None:
    Story(3, VerifyTask(repository="nas", snapshot_id="1" * 64)).step(Action.VERIFY).into(hub.hub.record)
    told = look_over(hub.hub, survey(hub.hub, SOON)).verdict
    assert (told.unproved, told.oldest_proof_of) == (0, "docs")
    assert kinds(hub, "docs") == []


def test_a_repository_that_a_check_found_damaged_is_told_until_one_succeeds(hub: Whole) -> None:
    reason = Reason(code="repository_damaged", message="pack 12 is damaged")
    for number, outcome in ((10, Outcome.FAILURE), (11, Outcome.SUCCESS)):
        story = Story(number, CheckTask(repository="nas"), job=None)
        story.step(Action.CHECK, outcome, reason=reason)
        story.end(outcome, None if outcome is Outcome.SUCCESS else reason).into(hub.hub.record)
        found = problems(hub, kind=ProblemKind.FAILURE)
        if outcome is Outcome.FAILURE:
            assert [(one.repositories, one.action, one.reason) for one in found] == [
                (("nas",), "check", reason)
            ]
    assert found == []


def test_a_host_whose_agent_is_away_is_told_unless_it_may_sleep(hub: Whole) -> None:
    (found,) = problems(hub, kind=ProblemKind.OFFLINE)
    assert (found.host, found.since) == ("here", None)
    hub.hub.documents.change("host", "here", {"always_on": False}, expected=1, now=SOON, actor=ANNA)
    assert problems(hub, kind=ProblemKind.OFFLINE) == []


def test_what_runs_is_told_with_how_far_it_is(hub: Whole) -> None:
    run, _ = hub.hub.operations.place(RunOrder(task="backup", job="docs"), Actor("anna"))
    progress = Progress(
        percent=62, bytes_done=5, bytes_per_second=2.5, seconds_left=660, current=b"/tank/\xff"
    )
    hub.hub.progress.note(run.id, progress)
    found = {one.run.id: one for one in look_over(hub.hub, survey(hub.hub, SOON)).running}[run.id]
    assert (found.run.state, found.progress) == ("queued", progress)


def test_jobs_tell_when_they_are_next_and_whether_they_are_paused(hub: Whole) -> None:
    scheduler = hub.hub.scheduler
    scheduler.reconcile(planned_of(hub.hub.document(), "here"), SOON)
    docs, pics = (
        next(job for job in look_over(hub.hub, survey(hub.hub, SOON)).jobs if job.key == key)
        for key in ("docs", "pics")
    )
    assert docs.next == scheduler.next_of("backup:docs", SOON)
    assert docs.next is not None
    assert (str(pics.schedule.cron), pics.paused) == ("hourly", False)
    scheduler.pause("backup:docs", None, Actor("anna"), docs.next.at - timedelta(minutes=1))
    docs = next(job for job in look_over(hub.hub, survey(hub.hub, SOON)).jobs if job.key == "docs")
    assert (docs.next, docs.paused, docs.paused_until) == (None, True, None)
    assert [one.subject for one in look_over(hub.hub, survey(hub.hub, SOON)).next] == [
        one.subject for one in scheduler.upcoming(10, SOON)
    ]


def test_the_answer_of_the_api_is_all_of_it(hub: Whole) -> None:
    answer = hub.client(Role.VIEWER).get("/api/v1/overview?limit=1")
    assert answer.status_code == 200
    told = answer.json()
    assert set(told) == set(Overview.model_fields)
    assert len(told["jobs"]) == 1
    assert len(told["jobs"][0]["strip"]) == 30
    assert told["jobs"][0]["schedule"] in ("hourly", "daily")
    assert told["problems"][-1]["kind"] == "unproved"


def test_a_file_that_could_not_be_read_is_the_first_thing_that_is_told(whole: Whole) -> None:
    fault = ConfigurationInvalid("the configuration has a problem")
    with mock.patch.object(whole.hub, "file_fault", fault):
        found = whole.client().get("/api/v1/overview").json()
        page = whole.client().get("/", headers={"accept": "text/html"}).text
    assert found["problems"][0]["kind"] == "invalid"
    assert "the former configuration stays in force" in found["problems"][0]["reason"]["message"]
    assert "cannot be used" in page and 'href="/configuration"' in page
