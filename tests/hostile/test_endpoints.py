"""A sealed storage secret goes to no server but the one that it was entered for, and the audit says who got it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from api.whole import ANNA, NOW, Whole, whole_hub
from highball.config.repository import Repository
from highball.errors import Conflict
from highball.hub.audit import AuditFilter
from highball.hub.document.endpoint_bindings import FREE, HEAD
from highball.hub.secrets.vault import (
    Vault,
    open_vault,
    read_key,
)
from highball.hub.storage import schema
from highball.secret import SecretValue

SEALED = {"sealed": True}
CREDENTIALS = {"rest_username": "u", "rest_password": SEALED}
HOME = {
    "url": "rest:http://127.0.0.1:8000/vault",
    "password": SEALED,
    **CREDENTIALS,
    "admin": {"rest_username": "a", "rest_password": SEALED},
}
SLOTS = ("password", "rest_password", "admin.rest_password")
EVIL = {**HOME, "url": "rest:http://127.0.0.1:18904/"}


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Whole]:
    """A hub with a repository whose every secret is sealed."""
    with whole_hub(tmp_path, tmp_path / "highball.db") as hub:
        hub.hub.documents.create("repository", "vault", HOME, now=NOW, actor=ANNA)
        for slot in SLOTS:
            seal(hub.hub.vault, slot)
        yield hub


def seal(vault: Vault, slot: str, value: str = "value-of") -> None:
    vault.seal(vault.find_place("vault", slot), SecretValue(f"{value} {slot}".encode()), ANNA, NOW)


def change(whole: Whole, spec: dict[str, Any]) -> Any:
    client = whole.client()
    revision = client.get("/api/v1/repositories/vault").headers["ETag"]
    return client.put("/api/v1/repositories/vault", json=spec, headers={"If-Match": revision})


def places_of(answer: Any) -> set[str]:
    assert answer.status_code == 422, answer.text
    return {one["at"] for one in answer.json()["problems"]}


def audited(whole: Whole, action: str) -> list[Any]:
    return whole.hub.access.list_audit(AuditFilter(action=action))


# --- what a changed address asks for -----------------------------------------------------------------


def test_a_test_of_an_unsaved_repository_gets_no_secret_that_was_entered_for_another_server(
    whole: Whole,
) -> None:
    answer = whole.client().post("/api/v1/repositories/test", json={"spec": EVIL, "key": "vault"})
    assert places_of(answer) == {"secrets.rest_password"}
    admin_alone = {**HOME, "admin": {**HOME["admin"], "url": "rest:http://127.0.0.1:18904/"}}  # type: ignore[dict-item]
    answer = whole.client().post("/api/v1/repositories/test", json={"spec": admin_alone, "key": "vault"})
    assert places_of(answer) == {"secrets.admin.rest_password"}


def test_a_changed_address_is_refused_at_each_secret_until_that_is_entered_again(whole: Whole) -> None:
    fields = {f"repositories.vault.{slot}" for slot in SLOTS[1:]}
    assert places_of(change(whole, EVIL)) == fields
    client = whole.client()
    for slot in SLOTS[1:]:
        assert client.delete(f"/api/v1/repositories/vault/secrets/{slot}").status_code == 204
    assert change(whole, EVIL).status_code == 200
    for slot in SLOTS[1:]:
        sent = client.put(f"/api/v1/repositories/vault/secrets/{slot}", json={"value": "fresh"})
        assert sent.status_code == 200
    undone = client.post("/api/v1/repositories/vault/undo", json={"to": 1}, headers={"If-Match": '"2"'})
    assert places_of(undone) == fields, "the way back leads elsewhere, too"


@pytest.mark.parametrize("way", ["configuration", "apply"])
def test_whole_files_are_no_way_round(whole: Whole, way: str) -> None:
    client = whole.client()
    shown = client.get("/api/v1/configuration")
    text = shown.text.replace("127.0.0.1:8000", "127.0.0.1:18904")
    headers = {"If-Match": shown.headers["ETag"], "Content-Type": "application/yaml"}
    if way == "configuration":
        preview = client.post("/api/v1/configuration/preview", content=text, headers=headers).json()
        assert {one["at"] for one in preview["problems"]} >= {"repositories.vault.rest_password"}
        answer = client.put("/api/v1/configuration", content=text, headers=headers)
    else:
        answer = client.post("/api/v1/apply", params={"file": "fleet"}, content=text, headers=headers)
    assert "repositories.vault.rest_password" in places_of(answer)


@pytest.mark.parametrize(
    "same",
    [
        {"title": "The vault"},
        {"url": "rest:http://127.0.0.1:8000/elsewhere"},
        {"url": "rest:http://127.0.0.1:8000"},
    ],
)
def test_what_leads_to_the_same_server_asks_for_nothing(whole: Whole, same: dict[str, Any]) -> None:
    assert change(whole, {**HOME, **same}).status_code == 200


def test_what_the_hubs_own_file_leads_elsewhere_cannot_be_used_there(whole: Whole) -> None:
    vault = whole.hub.vault
    moved = vault.place("vault", Repository.model_validate(EVIL))
    with pytest.raises(Conflict) as raised:
        vault.open_named(moved, admin=False)
    assert raised.value.code == "sealed_for_another_endpoint"
    assert "127.0.0.1:8000" in raised.value.message
    home = vault.place("vault", Repository.model_validate(HOME))
    assert len(vault.open_named(home, admin=True)) == 3


def test_a_secret_that_both_accesses_use_counts_for_both_servers_or_neither(whole: Whole) -> None:
    vault, both = whole.hub.vault, {**HOME, "admin": {"url": "rest:http://127.0.0.1:8001/vault"}}
    assert places_of(change(whole, both)) == {"repositories.vault.rest_password"}
    vault.remove(vault.find_place("vault", "rest_password"), ANNA, NOW)
    assert change(whole, both).status_code == 200
    seal(vault, "rest_password")
    placed = vault.place("vault", Repository.model_validate(both))
    assert len(vault.open_named(placed, admin=True)) == 2


# --- what was sealed before -----------------------------------------------------------------------------


def test_what_was_sealed_before_counts_for_where_its_repository_lies_when_the_hub_begins(
    whole: Whole, tmp_path: Path
) -> None:
    database, vault = whole.hub.database, whole.hub.vault
    place = vault.find_place("vault", "rest_password")
    content = vault._seal(place, b"old")
    assert content.startswith(FREE)
    with database.write() as connection:
        connection.execute(schema.vault.update().where(schema.vault.c.place == place).values(content=content))
    home = vault.place("vault", Repository.model_validate(HOME))
    with pytest.raises(Conflict):
        vault.open_named(home, admin=False)
    again = open_vault(database, tmp_path / "hub.key")
    assert again.open_named(home, admin=False)[place].reveal() == b"old"
    with pytest.raises(Conflict):
        again.open_named(again.place("vault", Repository.model_validate(EVIL)), admin=False)


def test_the_servers_are_bound_to_the_value_and_stay_with_it_under_another_key(
    whole: Whole, tmp_path: Path
) -> None:
    database, vault = whole.hub.database, whole.hub.vault
    vault.rekey(ANNA, NOW)
    home = vault.place("vault", Repository.model_validate(HOME))
    assert len(vault.open_named(home, admin=True)) == 3
    place = vault.find_place("vault", "rest_password")
    with database.read() as connection:
        found = connection.execute(
            sa.select(schema.vault.c.content).where(schema.vault.c.place == place)
        ).scalar_one()
    key = read_key(tmp_path / "hub.key")
    assert key is not None
    assert bytes(found)[3:11] == key.id
    forged = bytes(found[:HEAD]) + bytes(found[HEAD:]).replace(b":8000", b":8001", 1)
    with database.write() as connection:
        connection.execute(schema.vault.update().where(schema.vault.c.place == place).values(content=forged))
    elsewhere = {**HOME, "url": "rest:http://127.0.0.1:8001/vault"}
    with pytest.raises(Exception, match="sealed for another place"):
        vault.open_named(vault.place("vault", Repository.model_validate(elsewhere)), admin=False)


# --- who gets them ---------------------------------------------------------------------------------------


def test_who_tried_which_server_is_in_the_audit_and_so_is_every_hand_out(whole: Whole) -> None:
    hub = whole.hub
    given = dict.fromkeys(SLOTS, "typed")

    async def tell() -> None:
        with pytest.raises(Exception, match="not connected"):
            await hub.operations.test_unsaved("vault", EVIL, given, ANNA)
        placed = hub.vault.place("vault", Repository.model_validate(HOME))
        places = hub.vault.open_named(placed, admin=True)
        for run in (None, None, "0190a9e2-0000-7000-8000-000000000001"):
            await hub.fleet.handouts.note("web", places, run)

    asyncio.run(tell())
    tried = audited(whole, "tested_unsaved")
    assert [(one.actor, one.key) for one in tried] == [("anna", "vault")]
    assert any("18904" in server for server in tried[0].after["servers"])
    handed = audited(whole, "handed_out")
    assert [(one.key, one.after["host"], one.after.get("run") is not None) for one in handed] == [
        ("vault", "web", True),
        ("vault", "web", False),
    ], "questions within the hour are one entry, a run is one each time"
    assert sorted(handed[0].after["secrets"]) == sorted(SLOTS)


# --- what a server is -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "server"),
    [
        ({"url": "rest:https://NAS.example.org/x"}, "rest:https://nas.example.org:443"),
        ({"url": "rest:http://nas:8000/x", **CREDENTIALS}, "rest:http://nas:8000 as u"),
        ({"url": "rest:http+unix:///run/r.sock:/x"}, "rest:http+unix:///run/r.sock:/x"),
        ({"kind": "s3", "endpoint": "s3.example.org", "bucket": "b"}, "s3:https://s3.example.org:443"),
        ({"url": "s3:s3.amazonaws.com/bucket"}, "s3:https://s3.amazonaws.com:443"),
        ({"url": "sftp:me@nas:/x"}, "sftp:me@nas"),
        ({"url": "sftp://me@nas:2222//x"}, "sftp:me@nas:2222"),
        ({"url": "b2:bucket:folder"}, "b2"),
        ({"url": "rclone:drive:folder"}, "rclone:drive"),
        (
            {"url": "swift:c:/x", "environment": {"OS_AUTH_URL": "https://a", "OS_USERNAME": "me"}},
            "swift with OS_AUTH_URL=https://a",
        ),
        (
            {"url": "rest:http://nas:8000/x", "environment": {"HTTP_PROXY": "http://evil:1"}},
            "rest:http://nas:8000 with HTTP_PROXY=http://evil:1",
        ),
    ],
)
def test_a_server_is_its_scheme_name_port_and_user_and_what_could_lead_past_it(
    fields: dict[str, Any], server: str
) -> None:
    assert Repository.model_validate({"password": SEALED, **fields}).endpoints() == {server}


def test_the_repositorys_own_password_is_shown_to_no_server() -> None:
    told = Repository.model_validate(HOME).destinations(admin=True)
    assert set(told) == {"rest_password", "admin.rest_password"}
