"""What every address shares: who asks, with which role, and errors of one shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.responses import Response

from highball.errors import ConfigurationInvalid, HighballError, Problem, RevisionMissing, Stale, Unknown
from highball.hub.audit import Actor
from highball.model.role import Role
from highball.web import error_responses
from highball.web.authorize import demand, who

MEMBERS = {"type", "title", "status", "detail", "code", "hint", "problems"}


@dataclass(frozen=True)
class Difference:
    at: str
    before: Any
    after: Any


class Body(BaseModel):
    """What the address below wants."""

    password: int


RAISED: dict[str, HighballError] = {
    "unknown": Unknown("there is no job x", code="job_unknown", hint="perhaps y"),
    "invalid": ConfigurationInvalid("two problems", problems=[Problem("jobs.x", "is odd", "mend it")]),
    "missing": RevisionMissing("which revision?"),
    "stale": Stale("changed meanwhile", revision=7, differences=[Difference("title", "a", "b")]),
}


def client(role: Role | None) -> TestClient:
    app = FastAPI()
    error_responses.register(app)

    @app.middleware("http")
    async def prove(request: Request, go_on: Any) -> Response:
        if role is not None:
            request.state.actor = Actor("anna", role)
        answer: Response = await go_on(request)
        return answer

    @app.get("/me")
    def me(actor: Annotated[Actor, Depends(who)]) -> str:
        return actor.name

    @app.get("/operate")
    def operate(actor: Annotated[Actor, Depends(demand(Role.OPERATOR))]) -> str:
        return actor.name

    @app.get("/raise/{what}")
    def fail(what: str) -> None:
        raise RAISED[what]

    @app.post("/send")
    def send(body: Body, limit: int = 1) -> None:
        """Takes what was sent."""

    return TestClient(app, raise_server_exceptions=False)


def test_nobody_gets_nothing() -> None:
    for address in ("/me", "/operate"):
        answer = client(None).get(address)
        assert answer.status_code == 401
        assert answer.json()["code"] == "login_needed"
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("role", list(Role))
def test_a_role_opens_what_it_includes(role: Role) -> None:
    assert client(role).get("/me").json() == "anna"
    answer = client(role).get("/operate")
    assert answer.status_code == (403 if role is Role.VIEWER else 200)
    if role is Role.VIEWER:
        assert answer.json()["code"] == "not_allowed"
        assert "operator" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("what", "status"), [("unknown", 404), ("invalid", 422), ("missing", 428), ("stale", 412)]
)
def test_an_error_is_a_problem_with_its_code_and_status(what: str, status: int) -> None:
    answer = client(Role.ADMIN).get(f"/raise/{what}")
    told = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, told["status"], told["code"]) == (status, status, RAISED[what].code)
    assert told["detail"] == RAISED[what].message
    assert set(told) >= MEMBERS
    assert len(told["problems"]) == len(RAISED[what].problems)


def test_whoever_is_late_learns_what_differs() -> None:
    answer = client(Role.ADMIN).get("/raise/stale")
    assert answer.headers["ETag"] == '"7"'
    assert answer.json()["revision"] == 7
    assert answer.json()["differences"] == [{"at": "title", "before": "a", "after": "b"}]


def test_a_request_that_is_wrong_is_told_all_at_once_without_what_it_held() -> None:
    answer = client(Role.ADMIN).post("/send?limit=many", json={"password": "canary-secret"})
    assert answer.status_code == 422
    assert {one["at"] for one in answer.json()["problems"]} == {"query.limit", "body.password"}
    assert answer.json()["code"] == "request_invalid"
    assert "canary" not in answer.text
    broken = client(Role.ADMIN).post("/send", content="{", headers={"content-type": "application/json"})
    assert broken.json()["problems"][0]["message"] == "is not JSON"
    nothing = client(Role.ADMIN).post("/send")
    assert nothing.json()["problems"] == [{"at": "body", "message": "is missing", "hint": None}]


def test_an_address_that_is_not_there_is_a_problem_too() -> None:
    answer = client(Role.ADMIN).get("/nowhere")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    other = client(Role.ADMIN).get("/send")
    assert (other.status_code, other.json()["code"]) == (405, "method_not_allowed")
    assert other.headers["content-type"] == "application/problem+json"
