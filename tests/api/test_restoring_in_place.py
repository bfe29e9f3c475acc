"""Restores that replace what is there need a right of their own, whoever orders them and by whatever way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.whole import ANNA, NOW, PASSWORD, SNAPSHOT, Whole
from highball.config.roles import Token, User
from highball.errors import NotAllowed
from highball.hub.audit import COMMAND, HUB, Actor
from highball.hub.auth.users import Program
from highball.hub.runs.queue import RunOrder
from highball.model.role import Role
from highball.secret import SecretValue

API = "/api/v1"
NEW = {"target": "/back"}
REPLACES: list[dict[str, Any]] = [
    {},
    {"overwrite": "if-changed"},
    *(NEW | {"overwrite": rule} for rule in ("if-changed", "if-newer", "always")),
]
"""In place, and over what is there in a folder that is named."""
MAY = pytest.mark.parametrize("may", [False, True])
_NUMBERS = itertools.count()


@pytest.fixture
def otto(whole: Whole) -> Iterator[TestClient]:
    """An operator's browser, logged in."""
    access = whole.hub.access
    access.create_user("otto", User(role=Role.OPERATOR), ANNA, NOW)
    access.use_link(access.make_link("otto", ANNA, NOW).token, SecretValue(PASSWORD.encode()), NOW)
    client = whole.client(None)
    assert client.post(f"{API}/login", json={"name": "otto", "password": PASSWORD}).status_code == 200
    client.headers["Origin"] = "https://hub.example"
    yield client
    access.delete_user("otto", ANNA, NOW)


def give(whole: Whole, may: bool, role: Role = Role.OPERATOR) -> None:
    """Say whether otto may."""
    whole.hub.access.change_user("otto", User(role=role, restore_in_place=may), ANNA, NOW)


def restore(**more: Any) -> dict[str, Any]:
    """An order like no other one."""
    path = f"/docs/{next(_NUMBERS)}"
    return {
        "task": "restore",
        "repository": "nas",
        "job": "docs",
        "snapshot": SNAPSHOT,
        "paths": [path],
        **more,
    }


def program(whole: Whole, token: Token) -> TestClient:
    """A program with a token like this."""
    _, value = whole.hub.access.create_token(f"t{next(_NUMBERS)}", token, ANNA, NOW)
    client = whole.client(None)
    client.headers["Authorization"] = f"Bearer {value.reveal().decode()}"
    return client


def is_let(client: TestClient, **more: Any) -> bool:
    """Whether this restore is ordered; else it is refused as it has to be, and nothing waits."""
    before = client.get(f"{API}/runs").json()["items"]
    answer = client.post(f"{API}/runs", json=restore(**more))
    if answer.is_success:
        return True
    assert (answer.status_code, answer.json()["code"]) == (403, "restore_in_place_needed"), answer.text
    assert "new folder" in answer.json()["hint"] and "administrator" in answer.json()["hint"]
    assert client.get(f"{API}/runs").json()["items"] == before
    return False


@MAY
@pytest.mark.parametrize("more", REPLACES)
def test_an_operator_replaces_what_is_there_only_by_a_right_of_their_own(
    whole: Whole, otto: TestClient, more: dict[str, Any], may: bool
) -> None:
    assert not whole.hub.access.get_user("otto").user.restore_in_place, "nobody has it who was not given it"
    give(whole, may)
    assert is_let(otto, **more) is may
    assert otto.get(f"{API}/me").json()["restore_in_place"] is may


def test_every_operator_restores_into_a_new_folder_and_tests_restores(whole: Whole, otto: TestClient) -> None:
    assert is_let(otto, **NEW)
    assert is_let(otto, **NEW, overwrite="never")
    proof = otto.post(f"{API}/runs", json={"task": "verify", "repository": "nas", "job": "docs"})
    assert proof.is_success, proof.text
    wish = {"repository": "nas", "snapshot": SNAPSHOT, "job": "docs"}
    for more in ({}, NEW | {"overwrite": "always"}):
        looked = otto.post(f"{API}/restores/preview", json=wish | more)
        assert looked.json()["code"] == "host_offline", "only its agent is missing"


