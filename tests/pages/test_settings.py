"""Settings: one's own account, who else may come in, how pages look, and what holds for the whole installation."""

from __future__ import annotations

import re

import httpx
import pyotp
import pytest
from playwright.sync_api import Browser, expect

from api.whole import Whole
from highball.model.role import Role
from highball.web.pages.settings import name_of_browser
from hub.served import Served
from journeys.station import until
from pages.looking import Looker, look_as
from pages.reading import read_page

ADDRESSES = (
    "/settings",
    "/settings/second-factor",
    "/settings/appearance",
    "/settings/general",
    "/settings/hub",
    "/settings/users",
    "/settings/users/anna",
    "/settings/tokens/new",
    "/settings/tokens/tests/delete",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_page_of_the_settings_has_anything_against_it(anna: Looker, address: str) -> None:
    assert anna.complaints(address) == []


def test_somebody_is_invited_and_comes_in(anna: Looker, chromium: Browser, served: Served) -> None:
    page = anna.go("/settings/users/new")
    page.get_by_label("Login name").fill("vera")
    page.get_by_role("button", name="Create user").click()
    page.get_by_role("button", name="Create link").click()
    link = page.locator("#value").inner_text()

    with look_as(chromium, served.url) as vera:
        vera.page.goto(link)
        vera.page.get_by_label("Password").fill("a horse that battery staples")
        vera.page.get_by_role("button").click()
        vera.log_in("vera", "a horse that battery staples")
        nav = vera.go("/settings").get_by_role("navigation", name="Settings")
        expect(nav.get_by_role("link", name="Account")).to_be_visible()
        expect(nav.get_by_role("link", name="Users")).to_have_count(0)

        page.goto(f"{served.url}/settings/users/vera")
        page.get_by_role("button", name="Log out everywhere").click()
        expect(vera.go("/settings").get_by_role("heading", name="Log in")).to_be_visible()


def test_a_second_factor_is_set_up_by_its_code_and_asked_for_at_the_next_log_in(
    anna: Looker, chromium: Browser, served: Served
) -> None:
    page = anna.go("/settings/users/new")
    page.get_by_label("Login name").fill("paula")
    page.get_by_role("button", name="Create user").click()
    page.get_by_role("button", name="Create link").click()
    link, password = page.locator("#value").inner_text(), "a horse that battery staples"
    httpx.post(f"{served.url}/password", data={"token": link.partition("#")[2], "password": password})

    with look_as(chromium, served.url, "paula", password) as paula:
        page = paula.go("/settings/second-factor")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Set up").click()
        expect(page.get_by_role("img", name="QR code")).to_be_visible()
        app = pyotp.TOTP(page.locator("#secret").inner_text().replace(" ", ""))
        page.get_by_label("Code from the app").fill(app.now())
        page.get_by_role("button", name="Turn on").click()
        code = page.locator("#codes").inner_text().split()[0]
        assert paula.complaints("/settings/second-factor") == []
    with look_as(chromium, served.url) as paula:
        page = paula.go("/login?to=/settings")
        page.get_by_label("Name").fill("paula")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("Code").fill(code)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("9 recovery codes left")).to_be_visible()
    anna.go("/settings/users/paula").get_by_role("link", name="Reset second factor").click()
    anna.page.get_by_role("button", name="Reset second factor").click()
    expect(anna.page.get_by_text("paula now logs in with the password alone")).to_be_visible()


def test_a_token_is_shown_once_and_opens_nothing_once_it_is_deleted(anna: Looker, served: Served) -> None:
    page = anna.go("/settings/tokens/new")
    page.get_by_label("ID", exact=True).fill("dashboard")
    page.get_by_role("button", name="Create token").click()
    value = page.locator("#value").inner_text()

    def asked() -> int:
        headers = {"authorization": f"Bearer {value}"}
        return httpx.get(f"{served.url}/api/v1/me", headers=headers, trust_env=False).status_code

    assert asked() == 200
    assert value not in anna.go("/settings/tokens/dashboard").content()
    page.get_by_role("link", name="Delete token").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert asked() == 200
    page.get_by_role("link", name="Delete token").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete token").click()
    expect(page.get_by_role("status")).to_contain_text("dashboard is deleted")
    assert asked() == 401


