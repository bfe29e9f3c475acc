"""One row more in the table of actions, and how it is carried out: whoever orders anything can order that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.whole import NOW, Whole, whole_hub
from highball.actions import ACTIONS, ActionWords, By, Verb
from highball.agent.run import maintenance
from highball.agent.run.steps import StepResult, Steps
from highball.cli.app import run_command
from highball.cli.context import Session
from highball.cli.hub_client import HubClient
from highball.hub.dispatch.assignments import Orders
from highball.hub.runs.queue import RunOrder
from highball.model.role import Role
from highball.model.run import Action, Outcome, Reason, RunKind
from highball.protocol.tasks import Assignment, PlainTask
from highball.secret import SecretValue
from testbed.restic import ResticBinary

JSON = {"Content-Type": "application/json"}

WEIGH = Verb(
    "weigh",
    Action.STATS,
    ActionWords("Weighing", "Weighing of {}", button="Weigh it", help="Weigh each repository."),
)


REVIEW = Verb(
    "review",
    Action.BACKUP,
    ActionWords("Review", "Review of {}", button="Review it"),
    needs=("job",),
    kind=RunKind.BACKUP,
    by=By.JOB_HOST,
)


def weigh(steps: Steps, repository: str) -> StepResult:
    """How it is carried out: not at all."""
    return StepResult(facts={"bytes_stored": 42})


@pytest.fixture(autouse=True)
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' copy of the table, with a row more on repositories and one on jobs."""
    monkeypatch.setitem(ACTIONS, WEIGH.name, WEIGH)
    monkeypatch.setitem(ACTIONS, REVIEW.name, REVIEW)
    monkeypatch.setitem(maintenance.PLAIN, WEIGH.name, weigh)


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Whole]:
    with whole_hub(tmp_path / "hub") as whole:
        yield whole


def newest_order(whole: Whole) -> RunOrder | None:
    [run] = whole.hub.record.list_runs(limit=1)
    return whole.hub.backlog.find_order(run.id)


def test_a_program_orders_it(whole: Whole) -> None:
    api = whole.client(Role.OPERATOR)
    ordered = api.post("/api/v1/runs", json={"task": "weigh", "repository": "nas"})
    assert ordered.status_code == 202, ordered.text
    assert (ordered.json()["action"], ordered.json()["repository"]) == ("stats", "nas")
    assert newest_order(whole) == RunOrder(task="weigh", repository="nas")
    assert "weigh needs repository" in api.post("/api/v1/runs", json={"task": "weigh"}).text
    described = whole.app.openapi()["components"]["schemas"]["RunRequest"]
    assert "weigh" in described["properties"]["task"]["enum"]


def test_a_page_offers_it_and_orders_it(whole: Whole) -> None:
    pages = whole.client(Role.OPERATOR)
    shown = pages.get("/repositories/nas").text
    assert 'name="task" value="weigh"' in shown
    assert "Weigh it" in shown
    answer = pages.post("/repositories/nas/run", data={"task": "weigh"}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    assert newest_order(whole) == RunOrder(task="weigh", repository="nas")


def test_the_page_of_a_job_offers_a_verb_on_jobs_and_orders_it(whole: Whole) -> None:
    pages = whole.client(Role.OPERATOR)
    shown = pages.get("/jobs/docs").text
    assert 'name="task" value="review"' in shown
    assert "Review it" in shown
    assert "Review it" not in whole.client(Role.VIEWER).get("/jobs/docs").text
    assert "Review it" not in pages.get("/repositories/nas").text
    answer = pages.post("/jobs/docs/run", data={"task": "review"}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    assert newest_order(whole) == RunOrder(task="review", job="docs")
    for task in ("weigh", "verify", "nothing"):
        assert pages.post("/jobs/docs/run", data={"task": task}, follow_redirects=False).status_code == 400


def test_a_command_orders_it_of_a_hub(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "reach", lambda _: reached(whole))
    assert run_command(["--hub", "https://hub.example", "weigh", "nas"]) == 130
    assert newest_order(whole) == RunOrder(task="weigh", repository="nas")


def reached(whole: Whole) -> HubClient:
    """This hub, as a command reaches it; what is ordered there is cancelled at once, as there is no agent."""
    program = whole.client(Role.OPERATOR)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/stream"):
            return httpx.Response(404)
        told = program.request(request.method, str(request.url), content=request.content, headers=JSON)
        if told.status_code == 202:
            reason = Reason(code="cancelled", message="no agent is there")
            whole.hub.backlog.end_unbegun(told.json()["id"], Outcome.CANCELLED, reason, NOW)
        return httpx.Response(told.status_code, content=told.content)

    hub = HubClient("https://hub.example", SecretValue(b"of nobody"))
    hub.http = httpx.Client(base_url="https://hub.example/api/v1/", transport=httpx.MockTransport(answer))
    return hub


def test_a_command_carries_it_out_on_one_machine(
    tmp_path: Path,
    newest_restic: ResticBinary,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HIGHBALL_STATE", str(tmp_path / "state"))
    key, file = tmp_path / "key", tmp_path / "highball.yaml"
    key.write_text("open sesame\n")
    key.chmod(0o600)
    repository = {"url": str(tmp_path / "nas"), "password": {"file": str(key)}}
    settings = {"restic": str(newest_restic.path), "host": "here"}
    file.write_text(json.dumps({"settings": settings, "repositories": {"nas": repository}}))
    assert run_command(["-c", str(file), "--json", "weigh"]) == 0
    [run] = json.loads(capsys.readouterr().out)["runs"]
    assert (run["repository"], run["outcome"]) == ("nas", "success")
    assert run["steps"][0]["bytes_stored"] == 42


def test_its_assignment_reaches_an_agent_as_it_was_sent(whole: Whole) -> None:
    orders = Orders(whole.hub.document(), whole.hub.record, "here")
    task, job = orders.task_for(RunOrder(task="weigh", repository="nas"), "nas", list)
    sent = orders.maintain(task, "nas", NOW, job=job)
    received = Assignment.model_validate_json(sent.model_dump_json())
    assert received.task == PlainTask(type="weigh", repository="nas")
