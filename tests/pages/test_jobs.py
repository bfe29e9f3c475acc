"""Jobs before the eyes: found, ordered, understood, made and changed, and nothing of them lost on the way."""

from __future__ import annotations

import html
import os
import re
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from api.whole import ANNA, Whole
from highball.hub.runs.record import utc_now
from highball.hub.storage.schema import steps
from highball.model.run import Outcome, Reason
from highball.web.forms.job_fields import read_path, spell_path
from hub.served import Corner, Served
from journeys.station import until
from pages.looking import Looker
from pages.reading import read_page
from record.stories import Story, run_id

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def corner(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Corner:
    """A job that is declared by hand, with a backup."""
    made = served.give_corner(
        tmp_path_factory.mktemp("corner"), title=HOSTILE, tags=["office"], schedule="daily"
    )
    made.post("runs", {"task": "init", "repository": made.nas}, expect=(200, 202))
    made.back_up()
    return made


def test_no_page_of_jobs_has_anything_against_it(anna: Looker, corner: Corner) -> None:
    addresses = ["/jobs", f"/jobs/{corner.job}", "/jobs/new", f"/jobs/{corner.job}/edit"]
    assert [found for address in addresses for found in anna.complaints(address)] == []


def test_jobs_are_found_and_run_together(anna: Looker, corner: Corner) -> None:
    page = anna.go("/jobs")
    page.get_by_label("Search", exact=True).fill(corner.job)
    page.get_by_role("button", name="Filter").click()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text(HOSTILE)
    run = page.get_by_role("button", name="Run now")
    expect(run).to_be_hidden()
    page.get_by_label(f"Select {corner.job}").check()
    run.click()
    expect(page.get_by_role("status").filter(has_text="1 job will run")).to_be_visible()
    expect(page.get_by_label("Search", exact=True)).to_have_value(corner.job)
    until(lambda: all(one["state"] == "done" for one in corner.get("runs", job=corner.job)["items"]))
    page.get_by_label("Tag").select_option("office")
    page.get_by_label("State").select_option("overdue")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("No job matches")).to_be_visible()


