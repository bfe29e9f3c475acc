"""One run of a job at a time, and an end that is asked for: a second run, cancel, Ctrl-C, SIGTERM, hang-up."""

import os
import re
import signal
from typing import Any

import pytest

from journeys.station import Going, Station, holds_for, of_process, restics_of, until


def held_open(station: Station, **fields: Any) -> None:
    """Let the job stand in its first hook until `go` is there; the hook tells that it began by `begun`."""
    script = f"touch {station.folder}/begun; while ! [ -e {station.folder}/go ]; do sleep 0.05; done"
    station.add_job(before=[{"run": script}], **fields)


def begin(station: Station, *arguments: str) -> Going:
    """Start a run and wait until it stands in its hook."""
    going = station.start("--json", "run", *arguments)
    until((station.folder / "begun").exists, otherwise=going.stderr)
    return going


def slow_backup(station: Station, **fields: Any) -> None:
    """Give the job so much to read that it never comes to an end: a hole of two terabytes."""
    os.truncate(station.source / "file-0000", 2 * 2**40)
    station.add_job(**fields)


def quick_again(station: Station, **fields: Any) -> None:
    """Take that back."""
    os.truncate(station.source / "file-0000", 1000)
    station.add_job(**fields)


def is_reading(pid: int) -> bool:
    """Whether a process has read so much that it is in the middle of its source."""
    found = re.search(rb"rchar: (\d+)", of_process(pid, "io"))
    return found is not None and int(found[1]) > 20 * 2**20


def begin_slow(station: Station) -> Going:
    """Start a run and wait until restic holds its lock and reads."""
    going = station.start("--json", "run")
    until(
        lambda: station.locks() and any(map(is_reading, restics_of(station.folder))),
        otherwise="restic never came to read",
    )
    return going


def test_a_second_run_of_a_job_is_refused(station: Station) -> None:
    held_open(station)
    station.add_job("other")
    going = begin(station, "docs")
    error = station.ask("run", "docs", status=5).error
    assert error["code"] == "job_running"
    assert str(going.pid) in error["message"]
    beside = station.ask("run", status=3)
    assert [run["job"] for run in beside.json["runs"]] == ["other"]
    assert [one["code"] for one in beside.json["refused"]] == ["job_running"]
    assert beside.json["outcome"] == "warning"
    (station.folder / "go").touch()
    assert going.end().status == 0
    station.back_up("docs")
    assert len(station.ask("runs").json) == 3


def test_a_run_that_goes_on_shows_as_running_and_is_left_alone(station: Station) -> None:
    held_open(station)
    going = begin(station)
    [run] = station.ask("runs").json
    assert (run["state"], run["outcome"], run["ended_at"]) == ("running", None, None)
    kinds = [event["type"] for event in station.ask("logs", run["id"][:13]).json]
    assert kinds[:2] == ["run.started", "step.started"]
    station.ask("status")
    station.ask("check")
    (station.folder / "go").touch()
    assert going.end().json["outcome"] == "success"


def test_a_run_is_cancelled_from_another_process(station: Station) -> None:
    held_open(station, after=[{"run": f"echo $HIGHBALL_OUTCOME > {station.folder}/told"}])
    going = begin(station)
    [run] = station.ask("runs").json
    answer = station.ask("cancel", run["job"])
    assert answer.json == {"run": run["id"], "state": "done", "outcome": "cancelled"}
    nothing = station.call("cancel", run["job"])
    assert nothing.status == 4
    assert f"no run of {run['job']} is in progress" in nothing.stderr
    ended = going.end()
    assert ended.status == 130
    assert ended.json["outcome"] == "cancelled"
    assert (station.folder / "told").read_text().strip() == "cancelled"
    assert station.snapshots() == []


def test_ctrl_c_ends_restic_politely(every_station: Station) -> None:
    ends_politely(every_station, signal.SIGINT)


def test_sigterm_ends_restic_politely(station: Station) -> None:
    ends_politely(station, signal.SIGTERM)


def ends_politely(station: Station, number: signal.Signals) -> None:
    """A signal to Highball in the middle of a backup: no restic is left, no lock, and the record is right."""
    slow_backup(station)
    going = begin_slow(station)
    going.send(number)
    answer = going.end()
    assert answer.status == 130, answer
    assert answer.step["outcome"] == "cancelled"
    assert restics_of(station.folder) == []
    assert station.locks() == []
    assert station.snapshots() == []
    [run] = station.ask("runs").json
    assert run["outcome"] == "cancelled"
    quick_again(station)
    station.back_up()
    station.ask("check")


def ignore_hang_up() -> None:
    """What nohup does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_a_hang_up_ends_a_run_but_not_one_under_nohup(station: Station) -> None:
    held_open(station)
    going = begin(station)
    going.send(signal.SIGHUP)
    assert going.end().status == 130
    (station.folder / "begun").unlink()
    going = station.start("run", before=ignore_hang_up)
    until((station.folder / "begun").exists)
    going.send(signal.SIGHUP)
    (station.folder / "go").touch()
    assert going.end().status == 0


def test_the_jobs_behind_a_cancelled_one_are_not_begun(station: Station) -> None:
    held_open(station)
    station.add_job("later")
    going = begin(station)
    going.send(signal.SIGINT)
    answer = going.end()
    assert answer.status == 130
    assert [run["job"] for run in answer.json["runs"]] == ["docs"]
    assert station.snapshots() == []


def test_ctrl_c_is_patient_when_it_comes_twice(station: Station) -> None:
    slow_backup(station)
    going = begin_slow(station)
    going.send(signal.SIGINT)
    going.send(signal.SIGINT)
    answer = going.end()
    assert answer.status == 130, answer
    assert station.locks() == []


def test_a_cancel_behind_the_saved_snapshot_tells_the_truth(station: Station) -> None:
    program = station.folder / "restic"
    mark = f"touch {station.folder}/listing; while ! [ -e {station.folder}/go ]; do sleep 0.05; done"
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" snapshots "*) {mark};; esac\nexec "{station.restic.path}" "$@"\n'
    )
    program.chmod(0o755)
    station.settings["restic"] = str(program)
    going = station.start("--json", "run")
    until((station.folder / "listing").exists)
    going.send(signal.SIGINT)
    assert holds_for(lambda: going.process.poll() is None, 0.5)
    (station.folder / "go").touch()
    answer = going.end()
    assert answer.json["outcome"] == "success", answer
    assert answer.step["snapshot_id"] == station.snapshots()[0]["id"]


@pytest.mark.parametrize("command", ["prune", "check"])
def test_maintenance_is_cancelled_without_leaving_a_lock(station: Station, command: str) -> None:
    station.back_up()
    going = station.start("--json", command)
    until(station.locks, otherwise="no lock came")
    going.send(signal.SIGTERM)
    answer = going.end()
    assert answer.status in (130, 0), answer
    assert station.locks() == []
    assert restics_of(station.folder) == []


def test_a_lock_whose_owner_is_dead_is_taken_over(station: Station) -> None:
    held_open(station)
    going = begin(station)
    going.kill()
    (station.folder / "go").touch()
    assert os.path.exists(station.state / "locks" / "job.docs")
    station.back_up()
