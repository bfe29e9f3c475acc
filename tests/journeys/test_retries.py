"""What failed on the way is tried again: how often, when, with what to see of it; and what never is."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journeys.station import PASSWORD, Answer, Going, Station, until
from journeys.test_waiting import busy, free
from testbed.rest import RestServer
from testbed.restic import ResticBinary
from testbed.sftp import SftpServer
from testbed.written import WrittenRepository

SOON = {"max": 10, "backoff": "0.5s"}
LATER = {"max": 3, "backoff": "1h"}

Table = dict[str, Any]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SftpServer]:
    """A server of the test's own, to be taken away and given back; it runs."""
    with SftpServer(tmp_path / "sftp") as server:
        yield server


def on_server(station: Station, server: SftpServer, retry: Table, **fields: Any) -> None:
    """Let the usual job go to a repository on the server, its hooks writing down that they ran."""
    WrittenRepository(server.directory / "docs", PASSWORD, seed=hash(str(server.directory)))
    station.repositories["nas"] = {
        "kind": "sftp",
        "server": server.host,
        "port": server.port,
        "user": server.user,
        "path": str(server.directory / "docs"),
        "identity_file": str(server.identity_file),
        "known_hosts": str(server.known_hosts),
        "password": station.secret,
    }
    hooks = {
        "before": [{"run": f"echo before >> {station.folder}/hooks"}],
        "after": [{"run": f'echo "after $HIGHBALL_OUTCOME" >> {station.folder}/hooks'}],
    }
    station.add_job(retry=retry, **hooks | fields)


def hooks_of(station: Station) -> list[str]:
    """What the hooks wrote down."""
    return (station.folder / "hooks").read_text().splitlines()


def begin(station: Station) -> Going:
    """Start a run and wait until its first attempt has failed."""
    going = station.start("--json", "run")
    until(lambda: "attempt 2 of" in going.stderr, otherwise=going.stderr)
    return going


def step_of(answer: Answer, action: str = "backup") -> Table:
    """The one step of this action."""
    [found] = [step for step in answer.json["runs"][0]["steps"] if step["action"] == action]
    step: Table = found
    return step


def events_of(station: Station, kind: str) -> list[Table]:
    """The events of this kind about the backup of the newest run."""
    [newest, *_] = station.ask("runs").json
    backup = [step["number"] for step in newest["steps"] if step["action"] == "backup"]
    events = station.ask("logs", newest["id"]).json
    return [event for event in events if event["type"] == kind and event.get("step") in backup]


def snapshots_on(server: SftpServer) -> int:
    """How many snapshots the repository on the server holds."""
    return len(list((server.directory / "docs" / "snapshots").iterdir()))


def with_restic(station: Station, script: str) -> None:
    """Put a script before restic; it counts the backups, and `$real` is restic itself."""
    program = station.folder / "restic"
    count = f'case " $* " in *" backup "*) echo >> "{station.folder}/backups";; esac'
    program.write_text(f'#!/bin/sh\nreal="{station.restic.path}"\n{count}\n{script}\nexec "$real" "$@"\n')
    program.chmod(0o755)
    station.settings["restic"] = str(program)


def backups_of(station: Station) -> int:
    """How often restic was told to back up."""
    return len((station.folder / "backups").read_text().splitlines())


# --- what passes -----------------------------------------------------------------------------------


def test_a_server_that_is_down_is_tried_again_until_it_is_up(
    every_station: Station, server: SftpServer
) -> None:
    station = every_station
    on_server(station, server, SOON)
    server.stop()
    going = begin(station)
    run = until(lambda: next((r for r in station.ask("runs").json if r["state"] == "waiting"), None))
    assert run["reason"]["code"] == "unreachable"
    assert " of 11 in " in run["reason"]["message"]
    server.start()
    answer = going.end()
    assert answer.status == 0, answer
    step = step_of(answer)
    assert (step["outcome"], step["reason"]) == ("success", None)
    assert step["attempts"] > 1
    assert answer.json["runs"][0]["reason"] is None
    assert snapshots_on(server) == 1
    assert hooks_of(station) == ["before", "after success"]


def test_a_rest_server_as_well_where_restic_itself_is_not_patient(
    bare_station: Station, oldest_restic: ResticBinary, tmp_path: Path
) -> None:
    station = bare_station  # from 0.17 on restic waits for such a server by itself, for a quarter of an hour
    station.settings["restic"] = str(oldest_restic.path)
    with RestServer(tmp_path / "rest") as rest:
        WrittenRepository(rest.data / "docs", PASSWORD, seed=1)
        station.repositories["nas"] = {"url": f"rest:{rest.address}docs/", "password": station.secret}
        station.add_job(retry=SOON)
        station.fill()
        rest.stop()
        going = begin(station)
        rest.start()
        answer = going.end()
    assert answer.status == 0, answer
    assert answer.step["attempts"] > 1


