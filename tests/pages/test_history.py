"""Who did what, what was, and what was deleted: seen, taken back, brought back, removed for good."""

from __future__ import annotations

import re
import uuid
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from api.whole import NOW, Whole
from highball.hub.audit import Actor
from highball.model.role import Role
from hub.served import Served
from pages.looking import Looker
from record.stories import run_id

HOSTILE = "</code><script>alert(1)</script>"
BEN = Actor("ben")


@pytest.fixture
def profile(served: Served) -> str:
    """A profile with three revisions, of which the second is hostile."""
    key = f"often-{uuid.uuid4().hex[:8]}"
    served.post(f"profiles?key={key}", {"schedule": "daily"})
    _put(served, key, 1, {"schedule": "hourly", "exclude": [HOSTILE]})
    _put(served, key, 2, {"schedule": "weekly"})
    return key


def _put(served: Served, key: str, revision: int, spec: dict[str, Any]) -> None:
    served.http.put(f"profiles/{key}", json=spec, headers={"if-match": f'"{revision}"'}).raise_for_status()


def test_no_page_of_what_was_has_anything_against_it(anna: Looker, served: Served, profile: str) -> None:
    served.http.delete(f"profiles/{profile}", headers={"if-match": '"3"'}).raise_for_status()
    addresses = ("/activity", f"/history/profile/{profile}", "/deleted")
    assert [one for address in addresses for one in anna.complaints(address)] == []


def test_what_was_changed_is_undone(anna: Looker, served: Served, profile: str) -> None:
    page = anna.go(f"/history/profile/{profile}")
    expect(page.locator(".entries li")).to_have_count(3)
    expect(page.locator(".entries li").nth(1)).to_contain_text(HOSTILE)
    page.locator(".entries li").nth(2).get_by_role("link", name="Restore this").click()
    page.get_by_role("dialog").get_by_role("button", name="Restore revision 1").click()
    expect(page.get_by_role("status")).to_contain_text("is restored to revision 1")
    assert served.get(f"profiles/{profile}")["spec"] == {"schedule": "daily"}


def test_what_was_deleted_comes_back_or_goes_for_good(anna: Looker, served: Served, profile: str) -> None:
    served.http.delete(f"profiles/{profile}", headers={"if-match": '"3"'}).raise_for_status()
    page = anna.go("/deleted")
    page.get_by_role("button", name=f"Restore the profile {profile}").click()
    expect(page.get_by_role("status")).to_contain_text("is restored")
    revision = served.get(f"profiles/{profile}")["revision"]

    served.http.delete(f"profiles/{profile}", headers={"if-match": f'"{revision}"'}).raise_for_status()
    anna.go("/deleted").locator("li", has_text=profile).get_by_role("link", name="Delete permanently").click()
    asked = page.get_by_role("dialog")
    expect(asked).to_contain_text(f"Permanently delete the profile {profile}?")
    asked.get_by_role("button", name="Delete permanently").click()
    expect(page.locator("li", has_text=profile)).to_have_count(0)
    assert served.http.get(f"profiles/{profile}/history").status_code == 404


def test_the_activity_says_what_differs_and_leaves_as_csv(anna: Looker, profile: str) -> None:
    page = anna.go("/activity")
    page.get_by_label("ID", exact=True).fill(profile)
    page.get_by_label("Action").select_option("changed")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(".entries li")).to_have_count(2)
    expect(page.locator(".entries li").nth(1)).to_contain_text(HOSTILE)
    with page.expect_download() as downloaded:
        page.get_by_role("link", name="CSV").click()
    lines = downloaded.value.path().read_text().splitlines()
    assert len(lines) == 3
    assert all(profile in line for line in lines[1:])


def test_without_script_a_page_asks_before_anything_is_removed(whole: Whole) -> None:
    told: dict[str, Any] = {"now": NOW, "actor": BEN}
    whole.hub.documents.create("profile", "gone", {}, **told)
    whole.hub.documents.delete("profile", "gone", expected=1, **told)
    client, about = whole.client(), {"kind": "profile", "key": "gone"}
    asked = client.get("/deleted/purge", params=about)
    assert "Permanently delete the profile gone?" in asked.text
    assert whole.hub.documents.list_deleted()
    client.post("/deleted/purge", data=about)
    assert not [one for one in whole.hub.documents.list_deleted() if one.key == "gone"]


