"""The newcomer's way: from the printed link to a first finished backup, in a browser, without reading anything."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from api.whole import Whole
from highball.hub.runs.recorded import RunFilter
from highball.model.run import (
    Outcome,
    Reason,
    RunState,
)
from hub.served import Served
from journeys.station import until
from pages.looking import Looker, look_as
from record.stories import Story
from testbed.restic import ResticBinary


@pytest.fixture
def bare(tmp_path: Path, newest_restic: ResticBinary) -> Iterator[Served]:
    """A machine that has nothing but Highball: no file, no account."""
    machine = Served(tmp_path, newest_restic)
    machine.serve_to_nobody()
    yield machine
    machine.end_everything()


@pytest.fixture
def newcomer(chromium: Browser, bare: Served) -> Iterator[Looker]:
    with look_as(chromium, bare.url, zone="Asia/Tokyo") as looker:
        yield looker


def printed_link(bare: Served) -> str:
    """The address that a hub without accounts prints, once it has: it answers a little sooner."""
    found = until(lambda: re.search(r"http://\S+/setup#\S+", bare.log.read_text()), otherwise=bare.said)
    return str(found[0])


def test_from_the_printed_link_to_protected(newcomer: Looker, bare: Served) -> None:
    page = newcomer.page
    link = printed_link(bare)
    page.goto(link)
    expect(page.get_by_label("Set-up token")).to_be_hidden()
    assert "#" not in page.url, "the token does not stay in the address"
    page.get_by_label("Name").fill("Anna Keller")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("alert")).to_contain_text("lower-case letters")
    expect(page.get_by_role("alert")).to_contain_text("anna-keller")
    expect(page.get_by_label("Set-up token")).to_be_hidden()
    expect(page.get_by_label("Password")).to_have_value("correct horse battery")
    page.get_by_label("Name").fill("anna")
    page.get_by_role("button", name="Create account").click()

    wrong = bare.folder / "not-meant"
    page.get_by_label("A folder on").fill(str(wrong))
    page.get_by_role("button", name="Create repository").click()
    page.get_by_role("button", name="Choose another place").click()
    expect(page.get_by_role("status").filter(has_text="Choose another place")).to_contain_text(str(wrong))

    folder = bare.folder / "kept"
    folder.mkdir()
    (folder / "photo").touch()
    page.get_by_label("A folder on").fill(str(folder))
    page.get_by_role("button", name="Test").click()
    expect(page.get_by_text("the folder contains other files")).to_be_visible()
    (folder / "photo").unlink()
    folder.rmdir()
    page.get_by_label("A folder on").fill(str(folder))
    page.get_by_role("button", name="Test").click()
    expect(page.get_by_text("new folder, will be created")).to_contain_text(
        "free, on the same disk as the system"
    )
    page.get_by_role("button", name="Create repository").click()

    key = page.locator("#key").inner_text()
    assert len(key) >= 32
    with page.expect_download() as download:
        page.get_by_role("link", name="Download kit").click()
    assert key in Path(download.value.path()).read_text()
    page.get_by_label("I have stored it").check()
    page.get_by_role("button", name="Continue").click()

    page.get_by_text("Other folders").click()
    for above in [*reversed(bare.source.parents), bare.source][1:]:
        box = page.get_by_label(f"Back up {above}", exact=True)
        expect(box).to_be_visible()
        box.focus()
        page.keyboard.press("ArrowRight" if above != bare.source else "Space")
    expect(page.get_by_label("Exclude cache folders")).to_be_checked()
    page.get_by_label("Every day at").fill("04:30")
    expect(page.get_by_text("In the time zone Asia/Tokyo")).to_be_visible()
    page.get_by_role("button", name="Back up now").click()
    expect(page.get_by_text("Protected")).to_be_visible()
    expect(page.get_by_text("daily at 04:30, Asia/Tokyo")).to_be_visible()
    expect(page.get_by_role("link", name="Change What to protect")).to_be_visible()
    page.get_by_role("link", name="Go to overview").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("The only job is protected")
    restic = [str(bare.restic.path), "-r", str(folder), "snapshots", "--json"]
    env = {"RESTIC_PASSWORD": key, "HOME": str(bare.folder), "PATH": os.defpath}
    assert bare.restic.path.exists() and _count(restic, env) == 1, "the key that was shown opens it"


def _count(argv: list[str], env: dict[str, str]) -> int:
    return len(json.loads(subprocess.run(argv, env=env, capture_output=True, check=True).stdout))


def test_what_cannot_be_is_said_where_it_is_typed_and_leaves_nothing(newcomer: Looker, bare: Served) -> None:
    page = newcomer.page
    link = printed_link(bare)
    page.goto(f"{bare.url}/setup#{'x' * 43}")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("alert")).to_contain_text("has been used, has expired, or is not valid")
    page.goto("about:blank")
    page.goto(link)
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill("short")
    page.locator("form").evaluate("form => form.noValidate = true")
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("anna")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Create account").click()

    for folder in ("not/whole", "/proc/nowhere"):
        page.get_by_label("A folder on").fill(folder)
        page.get_by_role("button", name="Create repository").click()
        expect(page.get_by_role("alert")).to_be_visible()
        expect(page.get_by_label("A folder on")).to_have_value(folder)
    assert newcomer.complaints("/start") == []
    newcomer.context.clear_cookies()
    page.goto("about:blank")
    page.goto(link)
    expect(page.get_by_role("status")).to_contain_text("already has its first account")


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("/start/repository", {"folder": "not/whole"}),
        ("/start/repository", {"folder": "/up/../and/down", "act": "test"}),
        ("/start/repository", {"folder": "/two\nlines"}),
        ("/start/job", {}),
        ("/start/job", {"more": "photos"}),
        ("/start/job", {"source": "/fine", "more": "/up/../and/down"}),
    ],
)
def test_what_is_no_path_is_refused_and_never_breaks_the_page(
    whole: Whole, address: str, sent: dict[str, str]
) -> None:
    answer = whole.client().post(address, data=sent)
    assert answer.status_code in (400, 422), answer.text


def test_a_repository_made_elsewhere_leads_back_to_the_first_steps(whole: Whole) -> None:
    client = whole.client()
    form = client.get("/repositories/new", params={"to": "/start"}).text
    assert 'name="to" value="/start"' in form
    told = {"act": "save", "to": "/start", "title": "Elsewhere", "kind": "local", "path": "/mnt/elsewhere"}
    made = client.post("/repositories/new", data=told, follow_redirects=False)
    kit = client.get(made.headers["location"]).text
    assert 'name="to" value="/start"' in kit
    key = made.headers["location"].split("/")[2]
    kept = {"kept": "yes", "to": "/start"}
    back = client.post(f"/repositories/{key}/kept", data=kept, follow_redirects=False)
    assert back.headers["location"] == "/start"
    away = {"kept": "yes", "to": "https://evil.example/"}
    back = client.post(f"/repositories/{key}/kept", data=away, follow_redirects=False)
    assert back.headers["location"] == "/"


def test_a_first_backup_that_failed_says_why_and_is_tried_again(whole: Whole) -> None:
    story = Story(79).step(outcome=Outcome.FAILURE)
    story.end(Outcome.FAILURE, Reason(code="source_missing", message="/docs is not there")).into(
        whole.hub.record
    )
    page = whole.client().get("/start").text
    assert "/docs is not there" in page and "Try again" in page
    whole.client().post("/start/run")
    newest = whole.hub.record.list_runs(RunFilter(job="docs"), limit=1)[0]
    assert newest.state is RunState.QUEUED
    whole.client().post("/start/run")
    assert whole.hub.record.list_runs(RunFilter(job="docs"), limit=1)[0].id == newest.id, "one at a time"