def test_a_token_of_ones_own_acts_in_ones_name_and_tells_its_last_use(anna: Looker, served: Served) -> None:
    page = anna.go("/settings")
    page.get_by_role("link", name="New token").click()
    page.get_by_label("ID", exact=True).fill("laptop")
    page.get_by_role("button", name="Create token").click()
    headers = {"authorization": f"Bearer {page.locator('#value').inner_text()}"}
    page.get_by_role("link", name="I have copied it").click()
    expect(page.locator("li", has_text="laptop")).to_contain_text("never used")
    me = httpx.get(f"{served.url}/api/v1/me", headers=headers, trust_env=False).json()
    assert (me["user"], me["role"]) == ("anna", "viewer")
    expect(anna.go("/settings").locator("li", has_text="laptop")).to_contain_text("last used just now")
    page.locator("li", has_text="laptop").get_by_role("link", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete token").click()
    expect(page.locator("li", has_text="laptop")).to_have_count(0)


def test_a_session_elsewhere_is_ended_from_here(anna: Looker, chromium: Browser, served: Served) -> None:
    with look_as(chromium, served.url, "anna", "correct horse battery") as elsewhere:
        page = anna.go("/settings")
        expect(page.get_by_text("this one")).to_have_count(1)
        page.get_by_role("button", name="End all other sessions").click()
        expect(page.get_by_role("button", name=re.compile("^End"))).to_have_count(0)
        expect(elsewhere.go("/settings").get_by_role("heading", name="Log in")).to_be_visible()


def test_a_form_goes_on_by_itself_after_its_session_ended_and_one_logged_in_again(
    anna: Looker, served: Served
) -> None:
    page = anna.go("/profiles/new")
    text = "schedule: daily\nexclude:\n- '<b>*.tmp'\n"
    page.get_by_label("ID", exact=True).fill("kept-typing")
    page.get_by_label("Inherited settings").fill(text)
    served.http.delete("users/anna/sessions").raise_for_status()
    page.get_by_role("button", name="Create profile").click()
    expect(page.get_by_text("Your form is not lost")).to_be_visible()
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/profiles/kept-typing")
    expect(page.get_by_text("kept-typing is created")).to_be_visible()
    assert served.get("profiles/kept-typing")["spec"]["exclude"] == ["<b>*.tmp"]


def test_a_part_of_a_page_stays_as_it_is_when_the_session_ends(anna: Looker, served: Served) -> None:
    page = anna.go("/jobs/new")
    page.get_by_label("ID", exact=True).fill("half-typed")
    served.http.delete("users/anna/sessions").raise_for_status()
    page.get_by_label("At", exact=True).fill("04:00")
    expect(page.get_by_text("Your session has ended.")).to_be_visible()
    expect(page.get_by_label("ID", exact=True)).to_have_value("half-typed")
    expect(page.get_by_role("heading", name="Log in")).to_have_count(0)


def test_a_wrong_password_is_said_beside_its_field(anna: Looker) -> None:
    page = anna.go("/settings")
    page.get_by_label("Current password").fill("not the one")
    page.get_by_label("New password").fill("four words in a row")
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_label("Current password")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#old-told")).to_have_text("The password is wrong.")


def test_an_accent_is_chosen_and_stays(anna: Looker) -> None:
    page = anna.go("/settings/appearance")
    page.get_by_role("button", name="Plum").click()
    expect(page.locator("html")).to_have_attribute("data-accent", "plum")
    expect(page.get_by_role("button", name="Plum")).to_have_attribute("aria-pressed", "true")
    expect(anna.go("/").locator("html")).to_have_attribute("data-accent", "plum")


def test_a_copy_of_the_hub_appears_where_it_was_asked_for(anna: Looker) -> None:
    page = anna.go("/settings/hub")
    before = page.locator("#copies li").count()
    page.get_by_role("button", name="Back up now").click()
    until(lambda: anna.go("/settings/hub").locator("#copies li").count() == before + 1)


def test_what_a_file_declares_is_read_only_and_says_where(anna: Looker, served: Served) -> None:
    page = anna.go("/settings/general")
    expect(page.locator(".note", has_text="Managed by")).to_contain_text(str(served.configuration))
    expect(page.get_by_role("button", name="Save settings")).to_have_count(0)


def test_settings_are_saved_refused_and_never_overwritten_unseen(whole: Whole) -> None:
    client = whole.client()

    def send(revision: int, **fields: str) -> tuple[int, str]:
        answer = client.post("/settings/general", data=fields | {"revision": revision})
        return answer.status_code, answer.text

    status, text = send(0, timezone="Europe/Berlim", daily="0 4 * * *")
    assert status == 422
    assert 'value="Europe/Berlim"' in text
    assert 'id="timezone-told"' in text

    assert send(0, timezone="Europe/Berlin", daily="0 4 * * *")[0] == 200
    stored = whole.hub.documents.get("settings", "settings")
    assert stored.spec == {"timezone": "Europe/Berlin", "times": {"daily": "0 4 * * *"}}

    kept = {"logs": "30d", "runs": "2y", "last": "none"}
    status, text = send(stored.revision, **kept)
    assert status == 422 and 'value="2y"' in text and 'id="last-told"' in text
    assert send(stored.revision, timezone="UTC")[0] == 200
    status, text = send(stored.revision, timezone="Asia/Tokyo")
    assert status == 412
    assert "Europe/Berlin" in text
    assert 'value="Asia/Tokyo"' in text
    assert whole.hub.documents.get("settings", "settings").spec == {"timezone": "UTC"}


def test_the_last_admin_is_not_disabled_and_the_form_says_why(whole: Whole) -> None:
    account = whole.hub.access.get_user("anna")
    sent = {"role": "admin", "title": "Anna", "revision": str(account.revision)}
    answer = whole.client().post("/settings/users/anna", data=sent)
    assert answer.status_code == 403
    assert "last admin" in answer.text
    assert 'value="Anna"' in answer.text
    assert whole.hub.access.get_user("anna").user.enabled


@pytest.mark.parametrize("kind", ["users", "tokens"])
def test_the_right_to_restore_in_place_is_given_and_taken_in_a_form(whole: Whole, kind: str) -> None:
    client = whole.client()
    new = {"key": "olga", "title": "", "role": "operator"}
    page = client.get(f"/settings/{kind}/new").text
    assert "May restore in place" in page and "replace files there" in page
    assert ("restore_in_place", "yes") not in read_page(page).form(f"/settings/{kind}").fields
    assert client.post(f"/settings/{kind}", data=new | {"restore_in_place": "yes"}).is_success
    for may in (True, False):
        assert client.get(f"/api/v1/{kind}/olga").json()["restore_in_place"] is may
        assert ("restores in place" in client.get(f"/settings/{kind}").text) is may
        form = read_page(client.get(f"/settings/{kind}/olga").text).form(f"/settings/{kind}/olga")
        assert (("restore_in_place", "yes") in form.fields) is may
        kept = [(name, value) for name, value in form.fields if name != "restore_in_place"]
        assert client.post(f"/settings/{kind}/olga", data=dict(kept)).is_success
    wrong = {"key": "No Key", "title": "", "role": "operator", "restore_in_place": "yes"}
    refused = read_page(client.post(f"/settings/{kind}", data=wrong).text).form(f"/settings/{kind}")
    assert ("restore_in_place", "yes") in refused.fields, "what was ticked stays ticked"


def test_a_token_of_ones_own_is_offered_the_right_only_where_one_has_it(whole: Whole) -> None:
    for role in (Role.OPERATOR, Role.ADMIN):
        form = whole.client(role).get("/settings/own-tokens/new").text
        assert ("May restore in place" in form) is (role is Role.ADMIN)


def test_a_token_ends_with_its_last_day_where_the_clocks_are(whole: Whole) -> None:
    sent = {"key": "nightly", "role": "operator", "ends": "2030-01-31"}
    assert whole.client().post("/settings/tokens", data=sent).status_code == 200
    page = whole.client().get("/settings/tokens/nightly").text
    assert 'value="2030-01-31"' in page
    answer = whole.client().post("/settings/tokens", data=sent | {"key": "other", "ends": "soon"})
    assert answer.status_code == 422
    assert 'id="ends-told"' in answer.text


def test_a_viewer_sees_the_settings_and_no_button_to_change_them(whole: Whole) -> None:
    page = whole.client(Role.VIEWER).get("/settings/general")
    assert page.status_code == 200
    assert "Save settings" not in page.text


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Safari/604.1",
            "Safari on iPhone",
        ),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit Chrome/129 Safari/537.36 Edg/129", "Edge on Windows"),
        ("<b>curl</b>", "<b>curl</b>"),
        (None, "Unknown browser"),
    ],
)
def test_a_browser_is_named_in_short(told: str | None, name: str) -> None:
    assert name_of_browser(told) == name


def test_a_copy_of_the_database_is_as_old_on_one_page_as_on_the_other(whole: Whole) -> None:
    folder = whole.hub.state / "backups"
    folder.mkdir(exist_ok=True)
    for name in ("hub-20260102T030405Z.jsonl.gz", "hub-before-the-move.jsonl.gz"):
        (folder / name).write_bytes(b"-")
    for address in ("/maintenance", "/settings/hub"):
        page = whole.client().get(address).text
        assert "hub-before-the-move.jsonl.gz" in page
        assert 'datetime="2026-01-02T03:04:05+00:00"' in page