def test_each_attempt_has_its_number_and_the_wait_its_end(station: Station, server: SftpServer) -> None:
    on_server(station, server, {"max": 2, "backoff": "0.2s"})
    server.stop()
    step = step_of(station.back_up(status=1))
    assert (step["outcome"], step["attempts"], step["reason"]["code"]) == ("failure", 3, "unreachable")
    assert [event["attempt"] for event in events_of(station, "step.started")] == [1, 2, 3]
    assert {event["attempt"] for event in events_of(station, "process.started")} == {1, 2, 3}
    assert [event["attempt"] for event in events_of(station, "step.ended")] == [3]
    waits = events_of(station, "waiting")
    assert [event["attempt"] for event in waits] == [1, 2]
    assert [event["reason"]["message"].partition(":")[0] for event in waits] == [
        "attempt 2 of 3 in 0.2s",
        "attempt 3 of 3 in 0.4s",
    ]
    assert all(event["at"] < event["until"] for event in waits)
    assert hooks_of(station) == ["before", "after failure"]
    assert "attempt 3" in station.call("logs", station.ask("runs").json[0]["id"]).text


def test_a_lock_that_outlasts_the_patience_is_tried_again(station: Station) -> None:
    station.add_job(retry=SOON, wait="0s")
    with busy(station, exclusive=True) as other:
        going = begin(station)
        assert f"pid {other.pid}" in going.stderr.lower()
        free(other)
        answer = going.end()
    assert answer.status == 0, answer
    assert len(station.snapshots()) == 1


def test_a_repository_that_does_not_answer_is_given_up_and_the_next_has_its_turn(
    bare_station: Station, newest_restic: ResticBinary, free_port: int
) -> None:
    station = bare_station
    station.settings["restic"] = str(newest_restic.path)
    far = f"rest:http://127.0.0.1:{free_port}/docs/"
    station.repositories["far"] = {"url": far, "password": station.secret, "answer_within": "2s"}
    station.add_repository()
    station.add_job(repositories=["far", "nas"])
    station.fill()
    answer = station.back_up(status=1)
    failed = answer.step_in("far")
    assert (failed["outcome"], failed["reason"]["code"]) == ("failure", "unreachable")
    assert "connection refused (given up after 2.0 s)" in failed["reason"]["message"]
    assert answer.step_in("nas")["outcome"] == "success"
    assert "waiting for far to answer, given up after 2s: " in answer.stderr
    waits = [event for event in events_of(station, "waiting") if event["reason"]["code"] == "unreachable"]
    assert all(event["until"] for event in waits)
    assert waits


def test_one_repository_is_tried_again_and_then_the_next_has_its_turn(
    station: Station, server: SftpServer
) -> None:
    on_server(station, server, {"max": 1, "backoff": "0.1s"}, repositories=["nas", "second"])
    station.add_repository("second")
    server.stop()
    answer = station.back_up(status=1)
    assert (answer.step_in("nas")["outcome"], answer.step_in("nas")["attempts"]) == ("failure", 2)
    assert (answer.step_in("second")["outcome"], answer.step_in("second")["attempts"]) == ("success", 1)


# --- what does not ---------------------------------------------------------------------------------


def gone(station: Station) -> None:
    station.back_up()
    station.path_of().rename(station.folder / "away")


def wrong_password(station: Station) -> None:
    station.password_file.write_text("not this one")


def no_source(station: Station) -> None:
    station.source.rename(station.folder / "away")


def never_met(station: Station) -> None:
    station.path_of().rename(station.folder / "away")


def refused(station: Station) -> None:
    with_restic(
        station, 'case " $* " in *" backup "*) echo "Fatal: Stat: 401 Unauthorized" >&2; exit 1;; esac'
    )


def full(station: Station) -> None:
    with_restic(
        station, 'case " $* " in *" backup "*) echo "write: no space left on device" >&2; exit 1;; esac'
    )


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (gone, "repository_gone"),
        (never_met, "repository_missing"),
        (wrong_password, "wrong_password"),
        (no_source, "no_source"),
        (refused, "access_denied"),
        (full, "no_space"),
    ],
)
def test_what_needs_a_person_is_tried_once(station: Station, spoil: Any, code: str) -> None:
    spoil(station)
    station.add_job(retry=LATER)
    step = step_of(station.back_up(status=1))
    assert (step["outcome"], step["attempts"], step["reason"]["code"]) == ("failure", 1, code)


def test_without_a_word_about_it_nothing_is_tried_again(station: Station, server: SftpServer) -> None:
    on_server(station, server, {})
    server.stop()
    assert step_of(station.back_up(status=1))["attempts"] == 1


def test_a_dry_run_is_tried_once(station: Station, server: SftpServer) -> None:
    on_server(station, server, LATER)
    server.stop()
    assert step_of(station.ask("run", "--dry-run", status=1))["attempts"] == 1