def test_a_job_rests_and_goes_on(anna: Looker, corner: Corner) -> None:
    page = anna.go(f"/jobs/{corner.job}")
    page.locator("summary", has_text="Pause").click()
    page.get_by_role("button", name="Until resumed").click()
    expect(page.locator("h1")).to_contain_text("Paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("h1")).to_contain_text("Protected")


def test_a_pause_ends_by_itself_where_it_was_told_to(whole: Whole) -> None:
    client, now = whole.client(), utc_now()
    day = (now + timedelta(days=9)).date()
    told = {
        "hour": now + timedelta(hours=1),
        "morning": datetime.combine(now.date() + timedelta(days=1), time(6), UTC),
        "week": now + timedelta(days=7),
        "day": datetime.combine(day, time(6, 30), UTC),
    }
    for choice, until_then in told.items():
        fields = {"pause": choice, "day": str(day), "hour": "06:30", "job": ["docs", "pics"]}
        for address, jobs in (("/jobs/docs/pause", 1), ("/jobs", 2)):
            client.post(address, data=fields, follow_redirects=False)
            pauses = {pause.subject: pause.until for pause in whole.hub.scheduler.list_pauses(utc_now())}
            assert len(pauses) == jobs
            for end in pauses.values():
                assert end is not None and abs(end - until_then) < timedelta(minutes=5), choice
        for address in ("/jobs", "/jobs/docs", "/"):
            assert re.search(r"until <time", client.get(address).text), address
        client.post("/jobs", data={"act": "resume", "job": ["docs", "pics"]})
    wrongs: tuple[dict[str, str], ...] = (
        {"pause": "day", "day": "2001-01-01"},
        {"pause": "day", "day": ""},
        {"pause": "day", "day": str(day), "hour": "25:00"},
        {"pause": "x"},
    )
    for wrong in wrongs:
        for address in ("/jobs/docs/pause", "/jobs", "/pauses"):
            page = client.post(address, data=wrong | {"job": "docs"})
            assert "Not paused" in page.text
    assert whole.hub.scheduler.list_pauses(utc_now()) == []


def test_a_job_that_waits_already_is_led_to_and_said_so(whole: Whole) -> None:
    client = whole.client()
    spec = {"sources": ["/eager"], "repositories": ["nas"], "schedule": "daily"}
    whole.hub.documents.create("job", "eager", spec, now=utc_now(), actor=ANNA)

    def run(**fields: str) -> str:
        return str(client.post("/jobs/eager/run", data=fields, follow_redirects=False).headers["location"])

    rehearsal = run(dry="yes")
    assert "Run now" in client.get("/jobs/eager").text, "a dry run that waits is no backup"
    first = run(once="one click")
    assert first != rehearsal
    assert run(once="one click") == first
    assert "Nothing more was queued" not in client.get(first).text, "it is the same click"
    assert run(once="another") == first
    assert "eager is already in the queue (by the token of-admin, " in client.get(first).text
    together = client.post("/jobs", data={"act": "run", "job": ["pics", "eager"]}).text
    assert "1 job will run. 1 job is already in the queue" in together
    for queued in whole.hub.backlog.list_unassigned():
        reason = Reason(code="cancelled", message="done")
        whole.hub.backlog.end_unbegun(queued.id, Outcome.CANCELLED, reason, utc_now())
    whole.hub.documents.delete("job", "eager", expected=1, now=utc_now(), actor=ANNA)


def test_a_dry_run_is_never_shown_as_a_backup(anna: Looker, served: Served, tmp_path: Path) -> None:
    corner = served.give_corner(tmp_path, schedule="daily")
    rehearsed = corner.end_of(corner.order(dry_run=True))
    assert (rehearsed["outcome"], rehearsed["dry_run"]) == ("success", True)

    page = anna.go(f"/runs/{rehearsed['id']}")
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Dry run of {corner.job}")
    expect(page.locator("#now")).to_contain_text("Dry run: everything was read, nothing was saved.")
    expect(page.locator("#now")).to_contain_text("Would be new")

    page = anna.go(f"/jobs/{corner.job}")
    row = page.locator("#runs tbody tr")
    expect(row).to_contain_text("Dry run")
    expect(row).not_to_contain_text("Success")
    expect(row.locator("[data-label='New data']")).to_have_text("none")
    expect(page.locator("#figures li a").last).to_have_attribute("title", re.compile("nothing"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("No backup yet")
    expect(anna.go(f"/runs?job={corner.job}").locator("tbody tr")).to_contain_text("Dry run of")

    page = anna.go(f"/runs/{rehearsed['id']}")
    page.get_by_role("button", name="Repeat dry run").click()
    page.wait_for_url(lambda url: rehearsed["id"] not in url)
    assert corner.end_of(page.url.rpartition("/")[2])["dry_run"], "the same once more, and no backup"


def test_a_bad_backup_is_no_good_one_and_not_none(whole: Whole) -> None:
    reason = Reason(code="file_unreadable", message="1 file could not be read")
    client, record = whole.client(), whole.hub.record
    head = client.get("/jobs/pics").text.partition("</h1>")[0]
    assert "No backup yet" in head
    Story(40).step(outcome=Outcome.WARNING, reason=reason).end(Outcome.WARNING, reason).into(record)
    with whole.hub.database.write() as connection:  # of another job than stories are of
        connection.execute(steps.update().where(steps.c.run == run_id(40)).values(job="pics"))
    assert "No good backup yet" in client.get("/jobs/pics").text.partition("</h1>")[0]
    assert "No good backup yet" in client.get("/jobs").text


def test_the_snapshots_of_a_job_lead_to_what_they_hold(anna: Looker, served: Served, tmp_path: Path) -> None:
    corner = served.give_corner(tmp_path)
    snapshot = corner.back_up()["steps"][0]["snapshot_id"]
    page = anna.go(f"/jobs/{corner.job}")
    expect(page.locator("#keeping").get_by_role("link", name=snapshot[:8])).to_be_visible()
    page.locator("#runs").get_by_role("link", name=snapshot[:8]).click()
    page.wait_for_url(f"**/restore?*snapshot={snapshot}*")
    expect(page.locator("main")).to_contain_text(corner.job)


def test_everything_rests_until_a_day_and_hour_and_goes_on_at_once(whole: Whole) -> None:
    client, scheduler = whole.client(), whole.hub.scheduler
    day = (utc_now() + timedelta(days=3)).date()
    fields = {"pause": "day", "day": str(day), "hour": "06:00"}
    for more, upkeep in (({}, False), ({"maintenance": "1"}, True)):
        told = client.post("/pauses", data=fields | more).text
        assert (
            "All jobs and all maintenance are paused until" in told
            if upkeep
            else "All jobs are paused until" in told
        )
        held = scheduler.list_pauses(utc_now())
        assert {one.until for one in held} == {datetime.combine(day, time(6), UTC)}
        assert {one.subject for one in held} >= {"backup:docs", "backup:pics"}
        assert any(not one.subject.startswith("backup:") for one in held) == upkeep
    for address in ("/jobs", "/maintenance"):
        page = client.get(address).text
        assert "All jobs and all maintenance are paused until" in page and "Resume everything" in page, (
            address
        )
    assert "All schedules are active again" in client.post("/pauses/end", data={"to": "/maintenance"}).text
    assert scheduler.list_pauses(utc_now()) == []
    assert "Resume everything" not in client.get("/jobs").text


def test_maintenance_rests_until_a_day_too(whole: Whole) -> None:
    client = whole.client()
    day = (utc_now() + timedelta(days=3)).date()
    fields = {"subject": "history:hub", "pause": "day", "day": str(day), "hour": "06:00"}
    assert "is paused until" in client.post("/maintenance/pause", data=fields).text
    (pause,) = whole.hub.scheduler.list_pauses(utc_now())
    assert (pause.subject, pause.until) == ("history:hub", datetime.combine(day, time(6), UTC))
    assert "Not paused" in client.post("/maintenance/pause", data=fields | {"day": "x"}).text
    client.post("/maintenance/resume", data={"subject": "history:hub"})


def test_all_jobs_of_a_page_are_chosen_and_tested_together(anna: Looker, corner: Corner) -> None:
    page = anna.go(f"/jobs?q={corner.job}")
    page.get_by_label("Select all").check()
    chosen = page.get_by_label(f"Select {corner.job}")
    expect(chosen).to_be_checked()
    chosen.uncheck()
    expect(page.get_by_label("Select all")).not_to_be_checked()
    page.get_by_label("Select all").check()
    page.locator("#bulk").get_by_role("button", name="Run restore test").click()
    expect(page.get_by_role("status").filter(has_text="1 job will be restore-tested")).to_be_visible()
    assert (
        "checked"
        in corner.http.get(f"{anna.url}/jobs?q={corner.job}&every=1").text.partition('name="job"')[2][:200]
    )
    until(lambda: all(one["state"] == "done" for one in corner.get("runs", job=corner.job)["items"]))


def test_a_phone_chooses_rows_too(anna: Looker, corner: Corner) -> None:
    page = anna.go("/jobs")
    page.set_viewport_size({"width": 390, "height": 800})
    page.get_by_label(f"Select {corner.job}").check()
    page.locator("#bulk summary", has_text="Pause").click()
    page.locator("#bulk").get_by_role("button", name="For an hour").click()
    row = page.locator("tr", has=page.get_by_label(f"Select {corner.job}"))
    expect(row).to_contain_text("Paused")
    page.get_by_label(f"Select {corner.job}").check()
    page.locator("#bulk").get_by_role("button", name="Resume").click()
    expect(row).not_to_contain_text("Paused")


def test_excludes_say_what_they_leave_out(served: Served, corner: Corner) -> None:
    url = f"{served.url}/jobs/{corner.job}/edit"
    (corner.source / "a.tmp").write_bytes(b"x" * 2048)
    fields = read_page(corner.http.get(url).text).form(f"/jobs/{corner.job}/edit").fields
    sent = [one for one in fields if one[0] not in ("exclude", "act")]
    form = {name: [value for other, value in sent if other == name] for name, _ in sent}

    text = corner.http.post(url, data=form | {"exclude": "*.log", "add": "temporary"}).text
    kept = dict(read_page(text).form(f"/jobs/{corner.job}/edit").fields)
    assert kept["exclude"].split() == ["*.log", "*.tmp", "*.temp", "*.swp", "*~"]
    counted = corner.http.post(url, data=form | {"exclude": kept["exclude"], "act": "measure"}).text
    assert re.search(r"<code>\*.tmp</code></span><span class=\"small\">excludes 1 file, 2.00 KiB", counted)
    assert re.search(r"<code>\*.log</code>.*excludes nothing", counted)
    assert "To be backed up" in counted and "Counted on station" in counted
    wrong = corner.http.post(url, data=form | {"exclude": "[a", "act": "measure"}).text
    assert "No preview: " in wrong and ">[a</textarea>" in wrong
    assert corner.get(f"jobs/{corner.job}")["spec"].get("exclude") is None, "looking changes nothing"


def test_folders_tell_their_size_where_somebody_asks(anna: Looker, corner: Corner) -> None:
    (corner.source / "large").mkdir(exist_ok=True)
    (corner.source / "large" / "file").write_bytes(b"x" * 3072)
    shown = {"path": str(corner.source), "host": "station", "sizes": "yes"}
    url = f"{anna.url}/folders"
    assert "3.00 KiB, 1 file" in corner.http.get(url, params=shown).text
    page = anna.go(f"/jobs/{corner.job}/edit")
    page.locator("details.browser > summary").click()
    page.get_by_role("button", name="Trash").click()
    expect(page.locator("#exclude")).to_have_value(re.compile("Trash"))
    expect(page.get_by_role("button", name="Trash")).to_be_disabled()
    page.locator(".tree").get_by_role("button", name="Show sizes").first.click()
    expect(page.locator(".tree summary .size").first).to_be_visible()


def test_the_page_says_why_each_snapshot_stays(anna: Looker, corner: Corner) -> None:
    page = anna.go(f"/jobs/{corner.job}")
    expect(page.locator("#keeping")).to_contain_text("newest")
    expect(page.locator("#keeping")).to_contain_text("last 1 of 7")


def test_a_test_says_what_is_wrong_and_from_where(anna: Looker, corner: Corner) -> None:
    page = anna.go(f"/jobs/{corner.job}")
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_text("Reachable")).to_be_visible()
    expect(page.get_by_text("Checked from station")).to_be_visible()


def test_a_host_that_does_not_answer_is_said_and_the_page_stands(whole: Whole) -> None:
    client = whole.client()
    assert client.get("/jobs/docs").status_code == 200
    assert "nas could not be reached" in client.get("/jobs/docs/keeping").text
    assert (
        "offline" in client.get("/jobs/docs/test").text
        or "not connected" in client.get("/jobs/docs/test").text
    )


def test_a_job_is_made_by_looking_into_folders(anna: Looker, corner: Corner, tmp_path: Path) -> None:
    odd = tmp_path / "b<b>d & \n\x1b[31m"
    odd.mkdir()
    (odd / "file").write_text("here")
    page = anna.go("/jobs/new")
    page.get_by_label("ID", exact=True).fill("odd-names")
    for folder in [*reversed(tmp_path.parents), tmp_path][1:]:
        box = page.get_by_label(f"Back up {folder}", exact=True)
        expect(box).to_be_attached()
        box.locator("xpath=..").locator("summary").first.click()
    page.get_by_label(re.compile("Back up .*b<b>d")).check()
    page.get_by_label(corner.nas).check()
    page.locator("#when").get_by_text("Weekly", exact=True).click()
    page.get_by_label("At", exact=True).fill("04:45")
    expect(page.locator("#times")).to_contain_text("Sundays at 04:45")
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_text("nothing is saved yet")).to_be_visible()
    page.get_by_role("button", name="Create job").click()
    page.wait_for_url("**/jobs/odd-names")
    spec = corner.get("jobs/odd-names")["spec"]
    assert [read_path(spell_path(os.fsencode(odd)))] == [os.fsencode(spec["sources"][0])]
    assert spec["schedule"] == "45 4 * * 0"


def test_what_is_wrong_stands_beside_its_field_and_nothing_typed_is_lost(whole: Whole) -> None:
    typed = {
        "act": "save",
        "key": "Not A Key",
        "more": "relative\n/fine",
        "exclude": "[",
        "rhythm": "cron",
        "cron": "61 * * * *",
        "keep-last": "many",
    }
    answer = whole.client().post("/jobs/new", data=typed | {"key": "fine"}, follow_redirects=False)
    assert answer.status_code == 422
    told = html.unescape(answer.text)
    for said in ("is not an absolute path", "Line 1:", "61 is not a minute", "must be a whole number"):
        assert said.lower() in told.lower(), said
    assert 'value="61 * * * *"' in told
    assert 'id="keep-last" name="keep-last" type="text" inputmode="numeric" value="many"' in told
    assert "relative" in told
    answer = whole.client().post("/jobs/new", data=typed, follow_redirects=False)
    assert answer.status_code == 422
    assert 'href="#key"' in answer.text


def test_the_second_of_two_editors_sees_what_differs_and_may_save_over_it(whole: Whole) -> None:
    client = whole.client()
    first = client.get("/api/v1/jobs/pics").json()
    client.patch(
        "/api/v1/jobs/pics", json={"shrink_limit": 0.3}, headers={"If-Match": str(first["revision"])}
    )
    typed: dict[str, Any] = {
        "act": "save",
        "title": "Pictures",
        "host": "here",
        "profile": "often",
        "source": "/pics",
    }
    typed |= {"repositories": ["nas", "far"], "rhythm": "inherited", "enabled": "yes"}
    mine = typed | {"revision": str(first["revision"])}
    answer = client.post("/jobs/pics/edit", data=mine, follow_redirects=False)
    assert answer.status_code == 412
    assert "shrink_limit" in answer.text
    assert 'value="Pictures"' in answer.text
    revision = re.search(r'name="revision" value="(\d+)"', answer.text)
    assert revision is not None
    answer = client.post("/jobs/pics/edit", data=mine | {"revision": revision[1]}, follow_redirects=False)
    assert answer.status_code == 303
    assert client.get("/api/v1/jobs/pics").json()["spec"] == first["spec"] | {
        "title": "Pictures",
        "shrink_limit": 0.3,
    }
