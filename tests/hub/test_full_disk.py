"""The hub's disk runs full while it serves: it says so, loses nothing, and goes on by itself once there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.served import Served
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
