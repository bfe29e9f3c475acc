"""What a program reads: one JSON document each time, events as lines, exit statuses that mean one thing each."""

import json
import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from highball.cli.own_places import find_state
from highball.config.document import load
from journeys.station import HIGHBALL, Station, until

RUN = {"id", "job", "outcome", "reason", "started_at", "ended_at", "steps"}
STEP = {
    *("action", "repository", "outcome", "reason", "snapshot_id", "files_new", "files_changed"),
    *("files_unmodified", "bytes_processed", "bytes_added", "warnings"),
}


def check_run_document(document: Any) -> None:
    """The shape that every command with runs answers with."""
    assert set(document) >= {"outcome", "runs"}
    for run in document["runs"]:
        assert set(run) >= RUN
        for time_of in ("started_at", "ended_at"):
            assert run[time_of].endswith("Z")
        for step in run["steps"]:
            assert set(step) >= STEP
            assert step["reason"] is None or set(step["reason"]) == {"code", "message"}
            assert isinstance(step["warnings"], list)


# --- shapes --------------------------------------------------------------------------------------


def test_every_command_answers_with_one_document_of_its_shape(station: Station) -> None:
    first = station.ask("setup")
    check_run_document(first.json)
    backup = station.back_up()
    check_run_document(backup.json)
    run, step = backup.json["runs"][0]["id"], backup.step
    (station.source / "more").write_text("more")
    second = station.ask("backup", "docs").step["snapshot_id"]
    for command in ("forget", "prune", "check", "verify", "unlock"):
        answer = station.ask(command)
        check_run_document(answer.json)
        assert [one["action"] for one in answer.json["runs"][0]["steps"]] == [command]
    target = str(station.folder / "back")
    check_run_document(station.ask("restore", "docs", "--target", target).json)

    assert station.ask("validate").json["valid"] is True
    assert station.ask("list").json[0]["job"] == "docs"
    assert set(station.ask("status").json[0]) >= {
        *("job", "repository", "state", "last_success_at", "age_seconds", "snapshots"),
        *("last_check_at", "last_restore_proof_at"),
    }
    runs = station.ask("runs").json
    assert [one["action"] for one in runs][-3:] == ["backup", "backup", "init"]
    assert all(set(one) >= RUN for one in runs)
    assert len(station.ask("runs", "docs", "--limit", "1").json) == 1
    events = station.ask("logs", run).json
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    nodes = station.ask("ls", step["snapshot_id"]).json
    assert {"path", "kind", "size_bytes", "mode", "modified_at"} <= set(nodes[0])
    assert str(station.source / "file-0000") in [node["path"] for node in nodes]
    lost = station.ask("ls", second, str(station.folder / "nothing"), status=1)
    assert lost.json["error"]["code"] == "path_unknown"
    [difference] = [
        one for one in station.ask("diff", step["snapshot_id"], second).json if one["modifier"] == "+"
    ]
    assert difference["path"] == str(station.source / "more")
    stats = station.ask("stats").json
    assert stats[0]["repository"] == "nas"
    assert station.call("dump", second, str(station.source / "more")).stdout == b"more"
    missing = station.call("dump", second, str(station.nowhere))
    assert (missing.status, missing.stdout) == (1, b"")
    assert "this path is not in the snapshot" in missing.stderr


def test_the_status_counts_the_failures_in_a_row(station: Station) -> None:
    station.source.rename(station.folder / "elsewhere")
    station.back_up(status=1)
    assert "in a row" not in station.call("status").text
    station.back_up(status=1)
    told = " ".join(station.call("status").text.split())
    assert "docs in nas" in told and "and has failed 2 times in a row" in told, told


def test_sizes_that_are_not_known_and_jobs_of_others_are_null(station: Station) -> None:
    station.bare("backup", "--host", "elsewhere", str(station.source))
    station.back_up()
    foreign, ours = station.ask("snapshots").json
    assert (foreign["job"], foreign["run"], foreign["set"], foreign["host"]) == (
        None,
        None,
        None,
        "elsewhere",
    )
    assert ours["job"] == "docs"
    assert [one["job"] for one in station.ask("snapshots", "docs").json] == ["docs"]


