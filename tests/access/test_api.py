"""The addresses: which role each demands, journeys through them, and that no secret comes back by any."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from access.conftest import CLI, NOW, PASSWORD, ROOMS, Clock, add_user, declare, log_in, secret
from highball.config.roles import Token, User
from highball.hub.auth.sessions import Access
from highball.hub.secrets.vault import Vault
from highball.hub.storage import schema
from highball.hub.storage.database import Database, open_database
from highball.model.role import Role

API = "/api/v1"


@pytest.fixture
def database() -> Database:
    """In memory, for these tests are many and none of them is about the disk."""
    database = open_database(None)
    declare(database)
    return database


# --- who may do what ----------------------------------------------------------------------------------

OPEN = None
VIEWER, OPERATOR, ADMIN = Role

TABLE: dict[tuple[str, str], tuple[Role | None, Any]] = {
    ("GET", "/setup"): (OPEN, None),
    ("POST", "/setup"): (OPEN, {"token": "x", "name": "x", "password": PASSWORD}),
    ("POST", "/login"): (OPEN, {"name": "vera", "password": PASSWORD}),
    ("POST", "/logout"): (OPEN, None),
    ("POST", "/password"): (OPEN, {"token": "x", "password": PASSWORD}),
    ("GET", "/me"): (VIEWER, None),
    ("PUT", "/me/password"): (VIEWER, {"old": PASSWORD, "new": PASSWORD}),
    ("POST", "/me/confirmation"): (VIEWER, {"password": PASSWORD}),
    ("GET", "/me/sessions"): (VIEWER, None),
    ("DELETE", "/me/sessions"): (VIEWER, None),
    ("DELETE", "/me/sessions/{id}"): (VIEWER, None),
    ("GET", "/me/second-factor"): (VIEWER, None),
    ("POST", "/me/second-factor"): (VIEWER, {"password": PASSWORD}),
    ("POST", "/me/second-factor/confirm"): (VIEWER, {"code": "123456"}),
    ("POST", "/me/second-factor/recovery-codes"): (VIEWER, {"password": PASSWORD, "code": "123456"}),
    ("POST", "/me/second-factor/remove"): (VIEWER, {"password": PASSWORD, "code": "123456"}),
    ("GET", "/me/tokens"): (VIEWER, None),
    ("POST", "/me/tokens"): (VIEWER, {"key": "own"}),
    ("DELETE", "/me/tokens/{key}"): (VIEWER, None),
    ("GET", "/users"): (ADMIN, None),
    ("POST", "/users"): (ADMIN, {"key": "fresh"}),
    ("GET", "/users/{key}"): (ADMIN, None),
    ("PUT", "/users/{key}"): (ADMIN, {"role": "viewer"}),
    ("DELETE", "/users/{key}"): (ADMIN, None),
    ("POST", "/users/{key}/link"): (ADMIN, None),
    ("DELETE", "/users/{key}/second-factor"): (ADMIN, None),
    ("DELETE", "/users/{key}/sessions"): (ADMIN, None),
    ("GET", "/tokens"): (ADMIN, None),
    ("POST", "/tokens"): (ADMIN, {"key": "fresh"}),
    ("GET", "/tokens/{key}"): (ADMIN, None),
    ("PUT", "/tokens/{key}"): (ADMIN, {"role": "viewer"}),
    ("DELETE", "/tokens/{key}"): (ADMIN, None),
    ("POST", "/tokens/{key}/value"): (ADMIN, None),
    ("GET", "/audit"): (ADMIN, None),
    ("GET", "/repositories/{key}/secrets"): (ADMIN, None),
    ("GET", "/repositories/{key}/secrets/{secret}"): (ADMIN, None),
    ("PUT", "/repositories/{key}/secrets/{secret}"): (ADMIN, {"value": "x"}),
    ("DELETE", "/repositories/{key}/secrets/{secret}"): (ADMIN, None),
    ("POST", "/repositories/{key}/secrets/{secret}/bring-back"): (ADMIN, None),
}


def test_the_table_names_every_address_there_is() -> None:
    routes = [route for room in ROOMS for route in room.router.routes if isinstance(route, APIRoute)]
    named = {(method, route.path.removeprefix(API)) for route in routes for method in route.methods or ()}
    assert named == set(TABLE)


@pytest.mark.parametrize(("method", "path"), TABLE)
@pytest.mark.parametrize("by", ["session", "token"])
def test_an_address_answers_those_who_have_its_role_and_nobody_else(
    app: FastAPI, people: Access, method: str, path: str, by: str
) -> None:
    least, body = TABLE[method, path]
    people.create_token("there", Token(), CLI, NOW)
    people.create_user("there", User(), CLI, NOW)
    place = path.format(key="nas" if "repositories" in path else "there", secret="password", id="x")
    for role in (None, *Role):
        client = TestClient(app, base_url="https://hub.example")
        if role is not None and by == "session":
            log_in(client, {VIEWER: "vera", OPERATOR: "otto", ADMIN: "anna"}[role])
        elif role is not None:
            _, value = people.create_token(f"asks-{role}", Token(role=role, may_grant=True), CLI, NOW)
            client.headers["Authorization"] = f"Bearer {value.reveal().decode()}"
        answer = client.request(method, API + place, json=body)
        code = answer.json()["code"] if answer.status_code >= 400 else None
        if role is None and least is not OPEN:
            assert (answer.status_code, code) == (401, "login_needed")
        elif role is not None and least is not OPEN and not role.includes(least):
            assert (answer.status_code, code) == (403, "not_allowed")
        else:
            # What the address itself may say, once it is entered.
            assert code in (
                None,
                "link_invalid",
                "session_needed",
                "session_unknown",
                "second_factor_not_offered",
                "second_factor_unset",
                "secret_unset",
                "token_unknown",
                "token_exists",
            )


# --- journeys -----------------------------------------------------------------------------------------


def test_from_the_set_up_link_to_a_second_admin_and_a_token(
    client: TestClient, app: FastAPI, access: Access
) -> None:
    assert client.get(f"{API}/setup").json() == {"needed": True}
    link = access.make_setup_token(NOW)
    assert link is not None
    told = {"token": link.token.reveal().decode(), "name": "Anna", "password": PASSWORD}
    made = client.post(f"{API}/setup", json=told)
    assert (made.status_code, made.json()["name"], made.json()["role"]) == (201, "anna", "admin")
    assert client.get(f"{API}/setup").json() == {"needed": False}
    assert client.get(f"{API}/me").json()["user"] == "anna"
    again = client.post(f"{API}/setup", json=told)
    assert (again.status_code, again.json()["code"]) == (403, "link_invalid")

    user = client.post(f"{API}/users", json={"key": "berta", "role": "admin", "title": "Berta"})
    assert user.json() | {"changed_at": ""} == {
        "key": "berta",
        "title": "Berta",
        "role": "admin",
        "restore_in_place": False,
        "enabled": True,
        "revision": 1,
        "changed_at": "",
        "has_password": False,
        "has_second_factor": False,
        "from_provider": False,
    }
    invitation = client.post(f"{API}/users/berta/link").json()["token"]
    other = TestClient(app, base_url="https://hub.example")
    accepted = other.post(f"{API}/password", json={"token": invitation, "password": "of berta alone"})
    assert accepted.status_code == 204
    log_in(other, "berta", "of berta alone")

    token = other.post(f"{API}/tokens?key=ci", json={"role": "operator", "user": "berta"}).json()
    bearer = {"Authorization": f"Bearer {token['value']}"}
    assert TestClient(app).get(f"{API}/me", headers=bearer).json() == {
        "name": "token:ci",
        "role": "operator",
        "user": "berta",
        "session": None,
        "restore_in_place": False,
        "warning": None,
    }
    renewed = client.post(f"{API}/tokens/ci/value").json()["value"]
    assert TestClient(app).get(f"{API}/me", headers=bearer).json()["code"] == "token_invalid"
    bearer = {"Authorization": f"Bearer {renewed}"}
    assert TestClient(app).get(f"{API}/me", headers=bearer).json()["name"] == "token:ci"
    assert client.delete(f"{API}/users/berta").status_code == 204
    assert other.get(f"{API}/me").status_code == 401
    assert TestClient(app).get(f"{API}/me", headers=bearer).status_code == 401


@pytest.mark.parametrize("table", ["users", "tokens", "me/tokens"])
def test_a_key_is_named_in_the_address_or_beside_what_it_is_of_and_once(
    client: TestClient, people: Access, table: str
) -> None:
    log_in(client, "anna")
    made = client.post(f"{API}/{table}?key=in-address", json={"role": "viewer"})
    assert (made.status_code, made.json()["key"]) == (201, "in-address"), made.text
    assert client.post(f"{API}/{table}?key=both", json={"key": "both"}).json()["key"] == "both"
    assert client.post(f"{API}/{table}", json={"key": "in-body"}).json()["key"] == "in-body"
    for address, body in ((table, {}), (f"{table}?key=one", {"key": "another"}), (f"{table}?key=NO", {})):
        refused = client.post(f"{API}/{address}", json=body)
        assert (refused.status_code, refused.json()["code"]) == (422, "request_invalid"), refused.text
        assert refused.json()["problems"][0]["at"] == "query.key"


def test_one_makes_tokens_of_one_s_own_sees_their_use_and_ends_them(
    app: FastAPI, people: Access, clock: Clock
) -> None:
    otto = log_in(TestClient(app, base_url="https://hub.example"), "otto")
    vera = log_in(TestClient(app, base_url="https://hub.example"), "vera")
    made = otto.post(f"{API}/me/tokens", json={"key": "phone", "role": "operator", "title": "My phone"})
    told = made.json()
    assert (made.status_code, told["user"], told["used_at"]) == (201, "otto", None)
    too_high = otto.post(f"{API}/me/tokens", json={"key": "more", "role": "admin"})
    assert (too_high.status_code, too_high.json()["code"]) == (403, "role_too_high")
    borrowed = otto.post(f"{API}/me/tokens", json={"key": "hers", "user": "anna"})
    assert borrowed.status_code == 422
    people.create_token("of-no-one", Token(), CLI, NOW)

    clock.pass_by(timedelta(hours=1))
    phone = TestClient(app, base_url="https://hub.example", client=("192.0.2.9", 1))
    phone.headers["Authorization"] = f"Bearer {told['value']}"
    assert phone.get(f"{API}/me").json()["user"] == "otto"
    by_token = phone.post(f"{API}/me/tokens", json={"key": "child"})
    assert (by_token.status_code, by_token.json()["code"]) == (403, "session_needed")
    [seen] = otto.get(f"{API}/me/tokens").json()
    assert (seen["key"], seen["used_from"]) == ("phone", "192.0.2.9")
    assert seen["used_at"] == (NOW + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert "value" not in seen
    first = seen["used_at"]
    clock.pass_by(timedelta(seconds=59))
    phone.get(f"{API}/me")
    assert otto.get(f"{API}/me/tokens").json()[0]["used_at"] == first, "to the minute"
    clock.pass_by(timedelta(seconds=1))
    phone.get(f"{API}/me")
    assert otto.get(f"{API}/me/tokens").json()[0]["used_at"] > first

    assert vera.get(f"{API}/me/tokens").json() == []
    for somebody_elses in ("phone", "of-no-one"):
        refused = vera.delete(f"{API}/me/tokens/{somebody_elses}")
        assert (refused.status_code, refused.json()["code"]) == (404, "token_unknown")
    assert otto.delete(f"{API}/me/tokens/phone").status_code == 204
    assert phone.get(f"{API}/me").status_code == 401


def test_a_token_of_somebody_who_may_less_by_now_does_less(app: FastAPI, people: Access) -> None:
    otto = log_in(TestClient(app, base_url="https://hub.example"), "otto")
    value = otto.post(f"{API}/me/tokens", json={"key": "phone", "role": "operator"}).json()["value"]
    people.change_user("otto", User(role=Role.VIEWER), CLI, NOW)
    phone = TestClient(app, headers={"Authorization": f"Bearer {value}"})
    assert phone.get(f"{API}/me").json()["role"] == "viewer"


def test_one_sees_where_one_is_logged_in_and_ends_it(
    client: TestClient, app: FastAPI, people: Access
) -> None:
    other = log_in(TestClient(app, base_url="https://hub.example"), "anna")
    log_in(client, "anna")
    listed = client.get(f"{API}/me/sessions").json()
    assert sorted(one["current"] for one in listed) == [False, True]
    assert {one["address"] for one in listed} == {"192.0.2.7", "testclient"}
    [foreign] = [one["id"] for one in listed if not one["current"]]
    assert client.delete(f"{API}/me/sessions/{foreign}").status_code == 204
    assert client.delete(f"{API}/me/sessions/{foreign}").json()["code"] == "session_unknown"
    assert other.get(f"{API}/me").status_code == 401
    assert client.delete(f"{API}/me/sessions").status_code == 204
    assert client.get(f"{API}/me").status_code == 401


def test_changing_one_s_own_password_keeps_this_session_and_ends_the_others(
    client: TestClient, app: FastAPI, people: Access
) -> None:
    other = log_in(TestClient(app, base_url="https://hub.example"), "anna")
    log_in(client, "anna")
    wrong = client.put(f"{API}/me/password", json={"old": "a guess", "new": "another password"})
    assert (wrong.status_code, wrong.json()["code"]) == (403, "password_wrong")
    right = client.put(f"{API}/me/password", json={"old": PASSWORD, "new": "another password"})
    assert right.status_code == 204
    assert client.get(f"{API}/me").status_code == 200
    assert other.get(f"{API}/me").status_code == 401


def test_a_change_of_an_old_revision_is_refused(client: TestClient, people: Access) -> None:
    log_in(client, "anna")
    read = client.get(f"{API}/users/otto")
    tag = read.headers["etag"]
    assert tag == '"1"'
    changed = client.put(f"{API}/users/otto", json={"role": "viewer"}, headers={"If-Match": tag})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    late = client.put(f"{API}/users/otto", json={"role": "admin"}, headers={"If-Match": tag})
    assert (late.status_code, late.json()["revision"]) == (412, 2)
    assert client.delete(f"{API}/users/otto", headers={"If-Match": tag}).status_code == 412
    assert client.delete(f"{API}/users/otto", headers={"If-Match": "nonsense"}).status_code == 422


def test_the_last_admin_is_told_why(client: TestClient, people: Access) -> None:
    log_in(client, "anna")
    answer = client.put(f"{API}/users/anna", json={"role": "operator"})
    assert (answer.status_code, answer.json()["code"]) == (403, "last_admin")
    assert "another admin" in answer.json()["hint"]


def test_a_secret_is_set_told_of_and_removed_and_its_admin_twin_stays_apart(
    client: TestClient, people: Access, vault: Vault
) -> None:
    log_in(client, "anna")
    here = f"{API}/repositories/nas/secrets"
    assert client.get(f"{here}/password").json()["code"] == "secret_unset"
    told = {"secret": "password", "sealed": True, "set_at": "2026-05-03T10:00:00Z", "set_by": "anna"}
    assert client.put(f"{here}/password", json={"value": "hidden-canary\n"}).json() == told
    assert client.get(f"{here}/password").json() == told
    assert vault.open(vault.find_place("nas", "password")).reveal() == b"hidden-canary"
    assert client.get(f"{here}/admin").status_code == 404
    client.put(f"{here}/admin", json={"value": "hidden-admin"})
    assert [one["secret"] for one in client.get(here).json()] == ["admin", "password"]
    for _ in range(2):
        assert client.delete(f"{here}/password").status_code == 204
    assert [one["secret"] for one in client.get(here).json()] == ["admin"]
    assert client.put(f"{API}/repositories/none/secrets/password", json={"value": "x"}).status_code == 404
    assert client.put(f"{here}/a b", json={"value": "x"}).status_code == 422
    assert client.put(f"{here}/password", json={"value": ""}).json()["code"] == "secret_invalid"


def test_a_secret_that_does_not_open_is_an_error_and_stays(
    client: TestClient, people: Access, database: Database
) -> None:
    log_in(client, "anna")
    here = f"{API}/repositories/nas/secrets/password"
    client.put(here, json={"value": "first"})
    with database.write() as connection:
        spoilt = schema.vault.c.place.like("repository:%")
        connection.execute(schema.vault.update().where(spoilt).values(content=b"spoilt"))
    answer = client.put(here, json={"value": "second"})
    assert (answer.status_code, answer.json()["code"]) == (503, "vault_sealed_otherwise")
    with database.read() as connection:
        assert connection.execute(sa.select(schema.vault.c.content).where(spoilt)).scalar() == b"spoilt"


def test_the_audit_is_read_page_by_page_and_as_a_table(
    client: TestClient, people: Access, clock: Clock
) -> None:
    log_in(client, "anna")
    clock.pass_by(timedelta(hours=1))
    for number in range(5):
        client.post(f"{API}/users", json={"key": f"u{number}", "title": "=1+1"})
    one_hour_later = "2026-05-03T11:00:00Z"
    wanted: dict[str, str | int] = {"actor": "anna", "action": "created", "from": one_hour_later, "limit": 2}
    seen, pages = [], 0
    while True:
        page = client.get(f"{API}/audit", params=wanted).json()
        seen += [entry["key"] for entry in page["items"]]
        pages += 1
        if page["cursor"] is None:
            break
        wanted["cursor"] = page["cursor"]
    assert (sorted(seen), pages) == ([f"u{number}" for number in range(5)], 3)
    assert client.get(f"{API}/audit", params={"to": one_hour_later, "kind": "user", "key": "u1"}).json() == {
        "items": [],
        "cursor": None,
    }
    [entry] = client.get(f"{API}/audit", params={"key": "u1"}).json()["items"]
    assert (entry["actor"], entry["address"], entry["at"]) == ("anna", "192.0.2.7", one_hour_later)
    assert (entry["before"], entry["after"]) == (None, {"title": "=1+1"})
    few = client.get(f"{API}/audit", params={"format": "csv", "limit": 2}).text
    assert len(few.splitlines()) == 3, "a head, and two entries"
    for asked in ({"params": {"format": "csv"}}, {"headers": {"Accept": "text/csv"}}):
        answer = client.get(f"{API}/audit", **asked)
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert "attachment" in answer.headers["content-disposition"]
        assert answer.text.startswith("at,actor,address,")
        assert len(answer.text.splitlines()) > 10
    assert client.get(f"{API}/audit", params={"from": "yesterday"}).status_code == 422


# --- no secret shows ----------------------------------------------------------------------------------


class Everything(logging.Handler):
    """Whatever anybody logs."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(f"{record.getMessage()} {record.exc_info}")


