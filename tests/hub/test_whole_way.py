"""What somebody with nothing but an HTTP client can do: set up, run, watch, look into the log, cancel."""

import json

import httpx

from hub.served import Served
from journeys.station import until


def test_a_backup_from_the_order_to_the_log(served: Served) -> None:
    done = served.back_up()
    [step] = done["steps"]
    assert (step["action"], step["repository"], step["outcome"]) == ("backup", "nas", "success")
    assert step["snapshot_id"]
    assert done["origin"] == "manual"
    assert done["actor"] == "token:tests"
    events = served.events(done["id"])
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[-1]["type"]) == ("run.started", "run.ended")
    assert "backup --host station" in served.http.get(f"runs/{done['id']}/log").text
    [standing] = served.get("status")
    assert (standing["state"], standing["snapshots"]) == ("healthy", 1)
    until(lambda: served.run_directories() == [], otherwise="the agent keeps what the hub has")


def test_everything_that_keeps_a_repository_in_order(served: Served) -> None:
    served.back_up()
    for task in ("check", "verify", "stats", "prune", "discard", "unlock"):
        done = served.end_of(served.order(task))
        assert done["outcome"] == "success", (task, done)
        assert done["kind"] == "maintenance"
    [standing] = served.get("status")
    assert standing["last_check_at"]
    assert standing["last_restore_proof_at"]


def test_a_restore_into_a_new_folder(served: Served) -> None:
    snapshot = served.back_up()["steps"][0]["snapshot_id"]
    target = served.folder / "restored"
    paths = [str(served.source)]
    done = served.end_of(served.order("restore", snapshot=snapshot, paths=paths, target=str(target)))
    assert done["outcome"] == "success", done
    assert (target / served.source.relative_to("/") / "letter").read_text() == "dear reader"


def test_the_same_key_is_the_same_run(served: Served) -> None:
    wanted = {"task": "backup", "job": "docs"}
    first = served.post("runs", wanted, headers={"idempotency-key": "once"}, expect=(202,))
    again = served.post("runs", wanted, headers={"idempotency-key": "once"}, expect=(200,))
    assert again["id"] == first["id"]
    other = {"task": "check", "repository": "nas"}
    refused = served.post("runs", other, headers={"idempotency-key": "once"}, expect=(409,))
    assert refused["code"] == "idempotency_key_reused"
    served.end_of(first["id"])
    assert len([run for run in served.get("runs")["items"] if run["kind"] == "backup"]) == 1


def test_two_runs_of_a_job_wait_for_each_other(served: Served) -> None:
    served.end_hub()
    served.slow_down()
    served.serve()
    first, second = served.order(), served.order()
    waiting = until(lambda: served.run(second)["reason"])
    assert waiting["message"].startswith('waiting for "backup docs"'), waiting
    assert served.end_of(first)["outcome"] == "success"
    assert served.end_of(second)["outcome"] == "success"


def test_cancelled_while_restic_saves(served: Served) -> None:
    served.end_hub()
    served.slow_down()
    served.serve()
    run = served.order()
    until(lambda: any(event["type"] == "process.started" for event in served.events(run)))
    served.post(f"runs/{run}/cancel")
    done = served.end_of(run)
    assert done["outcome"] == "cancelled", done
    assert served.post(f"runs/{run}/cancel", expect=(409,))["code"] == "run_ended"


def test_cancelled_before_it_began(served: Served) -> None:
    served.end_hub()
    served.slow_down()
    served.serve()
    first, second = served.order(), served.order()
    until(lambda: served.run(second)["reason"])
    served.post(f"runs/{second}/cancel")
    assert served.end_of(second)["outcome"] == "cancelled"
    assert served.run(second)["steps"] == []
    served.post(f"runs/{first}/cancel")
    served.end_of(first)


def test_what_changes_is_told_as_it_changes(served: Served) -> None:
    with served.http.stream("GET", "stream") as stream:
        lines = stream.iter_lines()
        run = served.order()
        told = []
        for line in lines:
            if line.startswith("data: "):
                told.append(json.loads(line.removeprefix("data: ")))
            if any(news.get("ended") and news["key"] == run for news in told):
                break
    assert {news["key"] for news in told} >= {run}


def test_what_is_unknown_or_makes_no_sense_is_a_problem(served: Served) -> None:
    assert served.post("runs", {"task": "backup", "job": "nope"}, expect=(404,))["code"] == "job_unknown"
    assert served.get("runs/nope", expect=(404,))["code"] == "run_unknown"
    served.post("runs", {"task": "backup"}, expect=(422,))
    served.post("runs", {"task": "check"}, expect=(422,))
    served.post("runs", {"task": "restore", "repository": "nas"}, expect=(422,))
    served.post("runs", {"task": "dance", "job": "docs"}, expect=(422,))
    anybody = httpx.get(f"{served.url}/api/v1/runs", trust_env=False)
    assert anybody.status_code == 401
    assert anybody.headers["content-type"] == "application/problem+json"


def test_a_state_that_commands_made_opens_unchanged(machine: Served) -> None:
    assert machine.command("run").returncode == 0
    machine.serve()
    [standing] = machine.get("status")
    assert (standing["state"], standing["snapshots"]) == ("healthy", 1)
    machine.back_up()
    assert machine.get("status")[0]["snapshots"] == 2
    assert machine.end_hub() == 0
    assert json.loads(machine.command("--json", "status").stdout)[0]["snapshots"] == 2
