"""kill -9 at many moments: restic dies too, the record tells the truth, what was held is given back, once.

The moments are facts (a file that a hook wrote, a lock in the repository, a snapshot file), never a guess in
seconds.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from journeys.station import (
    Answer,
    Going,
    Station,
    commands_of,
    of_process,
    pids,
    restics_of,
    until,
)
from journeys.test_locks import begin_slow, held_open, quick_again, slow_backup


def marked(station: Station) -> list[int]:
    """Every process of a run of this station: hooks as well."""
    needle = os.fsencode(station.folder)
    found = [pid for pid in pids() if b"HIGHBALL_JOB_ID=" in of_process(pid, "environ")]
    return [pid for pid in found if needle in of_process(pid, "environ") + of_process(pid, "cmdline")]


def is_at_rest(station: Station) -> bool:
    return not restics_of(station.folder)


def kill(station: Station, going: Going) -> None:
    """kill -9 of highball alone; its restic has to follow."""
    going.kill()
    until(lambda: is_at_rest(station), otherwise="restic lives on")


def kill_both(station: Station, going: Going) -> None:
    """kill -9 of highball and its restic at once, until not even a zombie is left that a lock could name."""
    killed = [*restics_of(station.folder), going.pid]
    for pid in reversed(killed):  # highball first: it must not see its restic end
        os.kill(pid, signal.SIGSTOP)
    for (
        pid
    ) in killed:  # and last: stopped children that are orphaned are woken, and restic would remove its lock
        os.kill(pid, signal.SIGKILL)
    going.process.wait()
    until(lambda: not set(killed) & set(pids()))


@contextmanager
def never_two(station: Station) -> Iterator[None]:
    """While this lasts, watch that restics of two runs are never at work at once."""
    done = threading.Event()
    seen: list[list[bytes]] = []

    def watch() -> None:
        while not done.is_set():
            backups = [
                pid for pid in restics_of(station.folder) if b"\0backup\0" in of_process(pid, "cmdline")
            ]
            markers = {
                line
                for pid in backups
                for line in of_process(pid, "environ").split(b"\0")
                if b"HIGHBALL_" in line
            }
            if len(markers) > 1:
                seen.append(commands_of(backups))
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    assert seen == []


def last_run(station: Station) -> dict[str, Any]:
    """The newest run of the record."""
    found: dict[str, Any] = station.ask("runs").json[0]
    return found


def slowed(station: Station, command: str) -> tuple[Path, Path]:
    """Make restic's `command` wait: it touches the first file when it starts, and goes on with the second."""
    begun, go = station.folder / f"{command}-begun", station.folder / f"{command}-go"
    program = station.folder / "restic"
    wait = f'touch "{begun}"; while ! [ -e "{go}" ]; do sleep 0.05; done'
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" {command} "*) {wait};; esac\nexec "{station.restic.path}" "$@"\n'
    )
    program.chmod(0o755)
    station.settings["restic"] = str(program)
    return begun, go


AFTER = {"run": 'echo "$HIGHBALL_RUN $HIGHBALL_OUTCOME" >> "$HOME/after"'}


def after_hooks(station: Station) -> list[str]:
    """What the after hooks wrote; `$HOME` is the station's."""
    path = station.home / "after"
    return path.read_text().splitlines() if path.exists() else []


def settled(station: Station, *, outcome: str, then: Callable[[], Answer] | None = None) -> dict[str, Any]:
    """Status ends the record, and the next run works and gives back what was held; the killed run, as recorded."""
    [stands] = station.ask("status").json
    killed = last_run(station)
    assert (killed["state"], killed["outcome"]) == ("done", outcome), killed
    assert killed["reason"]["code"] == "interrupted"
    assert killed["ended_at"] is not None
    assert stands["job"] == "docs"
    again = (then or station.back_up)()
    assert again.status == 0
    assert station.locks() == []
    assert list((station.state / "runs").iterdir()) == []
    station.ask("check")
    return killed


# --- the moments of a backup ---------------------------------------------------------------------


def test_killed_in_a_hook(station: Station) -> None:
    held_open(station, after=[AFTER])
    going = station.start("run")
    until((station.folder / "begun").exists)
    going.kill()
    (station.folder / "begun").unlink()
    station.add_job(after=[AFTER])
    killed = settled(station, outcome="failure")
    told = after_hooks(station)
    assert [line for line in told if killed["id"] in line] == [f"{killed['id']} failure"]
    assert len(told) == 2
    assert marked(station) == []