def test_an_undo_that_somebody_forestalled_changes_nothing(whole: Whole) -> None:
    told: dict[str, Any] = {"now": NOW, "actor": BEN}
    whole.hub.documents.create("profile", "raced", {"schedule": "daily"}, **told)
    whole.hub.documents.change("profile", "raced", {"schedule": "hourly"}, expected=1, **told)
    whole.hub.documents.change("profile", "raced", {"schedule": "weekly"}, expected=2, **told)
    answer = whole.client().post("/history/profile/raced/undo", data={"to": "1", "revision": "2"})
    assert answer.status_code == 412
    assert "Nothing was changed" in answer.text
    assert whole.hub.documents.get("profile", "raced").spec == {"schedule": "weekly"}


def test_a_long_activity_is_read_page_by_page(whole: Whole) -> None:
    told: dict[str, Any] = {"now": NOW, "actor": BEN}
    whole.hub.documents.create("profile", "busy", {}, **told)
    for number in range(1, 60):
        spec = {"exclude": [f"*.{number}"]}
        whole.hub.documents.change("profile", "busy", spec, expected=number, **told)
    client = whole.client()
    first = client.get("/activity", params={"key": "busy"}).text
    address = first.split('href="/activity?')[-1].split('"')[0].replace("&amp;", "&")
    second = client.get(f"/activity?{address}").text
    assert (first.count("<li>"), second.count("<li>")) == (50, 10)
    assert client.get("/activity", params={"key": "busy", "who": "anna"}).text.count("<li>") == 0


def test_every_link_of_the_activity_leads_somewhere(whole: Whole) -> None:
    told: dict[str, Any] = {"now": NOW, "actor": BEN}
    documents = whole.hub.documents
    documents.create("profile", "passing", {}, **told)
    documents.delete("profile", "passing", expected=1, **told)
    documents.purge("profile", "passing", **told)
    documents.create("profile", "once", {}, **told)
    documents.rekey("profile", "once", "now", expected=1, **told)
    for kind, key in (
        ("host", "undeclared"),
        ("run", run_id(12345)),
        ("schedule", "backup:docs"),
        ("user", "nobody"),
    ):
        whole.hub.access.note(BEN, "invited", NOW, kind=kind, key=key)
    client = whole.client()
    page = client.get("/activity", params={"who": "ben"}).text
    links = set(
        re.findall(r'href="(/(?:history|runs|hosts)[^"]*)"', page.partition('<ol class="entries">')[2])
    )
    assert {"/history/profile/now", "/hosts"} <= links
    assert {link: client.get(link).status_code for link in links} == dict.fromkeys(links, 200)
    assert "passing" in page and "undeclared" in page, "what is gone is told all the same"


@pytest.mark.parametrize("address", ["/history/user/anna", "/activity", "/deleted"])
def test_what_is_about_people_is_for_admins(whole: Whole, address: str) -> None:
    assert whole.client().get(address).status_code == 200
    assert whole.client(Role.OPERATOR).get(address).status_code == 403


def test_a_viewer_reads_the_history_and_takes_nothing_back(whole: Whole) -> None:
    page = whole.client(Role.VIEWER).get("/history/job/docs")
    assert page.status_code == 200
    assert "Restore this" not in page.text
    assert whole.client().get("/history/nonsense/docs").status_code == httpx.codes.NOT_FOUND


def test_a_question_is_a_page_and_what_a_dialog_shows_of_it(whole: Whole) -> None:
    address = "/jobs/docs/delete"
    page = whole.client().get(address).text
    part = whole.client().get(address, headers={"HX-Target": "dialog#question"}).text
    assert '<h1 id="question-title">Delete the job docs?</h1>' in page
    assert "<html" not in part
    assert '<h2 id="question-title">Delete the job docs?</h2>' in part
    assert 'action="/jobs/docs/delete"' in part and 'name="revision" value="1"' in part