def test_sizes_of_others_are_null_where_restic_knows_none(
    each_station: Station,
) -> None:
    each_station.bare("backup", str(each_station.source))
    [foreign] = each_station.ask("snapshots").json
    assert (foreign["size_bytes"] is None) == (each_station.restic.version < (0, 17, 0))


def test_events_are_lines_numbered_from_one(station: Station) -> None:
    station.add_job(before=[{"run": "echo hello"}])
    answer = station.call("--events", "run")
    assert answer.status == 0
    numbered = [event for event in answer.events if event["type"] != "progress"]
    assert [event["seq"] for event in numbered] == list(range(1, len(numbered) + 1))
    kinds = [event["type"] for event in numbered]
    assert (kinds[0], kinds[-1]) == ("run.started", "run.ended")
    assert {"step.started", "step.ended", "log", "snapshot"} <= set(kinds)
    assert len({event["run"] for event in numbered}) == 1
    assert numbered[-1]["outcome"] == "success"
    assert all(event["at"].endswith("Z") for event in numbered)


def test_events_of_stats_and_of_a_failure_are_events_only(station: Station) -> None:
    answer = station.call("stats", "--events")
    assert {event["type"] for event in answer.events} >= {"run.started", "run.ended"}
    station.add_job(sources=[str(station.nowhere)])
    answer = station.call("run", "--events")
    assert answer.status == 1
    assert answer.events[-1]["outcome"] == "failure"


# --- exit statuses and errors --------------------------------------------------------------------


def test_status_2_is_for_calls_that_make_no_sense(station: Station) -> None:
    for arguments in (
        ["nonsense"],
        ["run", "--nonsense"],
        ["run", "--wait", "soon"],
        ["accept"],
        ["restore", "docs", "--target", "/tmp/x", "--in-place"],
        ["restore", "docs", "--path", "relative"],
        ["ls", "0000dead", "relative"],
        ["dump", "0000dead", "relative"],
        ["--events", "run"],
        ["list", "--config"],
    ):
        error = station.ask(*arguments, status=2).error
        assert error["code"] == "usage", arguments
        assert error["message"]
    assert not station.state.exists() or list((station.state / "runs").iterdir()) == []


def test_without_arguments_the_help_is_shown() -> None:
    done = subprocess.run([str(HIGHBALL)], capture_output=True, check=False, timeout=240)
    assert (done.returncode, done.stderr) == (2, b"")
    assert b"\nCommands:\n" in done.stdout


def test_ctrl_c_while_the_program_is_being_loaded_is_answered(station: Station) -> None:
    def interrupt() -> None:  # it waits from the first moment, as if it had come while modules were read
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        os.kill(os.getpid(), signal.SIGINT)

    ended = station.start("--json", "run", before=interrupt).end()
    assert (ended.status, ended.error["code"]) == (130, "cancelled")
    assert ended.stderr == ""


def test_status_4_is_for_names_that_are_unknown(station: Station) -> None:
    station.back_up()
    for arguments, code in (
        (["run", "dcos"], "job_unknown"),
        (["snapshots", "dcos"], "job_unknown"),
        (["restore", "dcos"], "job_unknown"),
        (["check", "nass"], "repository_unknown"),
        (["logs", "ffff"], "run_unknown"),
        (["cancel", "ffff"], "run_unknown"),
        (["ls", "0000dead"], "snapshot_unknown"),
        (["diff", "0000dead", "0000dead"], "snapshot_unknown"),
        (["restore", "docs", "-s", "0000dead"], "snapshot_unknown"),
    ):
        assert station.ask(*arguments, status=4).error["code"] == code, arguments
    assert "docs" in station.ask("run", "dcos", status=4).error["hint"]
    assert len(station.ask("runs").json) == 1


def test_all_unknown_names_are_told_at_once(station: Station) -> None:
    error = station.ask("run", "one", "docs", "two", status=4).error
    assert [problem["at"] for problem in error["problems"]] == ["one", "two"]


def test_a_verify_of_what_was_never_backed_up_is_unknown(station: Station) -> None:
    assert station.ask("verify", status=4).error["code"] == "snapshot_unknown"
    assert station.ask("restore", "docs", status=4).error["code"] == "snapshot_unknown"


