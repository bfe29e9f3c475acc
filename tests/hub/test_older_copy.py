"""A hub that was brought back from an older copy of itself: its agents tell it what it never heard of."""

import json
import os
import shutil
from pathlib import Path

from highball.agent.run_archive import RunArchive
from hub.served import Elsewhere, Served
from journeys.station import until


def go_back(served: Served) -> None:
    """End the hub, put its newest copy in the place of its database, and serve again."""
    assert served.end_hub() == 0
    done = served.command("hub", "restore-backup", "--yes")
    assert done.returncode == 0, done.stderr
    served.serve()


def assert_told(served: Served, run: str, outcome: str = "success") -> None:
    """The run's true end is known, and its log has no gap."""
    until(lambda: served.run(run)["outcome"] == outcome, otherwise=f"{served.run(run)}\n{served.said}")
    types = [event["type"] for event in served.events(run)]
    assert [event["seq"] for event in served.events(run)] == list(range(1, len(types) + 1))
    assert (types[0], types[-1], types.count("run.ended")) == ("run.started", "run.ended", 1)


def test_agents_that_joined_since_the_copy_are_told_how_to_come_back(machine: Served, tmp_path: Path) -> None:
    machine.serve()
    machine.end_of(machine.post("hub/backups")["id"])
    assert machine.end_hub() == 0
    shutil.rmtree(machine.state / "agent")
    machine.serve()  # its own agent has another key from now on
    machine.post("hosts?key=laptop", {})
    with Elsewhere(tmp_path / "laptop", machine, "laptop") as laptop:
        laptop.join()
        go_back(machine)
        assert machine.back_up()["outcome"] == "success", "the hub's own agent was invited again"
        until(lambda: "invite laptop again" in laptop.said, otherwise=laptop.said)
        laptop.stop()
        machine.post("hosts?key=laptop", {})
        laptop.join()
        laptop.stop()
        until(lambda: not laptop.is_there)
        used = {"hub": machine.url, "token": "used long ago"}
        (laptop.state / "agent" / "invitation.json").write_text(json.dumps(used))
        laptop.start()
        until(lambda: laptop.is_there, otherwise=laptop.said)


def test_what_ended_since_the_copy_is_known_again(machine: Served) -> None:
    machine.slow_down(1)
    machine.serve()
    before = machine.back_up()["id"]
    (machine.source / "large").write_bytes(os.urandom(1 << 20))
    going = machine.order()
    waiting = machine.order()
    until(lambda: any(event["type"] == "process.started" for event in machine.events(going)))
    machine.end_of(machine.post("hub/backups")["id"])
    assert machine.run(going)["state"] == "running"
    assert machine.run(waiting)["state"] == "queued"
    ends = {run: machine.end_of(run) for run in (going, waiting, machine.order(), machine.order("check"))}
    until(lambda: machine.run_directories() == [])
    snapshots = machine.get("status")[0]["snapshots"]

    go_back(machine)
    for run, end in ends.items():
        assert_told(machine, run, end["outcome"])
        told = machine.run(run)
        assert (told["steps"], told["ended_at"]) == (end["steps"], end["ended_at"])
    assert machine.run(before)["outcome"] == "success"
    assert machine.get("status")[0]["snapshots"] == snapshots
    until(lambda: machine.run_directories() == [], otherwise="they are put by once more")
    assert set(RunArchive(machine.state / "kept").last_seqs()) >= set(ends)
    assert machine.back_up()["outcome"] == "success", "the hub knows all snapshots of before"