def test_killed_while_restic_saves(every_station: Station) -> None:
    station = every_station
    slow_backup(station, after=[AFTER])
    going = begin_slow(station)
    kill(station, going)
    assert station.locks() == [], "restic removes its lock when Highball vanishes"
    quick_again(station, after=[AFTER])
    killed = settled(station, outcome="failure")
    assert killed["steps"][0]["reason"]["code"] == "interrupted"
    assert [line for line in after_hooks(station) if killed["id"] in line] == [f"{killed['id']} failure"]
    assert len(station.snapshots()) == 1


def test_killed_with_its_restic(each_station: Station) -> None:
    station = each_station
    slow_backup(station)
    going = begin_slow(station)
    kill_both(station, going)
    assert len(station.locks()) == 1
    quick_again(station)
    settled(station, outcome="failure")


def test_killed_while_restic_sleeps_under_a_limit(each_station: Station) -> None:
    station = each_station
    station.fill(8, 4 * 1024 * 1024)
    station.add_job(limit_upload=100)
    going = begin_slow(station)
    kill(station, going)
    station.add_job()
    settled(station, outcome="failure")


def test_the_lock_of_a_restic_that_was_killed_goes_with_its_run(each_station: Station) -> None:
    station = each_station
    slow_backup(station)
    going = begin_slow(station)
    for pid in restics_of(station.folder):  # what a machine does that runs out of memory
        os.kill(pid, signal.SIGKILL)
    assert going.end().status == 1
    assert last_run(station)["reason"]["code"] == "killed"
    assert station.locks() == []
    log = " ".join(e.get("text", "") for e in station.ask("logs", last_run(station)["id"]).json)
    assert "its lock was removed" in log


def test_the_dead_runs_lock_stays_where_unlocking_would_remove_others(station: Station) -> None:
    slow_backup(station)
    going = begin_slow(station)
    with station.start_bare("backup", "--stdin") as other:
        until(lambda: len(station.locks()) == 2)
        other.kill()
        kill_both(station, going)
    assert len(station.locks()) == 2
    quick_again(station)
    station.back_up()
    assert len(station.locks()) == 2
    killed = station.ask("runs").json[1]
    log = " ".join(e.get("text", "") for e in station.ask("logs", killed["id"]).json)
    assert "would remove another" in log or "left alone" in log
    assert station.ask("unlock").step["locks_removed"] == 2


def test_killed_right_after_the_snapshot_was_saved(station: Station) -> None:
    station.add_job(after=[AFTER])
    begun, _ = slowed(station, "snapshots")
    going = station.start("run")
    until(begun.exists)
    [snapshot] = (station.path_of() / "snapshots").iterdir()
    kill(station, going)
    station.settings["restic"] = str(station.restic.path)
    killed = settled(station, outcome="warning")
    assert killed["steps"][0]["snapshot_id"] == snapshot.name
    assert [line for line in after_hooks(station) if killed["id"] in line] == [f"{killed['id']} warning"]
    assert station.ask("status").json[0]["snapshots"] == 2


def test_killed_as_soon_as_a_snapshot_file_appears(station: Station) -> None:
    going = station.start("run")
    folder = station.path_of() / "snapshots"
    until(lambda: list(folder.iterdir()))
    kill(station, going)
    if last_run(station)["reason"] is not None:
        settled(station, outcome="warning")
    assert station.ask("status").json[0]["snapshots"] in (1, 2)


def test_killed_in_an_after_hook_it_is_not_run_again_but_the_next_one_is(station: Station) -> None:
    first = {"run": f"echo first >> $HOME/after; touch {station.folder}/begun; sleep 60"}
    station.add_job(after=[first, AFTER])
    going = station.start("run")
    until((station.folder / "begun").exists)
    going.kill()
    station.add_job()
    station.back_up()
    killed = station.ask("runs").json[1]
    assert [line.partition(" ")[0] for line in after_hooks(station)] == ["first", killed["id"]]
    assert killed["steps"][0]["outcome"] == "success"


def test_killed_between_two_after_hooks_of_a_run_whose_hook_failed(station: Station) -> None:
    first = {"run": "echo first >> $HOME/after"}
    second = {"run": f"echo second >> $HOME/after; touch {station.folder}/begun; sleep 60"}
    station.add_job(before=[{"run": "false"}, {"run": "true"}], after=[first, second, AFTER])
    going = station.start("run")
    until((station.folder / "begun").exists)
    going.kill()
    station.add_job()
    station.back_up()
    assert [line.partition(" ")[0] for line in after_hooks(station)][:2] == ["first", "second"]
    assert len(after_hooks(station)) == 3


