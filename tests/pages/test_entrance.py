"""The door, as people see it: what it refuses is a page that helps, and a session that ends loses nobody's input."""

from __future__ import annotations

from urllib.parse import urlencode

import pyotp
import pytest
from fastapi.testclient import TestClient

from api.whole import ANNA, CANARY, NOW, PASSWORD, SNAPSHOT, Whole
from highball.config.roles import Token
from highball.errors import StateUnusable
from highball.hub.auth.authenticators import spell_code
from highball.hub.auth.sessions import CONFIRMED_FOR
from highball.hub.storage.schema import sessions
from highball.secret import SecretValue
from pages.reading import Form, read_page

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {**BROWSER, "Content-Type": "application/x-www-form-urlencoded"}


def before(whole: Whole) -> TestClient:
    """Somebody before a browser who has not logged in."""
    return TestClient(whole.app, base_url="https://hub.example", headers=BROWSER, follow_redirects=False)


def logged_in(whole: Whole) -> TestClient:
    client = before(whole)
    came = client.post("/login", data={"name": "anna", "password": PASSWORD, "to": "/"})
    assert came.status_code == 303, came.text
    return client


# --- what the guard refuses ---------------------------------------------------------------------------

REFUSED = {
    "another site": (403, "/jobs", {"Sec-Fetch-Site": "cross-site"}, b"", "Another site made this request"),
    "too large": (413, "/login", {}, b"x" * 70_000, "larger than 64 KiB"),
    "a long address": (414, f"/login?{'x' * 40_000}", {}, b"", "address is too long"),
    "large headers": (431, "/login", {"X": "x" * 40_000}, b"", "headers are too large"),
    "NUL": (422, "/login?a=%00", {}, b"", "holds NUL"),
    "a token that opens nothing": (401, "/jobs", {"Authorization": "Bearer hb_x"}, b"", "opens nothing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_guard_refuses_is_a_page_for_people_and_a_problem_for_programs(
    whole: Whole, case: str
) -> None:
    status, address, headers, content, told = REFUSED[case]
    page = before(whole).post(address, headers=headers, content=content)
    assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert told in page.text
    assert "/static/app.css" in page.text and 'href="/"' in page.text
    assert "content-security-policy" in page.headers
    assert status != 413 or page.headers["connection"] == "close"
    for where, more in ((f"/api/v1{address}", {}), (address, {"Accept": "application/json"})):
        answer = before(whole).post(where, headers={**headers, **more}, content=content)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_who_is_logged_in_is_refused_with_the_way_on_beside_it(whole: Whole) -> None:
    page = logged_in(whole).post("/jobs", headers={"Origin": "https://evil.example"})
    assert page.status_code == 403
    assert 'aria-label="Main"' in page.text


def test_a_database_that_fails_is_told_on_a_page_too(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    client = logged_in(whole)

    def fail(*_: object, **__: object) -> None:
        raise StateUnusable("the disk is full", code="state_full", hint="make room")

    monkeypatch.setattr(whole.hub.documents, "document", fail)
    for name in (None, "find_by_session"):
        if name is not None:
            monkeypatch.setattr(whole.hub.access, name, fail)
        page = client.get("/jobs")
        assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
        assert "The disk is full" in page.text and "Make room" in page.text


def test_an_address_that_cannot_be_posted_to_says_so(whole: Whole) -> None:
    assert logged_in(whole).post("/activity").status_code == 405


# --- a session that ends ------------------------------------------------------------------------------

TYPED: dict[str, list[tuple[str, str]]] = {
    "/jobs/new": [
        ("act", "save"),
        ("key", "typed"),
        ("host", "here"),
        ("source", "/a b"),
        ("source", '{"b64":"Y2Fm6Q=="}'),
        ("more", "/c\r\n/d"),
        ("exclude", "*.tmp\r\n<b>\"'&"),
        ("repositories", "nas"),
        ("rhythm", "manual"),
        ("title", ""),
    ],
    "/jobs/docs/edit": [("act", "test"), ("title", "Our — documents"), ("revision", "1")],
    "/jobs/docs/pause": [],
    "/repositories/new": [("kind", "rest"), ("url", "https://x"), ("password", " sp ace ")],
    "/profiles": [("key", "x"), ("text", "schedule: daily\r\n\r\nexclude: ['é']\r\n")],
    "/profiles/often": [("text", "schedule: daily"), ("do", "preview"), ("revision", "1")],
    "/settings/general": [("timezone", "Europe/Vienna"), ("revision", "0")],
    "/settings/password": [("old", PASSWORD), ("new", PASSWORD)],
    "/settings/users": [("key", "berta"), ("title", "B"), ("role", "viewer")],
    "/settings/tokens": [("key", "ci"), ("title", ""), ("role", "viewer")],
    "/restore": [
        ("job", "docs"),
        ("repository", "nas"),
        ("snapshot", SNAPSHOT),
        ("what", "some"),
        ("pick", "f1:/a"),
        ("pick", "d:/b"),
        ("target", "/tmp/x"),
    ],
    "/configuration/preview": [("text", "jobs: {}\r\n# " + "x" * 50_000), ("token", "3")],
}


@pytest.mark.parametrize("address", TYPED)
def test_a_session_that_ends_on_a_filled_form_loses_no_input(whole: Whole, address: str) -> None:
    client, typed = logged_in(whole), TYPED[address]
    whole.hub.access.end_sessions("anna", ANNA, NOW)
    refused = client.post(address, content=urlencode(typed), headers=FORM)
    assert refused.status_code == 401
    assert refused.headers["cache-control"] == "no-store"
    login = _sent_by(read_page(refused.text).form("/login"), name="anna", password=PASSWORD)
    came = client.post("/login", content=login, headers=FORM)
    form = read_page(came.text).form(address)
    assert (form.method, [(name, _as_typed(value)) for name, value in form.fields]) == ("post", typed)
    done = client.post(address, content=urlencode(form.fields), headers=FORM)
    assert done.status_code not in (401, 403, 404, 405, 500), done.text


def test_a_wrong_password_loses_no_input_either(whole: Whole) -> None:
    client, sent = before(whole), [("key", "typed"), ("more", "/c")]
    page = client.post("/jobs/new", content=urlencode(sent), headers=FORM)
    for password, status in (("wrong words", 401), (PASSWORD, 200)):
        login = _sent_by(read_page(page.text).form("/login"), name="anna", password=password)
        page = client.post("/login", content=login, headers=FORM)
        assert page.status_code == status
    assert read_page(page.text).form("/jobs/new").fields == sent


def test_a_second_factor_asked_for_in_between_loses_no_input_and_begins_no_session(whole: Whole) -> None:
    sent, client = [("key", "typed"), ("more", "/c")], before(whole)
    factors, page = (
        whole.hub.access.authenticators,
        client.post("/jobs/new", content=urlencode(sent), headers=FORM),
    )
    offered = factors.offer("anna", SecretValue(PASSWORD.encode()), ANNA, NOW)
    app = pyotp.TOTP(offered.secret.reveal().decode())
    codes = factors.confirm("anna", SecretValue(app.at(NOW).encode()), ANNA, NOW)
    try:
        login = _sent_by(read_page(page.text).form("/login"), name="anna", password=PASSWORD)
        asked = client.post("/login", content=login, headers=FORM)
        assert asked.status_code == 200 and not client.cookies
        for code, status in (("000000", 403), (spell_code(codes[0]), 200)):
            typed = _sent_by(read_page(asked.text).form("/login/code"), code=code)
            asked = client.post("/login/code", content=typed, headers=FORM)
            assert asked.status_code == status
        assert read_page(asked.text).form("/jobs/new").fields == sent
    finally:
        factors.reset("anna", ANNA, NOW)


LETS_IN: dict[str, list[tuple[str, str]]] = {
    "/settings/own-tokens": [("key", "mine"), ("role", "viewer")],
    "/settings/tokens": [("key", "ci-2"), ("title", ""), ("role", "admin"), ("may_grant", "yes")],
    "/settings/tokens/of-viewer/renew": [],
    "/settings/users": [("key", "eve"), ("role", "admin")],
    "/settings/users/vera/link": [],
    "/repositories/far/kit": [("download", "yes")],
}


@pytest.mark.parametrize("address", LETS_IN)
def test_who_lets_somebody_in_or_takes_a_key_types_the_password_again_and_goes_on(
    whole: Whole, address: str
) -> None:
    client, sent = logged_in(whole), urlencode(LETS_IN[address])
    grow_old(whole, "anna")
    asked = client.post(address, content=sent, headers=FORM)
    assert asked.status_code == 403
    assert "Enter your password again" in asked.text
    login = _sent_by(read_page(asked.text).form("/login"), password=PASSWORD)
    came = client.post("/login", content=login, headers=FORM)
    form = read_page(came.text).form(address)
    done = client.post(address, content=urlencode(form.fields), headers=FORM)
    assert done.status_code in (200, 303), done.text
    if address.endswith("/kit"):
        assert CANARY in done.text


def test_tokens_that_outlive_a_password_stand_beside_it(whole: Whole) -> None:
    client = logged_in(whole)
    for key in ("goes", "stays"):
        whole.hub.access.create_own_token("anna", key, Token(), ANNA, NOW)
    shown = client.get("/settings").text
    sent = [("old", PASSWORD), ("new", PASSWORD), ("revoke", "goes")]
    assert client.post("/settings/password", content=urlencode(sent), headers=FORM).status_code == 303
    left = {one.key for one in whole.hub.access.list_own_tokens("anna")}
    assert "stays" in left and "goes" not in left
    assert all(f'name="revoke" value="{key}"' in shown for key in ("goes", "stays"))


def grow_old(whole: Whole, user: str) -> None:
    """Let it be a while since this user typed the password."""
    with whole.hub.database.write() as connection:
        was = NOW - CONFIRMED_FOR
        connection.execute(sessions.update().where(sessions.c.user == user).values(created_at=was))


def test_nobody_is_sent_elsewhere_with_what_was_kept(whole: Whole) -> None:
    login = urlencode({"name": "anna", "password": PASSWORD, "to": "//evil.example/x", "again": "yes"})
    came = before(whole).post("/login", content=login, headers=FORM)
    assert "evil.example" not in came.text


def test_a_part_of_a_page_that_asks_without_a_session_replaces_nothing(whole: Whole) -> None:
    for method, address in (("GET", "/jobs"), ("POST", "/restore")):
        answer = before(whole).request(
            method, address, headers={"HX-Request": "true", "HX-Target": "div#rows"}
        )
        assert (answer.status_code, answer.content) == (401, b"")


def _sent_by(form: Form, **typed: str) -> str:
    return urlencode([(name, typed.get(name, value)) for name, value in form.fields])


def _as_typed(value: str) -> str:
    """A browser reads line ends as LF and sends them as CR LF."""
    return value.replace("\r\n", "\n").replace("\n", "\r\n")
