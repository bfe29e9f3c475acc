"""A hub without a file has the same ways back, and whoever forgot a password the same way in."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest

from hub.served import PASSWORD, Served
from journeys import warm
from journeys.station import HIGHBALL
from testbed.parts import SEARCH_PATH


def command(served: Served, *words: str) -> subprocess.CompletedProcess[bytes]:
    """A command on the hub's machine that names no file, with the restic that the hub has on its path."""
    path = {"PATH": f"{served.folder / 'bin'}:{SEARCH_PATH}"}
    return warm.run(
        [str(HIGHBALL), "--json", *words], env=served._environment() | path, cwd=served.folder, timeout=120
    )


def told(served: Served, *words: str) -> Any:
    """What it answers, and that it succeeded."""
    done = command(served, *words)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def _set_second_factor(hub: Served) -> None:
    proof = {"password": "correct horse battery"}
    with httpx.Client(base_url=f"{hub.url}/api/v1/", trust_env=False, timeout=120) as anna:
        anna.post("login", json={"name": "anna"} | proof).raise_for_status()
        offered = anna.post("me/second-factor", json=proof).json()
        code = {"code": pyotp.TOTP(offered["secret"]).now()}
        anna.post("me/second-factor/confirm", json=code).raise_for_status()


@pytest.fixture
def fileless(machine: Served) -> Served:
    """A hub that was begun without a file, with everything declared over its API."""
    machine.configuration.unlink(missing_ok=True)
    machine.serve_to_nobody()
    machine._set_up()
    return machine


def test_a_hub_without_a_file_uses_its_own_ways_back(fileless: Served, tmp_path: Path) -> None:
    hub = fileless
    spec = {"url": str(hub.repository), "password": {"sealed": True}}
    hub.post("repositories?key=far", spec)
    hub.http.put("repositories/far/secrets/password", json={"value": PASSWORD}).raise_for_status()
    copy = Path(told(hub, "hub", "backup")["backup"])
    assert copy.exists()
    kit = told(hub, "hub", "recovery-kit", "--show")["kit"]
    assert str(hub.repository) in kit and f"HIGHBALL_STATE={hub.state}" in kit
    page = told(hub, "recovery-kit", "far", "--show")["kit"]
    assert PASSWORD in page and str(hub.repository) in page
    _set_second_factor(hub)
    reset = told(hub, "hub", "reset-password", "anna")
    assert reset["second_factor_removed"] is True
    link = reset["link"]
    assert link.startswith(f"{hub.url}/password#")
    token = link.partition("#")[2]
    changed = httpx.post(
        f"{hub.url}/api/v1/password",
        json={"token": token, "password": "another long password"},
        trust_env=False,
    )
    assert changed.is_success, changed.text
    nobody = command(hub, "hub", "reset-password", "nobody")
    assert nobody.returncode == 4 and b"nobody" in nobody.stdout
    hub.end_hub()
    (hub.state / "highball.db").unlink()
    assert told(hub, "hub", "restore-backup", "--yes")["restored"] == str(copy)
    rebuilt = told(hub, "hub", "rebuild", "--without-backup")
    assert rebuilt["jobs"] == [], "the sealed password opened the repository; nothing was backed up yet"