def test_killed_with_a_second_repository_to_go(station: Station) -> None:
    station.add_repository("second")
    station.add_job(repositories=["second", "nas"])
    begun, _ = slowed(station, "snapshots")
    going = station.start("run")
    until(begun.exists)
    kill(station, going)
    station.settings["restic"] = str(station.restic.path)
    station.ask("status")
    killed = last_run(station)
    assert killed["outcome"] in ("failure", "warning")
    assert [step["repository"] for step in killed["steps"]] == ["second"]
    assert killed["steps"][0]["snapshot_id"] is not None
    station.back_up()
    assert len(station.snapshots()) == 1


# --- the next run ---------------------------------------------------------------------------------


def test_the_next_run_at_once_never_meets_a_second_restic(station: Station) -> None:
    slow_backup(station)
    going = begin_slow(station)
    with never_two(station):
        going.kill()
        quick_again(station)
        station.back_up()
    assert len(station.snapshots()) == 1
    outcomes = [run["outcome"] for run in station.ask("runs").json]
    assert outcomes == ["success", "failure"]


def test_many_commands_at_once_after_a_kill_settle_it_once(station: Station) -> None:
    slow_backup(station, after=[AFTER])
    going = begin_slow(station)
    with never_two(station):
        going.kill()
        quick_again(station, after=[AFTER])
        others = [station.start("--json", command) for command in ("status", "run", "run", "runs", "run")]
        answers = [other.end() for other in others]
    assert [answer.status for answer in answers if answer.status not in (0, 5)] == []
    station.back_up()
    runs = station.ask("runs").json
    killed = runs[-1]
    assert killed["outcome"] == "failure"
    assert [line for line in after_hooks(station) if killed["id"] in line] == [f"{killed['id']} failure"]
    assert len([run for run in runs if run["outcome"] == "success"]) == len(station.snapshots())
    assert station.locks() == []


def test_killed_again_and_again(station: Station) -> None:
    slow_backup(station, after=[AFTER])
    for _ in range(3):
        kill(station, begin_slow(station))
    quick_again(station, after=[AFTER])
    station.back_up()
    runs = station.ask("runs").json
    assert [run["outcome"] for run in runs] == ["success", "failure", "failure", "failure"]
    assert sorted(line.partition(" ")[0] for line in after_hooks(station)) == sorted(
        run["id"] for run in runs
    )


def test_a_record_whose_run_directory_was_deleted_is_ended_too(station: Station) -> None:
    held_open(station)
    going = station.start("run")
    until((station.folder / "begun").exists)
    going.kill()
    for path in (station.state / "runs").iterdir():
        for inner in path.iterdir():
            inner.unlink()
        path.rmdir()
    station.ask("status")
    killed = last_run(station)
    assert (killed["state"], killed["outcome"], killed["reason"]["code"]) == (
        "done",
        "failure",
        "interrupted",
    )


def test_a_repository_that_cannot_be_asked_does_not_hide_the_end(station: Station) -> None:
    slow_backup(station)
    going = begin_slow(station)
    kill(station, going)
    away = station.path_of().with_name("away")
    station.path_of().rename(away)
    station.ask("status")
    killed = last_run(station)
    assert (killed["state"], killed["outcome"]) == ("done", "failure")
    away.rename(station.path_of())
    quick_again(station)
    station.back_up()


# --- maintenance and restore ---------------------------------------------------------------------


End = Callable[[Station, Going], None]
"""Highball alone is killed, or its restic with it."""


def leftovers(station: Station) -> list[Path]:
    """What no run may leave behind once the next one is over."""
    staged = list(station.folder.rglob(".highball-*"))
    return [
        *staged,
        *station.locks(),
        *(station.state / "tmp").iterdir(),
        *(station.state / "runs").iterdir(),
    ]


def settled_failure(station: Station, action: str) -> dict[str, Any]:
    """Status ends the record of a run that was killed, and the next run gives back what it held."""
    station.ask("status")
    killed = last_run(station)
    assert (killed["action"], killed["state"], killed["outcome"]) == (action, "done", "failure")
    assert killed["reason"]["code"] == killed["steps"][-1]["reason"]["code"] == "interrupted"
    station.back_up()
    assert leftovers(station) == []
    return killed


