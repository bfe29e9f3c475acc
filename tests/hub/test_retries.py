"""Attempts of a backup that an agent carries out: the hub sees them as they come, and its cancel ends their wait."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.served import Served
from journeys.station import until
from testbed.sftp import SftpServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SftpServer]:
    """A server of the test's own, to be taken away and given back; it runs."""
    with SftpServer(tmp_path / "sftp") as server:
        yield server


def out_of_reach(machine: Served, server: SftpServer, backoff: str) -> str:
    """Order a backup to a server that is down, and wait until its first attempt has failed."""
    shutil.copytree(machine.repository, server.directory / "docs")  # the same one, reached otherwise
    machine.tables["repositories"]["nas"] = {
        "kind": "sftp",
        "server": server.host,
        "port": server.port,
        "user": server.user,
        "path": str(server.directory / "docs"),
        "identity_file": str(server.identity_file),
        "known_hosts": str(server.known_hosts),
        "password": {"file": str(machine.folder / "password")},
    }
    machine.tables["jobs"]["docs"] |= {
        "retry": {"max": 10, "backoff": backoff},
        "after": [{"run": f"echo after >> {machine.folder}/after"}],
    }
    machine.serve()
    server.stop()
    run = machine.order()
    until(lambda: machine.run(run)["state"] == "waiting", otherwise=machine.said)
    return run


def test_a_server_that_comes_up_in_the_wait(machine: Served, server: SftpServer) -> None:
    run = out_of_reach(machine, server, "1s")
    waits = [event for event in machine.events(run) if event["type"] == "waiting"]
    assert waits[0]["reason"]["code"] == "unreachable"
    assert waits[0]["reason"]["message"].startswith("attempt 2 of 11 in 1s: ")
    server.start()
    done = machine.end_of(run)
    assert done["outcome"] == "success", (done["reason"], done["steps"])
    [backup] = [step for step in done["steps"] if step["action"] == "backup"]
    assert backup["attempts"] > 1
    assert (machine.folder / "after").read_text() == "after\n"


def test_a_cancel_by_the_hub_ends_the_wait(machine: Served, server: SftpServer) -> None:
    run = out_of_reach(machine, server, "1h")
    machine.post(f"runs/{run}/cancel")
    done = machine.end_of(run)
    assert done["outcome"] == "cancelled"
    assert "cancelled before attempt 2" in done["reason"]["message"]
    assert (machine.folder / "after").read_text() == "after\n"
