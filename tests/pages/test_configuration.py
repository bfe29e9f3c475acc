"""Configuration and profiles as text: what it would change is shown, input is kept, nobody's work is overwritten."""

from __future__ import annotations

import html
import re
import uuid

import pytest
from playwright.sync_api import expect

from api.whole import NOW, Whole
from highball.hub.audit import Actor
from hub.served import Served
from pages.looking import Looker

BEN = Actor("ben")


def test_no_page_of_text_has_anything_against_it(anna: Looker, served: Served) -> None:
    served.post("profiles?key=shown", {"schedule": "daily"})
    addresses = ("/configuration", "/profiles", "/profiles/shown")
    assert [one for address in addresses for one in anna.complaints(address)] == []


def test_a_change_of_the_whole_is_seen_before_it_is_made(anna: Looker, served: Served) -> None:
    key = f"often-{uuid.uuid4().hex[:8]}"
    served.post(f"profiles?key={key}", {"schedule": "daily", "title": key})
    page = anna.go("/configuration")
    text = page.get_by_label("Configuration (YAML)")
    whole = text.input_value()
    expect(page.get_by_role("button", name="Apply")).to_have_count(0)

    text.fill(whole.replace(f"title: {key}", "title: [wrong"))
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert")).to_contain_text("Not applied")
    assert "[wrong" in text.input_value()

    text.fill(whole.replace(f"title: {key}", "title: Another name"))
    page.get_by_role("button", name="Preview again").click()
    expect(page.locator(".entries")).to_contain_text("Another name")
    assert served.get(f"profiles/{key}")["spec"]["title"] == key
    page.get_by_role("button", name="Apply 1 change").click()
    expect(page.get_by_role("status")).to_contain_text("Applied: 1 change")
    assert served.get(f"profiles/{key}")["spec"]["title"] == "Another name"


def _previewed(whole: Whole, text: str) -> dict[str, str]:
    """The fields of the form that a preview answers with."""
    page = whole.client().post("/configuration/preview", data={"text": text}).text
    fields = dict(re.findall(r'name="(token|seen)" value="([^"]*)"', page))
    return fields | {"text": text}


def _declare(whole: Whole, key: str, **spec: object) -> None:
    whole.hub.documents.create("profile", key, dict(spec), now=NOW, actor=BEN)


def test_whoever_was_slower_is_told_and_keeps_the_text(whole: Whole) -> None:
    _declare(whole, "slow", title="Before")
    text = whole.hub.documents.as_yaml().replace("title: Before", "title: Mine")
    sent = _previewed(whole, text)
    _declare(whole, "quicker", title="Theirs")
    answer = whole.client().post("/configuration", data=sent)
    assert answer.status_code == 412
    assert "title: Mine" in html.unescape(answer.text)
    assert "the profile quicker" in answer.text, "that it would be deleted is shown before it can be"
    assert whole.hub.documents.get("profile", "slow").title == "Before"


def test_a_text_is_only_applied_as_it_was_previewed(whole: Whole) -> None:
    _declare(whole, "seen", title="Before")
    text = whole.hub.documents.as_yaml()
    sent = _previewed(whole, text.replace("title: Before", "title: Shown"))
    answer = whole.client().post("/configuration", data=sent | {"text": text.replace("Before", "Unseen")})
    assert answer.status_code == 200
    assert "Unseen" in answer.text
    assert whole.hub.documents.get("profile", "seen").title == "Before"


def test_a_profile_is_written_named_by_a_job_and_then_not_deleted(anna: Looker, served: Served) -> None:
    page = anna.go("/profiles/new")
    page.get_by_label("ID", exact=True).fill("critical")
    text = page.get_by_label("Inherited settings")
    text.fill("retention:\n  dayly: 30\n")
    page.get_by_role("button", name="Create profile").click()
    expect(page.get_by_role("alert")).to_contain_text("retention.dayly")
    expect(page.get_by_label("ID", exact=True)).to_have_value("critical")

    text.fill("retention:\n  daily: 30\n")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator(".diff")).to_contain_text("daily: 30")
    page.get_by_role("button", name="Create profile").click()
    assert served.get("profiles/critical")["spec"] == {"retention": {"daily": 30}}

    served.post("profiles?key=heir", {"profile": "critical"})
    page = anna.go("/profiles/critical")
    expect(page.get_by_role("link", name="the profile heir")).to_be_visible()
    page.get_by_role("link", name="Delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("The profile critical is in use")
    expect(dialog.get_by_role("button")).to_have_count(1)
    expect(dialog.get_by_role("link", name="The profile heir")).to_have_attribute("href", "/profiles/heir")
    assert served.get("profiles/critical")["revision"] == 1


def test_two_who_edit_one_profile_the_second_sees_what_differs(whole: Whole) -> None:
    _declare(whole, "shared", schedule="daily")
    told = {"expected": 1, "now": NOW, "actor": BEN}
    whole.hub.documents.change("profile", "shared", {"schedule": "weekly"}, **told)  # type: ignore[arg-type]
    answer = whole.client().post("/profiles/shared", data={"text": "schedule: hourly", "revision": "1"})
    assert answer.status_code == 412
    assert "weekly" in answer.text
    assert "schedule: hourly" in answer.text
    assert whole.hub.documents.get("profile", "shared").spec == {"schedule": "weekly"}


@pytest.mark.parametrize(
    "text", ["</textarea><script>alert(1)</script>", "a: [", "- list", "a: &x [*x]", "\0"]
)
def test_no_text_leaves_its_field(whole: Whole, text: str) -> None:
    for address in ("/configuration/preview", "/profiles"):
        answer = whole.client().post(address, data={"text": text, "key": "odd", "do": "preview"})
        assert answer.status_code == 422
        assert "<script>alert" not in answer.text


def test_who_was_made_just_now_stands_in_the_text_and_is_deleted_when_left_out(whole: Whole) -> None:
    assert "newcomer" not in whole.client().get("/configuration").text
    whole.client().post("/settings/users", data={"key": "newcomer", "role": "viewer"})
    text = (
        html.unescape(whole.client().get("/configuration").text).split("<textarea")[1].split("</textarea>")[0]
    )
    text = text.partition(">\n")[2]
    assert "newcomer" in text
    left = re.sub(r"  newcomer:.*?(?=\n  \w|\n\w)\n", "", text, flags=re.S)
    sent = _previewed(whole, left)
    assert "token" in sent
    whole.client().post("/configuration", data=sent)
    assert "newcomer" not in [one.key for one in whole.hub.access.list_users()]


def test_what_another_file_declares_is_read_only_on_its_pages_which_name_that_file(whole: Whole) -> None:
    text = """
[repositories.fleet]
url = "/mnt/fleet"
password = { env = "X" }
[profiles.fleet]
schedule = "daily"
[jobs.fleet]
sources = ["/srv"]
repositories = ["fleet"]
"""
    client = whole.client()
    toml = {"content-type": "application/toml"}
    assert client.post("/api/v1/apply?file=/etc/fleet.toml", content=text, headers=toml).is_success
    for kind in ("repositories", "profiles", "jobs"):
        page = client.get(f"/{kind}/fleet").text
        assert "/etc/fleet.toml" in page, kind
        assert f"/{kind}/fleet/delete" not in page and "/keys/" not in page, kind
    for address in ("/repositories/fleet/edit", "/jobs/fleet/edit", "/history/job/fleet", "/keys/job/fleet"):
        assert "/etc/fleet.toml" in client.get(address).text, address
