"""Every verb of the table of actions and every role: who may order what, over each way to order it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.whole import SNAPSHOT, Whole
from highball.actions import ACTIONS
from highball.cli.app import run_command
from highball.errors import NotAllowed
from highball.hub.audit import Actor
from highball.hub.runs.queue import RunOrder
from highball.model.role import Role

VIEWER, OPERATOR, ADMIN = Role
ROLES = (None, *Role)
API = "/api/v1"
KEY = "e" * 64
NEEDED = "needs the role"

LEAST: dict[str, Role] = {
    "backup": OPERATOR,
    "discard": OPERATOR,
    "forget": OPERATOR,
    "prune": OPERATOR,
    "check": OPERATOR,
    "verify": OPERATOR,
    "unlock": OPERATOR,
    "stats": OPERATOR,
    "init": OPERATOR,
    "restore": OPERATOR,
    "hub-backup": OPERATOR,
    "history": OPERATOR,
    "key-add": ADMIN,
    "key-rotate": ADMIN,
    "key-remove": ADMIN,
}
"""The least role that may order each."""

OWN_ADDRESS: dict[str, tuple[str, dict[str, Any]]] = {
    "key-add": ("/repositories/nas/keys", {"password": "open sesame"}),
    "key-rotate": ("/repositories/nas/keys/rotate", {"password": "open sesame"}),
    "key-remove": (f"/repositories/nas/keys/{KEY}/remove", {}),
}
"""Where those are ordered that are not ordered where all runs are."""

ON_PAGES: dict[str, tuple[str, dict[str, str]]] = {
    "backup": ("/jobs/docs/run", {}),
    "discard": ("/repositories/nas/discard", {"shown": "x"}),
    "forget": (f"/repositories/nas/snapshots/{SNAPSHOT}/remove", {}),
    "prune": ("/repositories/nas/run", {"task": "prune"}),
    "check": ("/repositories/nas/run", {"task": "check"}),
    "verify": ("/jobs/docs/prove", {"repository": "nas"}),
    "unlock": ("/repositories/nas/unlock", {}),
    "stats": ("/repositories/nas/run", {"task": "stats"}),
    "init": ("/repositories/nas/run", {"task": "init"}),
    "hub-backup": ("/maintenance/run", {"subject": "hub-backup:hub"}),
    "history": ("/maintenance/run", {"subject": "history:hub"}),
    "key-add": ("/repositories/nas/keys/add", {"how": "enter", "password": "open sesame"}),
    "key-rotate": ("/repositories/nas/keys/rotate", {}),
    "key-remove": ("/repositories/nas/keys/remove", {"id": KEY}),
}
"""How people order them; a restore takes a page of its own, which is not looked at here."""

_NUMBERS = itertools.count()

each_verb = pytest.mark.parametrize("task", ACTIONS)
each_role = pytest.mark.parametrize("role", ROLES)


def order_of(task: str) -> dict[str, Any]:
    """An order of it like no other one."""
    known = {"job": "docs", "repository": "nas", "snapshot": SNAPSHOT, "key_id": KEY, "new": {"file": "/key"}}
    known["paths"] = [f"/docs/{next(_NUMBERS)}"]
    told = {name: known[name] for name in ACTIONS[task].needs}
    return {"task": task, **told, **({"target": "/back"} if task == "restore" else {})}


def may(role: Role | None, task: str) -> bool:
    return role is not None and role.includes(LEAST[task])


def assert_refused(role: Role | None, answer: httpx.Response) -> None:
    wanted = (401, "login_needed") if role is None else (403, "not_allowed")
    assert (answer.status_code, answer.json()["code"]) == wanted, answer.text


@each_role
@each_verb
def test_who_may_order_a_verb_where_all_runs_are(whole: Whole, task: str, role: Role | None) -> None:
    answer = whole.client(role).post(f"{API}/runs", json=order_of(task))
    if role is None or not role.includes(OPERATOR):
        assert_refused(role, answer)
    elif task in OWN_ADDRESS:
        assert (answer.status_code, answer.json()["code"]) == (400, "order_elsewhere"), answer.text
    else:
        assert may(role, task)
        assert answer.status_code in (200, 202), answer.text


@each_role
@pytest.mark.parametrize("task", OWN_ADDRESS)
def test_who_may_order_what_has_an_address_of_its_own(whole: Whole, task: str, role: Role | None) -> None:
    path, body = OWN_ADDRESS[task]
    answer = whole.client(role).post(f"{API}{path}", json=body)
    if may(role, task):
        assert answer.status_code == 202, answer.text
    else:
        assert_refused(role, answer)


@each_role
@pytest.mark.parametrize("task", ON_PAGES)
def test_who_may_order_it_on_a_page(whole: Whole, task: str, role: Role | None) -> None:
    path, form = ON_PAGES[task]
    answer = whole.client(role).post(path, data=form, follow_redirects=False)
    if may(role, task):
        assert answer.status_code < 500 and NEEDED not in answer.text, (
            answer.text
        )  # a guard may keep a snapshot
        assert answer.status_code == 303 or task in ("forget", "key-add"), answer.text
    else:
        assert answer.status_code == (401 if role is None else 403), answer.text
        assert role is None or NEEDED in answer.text


@each_role
@each_verb
def test_the_operations_themselves_let_nobody_else_order_it(
    whole: Whole, task: str, role: Role | None
) -> None:
    if role is None or may(role, task):
        return
    with pytest.raises(NotAllowed, match=f"needs the role {LEAST[task]}"):
        whole.hub.operations.place(RunOrder.model_validate(order_of(task)), Actor("otto", role))


def test_a_row_says_anew_who_may_order_its_verb(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACTIONS, "stats", replace(ACTIONS["stats"], role=ADMIN))
    order = {"task": "stats", "repository": "far"}
    assert_refused(OPERATOR, whole.client(OPERATOR).post(f"{API}/runs", json=order))
    pages = {role: whole.client(role).get("/repositories/far").text for role in (OPERATOR, ADMIN)}
    assert ['value="stats"' in page for page in pages.values()] == [False, True]
    assert whole.client(ADMIN).post(f"{API}/runs", json=order).status_code == 202


def test_the_help_of_a_command_tells_whom_a_hub_lets_order_it(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("check", "run", "restore"):
        assert run_command([command, "--help"]) == 0
        assert "Over a hub it requires the role operator." in capsys.readouterr().out
    assert run_command(["status", "--help"]) == 0
    assert "requires the role" not in capsys.readouterr().out


def test_the_row_of_each_verb_says_so() -> None:
    assert {verb.name: verb.role for verb in ACTIONS.values()} == LEAST
    assert set(ON_PAGES) == set(ACTIONS) - {"restore"}
