"""Who lets somebody in has typed their password just now; a token lets nobody in unless it was made for that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from access.conftest import CLI, NOW, PASSWORD, Clock, log_in
from highball.config.roles import Token, User
from highball.errors import ConfirmationNeeded, NotAllowed
from highball.hub.audit import Actor
from highball.hub.auth.sessions import CONFIRMED_FOR, Access
from highball.hub.auth.users import kept_sound
from highball.hub.document.store import Documents
from highball.hub.storage.database import Database
from highball.model.role import Role

API = "/api/v1"
ASK = {"current_password": PASSWORD}

WAYS_IN: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/me/tokens", {"key": "own"}),
    ("POST", "/tokens", {"key": "fresh", "role": "viewer"}),
    ("POST", "/tokens/old/value", {}),
    ("PUT", "/tokens/old", {"role": "admin"}),
    ("PUT", "/tokens/old", {"role": "operator", "may_grant": True}),
    ("PUT", "/tokens/old", {"role": "operator", "user": "anna"}),
    ("POST", "/users", {"key": "eve", "role": "admin"}),
    ("PUT", "/users/vera", {"role": "admin"}),
    ("POST", "/users/vera/link", {}),
]
NO_WAYS_IN: list[tuple[str, str, dict[str, Any]]] = [
    ("PUT", "/tokens/old", {"role": "viewer", "title": "less than before"}),
    ("PUT", "/tokens/old", {"role": "operator", "enabled": False}),
    ("DELETE", "/tokens/old", {}),
    ("POST", "/users", {"key": "bert", "role": "viewer"}),
    ("PUT", "/users/otto", {"role": "viewer"}),
]


@pytest.fixture
def browser(people: Access, client: TestClient, clock: Clock) -> TestClient:
    """Anna's, who logged in a while ago; there is a token of a program."""
    people.create_token("old", Token(role=Role.OPERATOR), CLI, NOW)
    log_in(client, "anna")
    clock.pass_by(CONFIRMED_FOR)
    return client


def send(client: TestClient, method: str, path: str, body: dict[str, Any]) -> Any:
    return client.request(method, f"{API}{path}", json=body if method != "DELETE" else None)


@pytest.mark.parametrize(("method", "path", "body"), WAYS_IN)
def test_a_session_alone_lets_nobody_in_and_the_password_does(
    browser: TestClient, method: str, path: str, body: dict[str, Any]
) -> None:
    refused = send(browser, method, path, body)
    assert (refused.status_code, refused.json()["code"]) == (403, "confirmation_needed")
    wrong = send(browser, method, path, body | {"current_password": "a guess of somebody"})
    assert (wrong.status_code, wrong.json()["code"]) == (403, "password_wrong")
    assert send(browser, method, path, body | ASK).status_code in (200, 201)


@pytest.mark.parametrize(("method", "path", "body"), NO_WAYS_IN)
def test_what_lets_nobody_in_asks_for_nothing(
    browser: TestClient, method: str, path: str, body: dict[str, Any]
) -> None:
    assert send(browser, method, path, body).status_code in (200, 201, 204)


def test_nobodys_second_factor_is_taken_away_by_a_session_alone(browser: TestClient) -> None:
    refused = browser.delete(f"{API}/users/vera/second-factor")
    assert (refused.status_code, refused.json()["code"]) == (403, "confirmation_needed")
    assert browser.post(f"{API}/me/confirmation", json={"password": PASSWORD}).status_code == 200
    assert browser.delete(f"{API}/users/vera/second-factor").status_code == 204


def test_nobodys_second_factor_is_taken_away_by_a_token_that_was_not_made_to_let_people_in(
    people: Access, client: TestClient
) -> None:
    found = []
    for grants in (False, True):
        token = Token(role=Role.ADMIN, may_grant=grants)
        _, value = people.create_token(f"admin-{grants}".lower(), token, CLI, NOW)
        client.headers["Authorization"] = f"Bearer {value.reveal().decode()}"
        found.append(client.delete(f"{API}/users/vera/second-factor").status_code)
    assert found == [403, 204]