def test_an_admin_always_may_and_so_do_the_hub_and_the_machine_itself(whole: Whole) -> None:
    assert is_let(whole.client(), overwrite="always")
    assert whole.client().get(f"{API}/me").json()["restore_in_place"] is True
    assert HUB.may_restore_in_place and COMMAND.may_restore_in_place


@MAY
def test_a_viewer_restores_nothing_at_all(whole: Whole, otto: TestClient, may: bool) -> None:
    give(whole, may, Role.VIEWER)
    assert otto.post(f"{API}/runs", json=restore()).json()["code"] == "not_allowed"
    assert otto.get(f"{API}/me").json()["restore_in_place"] is False


TOKENS = [
    Token(role=role, restore_in_place=may) for role in (Role.OPERATOR, Role.ADMIN) for may in (False, True)
]
USERS = [
    User(role=role, restore_in_place=may) for role in (Role.OPERATOR, Role.ADMIN) for may in (False, True)
]


def may_alone(one: User | Token) -> bool:
    return one.role is Role.ADMIN or one.restore_in_place


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_of_its_own_needs_the_right_too(whole: Whole, token: Token) -> None:
    assert is_let(program(whole, token)) is may_alone(token)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("token", TOKENS)
def test_a_token_never_may_more_than_its_user(
    whole: Whole, otto: TestClient, token: Token, user: User
) -> None:
    whole.hub.access.change_user("otto", user, ANNA, NOW)
    client = program(whole, token.model_copy(update={"user": "otto"}))
    assert is_let(client) is (may_alone(token) and may_alone(user))


@MAY
def test_nobody_makes_themselves_a_token_with_it_who_does_not_have_it(
    whole: Whole, otto: TestClient, may: bool
) -> None:
    give(whole, may)
    sent = {"key": f"own-{may}".lower(), "role": "operator", "restore_in_place": True}
    made = otto.post(f"{API}/me/tokens", json=sent | {"current_password": PASSWORD})
    if not may:
        assert (made.status_code, made.json()["code"]) == (403, "restore_in_place_needed")
        return
    assert made.json()["restore_in_place"] is True
    bearer = whole.client(None)
    bearer.headers["Authorization"] = f"Bearer {made.json()['value']}"
    assert is_let(bearer)
    give(whole, False)
    assert not is_let(bearer)


def test_a_token_that_gets_it_is_a_way_in_that_has_to_be_confirmed(whole: Whole) -> None:
    access, key = whole.hub.access, f"t{next(_NUMBERS)}"
    program, _ = access.create_token(key, Token(role=Role.OPERATOR), ANNA, NOW)
    assert isinstance(program, Program)
    with pytest.raises(NotAllowed) as refused:
        told = Token(role=Role.OPERATOR, restore_in_place=True)
        access.change_token(key, told, Actor("token:ci", confirmed=False), NOW)
    assert refused.value.code == "grant_needed"


def test_it_is_said_of_users_and_tokens_like_all_else_and_stays_with_their_configuration(
    whole: Whole,
) -> None:
    api = whole.client()
    for kind in ("users", "tokens"):
        made = api.post(f"{API}/{kind}", json={"key": "olga", "role": "operator", "restore_in_place": True})
        assert made.json()["restore_in_place"] is True
        assert api.post(f"{API}/{kind}", json={"key": "x", "restore_in_place": "yes"}).status_code == 422
        changed = api.put(f"{API}/{kind}/olga", json={"role": "operator"}).json()
        assert changed["restore_in_place"] is False
    api.put(f"{API}/users/olga", json={"role": "operator", "restore_in_place": True})
    assert "restore_in_place: true" in whole.hub.documents.as_yaml()
    assert whole.hub.document().users["olga"].restore_in_place


def test_an_order_that_replaces_nothing_asks_for_nothing() -> None:
    told: dict[str, Any] = {"repository": "nas", "snapshot": SNAPSHOT, "paths": ("/docs",)}
    assert RunOrder(task="restore", **told).may_replace
    assert not RunOrder(task="restore", target="/back", **told).may_replace
    assert not RunOrder(task="verify", repository="nas").may_replace