def test_a_source_that_vanished_in_the_wait_is_missed(station: Station, server: SftpServer) -> None:
    on_server(station, server, SOON)
    server.stop()
    going = begin(station)
    station.source.rename(station.folder / "away")
    server.start()
    step = step_of(going.end())
    assert (step["outcome"], step["reason"]["code"]) == ("failure", "no_source")
    assert step["attempts"] > 1


# --- nothing is saved twice --------------------------------------------------------------------------

UNREACHABLE = 'echo "Fatal: dial tcp: connect: connection refused" >&2; exit 1'


def unlisted(station: Station) -> str:
    """While `dark` is there, the snapshots cannot be listed."""
    (station.folder / "dark").touch()
    return f'case " $* " in *" snapshots "*) [ -e "{station.folder}/dark" ] && {{ {UNREACHABLE}; }};; esac'


def test_a_good_backup_whose_proof_was_out_of_reach_is_proved_later(station: Station) -> None:
    with_restic(station, unlisted(station))
    station.add_job(retry=SOON)
    going = begin(station)
    assert "could not be listed" in going.stderr
    (station.folder / "dark").unlink()
    answer = going.end()
    step = step_of(answer)
    assert (step["outcome"], step["reason"]) == ("success", None), answer
    assert step["attempts"] > 1
    assert step["files_new"] == 3
    assert backups_of(station) == 1
    assert step["snapshot_id"] == station.snapshots()[0]["id"]
    assert len(events_of(station, "snapshot")) == 1


def test_a_snapshot_that_was_saved_by_a_failing_attempt_is_recognised(station: Station) -> None:
    failing = f'case " $* " in *" backup "*) "$real" "$@" > /dev/null; {UNREACHABLE};; esac'
    with_restic(station, f"{unlisted(station)}\n{failing}")
    station.add_job(retry=SOON)
    going = begin(station)
    (station.folder / "dark").unlink()
    step = step_of(going.end())
    assert (step["outcome"], step["reason"]["code"]) == ("warning", "no_summary")
    assert backups_of(station) == 1
    assert step["snapshot_id"] == station.snapshots()[0]["id"]


def test_a_snapshot_that_restic_named_and_nobody_sees_is_for_a_person(station: Station) -> None:
    vanish = f'"$real" "$@"; rm -f {station.path_of()}/snapshots/*; exit 0'
    with_restic(station, f'case " $* " in *" backup "*) {vanish};; esac')
    station.add_job(retry=LATER)
    step = step_of(station.back_up(status=1))
    assert (step["attempts"], step["reason"]["code"]) == (1, "no_proof")
    assert backups_of(station) == 1


# --- the end of a wait -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancel_ends_the_wait_at_once(station: Station, server: SftpServer, number: int) -> None:
    on_server(station, server, LATER)
    server.stop()
    going = begin(station)
    going.send(number)
    answer = going.end()
    assert answer.status == 130, answer
    step = step_of(answer)
    assert (step["outcome"], step["attempts"], step["reason"]["code"]) == ("cancelled", 1, "cancelled")
    assert "cancelled before attempt 2" in step["reason"]["message"]
    assert "cannot be reached" in step["reason"]["message"]
    assert hooks_of(station) == ["before", "after cancelled"]


def test_a_run_killed_in_the_wait_tells_how_often_it_tried(station: Station, server: SftpServer) -> None:
    on_server(station, server, {"max": 10, "backoff": "0.3s"})
    server.stop()
    going = begin(station)
    until(lambda: "attempt 3 of" in going.stderr, otherwise=going.stderr)
    going.kill()
    station.ask("status")
    [killed] = station.ask("runs").json
    assert (killed["outcome"], killed["reason"]["code"]) == ("failure", "interrupted")
    attempts = [event["attempt"] for event in events_of(station, "step.started")]
    assert attempts == list(range(1, len(attempts) + 1))
    [ended] = events_of(station, "step.ended")
    backup = next(step for step in killed["steps"] if step["action"] == "backup")
    assert backup["attempts"] == ended["attempt"] == len(attempts) >= 2
    server.start()
    station.back_up()
    assert hooks_of(station) == ["before", "after failure", "before", "after success"]


def test_a_run_killed_in_a_later_attempt_tells_it(station: Station, server: SftpServer) -> None:
    begun = station.folder / "begun"
    waiting = f'touch "{begun}"; while ! [ -e "{station.folder}/go" ]; do sleep 0.05; done'
    second = f'[ $(wc -l < "{station.folder}/backups") -gt 1 ] && {{ {waiting}; }}'
    with_restic(station, f'case " $* " in *" backup "*) {second}; {UNREACHABLE};; esac')
    station.add_job(retry=SOON)
    going = station.start("run")
    until(begun.exists, otherwise=going.stderr)
    going.kill()
    station.settings["restic"] = str(station.restic.path)
    station.ask("status")
    [killed] = station.ask("runs").json
    assert [step["attempts"] for step in killed["steps"]] == [2]
    assert os.path.exists(begun)
