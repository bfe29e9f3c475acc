"""An order does what it says: whatever would be passed over is refused before anything is done."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from pydantic import BaseModel

from api.whole import NOW, SNAPSHOT, Whole
from highball.hub.storage.schema import runs
from record.stories import OF, back_up

RUNS = "/api/v1/runs"
ROOT = Path(__file__).parent.parent.parent

REMOVES: list[dict[str, Any]] = [
    {"task": "forget", "repository": "nas"},
    {"task": "discard", "repository": "nas"},
    {"task": "prune", "repository": "nas"},
    {"task": "unlock", "repository": "nas"},
    {"task": "check", "repository": "nas"},
    {"task": "verify", "repository": "nas"},
    {"task": "stats", "repository": "nas"},
    {"task": "init", "repository": "nas"},
    {"task": "restore", "repository": "nas", "snapshot": f"{1:064x}", "paths": ["/docs"], "target": "/back"},
    {"task": "hub-backup"},
]


@pytest.fixture
def api(whole: Whole) -> TestClient:
    """An admin's program."""
    return whole.client()


def problem_with(api: TestClient, address: str, body: dict[str, Any]) -> str:
    """What is wrong with a body, which is refused."""
    before = api.get(RUNS).json()["items"]
    answer = api.post(address, json=body)
    assert answer.status_code == 422, answer.text
    assert api.get(RUNS).json()["items"] == before, "nothing was ordered"
    found = [f"{one['at']} {one['message']}" for one in answer.json()["problems"]]
    return " ".join(found)


@pytest.mark.parametrize("order", REMOVES, ids=lambda order: order["task"])
def test_a_dry_run_is_one_or_is_refused(api: TestClient, order: dict[str, Any]) -> None:
    assert "has no dry_run" in problem_with(api, RUNS, {**order, "dry_run": True})
    said = api.post(RUNS, json={**order, "dry_run": False})
    assert said.status_code in (200, 202), "what is not wanted may be said, of what waits already too"


def test_who_wants_a_dry_run_of_what_removes_is_told_where_it_is_shown(api: TestClient) -> None:
    told = problem_with(api, RUNS, {"task": "forget", "repository": "nas", "dry_run": True})
    assert "GET /api/v1/repositories/KEY/retention" in told


def test_a_dry_run_of_a_backup_is_ordered_as_one(api: TestClient, whole: Whole) -> None:
    run = api.post(RUNS, json={"task": "backup", "job": "docs", "dry_run": True}).json()
    order = whole.hub.backlog.find_order(run["id"])
    assert order is not None and order.dry_run


@pytest.mark.parametrize("name", ["dry-run", "nonsense", "repositories"])
def test_a_field_that_nobody_knows_is_no_order(api: TestClient, name: str) -> None:
    assert name in problem_with(api, RUNS, {"task": "forget", "repository": "nas", name: True})


@pytest.mark.parametrize(
    ("order", "name"),
    [
        ({"task": "prune", "repository": "nas", "job": "docs"}, "job"),
        ({"task": "prune", "repository": "nas", "snapshot": "x"}, "snapshot"),
        ({"task": "backup", "job": "docs", "repository": "nas"}, "repository"),
        ({"task": "forget", "repository": "nas", "paths": ["/docs"]}, "paths"),
        ({"task": "verify", "repository": "nas", "remove_all": True}, "remove_all"),
    ],
)
def test_a_field_that_the_task_has_no_use_for_is_refused(
    api: TestClient, order: dict[str, Any], name: str
) -> None:
    assert f"has no {name}" in problem_with(api, RUNS, order)


@pytest.mark.parametrize("field", ["plan", "shown", "snapshot"])
def test_what_an_order_to_remove_may_say_is_told_where_orders_are(api: TestClient, field: str) -> None:
    described = api.get("/api/v1/openapi.json").json()["components"]["schemas"]["RunRequest"]["properties"]
    assert "forget" in described[field]["description"]
    assert f"`{field}`" in (ROOT / "docs" / "hub.md").read_text()


@pytest.mark.parametrize("task", ["forget", "verify", "restore"])
@pytest.mark.parametrize("named", ["latest", " ", "-x", "0123", "ABCDEF12", "0" * 65])
def test_what_is_no_id_of_a_snapshot_is_no_order(api: TestClient, task: str, named: str) -> None:
    more = {"paths": ["/docs"], "target": "/back"} if task == "restore" else {}
    before = api.get(RUNS).json()["items"]
    answer = api.post(RUNS, json={"task": task, "repository": "nas", "snapshot": named, **more})
    told = answer.json()
    assert (answer.status_code, told["code"]) == (400, "snapshot_invalid"), told
    assert told["detail"] and "/api/v1/repositories/nas/snapshots" in told["hint"]
    assert api.get(RUNS).json()["items"] == before, "nothing was ordered"


