"""The hub's disk runs full while it serves: it says so, loses nothing, and goes on by itself once there is room."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from highball.agent.rundir import list_run_directories
from hub.served import SLOW, Elsewhere, Served
from journeys.station import until


@pytest.fixture
def small(machine: Served, tmp_path: Path) -> Iterator[Served]:
    """A hub whose state lies on a small disk of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs to mount a small disk")
    machine.state = disk / "state"
    machine.environment["HIGHBALL_STATE"] = str(machine.state)
    machine.serve()
    try:
        yield machine
    finally:
        machine.end_everything()
        subprocess.run(["umount", "-l", str(disk)], check=False)


def fill(machine: Served) -> Path:
    """Leave no byte free."""
    ballast = machine.state / "ballast"
    with ballast.open("wb", buffering=0) as opened:
        try:
            while True:
                opened.write(bytes(4096))
        except OSError:
            pass
    return ballast


def test_a_full_disk_is_said_and_overcome(small: Served) -> None:
    before = small.back_up()
    events = small.events(before["id"])
    ballast = fill(small)
    wanted = {"task": "backup", "job": "docs"}
    refused = until(
        lambda: next((a for a in [small.http.post("runs", json=wanted)] if a.status_code == 503), None)
    )
    assert refused.json()["code"] == "state_full"
    assert refused.json()["hint"] == "make room on its disk"
    assert small.run(before["id"])["outcome"] == "success", "what is there can be read"
    ballast.unlink()
    until(lambda: small.agent["connected"], otherwise=small.said)
    assert small.back_up()["outcome"] == "success"
    assert small.events(before["id"]) == events


def test_a_backup_goes_on_while_the_hub_cannot_write_and_its_end_is_recorded_afterwards(
    small: Served, tmp_path: Path
) -> None:
    small.post("hosts?key=laptop", {})
    small.make_large(2)
    small.post("jobs?key=far", small.job_spec | {"host": "laptop", "limit_upload": SLOW})
    with Elsewhere(tmp_path / "laptop", small, "laptop") as laptop:
        laptop.join()
        run = small.order(job="far")
        until(lambda: any(event["type"] == "process.started" for event in small.events(run)))
        ballast = fill(small)
        numbers = itertools.count()
        until(lambda: small.http.post(f"profiles?key=p{next(numbers)}", json={}).status_code == 503)
        known = small.events(run)
        [directory] = list_run_directories(laptop.state / "runs")
        until(lambda: not directory.path.exists() or directory.ended, otherwise="the backup goes on")
        assert small.events(run)[: len(known)] == known
        ballast.unlink()
        assert small.end_of(run)["outcome"] == "success", laptop.said
        events = small.events(run)
        assert events[: len(known)] == known
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert events[-1]["type"] == "run.ended"
        assert small.get("status", job="far")[0]["snapshots"] == 1
