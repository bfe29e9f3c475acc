"""What changes on a page while it is looked at: each part by itself, in many tabs, and the menu beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import APIResponse, Browser, CDPSession, Dialog, Page, Route, expect

from api.test_roles import KINDS, place_of
from api.whole import ANNA, NOW, Whole
from highball.model.event import RunStarted, StepStarted
from highball.model.role import Role
from highball.model.run import Action, Step
from highball.web.ui.templating import STATIC
from hub.served import Corner, Served
from journeys.station import until
from pages.looking import Looker
from pages.test_roles import TABLE
from record.stories import Story

PAGES = sorted(
    place_of(path.replace("{key}", KINDS.get(path.split("/")[1], "{key}")))
    for method, path in TABLE
    if method == "GET"
)
LIVE = {
    name
    for template in (STATIC.parent / "templates").glob("*.html")
    for name in re.findall(r'kit\.live\("([a-z_]+)"', template.read_text())
}
TAG = re.compile(r"<[a-z]+ [^>]*>")


@pytest.fixture(scope="module")
def looked_at(whole: Whole) -> Iterator[TestClient]:
    """Somebody at a hub where a run goes on, a job is paused and another is due."""
    story = Story(71).tell(RunStarted, pid=1)
    story.tell(StepStarted, step=1, running=Step(number=1, action=Action.BACKUP, repository="nas"))
    story.into(whole.hub.record)
    whole.hub.scheduler.pause("backup:pics", None, ANNA, NOW)
    with whole.client(Role.ADMIN) as client:
        yield client


def parts_of(page: str) -> dict[str, str]:
    """What of a page is asked for by itself: what the browser would name as its target, and the address."""
    found: dict[str, str] = {}
    for tag in TAG.findall(page):
        told = {name: unescape(value) for name, value in re.findall(r'([a-z-]+)="([^"]*)"', tag)}
        if "id" in told and "hx-get" in told and told.get("hx-target") == "this":
            found[f"{tag[1:].split()[0]}#{told['id']}"] = told["hx-get"]
    return found


def test_every_part_that_changes_is_drawn_by_itself(looked_at: TestClient) -> None:
    seen: set[str] = set()
    for path in PAGES:
        for target, address in parts_of(looked_at.get(path).text).items():
            alone = looked_at.get(address, headers={"HX-Request": "true", "HX-Target": target})
            tag, _, name = target.partition("#")
            assert alone.status_code == 200, (path, target)
            assert re.match(rf'\s*<{tag} [^>]*id="{name}"', alone.text), (path, target, alone.text[:300])
            seen.add(name)
    assert LIVE - seen == set(), "these stand on no page that was looked at"


# --- many tabs ------------------------------------------------------------------------------------

WITHOUT_WORKER = "delete window.SharedWorker"


def open_tabs(looker: Looker, number: int) -> list[Page]:
    """So many tabs of one browser, each before a page that changes."""
    tabs = [looker.context.new_page() for _ in range(number)]
    for tab in tabs:
        tab.goto(f"{looker.url}/jobs/docs")
        expect(tab.locator("header#head h1")).to_be_visible()
    return tabs


def test_nine_tabs_of_one_browser_all_load_and_all_hear_the_news(anna: Looker, served: Served) -> None:
    tabs = open_tabs(anna, 9)
    served.post("jobs/docs/pause", {})
    for tab in tabs:
        expect(tab.locator("#figures")).to_contain_text("until resumed")
    served.post("jobs/docs/resume", {})


def test_a_page_whose_worker_the_browser_has_ended_hears_the_news_again(
    anna: Looker, served: Served, chromium: Browser
) -> None:
    anna.page.clock.install()
    page = anna.go("/jobs/docs")
    expect(page.locator("#keeping")).not_to_have_attribute("hx-trigger", "load")
    # What is asked for while the clock leaps has waited too long.
    expect(page.locator(".htmx-request")).to_have_count(0)
    devtools = chromium.new_browser_cdp_session()
    until(lambda: end_workers(devtools, anna.url), otherwise=lambda: str(devtools.send("Target.getTargets")))
    served.post("jobs/docs/pause", {})
    page.clock.fast_forward("01:00")
    expect(page.locator("#figures")).to_contain_text("until resumed")
    served.post("jobs/docs/resume", {})
    expect(page.locator("#figures")).not_to_contain_text("until resumed")


def end_workers(devtools: CDPSession, of: str) -> int:
    """End what a browser runs for all pages of a hub; how many there were."""
    targets = devtools.send("Target.getTargets")["targetInfos"]
    workers = [
        one["targetId"] for one in targets if one["type"] == "shared_worker" and one["url"].startswith(of)
    ]
    for worker in workers:
        devtools.send("Target.closeTarget", {"targetId": worker})
    return len(workers)


def test_where_tabs_cannot_share_a_stream_only_those_hear_news_that_are_seen(
    anna: Looker, served: Served
) -> None:
    anna.context.add_init_script(WITHOUT_WORKER)
    (page,) = open_tabs(anna, 1)
    served.post("jobs/docs/pause", {})
    expect(page.locator("#figures")).to_contain_text("until resumed")
    page.evaluate(HIDE.format("true"))
    served.post("jobs/docs/resume", {})
    page.evaluate(HIDE.format("false"))
    expect(page.locator("#figures")).not_to_contain_text("until resumed")


HIDE = """() => {{
    Object.defineProperty(document, "hidden", {{ value: {}, configurable: true }});
    document.dispatchEvent(new Event("visibilitychange"));
}}"""


def test_what_changes_while_a_page_is_on_its_way_shows_all_the_same(anna: Looker, served: Served) -> None:
    def change_meanwhile(route: Route) -> None:
        drawn = route.fetch()
        served.post("jobs/docs/pause", {})
        route.fulfill(response=drawn)

    anna.go("/runs")  # the stream is open by now, and may be ahead of the page
    anna.page.route(anna.url + "/", change_meanwhile, times=1)  # its parts ask the same address later
    page = anna.go("/")
    expect(page.locator("#jobs")).to_contain_text("Paused")
    served.post("jobs/docs/resume", {})
    expect(page.locator("#jobs")).not_to_contain_text("Paused")


def test_the_news_end_with_the_session_and_begin_again_with_the_next(anna: Looker, served: Served) -> None:
    page = anna.go("/jobs/docs")
    served.http.delete("users/anna/sessions").raise_for_status()
    until(lambda: told_of_end(page, served), otherwise=lambda: shown_of(page))
    again = anna.context.new_page()
    again.goto(f"{anna.url}/login")
    again.get_by_label("Name").fill("anna")
    again.get_by_label("Password").fill("correct horse battery")
    again.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("Your session has ended.")).to_be_hidden()
    served.post("jobs/docs/pause", {})
    expect(page.locator("#figures")).to_contain_text("until resumed")
    served.post("jobs/docs/resume", {})


def test_a_part_that_was_asked_for_before_and_comes_late_does_not_hide_that_the_session_has_ended(
    anna: Looker, served: Served
) -> None:
    page = anna.go("/jobs/docs")
    late: list[tuple[Route, APIResponse]] = []
    page.route(f"{anna.url}/jobs/docs*", lambda route: late.append((route, route.fetch())), times=1)
    served.post("jobs/docs/pause", {})
    expect(page.locator(".htmx-request").first).to_be_attached()
    until(lambda: page.title() and late)
    served.http.delete("users/anna/sessions").raise_for_status()
    until(lambda: told_of_end(page, served), otherwise=lambda: shown_of(page))
    [(route, drawn)] = late
    assert drawn.status == 200
    page.evaluate(NOTE_HIDING)
    route.fulfill(response=drawn)
    expect(page.locator(".htmx-request")).to_have_count(0)
    assert page.evaluate("window.hidings") == 0 and page.get_by_text("Your session has ended.").is_visible()


NOTE_HIDING = """() => {
    window.hidings = 0;
    const note = document.querySelector("[data-ended]");
    new MutationObserver(() => { window.hidings += note.hidden; }).observe(note, { attributes: true });
}"""


def shown_of(page: Page) -> str:
    """What a page says, and how its notes about the news stand."""
    notes = page.locator("[data-stale], [data-ended], [data-failed]")
    return f"{page.url}\n{[note.evaluate('note => note.outerHTML') for note in notes.all()]}\n{page.inner_text('body')}"


def told_of_end(page: Page, served: Served) -> bool:
    """Whether a page says that its session has ended, once there was something to tell."""
    served.post("jobs/docs/pause", {})
    served.post("jobs/docs/resume", {})
    return page.get_by_text("Your session has ended.").is_visible()


def test_a_stream_tells_nothing_to_a_session_that_has_ended(served: Served) -> None:
    name = {"name": "anna", "password": "correct horse battery"}
    with httpx.Client(base_url=served.http.base_url, trust_env=False) as browser:
        browser.post("login", json=name).raise_for_status()
        with browser.stream("GET", "stream?since=lost-1") as stream:
            served.http.delete("users/anna/sessions").raise_for_status()
            for _ in stream.iter_lines():  # which ends, though there is always more to tell
                served.post("jobs/docs/pause", {})
                served.post("jobs/docs/resume", {})


# --- a part that cannot be drawn, and the menu ----------------------------------------------------


def test_an_error_never_takes_the_place_of_a_part(anna: Looker, served: Served) -> None:
    page = anna.go("/jobs/docs")
    before = page.locator("header#head").inner_text()
    broken: list[str] = []

    def break_it(route: Route) -> None:
        if "hx-request" not in route.request.headers:
            route.fallback()
            return
        broken.append(route.request.headers["hx-target"])
        route.fulfill(status=500, body="Internal Server Error")

    page.route("**/jobs/docs", break_it)
    served.post("jobs/docs/pause", {})
    expect(page.get_by_text("could not be updated")).to_be_visible()
    assert "header#head" in broken
    assert page.locator("header#head").inner_text() == before
    page.unroute("**/jobs/docs")
    served.post("jobs/docs/resume", {})
    expect(page.get_by_text("could not be updated")).to_be_hidden()


def test_a_whole_page_never_takes_the_place_of_a_part(looked_at: TestClient) -> None:
    asked = {"HX-Request": "true", "HX-Target": "header#not-there"}
    answer = looked_at.get("/jobs/docs", headers=asked)
    assert (answer.status_code, answer.text) == (204, "")


def test_the_menu_counts_a_run_for_as_long_as_it_goes_on(anna: Looker, slow: Corner) -> None:
    page = anna.go("/settings/appearance")
    runs = page.locator("#rail").get_by_role("link", name=re.compile("^Runs"))
    expect(runs).to_have_text("Runs")
    run = slow.order()
    expect(runs).to_have_text("Runs1 running or waiting")
    slow.end_of(run)
    expect(runs).to_have_text("Runs")


@pytest.fixture
def slow(served: Served, tmp_path: Path) -> Corner:
    """A job whose backup takes some seconds."""
    return served.give_slow_corner(tmp_path)


def test_the_menu_stays_in_sight_on_a_long_page(anna: Looker) -> None:
    page = anna.go("/jobs/new")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert page.evaluate("scrollY") > 0
    assert page.locator(".rail").evaluate("rail => rail.getBoundingClientRect().top") == 0


# --- a form that was changed ----------------------------------------------------------------------


def test_a_changed_form_is_not_left_without_a_question(anna: Looker) -> None:
    page = anna.go("/profiles/new")
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.remove_listener("dialog", anna.agree)
    page.on("dialog", stay)
    rail = page.locator("#rail")
    page.get_by_label("Inherited settings").click()
    rail.get_by_role("link", name="Runs").click()
    page.wait_for_url("**/runs")
    assert asked == [], "nothing was changed"

    anna.go("/profiles/new")
    page.get_by_label("Inherited settings").click()
    page.get_by_label("Inherited settings").fill("schedule: nonsense\n")
    rail.get_by_role("link", name="Runs").click()
    expect(page.get_by_role("heading", name="New profile")).to_be_visible()
    expect(page.get_by_label("Inherited settings")).to_have_value("schedule: nonsense\n")

    page.get_by_role("button", name="Create profile").click()
    expect(page.get_by_role("alert").first).to_be_visible()
    assert asked == ["beforeunload"], "sending it is no leaving"
    page.get_by_label("Inherited settings").click()
    rail.get_by_role("link", name="Runs").click()
    assert asked == ["beforeunload"] * 2, "what was refused is not saved"
    page.remove_listener("dialog", stay)
    page.on("dialog", anna.agree)