def test_a_confirmation_counts_for_a_while_in_a_session_of_its_own(browser: TestClient, clock: Clock) -> None:
    before = dict(browser.cookies)
    assert browser.post(f"{API}/me/confirmation", json={"password": PASSWORD}).status_code == 200
    assert dict(browser.cookies) != before
    assert len(browser.get(f"{API}/me/sessions").json()) == 1
    assert send(browser, "POST", "/tokens", {"key": "a"}).status_code == 201
    clock.pass_by(CONFIRMED_FOR)
    assert send(browser, "POST", "/tokens", {"key": "b"}).status_code == 403


def test_guesses_of_the_password_are_throttled_there_too(browser: TestClient) -> None:
    codes = {
        send(browser, "POST", "/tokens", {"key": "x", "current_password": f"guess number {n}"}).status_code
        for n in range(8)
    }
    assert codes == {403, 429}


@pytest.mark.parametrize(("method", "path", "body"), WAYS_IN[1:])
def test_a_token_lets_somebody_in_only_if_it_was_made_for_that(
    people: Access, client: TestClient, method: str, path: str, body: dict[str, Any]
) -> None:
    people.create_token("old", Token(role=Role.OPERATOR), CLI, NOW)
    found = {}
    for grants in (False, True):
        token = Token(role=Role.ADMIN, may_grant=grants)
        _, value = people.create_token(f"admin-{grants}".lower(), token, CLI, NOW)
        client.headers["Authorization"] = f"Bearer {value.reveal().decode()}"
        answer = send(client, method, path, body)
        found[grants] = answer.json().get("code", answer.status_code)
    assert found[False] == "grant_needed"
    assert found[True] in (200, 201)


def _raise_vera(documents: Documents, actor: Actor) -> None:
    documents.patch("user", "vera", {"role": "admin"}, expected=1, now=NOW, actor=actor)


def _write_all_back(documents: Documents, actor: Actor) -> None:
    text = documents.as_yaml().replace("role: viewer", "role: admin")
    documents.write_back(text, expected=documents.token(), now=NOW, actor=actor)


@pytest.mark.parametrize("raise_role", [_raise_vera, _write_all_back])
def test_a_whole_configuration_is_no_way_round(
    people: Access, database: Database, raise_role: Callable[[Documents, Actor], None]
) -> None:
    documents = Documents(database, kept_sound)
    with pytest.raises(ConfirmationNeeded):
        raise_role(documents, Actor("anna", confirmed=False))
    with pytest.raises(NotAllowed) as raised:
        raise_role(documents, Actor("token:ci", confirmed=False))
    assert raised.value.code == "grant_needed"
    raise_role(documents, Actor("anna"))
    assert people.get_user("vera").user == User(role=Role.ADMIN)


# --- what outlives a session ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["password", "sessions"])
def test_tokens_are_named_and_can_be_revoked_where_somebody_shuts_others_out(
    people: Access, client: TestClient, way: str
) -> None:
    log_in(client, "anna")
    values = {}
    for path, key in (("/me/tokens", "own"), ("/tokens", "made"), ("/me/tokens", "stays")):
        values[key] = send(client, "POST", path, {"key": key}).json()["value"]
    people.create_token("others", Token(), CLI, NOW)
    if way == "password":
        told = {"old": PASSWORD, "new": f"{PASSWORD} again"}
        assert client.put(f"{API}/me/password", json=told | {"revoke_tokens": ["others"]}).status_code == 404
        answer = client.put(f"{API}/me/password", json=told | {"revoke_tokens": ["own", "made"]})
    else:
        refused = client.delete(f"{API}/me/sessions", params={"revoke_token": "others"})
        assert refused.status_code == 404
        answer = client.delete(f"{API}/me/sessions", params={"revoke_token": ["own", "made"]})
    assert (answer.status_code, answer.headers["highball-tokens"]) == (204, "stays")
    client.cookies.clear()
    found = {
        key: client.get(f"{API}/me", headers={"Authorization": f"Bearer {value}"}).status_code
        for key, value in values.items()
    }
    assert found == {"own": 401, "made": 401, "stays": 200}
    assert people.get_token("others").token.enabled


def test_a_session_is_confirmed_for_as_long_as_is_said(
    people: Access, client: TestClient, clock: Clock
) -> None:
    log_in(client, "anna")
    clock.pass_by(CONFIRMED_FOR - timedelta(seconds=1))
    assert send(client, "POST", "/users/vera/link", {}).status_code == 201
