"""The hub's disk runs full while it serves: it says so, loses nothing, and goes on by itself once there is room."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from highball.agent.run_directory import list_run_directories
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
    assert refused.json()["hint"].startswith(f"make room on its disk: what lies in {small.state}/cache may")
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


def test_a_restore_has_its_way_while_the_hub_cannot_write(small: Served, tmp_path: Path) -> None:
    saved = small.back_up()["steps"][0]["snapshot_id"]
    told = {"task": "restore", "repository": "nas", "job": "docs", "snapshot": saved}
    wish = told | {"paths": [str(small.source)], "target": str(tmp_path / "back")}
    ballast = fill(small)
    refused = until(
        lambda: next((a for a in [small.http.post("runs", json=wish)] if a.status_code == 503), None)
    )
    assert f"highball -c {small.configuration} restore docs" in refused.json()["hint"]
    done = small.command("restore", "docs", "--target", str(tmp_path / "back"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "back" / small.source.relative_to("/") / "letter").read_text() == "dear reader"
    assert b"uses a copy" in done.stderr
    for command in ("forget", "prune", "run", "check"):
        refused_here = small.command(command)
        assert (refused_here.returncode, b"--hub" in refused_here.stderr) == (5, True), command
    ballast.unlink()


def test_agents_stay_and_answer_while_the_hub_cannot_write(small: Served, tmp_path: Path) -> None:
    small.post("hosts?key=laptop", {})
    small.post("jobs?key=far", small.job_spec | {"host": "laptop"})
    with Elsewhere(tmp_path / "laptop", small, "laptop") as laptop:
        laptop.join()
        saved = small.back_up()["steps"][0]["snapshot_id"]
        ballast = fill(small)
        small.post("hosts?key=other", {}, expect=(503,))
        laptop.stop()
        until(lambda: not laptop.is_there)
        laptop.start()
        until(lambda: laptop.is_there, otherwise=lambda: laptop.said + small.said)
        assert [one["id"] for one in small.get("repositories/nas/snapshots")] == [saved]
        assert small.get("hosts/laptop/browse", path=str(small.source))["entries"]
        first = small.get("overview")["problems"][0]
        assert (first["kind"], first["reason"]["code"]) == ("unwritable", "state_full")
        for page in ("/", "/jobs"):
            assert "the disk is full" in small.http.get(f"{small.url}{page}").text, page
        ballast.unlink()
        small.post("hosts?key=other", {})
        assert "unwritable" not in [one["kind"] for one in small.get("overview")["problems"]]
        assert "the disk is full" not in small.http.get(f"{small.url}/jobs").text
        assert small.back_up(job="far")["host"] == "laptop"
