"""Hub, agent and the run's own process killed while a backup goes on: nothing is lost, nothing happens twice."""

import os
import signal

import pytest

from highball.agent.run_directory import RunDirectory
from highball.process.file_lock import FileLock
from hub.served import Served
from journeys.station import until


@pytest.fixture
def slow(machine: Served) -> Served:
    """A hub whose job takes some seconds, with a hook at its end."""
    machine.slow_down()
    machine.tables["jobs"]["docs"]["after"] = [{"run": f"echo after >> {machine.folder}/after"}]
    machine.serve()
    return machine


def begin(served: Served) -> str:
    """A backup whose restic is at work."""
    run = served.order()
    until(lambda: any(event["type"] == "process.started" for event in served.events(run)))
    return run


def assert_whole(served: Served, run: str) -> None:
    """The run succeeded once, and its log has no gap."""
    done = served.end_of(run)
    assert done["outcome"] == "success", (done, served.said)
    events = served.events(run)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events].count("run.started") == 1
    assert (served.folder / "after").read_text() == "after\n"
    assert served.get("status")[0]["snapshots"] == 1


def test_the_hub_killed(slow: Served) -> None:
    run = begin(slow)
    agent = slow.agent_pid
    slow.kill_hub()
    slow.serve()
    assert slow.agent_pid == agent, "the agent is found again by its lock"
    assert_whole(slow, run)


def test_the_hub_ended_and_started_after_the_run_is_over(slow: Served) -> None:
    run = begin(slow)
    assert slow.end_hub() == 0
    assert f"run {run} continues" in slow.log.read_text()
    until(lambda: all(directory.ended for directory in slow.run_directories()))
    slow.serve()
    assert_whole(slow, run)


def test_the_agent_killed(slow: Served) -> None:
    run = begin(slow)
    slow.kill_agent()
    slow.kill_hub()
    slow.serve()
    assert_whole(slow, run)


def kill_holder(directory: RunDirectory) -> None:
    holder = directory.lock.holder()
    assert holder
    os.kill(holder, signal.SIGKILL)


def test_the_runs_own_process_killed(slow: Served) -> None:
    run = begin(slow)
    [directory] = slow.run_directories()
    kill_holder(directory)
    done = slow.end_of(run)
    assert (done["outcome"], done["reason"]["code"]) == ("failure", "interrupted")
    until((slow.folder / "after").exists, otherwise="its hooks `after` run")
    until(lambda: slow.run_directories() == [])
    assert (slow.folder / "after").read_text() == "after\n"
    slow.post("runs", {"task": "check", "repository": "nas"})
    until(lambda: list((slow.repository / "locks").iterdir()) == [], otherwise="its lock is released")


def test_everything_killed_at_once(slow: Served) -> None:
    run = begin(slow)
    [directory] = slow.run_directories()
    slow.kill_hub()
    slow.kill_agent()
    kill_holder(directory)
    slow.serve()
    done = slow.end_of(run)
    assert (done["outcome"], done["reason"]["code"]) == ("failure", "interrupted")
    assert len(slow.get("runs", job="docs")["items"]) == 1


def test_a_run_ordered_while_no_agent_is_there_is_refused(slow: Served) -> None:
    os.kill(slow.agent_pid, signal.SIGTERM)
    until(lambda: not slow.agent["connected"])
    done = slow.end_of(slow.order())
    assert (done["outcome"], done["reason"]["code"]) == ("failure", "host_offline")


def test_an_idle_agent_ends_with_its_hub(slow: Served) -> None:
    assert slow.end_hub() == 0
    assert not FileLock(slow.state / "agent.lock").is_taken