@pytest.mark.parametrize(
    ("command", "end"), [("forget", kill), ("prune", kill_both), ("check", kill), ("verify", kill_both)]
)
def test_killed_while_restic_holds_its_lock(each_station: Station, command: str, end: End) -> None:
    station = each_station
    station.add_job(retention={"last": 1})
    station.fill(1, 32 * 1024 * 1024)
    for _ in range(2):
        station.back_up()
    going = station.start("--json", command)
    until(lambda: station.locks() and restics_of(station.folder), otherwise="no lock came")
    end(station, going)
    settled_failure(station, command)
    station.ask(command)
    station.ask("check")


@pytest.mark.parametrize("end", [kill, kill_both])
def test_killed_while_restic_restores_into_a_new_directory(each_station: Station, end: End) -> None:
    station = each_station
    station.fill(2, 32 * 1024 * 1024)
    station.back_up()
    target = station.folder / "target"
    staged = station.restic.version < (0, 17, 0)
    going = station.start("restore", "docs", "--target", str(target))
    until(lambda: list(target.glob(".highball-restore-*")) if staged else target.exists())
    end(station, going)
    settled_failure(station, "restore")
    assert not staged or not target.exists(), "what nothing came to lie in goes again"
    station.ask("restore", "docs", "--target", str(target), "--overwrite", "always")
    restored = target / station.source.relative_to("/")
    assert all((restored / path.name).read_bytes() == path.read_bytes() for path in station.source.iterdir())


def test_killed_while_restic_restores_in_place_beside_the_target(each_station: Station) -> None:
    station = each_station
    station.add_job(shrink_limit=1.0)
    folder, away = station.source / "folder", station.folder / "away"
    station.fill(2, 32 * 1024 * 1024, folder)
    station.back_up()
    folder.rename(away)
    folder.write_text("a file stands in the way")
    wanted = ("restore", "docs", "--in-place", "--yes", "--snapshot", str(station.snapshots()[0]["id"]))
    going = station.start(*wanted)
    until(lambda: list(station.source.glob(".highball-restore-*/restored")))
    kill(station, going)
    assert folder.is_file(), "nothing is touched before restic is done"
    settled_failure(station, "restore")
    station.ask(*wanted)
    assert all((folder / path.name).read_bytes() == path.read_bytes() for path in away.iterdir())


def test_killed_in_forget_the_record_knows_what_is_gone(station: Station) -> None:
    station.add_job(retention={"last": 1})
    first = station.back_up().step["snapshot_id"]
    second = station.back_up().step["snapshot_id"]
    going = station.start("forget")
    until(lambda: not (station.path_of() / "snapshots" / str(first)).exists())
    kill(station, going)
    station.ask("status")
    killed = last_run(station)
    assert killed["action"] == "forget"
    assert killed["steps"][0]["snapshots_removed"] == [first]
    assert station.ask("status").json[0]["snapshots"] == 1
    station.back_up()
    assert second in [snapshot["id"] for snapshot in station.snapshots()]


def test_killed_before_it_forgot_what_the_machine_saved_under_another_name(station: Station) -> None:
    station.add_job(retention={"last": 1})
    for _ in range(2):
        station.back_up()
    station.settings["host"] = "renamed"
    with station.start_bare("backup", "--stdin") as other:
        until(station.locks)
        going = station.start("forget")
        until(lambda: "waiting" in going.stderr)
        kill(station, going)
        assert other.stdin is not None
        other.stdin.close()
    assert station.ask("status").json[0]["snapshots"] == 0
    assert [step.get("snapshots_removed") for step in last_run(station)["steps"]] == [[], []]
    removed = [step["snapshots_removed"] for step in station.ask("forget").json["runs"][0]["steps"]]
    assert [len(ids) for ids in removed] == [0, 1]


def test_killed_while_it_waits_for_a_lock(station: Station) -> None:
    station.back_up()
    with station.start_bare("backup", "--stdin") as other:
        until(station.locks)
        going = station.start("prune")
        until(lambda: "waiting" in going.stderr)
        kill(station, going)
        assert len(station.locks()) == 1, "the other's lock stays"
        assert other.stdin is not None
        other.stdin.close()
    station.ask("status")
    assert last_run(station)["outcome"] == "failure"
    station.ask("prune")
