"""A session in other hands does what its person does, and makes no further way in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.whole import ANNA, CANARY, NOW, PASSWORD, Whole, whole_hub
from highball.config.roles import Token
from highball.hub.auth.sessions import CONFIRMED_FOR
from highball.hub.storage.schema import sessions
from highball.model.role import Role

API = "/api/v1"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("whole")
    with whole_hub(folder / "hub", folder / "highball.db") as hub:
        hub.hub.documents.create("host", "laptop", {}, now=NOW, actor=ANNA)
        yield hub


@pytest.fixture
def stolen(whole: Whole) -> TestClient:
    """A browser with anna's cookie, who logged in a while ago; she is an admin."""
    client = whole.client(None)
    assert client.post(f"{API}/login", json={"name": "anna", "password": PASSWORD}).status_code == 200
    with whole.hub.database.write() as connection:
        connection.execute(sessions.update().values(created_at=datetime.now(UTC) - CONFIRMED_FOR))
    return client


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/hosts/laptop/invitation", None),
        ("GET", "/repositories/far/recovery-kit", None),
        ("POST", "/repositories/far/keys", {"name": "theirs", "password": "known to them"}),
        ("POST", "/repositories/far/keys/rotate", {"password": "known to them"}),
    ],
)
def test_it_invites_no_agent_takes_no_recovery_kit_and_adds_no_key_that_it_knows(
    stolen: TestClient, method: str, path: str, body: dict[str, str] | None
) -> None:
    refused = stolen.request(method, API + path, json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "confirmation_needed")
    confirmed = stolen.post(f"{API}/me/confirmation", json={"password": PASSWORD})
    assert confirmed.status_code == 200
    assert "confirmation_needed" not in stolen.request(method, API + path, json=body).text


PROVIDER = {
    "issuer": "https://theirs.example",
    "client_id": "hub",
    "default_role": "admin",
    "create_accounts": True,
}
FURTHER: list[dict[str, Any]] = [
    {"issuer": "https://id.theirs.example"},
    {"roles": {"crowd": "admin"}},
    {"hosts": ["theirs.example"]},
]


def test_it_names_no_provider_of_theirs_that_would_say_who_is_an_admin(
    whole: Whole, stolen: TestClient
) -> None:
    program = whole.client(None)
    _, value = whole.hub.access.create_token("declares", Token(role=Role.ADMIN), ANNA, NOW)
    program.headers["Authorization"] = f"Bearer {value.reveal().decode()}"
    before = whole.hub.documents.get("settings", "settings").spec

    def tell(client: TestClient, **provider: Any) -> Any:
        revision = {"If-Match": f'"{whole.hub.documents.get("settings", "settings").revision}"'}
        spec = before | ({"oidc": PROVIDER | provider} if provider else {})
        return client.put(f"{API}/settings", json=spec, headers=revision)

    assert tell(stolen, label="Ours").json()["code"] == "confirmation_needed"
    assert tell(program, label="Ours").json()["code"] == "grant_needed"
    assert whole.hub.document().settings.oidc is None
    assert stolen.post(f"{API}/me/confirmation", json={"password": PASSWORD}).status_code == 200
    assert tell(stolen, label="Ours").status_code == 200
    for change in FURTHER:
        assert tell(program, **change).json()["code"] == "grant_needed"
    assert tell(program).status_code == 200, "to let nobody in from there is no way in"


def test_a_token_of_an_admin_takes_kits_and_invites_agents_as_it_has_no_password_to_type(
    whole: Whole, stolen: TestClient
) -> None:
    admin = Token(role=Role.ADMIN)
    assert not admin.may_grant
    _, value = whole.hub.access.create_token("a-program", admin, ANNA, NOW)
    stolen.cookies.clear()
    stolen.headers["Authorization"] = f"Bearer {value.reveal().decode()}"
    assert CANARY in stolen.get(f"{API}/repositories/far/recovery-kit").text
    assert stolen.post(f"{API}/hosts/laptop/invitation").status_code == 201
    assert stolen.post(f"{API}/users/vera/link").json()["code"] == "grant_needed"


def test_it_orders_and_declares_what_its_person_may(stolen: TestClient) -> None:
    assert stolen.post(f"{API}/runs", json={"task": "backup", "job": "docs"}).status_code == 202
    theirs = {"url": "rest:https://evil.example/", "password": {"env": "X"}}
    assert stolen.post(f"{API}/repositories?key=theirs", json=theirs).status_code == 201
    all_of_it = {"sources": ["/"], "repositories": ["theirs"], "host": "laptop"}
    assert stolen.post(f"{API}/jobs?key=all", json=all_of_it).status_code == 201
    removal = {"task": "forget", "repository": "nas", "job": "docs"}
    assert stolen.post(f"{API}/runs", json=removal).status_code == 202


def test_it_is_shown_no_sealed_value(stolen: TestClient) -> None:
    asked = (
        "/configuration",
        "/repositories/far",
        "/repositories/far/secrets",
        "/repositories/far/history",
        "/audit",
    )
    for path in asked:
        answer = stolen.get(API + path)
        assert answer.status_code == 200, path
        assert CANARY not in answer.text


def test_it_ends_where_its_person_logs_out_everywhere(stolen: TestClient, whole: Whole) -> None:
    own = whole.client(None)
    assert own.post(f"{API}/login", json={"name": "anna", "password": PASSWORD}).status_code == 200
    assert own.delete(f"{API}/me/sessions").status_code == 204
    assert stolen.get(f"{API}/me").status_code == 401
