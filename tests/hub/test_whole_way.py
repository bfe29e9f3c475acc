"""What somebody with nothing but an HTTP client can do: set up, run, watch, look into the log, cancel."""

import json
from pathlib import Path

import httpx

from hub.served import SLOW, Corner, Served
from journeys.station import until


def test_a_backup_from_the_order_to_the_log(corner: Corner) -> None:
    done = corner.back_up()
    [step] = done["steps"]
    assert (step["action"], step["repository"], step["outcome"]) == ("backup", corner.nas, "success")
    assert step["snapshot_id"]
    assert done["origin"] == "manual"
    assert done["actor"] == "token:tests"
    events = corner.events(done["id"])
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[-1]["type"]) == ("run.started", "run.ended")
    log = corner.http.get(f"runs/{done['id']}/log").text
    assert "backup --host station" in log
    assert "Snapshot " in log and log.rstrip().endswith("Run ended: success")
    [standing] = corner.get("status", job=corner.job)
    assert (standing["state"], standing["snapshots"]) == ("healthy", 1)
    until(lambda: corner.run_directories() == [], otherwise="the agent keeps what the hub has")


def test_everything_that_keeps_a_repository_in_order(corner: Corner) -> None:
    corner.back_up()
    for task in ("check", "verify", "stats", "prune", "discard", "unlock"):
        done = corner.end_of(corner.order(task))
        assert done["outcome"] == "success", (task, done)
        assert done["kind"] == "maintenance"
    [standing] = corner.get("status", job=corner.job)
    assert standing["last_check_at"]
    assert standing["last_restore_proof_at"]


def test_a_restore_into_a_new_folder(corner: Corner) -> None:
    snapshot = corner.back_up()["steps"][0]["snapshot_id"]
    target = corner.folder / "restored"
    paths = [str(corner.source)]
    done = corner.end_of(corner.order("restore", snapshot=snapshot, paths=paths, target=str(target)))
    assert done["outcome"] == "success", done
    assert (target / corner.source.relative_to("/") / "letter").read_text() == "dear reader"


def test_what_waits_for_a_repository_keeps_nobody_from_the_host(hub: Served, tmp_path: Path) -> None:
    busy, other = hub.give_corner(tmp_path / "busy", limit_upload=SLOW), hub.give_corner(tmp_path / "other")
    busy.make_large(40)  # for longer than the other one's backup takes anywhere; it is cancelled in the end
    going = busy.order()
    until(lambda: busy.run(going)["state"] == "running", otherwise=hub.said)
    waiting = busy.order("check")
    until(lambda: busy.run(waiting)["reason"], otherwise=hub.said)
    other.back_up()
    assert (busy.run(going)["state"], busy.run(waiting)["state"]) == ("running", "queued")
    for run in (waiting, going):
        busy.post(f"runs/{run}/cancel")
    assert [busy.end_of(run)["outcome"] for run in (waiting, going)] == ["cancelled", "cancelled"]


def test_the_same_key_is_the_same_run(corner: Corner) -> None:
    wanted = {"task": "backup", "job": corner.job}
    first = corner.post("runs", wanted, headers={"idempotency-key": "once"}, expect=(202,))
    again = corner.post("runs", wanted, headers={"idempotency-key": "once"}, expect=(200,))
    assert again["id"] == first["id"]
    other = {"task": "check", "repository": corner.nas}
    refused = corner.post("runs", other, headers={"idempotency-key": "once"}, expect=(409,))
    assert refused["code"] == "idempotency_key_reused"
    corner.end_of(first["id"])
    assert len(corner.get("runs", job=corner.job, kind="backup")["items"]) == 1


def test_two_runs_of_a_job_wait_for_each_other(hub: Served, tmp_path: Path) -> None:
    corner = hub.give_slow_corner(tmp_path)
    first, second = corner.order(), corner.order()
    waiting = until(lambda: corner.run(second)["reason"])
    assert waiting["message"].startswith(f'waiting for "backup {corner.job}"'), waiting
    assert corner.end_of(first)["outcome"] == "success"
    assert corner.end_of(second)["outcome"] == "success"


def test_cancelled_while_restic_saves(hub: Served, tmp_path: Path) -> None:
    corner = hub.give_slow_corner(tmp_path)
    run = corner.order()
    until(lambda: any(event["type"] == "process.started" for event in corner.events(run)))
    corner.post(f"runs/{run}/cancel")
    done = corner.end_of(run)
    assert done["outcome"] == "cancelled", done
    assert corner.post(f"runs/{run}/cancel", expect=(409,))["code"] == "run_ended"


def test_cancelled_before_it_began(hub: Served, tmp_path: Path) -> None:
    corner = hub.give_slow_corner(tmp_path)
    first, second = corner.order(), corner.order()
    until(lambda: corner.run(second)["reason"])
    corner.post(f"runs/{second}/cancel")
    assert corner.end_of(second)["outcome"] == "cancelled"
    assert corner.run(second)["steps"] == []
    corner.post(f"runs/{first}/cancel")
    corner.end_of(first)


def test_what_changes_is_told_as_it_changes(corner: Corner) -> None:
    with corner.http.stream("GET", "stream") as stream:
        lines = stream.iter_lines()
        run = corner.order()
        told = []
        for line in lines:
            if line.startswith("data: "):
                told.append(json.loads(line.removeprefix("data: ")))
            if any(news.get("ended") and news["key"] == run for news in told):
                break
    assert {news["key"] for news in told} >= {run}


def test_what_is_unknown_or_makes_no_sense_is_a_problem(hub: Served, corner: Corner) -> None:
    assert corner.post("runs", {"task": "backup", "job": "nope"}, expect=(404,))["code"] == "job_unknown"
    assert corner.get("runs/nope", expect=(404,))["code"] == "run_unknown"
    corner.post("runs", {"task": "backup"}, expect=(422,))
    corner.post("runs", {"task": "check"}, expect=(422,))
    corner.post("runs", {"task": "restore", "repository": corner.nas}, expect=(422,))
    corner.post("runs", {"task": "dance", "job": corner.job}, expect=(422,))
    anybody = httpx.get(f"{hub.url}/api/v1/runs", trust_env=False)
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