def test_one_snapshot_is_ordered_to_go_only_where_it_is_known_and_nothing_keeps_it(
    api: TestClient, whole: Whole
) -> None:
    def order(named: str, **more: Any) -> tuple[int, str]:
        answer = api.post(RUNS, json={"task": "forget", "repository": "nas", "snapshot": named}, **more)
        assert answer.status_code < 400 or answer.json()["hint"]
        return answer.status_code, answer.json().get("code") or answer.json()["id"]

    assert order("") == (400, "snapshot_invalid")
    assert order("f" * 64) == (404, "snapshot_unknown")
    assert order(SNAPSHOT) == (403, "snapshot_newest")
    made = back_up(whole.hub.record, 2, 1000, before=[SNAPSHOT])
    back_up(whole.hub.record, 3, 1000, before=[SNAPSHOT, made])
    assert order(SNAPSHOT) == (403, "snapshot_pinned")
    status, run = order(made, headers={"Idempotency-Key": "once"})
    assert status == 202
    whole.hub.record.miss(OF, [made], NOW)
    assert order(made, headers={"Idempotency-Key": "once"}) == (200, run)


@pytest.mark.parametrize(
    ("share", "percent"),
    [("10%", 10), (10, 10), (500, 100), (-4, 0), ("abc", None), (None, None), ("NaN", None)],
)
def test_a_check_reads_the_share_that_was_ordered(
    api: TestClient, whole: Whole, share: Any, percent: float | None
) -> None:
    run = api.post(RUNS, json={"task": "check", "repository": "nas", "subset": share}).json()
    order = whole.hub.backlog.find_order(run["id"])
    assert order is not None and order.subset == percent


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("GET", "/runs?jobs=docs"),
        ("POST", "/repositories/nas/test?subset=abc"),
        ("GET", "/audit?limits=2"),
    ],
)
def test_a_word_in_an_address_that_nobody_knows_is_refused(
    api: TestClient, method: str, address: str
) -> None:
    answer = api.request(method, f"/api/v1{address}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["problems"][0]["message"] == "nothing here is called so"


def test_no_body_of_any_address_passes_over_what_it_does_not_know(whole: Whole) -> None:
    bodies = {
        f"{route.path} {model.__name__}": model
        for route in iter_route_contexts(whole.app.routes)
        if str(route.path).startswith("/api/") and getattr(route, "body_field", None)
        for model in models_in(route.body_field.field_info.annotation)
    }
    assert "/api/v1/runs RunRequest" in bodies
    assert not {name for name, model in bodies.items() if model.model_config.get("extra") != "forbid"}


def models_in(annotation: Any, seen: set[type] | None = None) -> Iterator[type[BaseModel]]:
    """Every class of ours that a body is made of, however deep."""
    seen = set() if seen is None else seen
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
        seen.add(annotation)
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation, seen)
    for part in typing.get_args(annotation):
        yield from models_in(part, seen)


def test_what_waits_already_is_not_queued_twice_and_the_answer_says_so(api: TestClient, whole: Whole) -> None:
    def ordered(key: str | None = None, **more: Any) -> tuple[int, dict[str, Any]]:
        headers = {"Idempotency-Key": key} if key else {}
        answer = api.post(RUNS, json={"task": "backup", "job": "pics", **more}, headers=headers)
        return answer.status_code, answer.json()

    rehearsed, rehearsal = ordered(dry_run=True)
    first, run = ordered()
    assert (rehearsed, first) == (202, 202), "a dry run does not stand for a backup"
    assert not run["already_waiting"] and run["message"] is None
    for key in (None, "once-more", "once-more"):
        status, again = ordered(key, wait_seconds=5)
        assert (status, again["id"]) == (200, run["id"])
    status, again = ordered()
    assert again["already_waiting"] and "ordered by token:of-admin at" in again["message"]
    assert ordered(dry_run=True)[1]["id"] == rehearsal["id"]
    whole.hub.backlog.mark_assigned(run["id"], NOW)
    assert ordered()[0] == 202, "what has begun may lack what is there by now"


def test_what_waits_for_its_window_is_not_waited_for_by_a_person(api: TestClient, whole: Whole) -> None:
    def due(code: str) -> str:
        run = api.post(RUNS, json={"task": "check", "repository": "far"}).json()["id"]
        told = {"nominal_at": NOW, "origin": "schedule", "reason_code": code, "reason_message": "waiting"}
        with whole.hub.database.write() as connection:
            connection.execute(runs.update().where(runs.c.id == run).values(**told))
        return str(run)

    late = due("window")
    assert api.post(RUNS, json={"task": "check", "repository": "far"}).json()["id"] != late
    busy = due("busy")
    answer = api.post(RUNS, json={"task": "check", "repository": "far"}).json()
    assert (answer["id"], answer["already_waiting"]) == (busy, True)
    assert "by its schedule at" in answer["message"]
