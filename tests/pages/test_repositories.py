"""Repositories, maintenance and hosts: what is locked and by whom, what is kept in order and how, what comes."""

from __future__ import annotations

import shutil
import subprocess
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
from playwright.sync_api import expect

from api.whole import ANNA, NOW, SNAPSHOT, Whole
from highball.hub.runs.record import utc_now
from highball.model.role import Role
from highball.model.run import Action, Reason
from highball.retention import Plan, Verdict
from highball.schedule import Schedule
from highball.web.ui import charts, status_looks
from hub.served import Corner, Served
from journeys.station import until
from pages.looking import Looker


@pytest.fixture(scope="module")
def corner(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Corner:
    """A repository that was declared over the hub, with a snapshot in it."""
    corner = served.give_corner(tmp_path_factory.mktemp("corner"), {"title": "<b>Garden</b> shed"})
    corner.back_up()
    return corner


@pytest.fixture
def plain(served: Served) -> httpx.Client:
    """A browser without script, logged in."""
    headers = {"origin": served.url}
    client = httpx.Client(base_url=served.url, headers=headers, trust_env=False, timeout=240)
    client.post("/login", data={"name": "anna", "password": "correct horse battery"})
    return client


@pytest.mark.parametrize("address", ["/repositories", "/repositories/nas", "/maintenance", "/hosts"])
def test_the_pages_have_nothing_against_them(anna: Looker, address: str) -> None:
    assert anna.complaints(address) == []


def test_what_is_kept_and_why_has_nothing_against_it(anna: Looker, corner: Corner) -> None:
    address = f"/repositories/{corner.nas}/retention"
    assert anna.complaints(address) == []
    expect(anna.page.get_by_text("The only snapshot is kept.")).to_be_visible()
    expect(anna.page.get_by_role("row").nth(1)).to_contain_text("newest")


def test_the_name_of_a_repository_is_text_and_its_menu_is_left_by_escape(
    anna: Looker, corner: Corner
) -> None:
    page = anna.go(f"/repositories/{corner.nas}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("<b>Garden</b> shed")
    menu = page.locator("summary[aria-label=More]")
    menu.press("Enter")
    expect(page.get_by_role("link", name="Change ID")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Change ID")).to_be_hidden()
    expect(menu).to_be_focused()


@pytest.mark.parametrize("address", ["/", "/jobs", "/runs", "/repositories", "/hosts", "/maintenance"])
def test_every_table_says_what_it_lists(whole: Whole, address: str) -> None:
    text = whole.client().get(address).text
    assert 0 < text.count("<table") == text.count("<caption")


def test_a_lock_says_whether_its_owner_lives_and_is_removed(
    anna: Looker, corner: Corner, served: Served, plain: httpx.Client
) -> None:
    holder = leave_lock(corner, served.restic.path)
    page = anna.go(f"/repositories/{corner.nas}")
    locks = page.locator("#locks")
    expect(locks).to_contain_text(f"In use: process {holder.pid} is running")
    expect(page.locator("#badge")).not_to_have_text("Locked")
    holder.kill()
    holder.wait()
    page.reload()
    expect(locks).to_contain_text(f"Stale: process {holder.pid} is no longer running")
    expect(page.locator("#badge")).to_have_text("Locked")
    assert "Locked" in plain.get("/repositories").text
    locks.get_by_role("link", name="Remove lock").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Only stale locks are removed")
    dialog.get_by_role("button", name="Remove lock").click()
    page.wait_for_url("**/runs/*")
    corner.end_of(page.url.rpartition("/")[2])
    assert corner.get(f"repositories/{corner.nas}/locks") == []
    assert "Locked" not in plain.get("/repositories").text


def leave_lock(corner: Corner, restic: Path) -> subprocess.Popen[bytes]:
    """A backup that waits for what never comes, and its lock."""
    argv: list[str | Path] = [
        restic,
        "-r",
        corner.repository,
        "-p",
        corner.folder / "password",
        "backup",
        "--stdin",
        "--no-cache",
    ]
    holder = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(lambda: any((corner.repository / "locks").iterdir()))
    return holder


def test_maintenance_is_switched_off_by_two_toggles_and_an_answer(anna: Looker, corner: Corner) -> None:
    page = anna.go(f"/repositories/{corner.nas}")
    maintenance = page.locator("form.maintenance")
    expect(maintenance.get_by_text("Off", exact=True)).to_be_hidden()
    maintenance.get_by_text("Custom", exact=True).click()
    maintenance.get_by_label("Clean-up", exact=True).fill("Mondays 04:30")
    maintenance.get_by_label("Daily", exact=True).fill("30")
    maintenance.get_by_label("Restore test").fill("weekly")
    maintenance.get_by_label("Also after each backup").check()
    maintenance.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("custom settings")
    spec = corner.get(f"repositories/{corner.nas}")["spec"]
    assert (spec["discard_schedule"], spec["retention"]) == (["30 4 * * 1", "after-backup"], {"daily": 30})
    assert "verify_schedule" in spec

    maintenance.get_by_text("Off", exact=True).click()
    maintenance.get_by_role("button", name="Save").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("keeps growing")
    dialog.get_by_role("button", name="Switch off").click()
    expect(page.get_by_text("Maintenance is off: no clean-ups")).to_be_visible()
    spec = corner.get(f"repositories/{corner.nas}")["spec"]
    assert (spec["maintenance"], spec["accept_growth"]) == ("off", True)

    maintenance.get_by_text("Automatic", exact=True).click()
    maintenance.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("recommended settings")
    assert "maintenance" not in corner.get(f"repositories/{corner.nas}")["spec"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("after-backup", "After each backup"),
        (["after-backup", "30 4 * * 1"], "Mondays 04:30, and after each backup"),
        ("30 4 * * 1", "Mondays 04:30"),
    ],
)
def test_maintenance_tells_that_retention_comes_after_each_backup(
    whole: Whole, said: str | list[str], told: str
) -> None:
    declared = whole.hub.documents.get("repository", "nas")

    def declare(spec: dict[str, Any]) -> None:
        revision = whole.hub.documents.get("repository", "nas").revision
        whole.hub.documents.change("repository", "nas", spec, expected=revision, now=utc_now(), actor=ANNA)

    declare({**declared.spec, "maintenance": "user", "discard_schedule": said})
    tasks = whole.client().get("/maintenance").text.partition('id="latest-title"')[0]
    [row] = [row for row in tasks.split("</tr>") if ">Clean up nas</a>" in row]
    assert f'data-label="Schedule">{told}<' in row
    assert ("/maintenance/pause" in row) == (said != "after-backup"), "what has no times cannot rest"
    declare(dict(declared.spec))


def test_what_others_stored_is_measured_at_the_first_meeting_or_by_a_button(
    served: Served, anna: Looker, tmp_path: Path
) -> None:
    met, saved = (served.give_corner(tmp_path / name) for name in ("met", "saved"))
    met.end_of(met.order("init"))
    assert met.get(f"repositories/{met.nas}/figures")["measured_at"]
    saved.back_up()
    page = anna.go(f"/repositories/{saved.nas}")
    expect(page.locator("#size")).to_contain_text("not measured yet")
    page.get_by_role("button", name="Measure now").click()
    page.wait_for_url("**/runs/*")
    saved.end_of(page.url.rpartition("/")[2])
    anna.go(f"/repositories/{saved.nas}")
    expect(page.locator("#size")).to_contain_text("as last measured")
    expect(page.get_by_role("button", name="Measure now")).to_have_count(0)


def test_without_script_off_is_asked_on_a_page_and_what_is_wrong_stands_by_its_field(
    plain: httpx.Client, corner: Corner
) -> None:
    address = f"/repositories/{corner.nas}/maintenance"
    revision = corner.get(f"repositories/{corner.nas}")["revision"]
    asked = plain.post(address, data={"revision": revision, "mode": "user", "user": "off"})
    assert "Switch off" in asked.text and "keeps growing" in asked.text
    assert corner.get(f"repositories/{corner.nas}")["revision"] == revision
    wrong = plain.post(address, data={"revision": revision, "mode": "user", "discard": "every so often"})
    assert wrong.status_code == 422
    assert 'value="every so often"' in wrong.text and 'aria-invalid="true"' in wrong.text
    stale = plain.post(address, data={"revision": revision + 7, "mode": "auto"})
    assert stale.status_code == 412


def test_maintenance_is_paused_resumed_and_run(anna: Looker, corner: Corner) -> None:
    page = anna.go("/maintenance")
    row = page.locator("#tasks tr", has_text="Check of <b>Garden</b> shed")
    row.locator("summary", has_text="Pause").click()
    row.get_by_role("button", name="Until resumed").click()
    expect(row).to_contain_text("Paused")
    row.get_by_role("button", name="Resume").click()
    expect(row).not_to_contain_text("Paused")
    row.get_by_role("button", name="Run now").click()
    page.wait_for_url("**/runs/*")
    assert corner.end_of(page.url.rpartition("/")[2])["outcome"] == "success"
    page = anna.go(f"/repositories/{corner.nas}")
    expect(page.get_by_role("img", name="1 of 20 parts of the data read")).to_be_visible()


def test_a_repository_rests_until_a_time_that_its_page_is_told(plain: httpx.Client, corner: Corner) -> None:
    address = f"/repositories/{corner.nas}"

    def pauses() -> list[Any]:
        return [one["until"] for one in corner.get("pauses") if one["subject"].endswith(f":{corner.nas}")]

    assert "Until a day and hour" in plain.get(address).text
    fields = {"pause": "day", "day": "2032-05-01", "hour": "06:30"}
    told = plain.post(f"{address}/pause", data=fields, follow_redirects=True).text
    assert len(pauses()) > 1 and len(set(pauses())) == 1 and None not in pauses()
    assert "is paused until" in told and "2032" in told
    past = plain.post(f"{address}/pause", data=fields | {"day": "2001-01-01"}, follow_redirects=True).text
    assert "Not paused" in past and "2032" in past
    plain.post(f"{address}/resume")
    assert pauses() == []
    plain.post(f"{address}/pause")
    assert set(pauses()) == {None}, "until somebody resumes it"
    plain.post(f"{address}/resume")


def test_a_repository_that_is_gone_is_given_up_and_begun_anew_once_somebody_has_seen_what_that_is(
    anna: Looker, served: Served, tmp_path: Path
) -> None:
    corner = served.give_corner(tmp_path)
    corner.back_up()
    address = f"/repositories/{corner.nas}"
    there = anna.go(f"{address}/anew")
    expect(there.get_by_text("Not started over")).to_be_visible()
    expect(there.get_by_text("Start over")).to_have_count(0)
    shutil.rmtree(corner.repository)

    page = anna.go(address)
    expect(page.locator("#locks")).to_contain_text("Not found")
    page.get_by_role("link", name="Start over").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 snapshot, the newest from")
    expect(dialog).to_contain_text(f"Backed up there: {corner.job}")
    dialog.get_by_role("button", name="Give up").click()
    expect(page.get_by_text("confirm with the checkbox")).to_be_visible()
    assert corner.get(f"repositories/{corner.nas}/loss")["snapshots"] == 1

    page.get_by_role("link", name="Start over").click()
    page.get_by_role("dialog").get_by_role("checkbox").check()
    page.get_by_role("dialog").get_by_role("button", name="Give up").click()
    page.wait_for_url("**/runs/*")
    assert corner.end_of(page.url.rpartition("/")[2])["outcome"] == "success"
    [standing] = corner.get("status", job=corner.job)
    assert (standing["snapshots"], standing["last_success_at"]) == (0, None)
    corner.back_up()


def test_a_repository_in_use_leads_to_its_jobs_and_another_asks_before_it_goes(
    anna: Looker, served: Served, tmp_path: Path
) -> None:
    corner = served.give_corner(tmp_path)
    page = anna.go(f"/repositories/{corner.nas}")
    page.get_by_label("More", exact=True).click()
    page.get_by_role("link", name="Delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"The repository {corner.nas} is in use")
    expect(dialog.get_by_role("button")).to_have_count(1)
    dialog.get_by_role("link", name=f"The job {corner.job}").click()
    page.wait_for_url(f"**/jobs/{corner.job}")
    served.http.delete(f"jobs/{corner.job}", headers={"if-match": '"1"'}).raise_for_status()

    page = anna.go(f"/repositories/{corner.nas}")
    page.get_by_label("More", exact=True).click()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name=f"Delete {corner.nas}").click()
    expect(page.get_by_role("status")).to_contain_text("is deleted. Its data stays")
    corner.get(f"repositories/{corner.nas}", expect=(404,))


def test_who_deletes_a_repository_that_a_job_came_to_name_is_told(
    plain: httpx.Client, corner: Corner
) -> None:
    revision = corner.get(f"repositories/{corner.nas}")["revision"]
    told = plain.post(
        f"/repositories/{corner.nas}/delete", data={"revision": revision}, follow_redirects=True
    )
    assert (
        told.status_code == 200
        and "Not deleted" in told.text
        and "remove it there first" in told.text.lower()
    )


def test_a_test_tries_each_access_that_a_repository_has(
    served: Served, plain: httpx.Client, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text("not the password")
    other.chmod(0o600)
    corner = served.give_corner(tmp_path / "corner", {"admin": {"password": {"file": str(other)}}})
    told = plain.post(f"/repositories/{corner.nas}/test", follow_redirects=True).text
    assert "Credentials: can be used" in told
    assert "Admin credentials: " in told and "password" in told.partition("Admin credentials: ")[2][:200]
    found = corner.post(f"repositories/{corner.nas}/test")
    assert (found["state"], found["admin"]["state"]) == ("empty", "wrong_password")


def test_the_recovery_kit_is_for_admins_and_its_taking_is_noted(plain: httpx.Client, corner: Corner) -> None:
    made = plain.post("/repositories/nas/kit", data={"download": "yes"})
    assert made.headers["content-disposition"] == 'attachment; filename="recovery-kit-nas.md"'
    assert "open sesame" in made.text
    assert "Saved by anna" in plain.get("/repositories/nas").text


def test_a_plan_that_waits_for_a_person_is_approved_as_it_is_shown(whole: Whole) -> None:
    gone = [Verdict(id=f"{number:064x}", time=NOW, keep=False) for number in range(2, 30)]
    stays = Verdict(id=SNAPSHOT, time=NOW, keep=True, reasons=(Reason(code="newest", message="newest"),))
    held = Reason(code="approval_required", message="28 of 29 snapshots would be removed at once")
    about = {"repository": "nas", "host": "here", "job": "docs", "set": "files"}
    plan = Plan(id="abc123", **about, remove=tuple(gone), keep=(stays,), held=held, messages=(held,))
    client = whole.client(Role.OPERATOR)
    with mock.patch.object(whole.hub.plans, "plan", return_value=[plan]):
        page = client.get("/repositories/nas/retention").text
        asked = client.get("/repositories/nas/discard", params={"job": "docs", "plan": "abc123"}).text
        other = client.get("/repositories/nas/discard", params={"job": "docs", "plan": "another"}).text
    assert "28 snapshots would be removed, 1 kept." in page
    assert 'href="/repositories/nas/discard?job=docs&amp;plan=abc123" data-asks' in page
    assert "Remove 28 snapshots of docs from nas?" in asked and 'name="plan" value="abc123"' in asked
    assert "The plan has changed" in other, "what is asked is asked of the plan as it is now"
    assert "Remove 28 snapshots" not in page, "what is held goes only with an approval"
    sent = {"plan": "abc123", "job": "docs", "order_key": "drawn-once"}
    first, second = (
        client.post("/repositories/nas/discard", data=sent, follow_redirects=False) for _ in range(2)
    )
    assert first.headers["location"] == second.headers["location"], "a double click orders one run"
    run = whole.hub.record.find_run(first.headers["location"].rpartition("/")[2])
    assert (run.action, run.repository, run.job) == (Action.FORGET, "nas", "docs")
    assert "Approve" not in _seen_by_viewer(whole, plan)


def test_only_what_was_shown_is_removed_wherever_it_is_ordered(whole: Whole) -> None:
    client = whole.client(Role.OPERATOR)
    where = "/repositories/nas/retention"
    gone = Verdict(id=f"{2:064x}", time=NOW, keep=False)
    about = {"repository": "nas", "host": "here", "job": "docs", "set": "files", "keep": ()}
    plan = Plan(id="as-shown", **about, remove=(gone,))
    with mock.patch.object(whole.hub.plans, "plan", return_value=[plan]):
        page = client.get(where).text
    assert 'name="shown" value="as-shown"' in page and "Remove 1 snapshot" in page

    maintenance = client.get("/maintenance").text
    assert f'href="{where}"' in maintenance, "Maintenance leads to what would go"
    unseen = {"subject": "discard:nas", "order_key": "x"}
    for address in ("/maintenance/run", "/repositories/nas/discard"):
        answer = client.post(address, data=unseen, follow_redirects=False)
        assert answer.headers["location"] == where, "without having been shown, nothing goes"

    sent = {"shown": "as-shown", "order_key": "z"}
    answer = client.post("/repositories/nas/discard", data=sent, follow_redirects=False)
    run = whole.hub.record.find_run(answer.headers["location"].rpartition("/")[2])
    order = whole.hub.backlog.find_order(run.id)
    assert order is not None and order.shown == ("as-shown",)
    again = client.post(f"/runs/{run.id}/again", data={"key": "again"}, follow_redirects=False)
    assert again.headers["location"] == where, "to run it again shows what would go by then"


def _seen_by_viewer(whole: Whole, plan: Plan) -> str:
    with mock.patch.object(whole.hub.plans, "plan", return_value=[plan]):
        page: str = whole.client(Role.VIEWER).get("/repositories/nas/retention").text
        return page


@pytest.mark.parametrize(
    ("said", "cron"),
    [
        ("daily 03:00", "0 3 * * *"),
        ("Sundays at 2:05", "5 2 * * 0"),
        ("weekly", "weekly"),
        ("*/5 * * * *",) * 2,
    ],
)
def test_a_schedule_is_read_as_people_say_it(said: str, cron: str) -> None:
    assert status_looks.read_when(said) == cron
    assert status_looks.read_when(status_looks.when(Schedule(cron=cron))) in (
        cron,
        Schedule(cron=cron).expression,
    )


def test_a_figure_says_in_words_what_it_draws() -> None:
    first, last = date(2026, 1, 1), date(2026, 1, 31)
    points = [(first, 2.0 * 2**30), (date(2026, 1, 15), 3.5 * 2**30)]
    scale = charts.scale_of_sizes(3.5 * 2**30)
    assert scale.marks == ("6 GiB", "4", "2", "0")
    label = charts.in_words("Stored", points, lambda size: f"{size / 2**30:g} GiB")
    assert label == "Stored: from 2 GiB on 1 January to 3.5 GiB on 15 January"
    drawn = charts.draw(points, first, last, scale, label)
    assert "M0.00 66.7 L46.67 41.7 L100.00 41.7" in drawn
    assert charts.growth_a_week(points) == pytest.approx(0.75 * 2**30)
