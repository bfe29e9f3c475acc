"""The form of a repository: tested before it is saved, its password sealed, nothing that the form hides is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from api.whole import Whole
from highball.config.repository import Repository
from highball.engine.restic.engine import RESTIC
from highball.web.forms.repository_fields import RepositoryForm
from hub.served import PASSWORD, Served
from pages.looking import Looker
from pages.reading import read_page


def test_a_repository_is_tested_made_and_its_kit_kept(anna: Looker, served: Served, tmp_path: Path) -> None:
    assert anna.complaints("/repositories/new") == []
    anna.page.set_viewport_size({"width": 1280, "height": 900})
    page = anna.go("/repositories/new")
    page.get_by_label("Folder", exact=True).fill(str(tmp_path / "fresh"))
    expect(page.locator("#address")).to_contain_text("/fresh")
    page.get_by_label("ID", exact=True).fill("fresh")
    page.get_by_role("button", name="Test").click()
    expect(page.get_by_role("status")).to_contain_text("There is no repository there yet")
    page.get_by_role("button", name="Save and create").click()
    page.wait_for_url("**/repositories/fresh/kit?made=yes")
    page.get_by_role("button", name="Show and print").click()
    expect(page.get_by_label("The recovery kit")).to_contain_text(str(tmp_path / "fresh"))
    page.get_by_label("I have stored it").check()
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/repositories/fresh")
    made = served.get("runs", repository="fresh")["items"]
    assert [served.end_of(run["id"])["outcome"] for run in made] == ["success"]
    assert served.post("repositories/fresh/test")["state"] == "empty"
    assert served.get("repositories/fresh")["spec"]["password"] == {"sealed": True}


@pytest.fixture
def plain(served: Served) -> httpx.Client:
    """A browser without script, logged in."""
    headers = {"origin": served.url}
    client = httpx.Client(base_url=served.url, headers=headers, trust_env=False, timeout=240)
    client.post("/login", data={"name": "anna", "password": "correct horse battery"})
    return client


def test_what_is_wrong_stands_by_its_field_and_the_input_is_kept(plain: httpx.Client) -> None:
    sent = {"act": "save", "kind": "sftp", "server": "no such server!", "key": "Not A Key", "path": "/srv"}
    answer = plain.post("/repositories/new", data=sent)
    assert answer.status_code == 422
    assert 'value="Not A Key"' in answer.text and 'href="#key"' in answer.text
    answer = plain.post("/repositories/new", data={**sent, "key": "shed"})
    assert answer.status_code == 422
    assert 'href="#server"' in answer.text and 'value="no such server!"' in answer.text
    taken = plain.post("/repositories/new", data={"kind": "local", "path": "/srv", "key": "nas"})
    assert taken.status_code == 409 and "already" in taken.text


def test_a_pasted_address_fills_the_fields(plain: httpx.Client) -> None:
    pasted = {"act": "read", "pasted": "rest:https://backup.example.org:8000/anna/"}
    answer = plain.post("/repositories/new", data=pasted).text
    assert 'value="https://backup.example.org:8000"' in answer and 'value="anna"' in answer
    kept = plain.post("/repositories/new", data={"act": "read", "kind": "local", "path": "/srv"}).text
    assert 'value="/srv"' in kept


def test_the_second_editor_is_shown_what_the_first_changed(
    plain: httpx.Client, served: Served, tmp_path: Path
) -> None:
    corner = served.give_corner(tmp_path)
    address = f"/repositories/{corner.nas}/edit"
    assert 'value="1"' in plain.get(address).text
    same = {
        "revision": "1",
        "kind": "local",
        "path": str(corner.repository),
        "password_how": "file",
        "password_at": str(corner.folder / "password"),
    }
    first = plain.post(address, data={**same, "title": "The first"})
    assert first.status_code == 303
    second = plain.post(address, data={**same, "title": "The second"})
    assert second.status_code == 412
    assert "was changed by somebody else" in second.text and "The first" in second.text
    assert 'value="The second"' in second.text and 'name="revision" value="2"' in second.text
    assert corner.get(f"repositories/{corner.nas}")["spec"] == {
        **corner.repository_spec,
        "title": "The first",
    }


def test_one_that_is_saved_while_its_host_is_away_is_told_to_be_untested(whole: Whole) -> None:
    """The hub of this test has no agent."""
    client, address = whole.client(), "/repositories/nas/edit"
    form = read_page(client.get(address).text).form(address)
    sent = dict(form.fields) | {"path": "/mnt/elsewhere"}
    saved = client.post(address, data=sent, follow_redirects=False)
    assert saved.status_code == 303, saved.text
    assert whole.hub.document().repositories["nas"].address == "/mnt/elsewhere"
    told = "its agent was offline when it was saved, so it was never tested"
    assert told in client.get("/").text


def test_what_a_file_declares_is_shown_and_not_changed(plain: httpx.Client) -> None:
    shown = plain.get("/repositories/nas/edit").text
    assert "Edit it there" in shown and '<fieldset class="bare" disabled>' in shown
    refused = plain.post("/repositories/nas/edit", data={"revision": "1", "kind": "local", "path": "/srv"})
    assert refused.status_code == 403


@pytest.mark.parametrize(
    "spec",
    [
        {"url": "/mnt/nas", "password": {"sealed": True}},
        {"url": "/mnt/nas", "answer_within": "5m", "when_back": False},
        {"kind": "local", "path": "/srv/disk", "when_back": True},
        {
            "url": "b2:bucket:folder",
            "environment": {"B2_ACCOUNT_ID": "x", "B2_ACCOUNT_KEY": {"sealed": True}},
        },
        {"kind": "s3", "endpoint": "s3.example.org", "bucket": "b", "access_key_id": {"sealed": True}}
        | {"secret_access_key": {"file": "/etc/key"}, "options": {"s3.connections": "10"}},
        {"url": "rest:https://h:8000/", "rest_username": "a", "rest_password": {"env": "REST"}}
        | {"append_only": True, "admin": {"url": "rest:https://h:8001/", "password": {"sealed": True}}},
        {"kind": "s3", "endpoint": "s3.example.org", "bucket": "b"}
        | {"admin": {"access_key_id": {"env": "ID"}, "secret_access_key": {"sealed": True}}},
        {"url": "sftp:me@shed:/srv/backups", "identity_file": "/etc/highball/ssh-key", "title": "Shed"}
        | {"maintenance": "user", "retention": {"daily": 30}, "check_share": "10%"},
    ],
)
def test_a_form_that_is_sent_back_as_it_came_changes_nothing(spec: dict[str, Any]) -> None:
    spec = {"password": {"command": "pass nas"}, **spec}
    Repository.model_validate(spec)
    after, sealed = RepositoryForm.of("nas", spec, 1).applied_to(spec)
    assert (after, sealed) == (spec, {})


def test_a_value_that_is_typed_in_goes_beside_the_spec() -> None:
    form = RepositoryForm.model_validate(
        {
            "kind": "url",
            "url": "b2:bucket:folder",
            "environment": "B2_ACCOUNT_ID=me\nB2_ACCOUNT_KEY=canary-of-the-form",
            "password_how": "enter",
            "password": PASSWORD,
        }
    )
    spec, sealed = form.applied_to({})
    assert sealed == {"password": PASSWORD, "environment.B2_ACCOUNT_KEY": "canary-of-the-form"}
    assert PASSWORD not in str(spec) and "canary" not in str(spec)
    Repository.model_validate(spec)


@pytest.mark.parametrize(
    ("address", "fields"),
    [
        ("/mnt/nas", {"kind": "local", "path": "/mnt/nas"}),
        ("local:/mnt/nas", {"kind": "local", "path": "/mnt/nas"}),
        ("sftp:me@shed:/srv", {"kind": "sftp", "server": "shed", "user": "me", "path": "/srv"}),
        (
            "sftp://me@[::1]:2222//srv",
            {"kind": "sftp", "server": "::1", "user": "me", "port": 2222, "path": "/srv"},
        ),
        ("s3:s3.example.org/b", {"kind": "s3", "endpoint": "s3.example.org", "bucket": "b"}),
        (
            "s3:http://h:9000/b/x/y",
            {"kind": "s3", "endpoint": "http://h:9000", "bucket": "b", "prefix": "x/y"},
        ),
        ("rest:https://h:8000/a/", {"kind": "rest", "endpoint": "https://h:8000", "path": "a"}),
        ("b2:bucket:folder", {"url": "b2:bucket:folder"}),
        ("rest:http+unix:///run/x:/a/", {"url": "rest:http+unix:///run/x:/a/"}),
    ],
)
def test_an_address_is_taken_apart_and_put_together_again(address: str, fields: dict[str, Any]) -> None:
    assert RESTIC.read_address(address) == fields
    again = RESTIC.spell_address(fields)
    assert RESTIC.read_address(again) in (fields, fields | {"endpoint": f"https://{fields.get('endpoint')}"})