def test_status_5_is_for_what_is_under_way_or_over(station: Station) -> None:
    run = station.back_up().json["runs"][0]["id"]
    assert station.ask("cancel", run, status=5).error["code"] == "run_ended"


def test_errors_for_people_go_to_standard_error(station: Station) -> None:
    answer = station.call("run", "dcos")
    assert (answer.status, answer.stdout) == (4, b"")
    assert "there is no job dcos" in answer.stderr
    assert "docs" in answer.stderr


def test_arguments_that_are_no_text_are_answered_all_the_same(station: Station) -> None:
    station.own_process = True
    for arguments in ([b"run", b"caf\xe9"], [b"ls", b"\xff\xfe"], [b"run", b"two\nlines \x1b[31m"]):
        station.ask(*arguments, status=4)
        answer = station.call(*arguments)
        assert answer.status == 4
        assert "\x1b" not in answer.stderr
        assert "Traceback" not in answer.stderr
    assert station.ask(b"caf\xe9", status=2).error["code"] == "usage"


# --- global flags --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        ["--json", "-c", "FILE", "list"],
        ["list", "--json", "-c", "FILE"],
        ["-c", "FILE", "list", "--json"],
        ["--config=FILE", "list", "--json"],
        ["list", "--config", "FILE", "--json"],
        ["list", "-cFILE", "--json"],
    ],
)
def test_global_flags_stand_anywhere(station: Station, form: list[str]) -> None:
    station.write()
    argv = [part.replace("FILE", str(station.config)) for part in form]
    done = subprocess.run(
        [str(HIGHBALL), *argv], env=station.clean_environment(), capture_output=True, check=False, timeout=240
    )
    assert done.returncode == 0, done
    assert json.loads(done.stdout)[0]["job"] == "docs"


