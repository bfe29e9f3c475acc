"""The addresses of what people declare, as programs and pages use them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.responses import Response

from document.conftest import DOCS, NAS, NOW, Desk
from highball.config.document import Document, build
from highball.hub.audit import Actor
from highball.hub.hub import Hub
from highball.hub.operations.port import HubOperations
from highball.hub.secrets.vault import open_vault
from highball.hub.storage.database import open_database
from highball.hub.storage.leader_lock import lease_on
from highball.model.role import Role
from highball.model.standing import Health
from highball.web import error_responses
from highball.web.api.declared import KINDS, router
from highball.web.authorize import who

ROLES = {role.value: role for role in Role}
CANARY = "canary-secret"


def app_of(desk: Desk, folder: Path) -> FastAPI:
    """An app of these addresses alone, where a header says who asks."""
    app = FastAPI()
    vault = open_vault(desk.database, folder / "hub.key")
    hub = Hub(desk.database, desk.documents, "here", vault, folder, lease_on(None))
    hub.operations = HubOperations(hub, clock=lambda: NOW)
    app.state.hub = hub
    error_responses.register(app)

    @app.middleware("http")
    async def prove(request: Request, go_on: Any) -> Response:
        role = ROLES.get(request.headers.get("x-role", "admin"))
        request.state.actor = Actor("anna", role) if role else None
        answer: Response = await go_on(request)
        return answer

    app.include_router(router)
    return app


@pytest.fixture
def desk() -> Desk:
    return Desk(open_database(None)).start()


@pytest.fixture
def api(desk: Desk, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(app_of(desk, tmp_path), base_url="http://hub/api/v1") as client:
        yield client


def test_an_object_from_its_making_to_its_end(api: TestClient) -> None:
    made = api.post("/jobs?key=photos", json={**DOCS, "profile": "none"})
    assert (made.status_code, made.headers["ETag"], made.headers["Location"]) == (201, '"1"', "jobs/photos")
    assert made.json()["spec"] == {**DOCS, "profile": "none"}, "as it was written"
    shown = api.get("/jobs/photos")
    [standing] = shown.json()["standings"]
    assert (standing["job"], standing["repository"], standing["state"]) == ("photos", "nas", Health.NEVER)
    assert shown.json() == {
        "kind": "job",
        "key": "photos",
        "title": None,
        "revision": 1,
        "origin": "hand",
        "file": None,
        "former_keys": [],
        "changed_at": "2026-05-01T12:00:00Z",
        "deleted_at": None,
        "note": None,
        "spec": {**DOCS, "profile": "none"},
        "standings": [standing],
    }
    changed = api.put(
        "/jobs/photos", json={**DOCS, "title": "P"}, headers={"If-Match": shown.headers["ETag"]}
    )
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    patched = api.patch("/jobs/photos", json={"schedule": None}, headers={"If-Match": '"2"'})
    assert "schedule" not in patched.json()["spec"]
    renamed = api.post("/jobs/photos/rename", json={"title": "Photos"}, headers={"If-Match": "3"})
    assert renamed.json()["title"] == "Photos"
    undone = api.post("/jobs/photos/undo", json={"to": 2}, headers={"If-Match": "4"})
    assert undone.json()["title"] == "P"
    moved = api.post("/jobs/photos/rekey", json={"key": "pictures"}, headers={"If-Match": "5"})
    assert moved.json()["former_keys"] == ["photos"]
    copy = api.post("/jobs/pictures/copy", json={"key": "more"})
    assert copy.status_code == 201

    gone = api.delete("/jobs/pictures", headers={"If-Match": "6"})
    assert gone.json()["deleted_at"]
    assert api.get("/jobs/pictures").json()["code"] == "job_deleted"
    assert [one["key"] for one in api.get("/deleted").json()] == ["pictures"]
    again = api.post("/jobs?key=pictures", json=DOCS)
    assert (again.status_code, again.json()["code"]) == (409, "key_deleted")
    assert api.post("/jobs/pictures/restore").json()["revision"] == 8
    history = api.get("/jobs/pictures/history").json()
    assert [one["what"] for one in history][:3] == ["restored", "deleted", "rekeyed"]
    assert history[-2]["differences"] == [
        {"at": "profile", "before": "none", "after": None},
        {"at": "title", "before": None, "after": "P"},
    ]
    api.delete("/jobs/pictures", headers={"If-Match": "8"})
    assert api.post("/jobs/pictures/purge").status_code == 204
    assert api.get("/jobs/pictures/history").status_code == 404


@pytest.mark.parametrize(
    ("method", "address", "body"),
    [
        ("PUT", "", DOCS),
        ("PATCH", "", {"title": "x"}),
        ("DELETE", "", None),
        ("POST", "/rename", {"title": "x"}),
        ("POST", "/rekey", {"key": "x"}),
        ("POST", "/undo", {"to": 1}),
    ],
)
def test_a_change_says_what_it_changes_or_learns_what_is(
    api: TestClient, desk: Desk, method: str, address: str, body: Any
) -> None:
    desk.change("job", "docs", title="Mine")
    blind = api.request(method, f"/jobs/docs{address}", json=body)
    assert (blind.status_code, blind.json()["code"]) == (428, "revision_missing")
    odd = api.request(method, f"/jobs/docs{address}", json=body, headers={"If-Match": "latest"})
    assert (odd.status_code, odd.json()["code"]) == (400, "revision_invalid")
    late = api.request(method, f"/jobs/docs{address}", json=body, headers={"If-Match": '"1"'})
    assert (late.status_code, late.json()["code"]) == (412, "revision_conflict")
    assert late.headers["ETag"] == '"2"'
    assert late.json()["differences"] == [{"at": "title", "before": None, "after": "Mine"}]
    assert desk.specs()["job", "docs"] == {**DOCS, "title": "Mine"}


def test_what_is_wrong_is_told_all_at_once_and_without_what_was_sent(api: TestClient) -> None:
    spec = {"url": f"rest:http://me:{CANARY}@example.org/", "password": CANARY, "maintenance": "of"}
    refused = api.post("/repositories?key=far", json=spec)
    assert refused.status_code == 422
    assert {one["at"].removeprefix("repositories.far.") for one in refused.json()["problems"]} == {
        "url",
        "password",
        "maintenance",
    }
    assert CANARY not in refused.text
    for body in ("[]", "null", "{", '{"key": '):
        answer = api.post("/jobs?key=x", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


def test_put_makes_a_new_one_only_when_told_so(api: TestClient) -> None:
    assert api.put("/hosts/web-1", json={}, headers={"If-Match": "1"}).json()["code"] == "host_unknown"
    assert api.put("/hosts/web-1", json={}, headers={"If-None-Match": "*"}).status_code == 201
    again = api.put("/hosts/web-1", json={}, headers={"If-None-Match": "*"})
    assert (again.status_code, again.json()["code"]) == (409, "key_taken")


def test_who_names_it_is_told_where_it_cannot_be_deleted(api: TestClient) -> None:
    refused = api.delete("/repositories/nas", headers={"If-Match": "1"})
    assert (refused.status_code, refused.json()["code"]) == (409, "still_referenced")
    assert [one["at"] for one in refused.json()["problems"]] == ["jobs.docs.repositories[0]"]


def test_lists_come_in_pages(api: TestClient, desk: Desk) -> None:
    for number in range(5):
        desk.create("host", f"h{number}", {})
    found: list[str] = []
    after = ""
    while True:
        page = api.get("/hosts", params={"after": after, "limit": 2}).json()
        found += [one["key"] for one in page["items"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert found == ["h0", "h1", "h2", "h3", "h4"]
    (job,) = api.get("/jobs").json()["items"]
    assert job["standings"][0]["state"] == "never"


def test_a_viewer_sees_and_only_an_admin_changes(api: TestClient) -> None:
    def told(role: str, method: str, address: str, body: Any = None) -> int:
        headers = {"x-role": role, "If-Match": "1"}
        return int(api.request(method, address, json=body, headers=headers).status_code)

    for address in ("/jobs", "/jobs/docs", "/jobs/docs/history", "/jobs/docs/effective", "/settings"):
        assert told("viewer", "GET", address) == 200
        assert told("nobody", "GET", address) == 401
    for method, address, body in (
        ("POST", "/jobs?key=x", DOCS),
        ("PUT", "/jobs/docs", DOCS),
        ("PATCH", "/jobs/docs", {}),
        ("DELETE", "/jobs/docs", None),
        ("POST", "/jobs/docs/rename", {"title": "x"}),
        ("POST", "/jobs/docs/rekey", {"key": "x"}),
        ("POST", "/jobs/docs/undo", {"to": 1}),
        ("POST", "/jobs/docs/copy", {"key": "x"}),
        ("POST", "/jobs/docs/restore", None),
        ("POST", "/jobs/docs/purge", None),
        ("PUT", "/settings", {}),
        ("GET", "/configuration", None),
        ("POST", "/configuration/preview", {}),
        ("PUT", "/configuration", {}),
        ("POST", "/apply?file=x", {}),
        ("GET", "/deleted", None),
    ):
        for role in ("viewer", "operator"):
            assert told(role, method, address, body) == 403, address
        assert told("nobody", method, address, body) == 401, address


def test_a_job_is_shown_as_it_takes_effect(api: TestClient, desk: Desk) -> None:
    desk.documents.change(
        "defaults", "defaults", {"exclude": ["*.tmp"], "schedule": "weekly"}, expected=0, **desk.told
    )
    told = api.get("/jobs/docs/effective").json()
    assert told["job"]["schedule"] == "daily"
    assert told["job"]["exclude"] == ["*.tmp"]
    assert told["origins"]["exclude[0]"] == "defaults"
    assert told["origins"]["schedule.cron"] == "jobs.docs"
    assert told["retention"]["nas"]["last"] == 7
    assert api.get("/jobs/nothing/effective").status_code == 404


def test_settings_begin_blank_at_revision_0(api: TestClient) -> None:
    blank = api.get("/settings")
    assert (blank.headers["ETag"], blank.json()["spec"], blank.json()["changed_at"]) == ('"0"', {}, None)
    made = api.put("/settings", json={"timezone": "Europe/Vienna"}, headers={"If-Match": '"0"'})
    assert made.headers["ETag"] == '"1"'
    wrong = api.put("/settings", json={"timezone": "Mars"}, headers={"If-Match": '"1"'})
    assert wrong.json()["problems"][0]["at"] == "settings.timezone"
    assert api.put("/defaults", json={"exclude": ["x"]}, headers={"If-Match": '"0"'}).status_code == 200
    assert [one["what"] for one in api.get("/settings/history").json()] == ["created"]


def test_the_configuration_is_read_changed_and_sent_back(api: TestClient, desk: Desk) -> None:
    shown = api.get("/configuration")
    assert shown.headers["content-type"].startswith("application/yaml")
    assert "attachment" in shown.headers["Content-Disposition"]
    text = shown.text.replace("daily", "weekly")
    told = api.post("/configuration/preview", content=text).json()
    assert told["problems"] == []
    assert told["changes"][0]["differences"] == [{"at": "schedule", "before": "daily", "after": "weekly"}]
    assert api.put("/configuration", content=text).status_code == 428
    made = api.put("/configuration", content=text, headers={"If-Match": shown.headers["ETag"]})
    assert made.json() == told["changes"]
    assert made.headers["ETag"] == f'"{desk.documents.token()}"'
    late = api.put("/configuration", content=text, headers={"If-Match": shown.headers["ETag"]})
    assert late.status_code == 412
    assert desk.specs()["job", "docs"]["schedule"] == "weekly"
    wrong = api.post("/configuration/preview", content="jobs: {x: {}}").json()
    assert {one["at"] for one in wrong["problems"]} == {"jobs.x.repositories", "jobs.x.sources"}


def test_a_file_is_planned_applied_and_has_its_objects_from_then_on(api: TestClient) -> None:
    text = '[repositories.far]\nurl = "/mnt/far"\npassword = { env = "X" }\n'
    toml = {"content-type": "application/toml"}
    planned = api.post("/apply?file=/etc/fleet.toml&dry_run=true", content=text, headers=toml).json()
    assert [(one["key"], one["what"]) for one in planned] == [("far", "created")]
    assert api.get("/repositories/far").status_code == 404
    assert api.post("/apply?file=/etc/fleet.toml", content=text, headers=toml).json() == planned
    refused = api.patch("/repositories/far", json={"title": "x"}, headers={"If-Match": "1"})
    assert (refused.status_code, refused.json()["code"]) == (403, "managed_by_file")
    assert "/etc/fleet.toml" in refused.json()["hint"]
    far = api.get("/repositories/far").json()
    assert (far["origin"], far["file"]) == ("applied", "/etc/fleet.toml")
    assert api.post("/apply?file=", content=text, headers=toml).status_code == 422
    assert api.post("/apply?file=x", content="[", headers=toml).status_code == 422


def test_the_api_describes_bodies_by_the_very_classes(desk: Desk, tmp_path: Path) -> None:
    told = app_of(desk, tmp_path).openapi()
    body = told["paths"]["/api/v1/jobs/{key}"]["put"]["requestBody"]["content"]["application/json"]["schema"]
    name = body["$ref"].rsplit("/", 1)[1]
    fields = told["components"]["schemas"][name]["properties"]
    assert set(fields) == set(Document.model_json_schema()["$defs"]["Job"]["properties"])
    assert len({one["operationId"] for path in told["paths"].values() for one in path.values()}) == sum(
        map(len, told["paths"].values())
    )
    assert len(KINDS) == 5


def test_the_spec_of_an_answer_can_be_sent_back(api: TestClient, desk: Desk) -> None:
    shown = api.get("/repositories/nas")
    again = api.put(
        "/repositories/nas", json=shown.json()["spec"], headers={"If-Match": shown.headers["ETag"]}
    )
    assert again.status_code == 200
    assert build(desk.documents.document().tables).repositories["nas"].address == NAS["url"]
    assert who is not None