@pytest.fixture
def logged() -> Iterator[Everything]:
    """Everything that is logged in this test."""
    handler, root = Everything(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


def test_no_secret_hash_token_or_session_shows_in_any_answer_log_audit_or_row(
    client: TestClient,
    app: FastAPI,
    access: Access,
    database: Database,
    logged: Everything,
    capfd: pytest.CaptureFixture[str],
) -> None:
    typed = [f"canary-{number}-secret" for number in range(9)]
    link = access.make_setup_token(NOW)
    assert link is not None
    setup_token = link.token.reveal().decode()
    answers = []

    def ask(method: str, path: str, body: Any = None, **more: Any) -> Any:
        answer = client.request(method, API + path, json=body, **more)
        answers.append(answer)
        return answer.json() if answer.content and "json" in answer.headers["content-type"] else None

    ask("POST", "/setup", {"token": setup_token, "name": "anna", "password": typed[0]})
    ask("POST", "/setup", {"token": [typed[1]], "name": "anna", "password": {"x": typed[1]}})
    ask("POST", "/setup", {"token": typed[1], "name": "anna", "password": "short", "more": typed[1]})
    ask("POST", "/login", {"name": typed[2], "password": typed[2]})
    ask("POST", "/login", {"name": "anna", "password": typed[2], "passwort": typed[2]})
    ask("POST", "/login", {"name": "x" * 300 + typed[2], "password": typed[2] * 400})
    ask("POST", "/login", typed[2])
    client.post(f"{API}/login", content=f'{{"password": "{typed[2]}"')
    ask("PUT", "/me/password", {"old": typed[3], "new": typed[3]})
    ask("PUT", "/me/password", {"old": typed[0], "new": typed[4]})
    ask("POST", "/users", {"key": "berta", "role": "admin", "password": typed[5]})
    ask("POST", "/users", {"key": "berta", "role": "admin"})
    invitation = ask("POST", "/users/berta/link")["token"]
    ask("POST", "/password", {"token": invitation, "password": "short"})
    ask("POST", "/password", {"token": invitation, "password": typed[5]})
    made = ask("POST", "/tokens", {"key": "ci", "role": "admin"})["value"]
    for slot in ("password", "admin", "rest_password", "no such slot"):
        ask("PUT", f"/repositories/nas/secrets/{slot}", {"value": typed[6]})
        ask("PUT", f"/repositories/nas/secrets/{slot}", {"value": [typed[6]]})
        ask("PUT", f"/repositories/nas/secrets/{slot}", {"valeu": typed[6]})
    ask("PUT", "/repositories/none/secrets/password", {"value": typed[7]})
    ask("GET", "/me", headers={"Authorization": f"Bearer {typed[8]}"})
    for method, path in TABLE:
        if method == "GET":
            ask(method, path.format(key="nas" if "repositories" in path else "ci", secret="password"))
    ask("GET", "/users/anna")
    ask("GET", "/tokens/ci")
    ask("GET", "/audit?format=csv")

    session = client.cookies["__Host-highball"]
    with database.read() as connection:
        rows = {name: connection.execute(sa.select(t)).all() for name, t in schema.metadata.tables.items()}
    hashes = [row.content.decode("latin-1") for row in rows["vault"]]
    hashes += [row.token for row in [*rows["sessions"], *rows["enrolments"]]]
    assert len(hashes) >= 8
    told_once = {made: 1, invitation: 1}
    said = [answer.text for answer in answers] + [str(answer.headers.get("etag")) for answer in answers]
    for hidden in (*typed, setup_token, session, *hashes):
        assert not [text for text in said if hidden in text or json.dumps(hidden)[1:-1] in text], hidden
    for hidden, times in told_once.items():
        assert sum(text.count(hidden) for text in said) == times
    output = capfd.readouterr()
    # httpx logs the addresses that it asks for; none of ours carries a secret.
    everywhere = [*logged.told, output.out, output.err, repr(rows["audit"]), repr(rows["revisions"])]
    for hidden in (*typed, setup_token, session, made, invitation, made[12:], *hashes):
        assert not [text for text in everywhere if hidden in text], hidden
    stored = repr({name: found for name, found in rows.items() if name != "vault"}) + repr(
        [row.content for row in rows["vault"]]
    )
    for hidden in (*typed, setup_token, session, made, invitation, made[12:]):
        assert hidden not in stored


def test_what_carries_a_secret_prints_stars(access: Access) -> None:
    add_user(access, "anna", ADMIN)
    began = access.log_in("anna", secret(PASSWORD), NOW)
    link = access.make_link("anna", CLI, NOW)
    program = access.create_token("ci", Token(), CLI, NOW)
    for carrier in (began, link, program, access.list_users(), access.list_sessions("anna", NOW)):
        assert not re.search(r"[A-Za-z0-9_-]{43}", repr(carrier))