def test_where_the_configuration_is_looked_for(station: Station) -> None:
    station.write()

    def listed(**environment: str) -> "subprocess.CompletedProcess[bytes]":
        found = station.clean_environment(**environment)
        argv = [str(HIGHBALL), "list", "--json"]
        return subprocess.run(argv, env=found, capture_output=True, check=False, timeout=240)

    missing = listed()
    if missing.returncode == 2:  # unless this machine has a configuration of its own
        assert json.loads(missing.stdout)["error"]["code"] == "configuration_missing"
    assert listed(HIGHBALL_CONFIG=str(station.config)).returncode == 0
    default = station.home / ".config" / "highball" / "highball.toml"
    default.parent.mkdir(parents=True)
    default.write_text(station.config.read_text())
    assert listed().returncode == 0


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_without_a_home_the_state_is_that_of_the_user(
    station: Station, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    del station.settings["state"]
    station.write()
    monkeypatch.delenv("HIGHBALL_STATE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    if home is None:
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", home)
    state = find_state(station.config, load(station.config))
    assert state.parent == Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local" / "state" / "highball"


def test_the_version_is_quick() -> None:
    def cpu() -> float:
        before = os.times()
        done = subprocess.run([HIGHBALL, "--version"], env={}, capture_output=True, check=True, timeout=240)
        after = os.times()
        assert done.stdout.startswith(b"highball ")
        return (after.children_user + after.children_system) - (before.children_user + before.children_system)

    assert min(cpu() for _ in range(3)) < 0.15


def test_a_reader_that_goes_away_is_no_drama(station: Station) -> None:
    station.fill(3000, 1)
    snapshot = station.back_up().step["snapshot_id"]
    for arguments in (["ls", snapshot], ["ls", snapshot, "--json"], ["logs", "--json"], ["--help"]):
        shell = 'set -o pipefail; "$@" | head -c 100 >/dev/null; exit ${PIPESTATUS[0]}'
        argv = ["bash", "-c", shell, "-", *map(str, station.argv(*arguments))]
        done = subprocess.run(
            argv, env=station.clean_environment(), capture_output=True, text=True, check=False, timeout=240
        )
        assert "Traceback" not in done.stderr, done
        assert "Exception" not in done.stderr, done
        assert "BrokenPipe" not in done.stderr, done


def test_a_full_disk_behind_standard_output_is_a_failure(station: Station) -> None:
    station.write()
    with open("/dev/full", "wb") as full:
        argv = station.argv("list", "--json")
        env = station.clean_environment()
        done = subprocess.run(argv, env=env, stdout=full, stderr=subprocess.PIPE, check=False, timeout=240)
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr


def test_standard_output_that_is_closed_does_not_stop_a_backup(station: Station) -> None:
    station.write()
    argv = ["bash", "-c", '"$@" >&- 2>&-', "-", *map(str, station.argv("run"))]
    subprocess.run(argv, env=station.clean_environment(), check=False, timeout=240)
    assert len(station.snapshots()) == 1
    assert [run["outcome"] for run in station.ask("runs").json] == ["success"]


def test_a_long_run_ends_well_when_its_reader_goes_away(station: Station) -> None:
    go = station.folder / "go"
    station.add_job(before=[{"run": f"echo hello; while ! [ -e {go} ]; do sleep 0.05; done"}])
    station.write()
    reading, writing = os.pipe()
    with subprocess.Popen(
        station.argv("run"), env=station.clean_environment(), stdout=writing, stderr=writing
    ) as process:
        os.close(writing)
        assert os.read(reading, 10)
        os.close(reading)
        go.touch()
        until(lambda: process.poll() is not None)
    [run] = station.ask("runs").json
    assert (run["state"], run["outcome"]) == ("done", "success"), run
    assert len(station.snapshots()) == 1


# --- for monitors, and for whoever looks for a fault --------------------------------------------------


def test_a_monitor_hears_by_the_exit_status_whether_all_is_protected(station: Station) -> None:
    station.ask("status")
    station.ask("status", "--exit-code", status=1)
    station.back_up()
    station.ask("status", "--exit-code")
    station.add_job(sources=[str(station.source), str(station.folder / "none-here")])
    station.back_up(status=3)
    station.ask("status", "--exit-code", status=3)
    station.add_job(sources=[str(station.folder / "none-here")])
    station.back_up(status=1)
    station.ask("status", "--exit-code", status=1)


def test_a_repository_that_is_reached_otherwise_is_untested_until_it_is_reached(station: Station) -> None:
    station.back_up()
    moved = station.folder / "moved"
    station.path_of().rename(moved)
    station.repositories["nas"]["url"] = str(moved)
    told = station.call("status").text
    assert "nas was saved without a successful connection test: how it is reached was changed" in told
    assert "→ highball setup" in told and "Everything is protected" not in told
    [standing] = station.ask("status", "--exit-code", status=3).json
    assert standing["untested"]["code"] == "untested"
    station.ask("setup")
    [standing] = station.ask("status", "--exit-code").json
    assert standing["untested"] is None


def test_nothing_is_protected_while_the_newest_backup_warns(station: Station) -> None:
    station.back_up()
    for path in station.source.iterdir():
        path.write_bytes(b"")
    run = station.back_up(status=3).json["runs"][0]
    told = " ".join(station.call("status").text.split())
    assert "Everything is protected" not in told and "healthy" not in told
    assert "docs in nas: its newest backup has a warning: the snapshot holds 0 B" in told
    assert f"highball logs {run['id']}" in told
    station.ask("accept", run["id"])
    station.back_up()
    assert "Everything is protected" in station.call("status").text


def test_verbose_tells_what_is_started_and_no_secret(station: Station) -> None:
    told = station.call("-v", "run")
    assert told.status == 0
    assert "starts" in told.stderr and "--json backup --host" in told.stderr
    assert "keeps its state in" in told.stderr
    assert station.password_file.read_text().strip() not in told.stderr


LOADED = """
import sys
from highball.cli import main

try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = ("sqlalchemy", "fastapi", "asyncio", "cryptography", "highball.hub", "highball.agent.run")
print(*(name for name in heavy if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["validate"], ["list"]])
def test_who_asks_for_no_record_does_not_wait_for_what_keeps_it(station: Station, words: list[str]) -> None:
    station.write()
    called = [sys.executable, "-c", LOADED, "-c", str(station.config), *words]
    done = subprocess.run(called, env=station.clean_environment(), capture_output=True, check=True)
    assert done.stdout
    assert done.stderr.decode().split() == []
