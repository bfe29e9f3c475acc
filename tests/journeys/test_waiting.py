"""A busy repository is waited for, with the reason shown, and gone on with once it is free."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from journeys.station import Station, until


@contextmanager
def busy(station: Station, *, exclusive: bool) -> Iterator["subprocess.Popen[bytes]"]:
    """Another restic that holds a lock: one that checks and was stopped in it, or a backup of an open pipe."""
    command = ["check"] if exclusive else ["backup", "--stdin"]
    with held(station, command) as other:
        try:
            yield other
        finally:
            end(other)


def held(station: Station, command: list[str]) -> "subprocess.Popen[bytes]":
    """A restic that is stopped while it holds its lock; one that was over before anybody looked is begun again."""
    for _ in range(20):
        other = station.start_bare(*command)
        until(partial(_holds_or_is_over, station, other))
        other.send_signal(signal.SIGSTOP)
        if other.poll() is None and station.locks():
            return other
        end(other)
    raise AssertionError("the other restic took no lock")


def _holds_or_is_over(station: Station, other: "subprocess.Popen[bytes]") -> bool:
    return bool(station.locks()) or other.poll() is not None


def end(other: "subprocess.Popen[bytes]") -> None:
    """Kill it: whatever it holds is of no interest any more."""
    if other.poll() is None:
        other.send_signal(signal.SIGCONT)
        other.kill()
    other.wait(120)


def free(other: "subprocess.Popen[bytes]") -> None:
    """Let the other one finish."""
    other.send_signal(signal.SIGCONT)
    assert other.stdin is not None
    other.stdin.close()


def test_a_backup_waits_for_a_locked_repository_and_goes_on(every_station: Station) -> None:
    station = every_station
    with busy(station, exclusive=True) as other:
        going = station.start("--json", "run")
        until(lambda: "waiting" in going.stderr, otherwise=going.stderr)
        assert f"pid {other.pid}" in going.stderr.lower()
        [run] = station.ask("runs").json
        assert (run["state"], run["reason"]["code"]) == ("waiting", "repository_locked")
        assert str(other.pid) in run["reason"]["message"]
        free(other)
        answer = going.end()
    assert answer.status == 0, answer
    assert answer.json["runs"][0]["reason"] is None
    kinds = [event["type"] for event in station.ask("logs", run["id"]).json]
    assert "waiting" in kinds


def test_what_needs_the_repository_for_itself_waits_for_a_backup(each_station: Station) -> None:
    station = each_station
    station.add_job(retention={"last": 1})
    station.back_up()
    station.back_up()
    with busy(station, exclusive=False) as other:
        going = [station.start("--json", command) for command in ("forget", "check")]
        for one in going:
            until(lambda: all("waiting" in one.stderr for one in going), otherwise=one.stderr)
        assert len(station.ask("snapshots").json) == 2
        free(other)
        assert [one.end().status for one in going] == [0, 0]


def test_patience_ends_when_it_is_told_to(station: Station) -> None:
    with busy(station, exclusive=True) as other:
        answer = station.ask("run", "--wait", "1s", status=1)
        assert answer.step["reason"]["code"] == "repository_locked"
        assert str(other.pid) in answer.step["reason"]["message"]
        assert station.locks() != []


def test_no_patience_at_all(station: Station) -> None:
    station.add_job(wait="10m")
    with busy(station, exclusive=True):
        assert station.ask("run", "--wait", "0s", status=1).step["reason"]["code"] == "repository_locked"
        for command in ("check", "prune"):
            answer = station.ask(command, "--wait", "0s", status=1)
            assert answer.step["reason"]["code"] == "repository_locked"
        assert station.ask("unlock").step["locks_removed"] == 0, "its owner lives"


def test_one_busy_repository_does_not_keep_the_next_from_its_backup(station: Station) -> None:
    station.add_repository("free")
    station.add_job(repositories=["nas", "free"])
    with busy(station, exclusive=True):
        answer = station.ask("run", "--wait", "1s", status=1)
    assert answer.step_in("nas")["outcome"] == "failure"
    assert answer.step_in("free")["outcome"] == "success"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_waiting_ends_at_once_when_it_is_cancelled(station: Station, number: signal.Signals) -> None:
    with busy(station, exclusive=True):
        going = station.start("--json", "run")
        until(lambda: "waiting" in going.stderr)
        going.send(number)
        answer = going.end()
        assert answer.status == 130
        assert answer.step["outcome"] == "cancelled"


def test_a_persons_unlock_removes_the_lock_of_a_dead_owner_only(each_station: Station) -> None:
    station = each_station
    with busy(station, exclusive=False) as living:
        with station.start_bare("backup", "--stdin") as dead:
            until(lambda: len(station.locks()) == 2)
            dead.kill()
        answer = station.ask("unlock")
        assert answer.step["locks_removed"] == 1
        assert len(station.locks()) == 1
        assert f"pid {living.pid}" in answer.stderr
        assert station.ask("unlock", "--remove-all", "--yes").step["locks_removed"] == 1
