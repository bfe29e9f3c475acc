"""Secrets never leak: a canary lies in every secret field, and everything that can be seen is searched for it."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from journeys.station import PASSWORD, Going, Station, of_process, pids, quicken, quicken_on_s3
from testbed.rest import RestServer
from testbed.s3 import S3Server

CANARY = "canary-5ecret"


class Seen:
    """What others on this machine could see of a station's processes: command lines and environments."""

    def __init__(self, station: Station) -> None:
        self._needle = os.fsencode(station.folder)
        self._others = set(pids())
        self.cmdlines: set[bytes] = set()
        self.environments: set[bytes] = set()

    def look(self) -> None:
        for pid in set(pids()) - self._others:
            environment, cmdline = of_process(pid, "environ"), of_process(pid, "cmdline")
            if b"HIGHBALL_JOB_ID=" in environment and self._needle in environment + cmdline:
                self.cmdlines.add(cmdline)
                self.environments.add(environment)


@contextmanager
def watched(station: Station) -> Iterator[Seen]:
    """While this lasts, everything is looked at as often as can be."""
    seen, done = Seen(station), threading.Event()

    def watch() -> None:
        while not done.wait(0.01):  # a restic lives for a tenth of a second at least
            seen.look()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def find_leaks(station: Station, going: list[Going], secret: str = CANARY) -> list[str]:
    """Where the canary shows: outputs, and every byte of the state directory."""
    needle = secret.encode()
    leaks = [f"output of {one.process.args!r}" for one in going if needle in one.stdout + one.stderr.encode()]
    for path in station.state.rglob("*"):
        if path.is_file() and needle in path.read_bytes():
            leaks.append(str(path))
        if needle in os.fsencode(path):
            leaks.append(f"the name {path}")
    return leaks


def every_command(station: Station, *commands: str, quicken_it: Callable[[], None]) -> list[Going]:
    """Call everything (or these commands) once, in every form of output, and quicken the repository that it makes.

    Returns the calls.
    """
    calls: list[Going] = []
    for arguments in (
        ["setup"],
        ["run", "--events"],
        ["run", "--json"],
        ["check"],
        ["forget", "--json"],
        ["verify", "--events"],
        ["snapshots", "--json"],
        ["list", "--json"],
        ["status", "--json"],
        ["unlock"],
    ):
        if commands and arguments[0] not in commands:
            continue
        going = station.start(*arguments)
        going.end()
        calls.append(going)
        if arguments == ["setup"]:
            quicken_it()
    run = station.ask("runs").json[0]["id"]
    going = station.start("logs", "--json", run)
    going.end()
    return [*calls, going]


def secret_file(station: Station, name: str, content: str) -> dict[str, str]:
    """A reference to a file with a secret in it."""
    path = station.folder / name
    path.write_text(content)
    path.chmod(0o600)
    return {"file": str(path)}


@pytest.mark.parametrize("kind", ["file", "env", "command"])
def test_a_password_shows_nowhere(bare_station: Station, kind: str) -> None:
    station = bare_station
    station.add_repository(made=False)
    station.add_job(before=[{"run": "env; cat /proc/$PPID/cmdline"}])
    station.fill()
    station.environment["VAULT_PASSWORD"] = f"{CANARY} password"
    program = station.folder / "print-it"
    program.write_text(f"#!/bin/sh\ncat {station.folder}/in-a-file\n")
    program.chmod(0o755)
    reference = secret_file(station, "in-a-file", f"{CANARY} password")
    station.repositories["nas"]["password"] = {
        "file": reference,
        "env": {"env": "VAULT_PASSWORD"},
        "command": {"command": [str(program)]},
    }[kind]
    with watched(station) as seen:
        commands = () if kind == "file" else ("setup", "run")
        quicken_it = partial(quicken, station.path_of(), f"{CANARY} password")
        calls = every_command(station, *commands, quicken_it=quicken_it)
    assert len(seen.cmdlines) > 3
    assert not [line for line in seen.cmdlines | seen.environments if CANARY.encode() in line]
    assert find_leaks(station, calls) == []
    assert {run["outcome"] for run in station.ask("runs").json} == {"success"}


def rest_fields(station: Station, server: RestServer, name: str, password: str) -> dict[str, Any]:
    """A repository on a rest server."""
    return {
        "kind": "rest",
        "endpoint": server.address,
        "path": server.path(name),
        "rest_username": server.user,
        "rest_password": secret_file(station, "rest", password),
        "password": secret_file(station, "own", f"{CANARY}-own"),
    }


@pytest.fixture
def rest_with_a_canary(tmp_path: Path) -> Iterator[RestServer]:
    """A rest server whose user has a password that would show, also when it is spelled for an address."""
    with RestServer(tmp_path / "rest", private_repos=True, user="keeper", password=f"{CANARY}/@ %") as server:
        yield server


def test_a_rest_users_password_shows_nowhere(bare_station: Station, rest_with_a_canary: RestServer) -> None:
    station = bare_station
    station.repositories["rest"] = rest_fields(station, rest_with_a_canary, "name", f"{CANARY}/@ %")
    station.add_job(repositories=["rest"])
    station.fill()
    folder = rest_with_a_canary.data / rest_with_a_canary.path("name")
    with watched(station) as seen:
        calls = every_command(station, quicken_it=partial(quicken, folder, f"{CANARY}-own"))
    assert not [line for line in seen.cmdlines | seen.environments if CANARY.encode() in line]
    assert find_leaks(station, calls) == []
    assert {run["outcome"] for run in station.ask("runs").json} == {"success"}


def test_what_is_refused_or_out_of_reach_names_no_secret(
    bare_station: Station, rest_with_a_canary: RestServer
) -> None:
    station = bare_station
    station.repositories["rest"] = rest_fields(station, rest_with_a_canary, "name", f"{CANARY}-wrong")
    station.add_job(repositories=["rest"])
    station.fill()
    calls = [station.start("setup"), station.start("run", "--json"), station.start("snapshots", "--events")]
    for one in calls:
        assert one.end().status == 1
    assert find_leaks(station, calls) == []


def test_an_s3_secret_and_a_variable_show_nowhere(
    bare_station: Station, s3_server: S3Server, repository_name: str
) -> None:
    station = bare_station
    station.repositories["s3"] = {
        "kind": "s3",
        "endpoint": s3_server.endpoint,
        "bucket": s3_server.bucket,
        "prefix": repository_name,
        "access_key_id": secret_file(station, "id", f"{CANARY}-id"),
        "secret_access_key": secret_file(station, "key", f"{CANARY}-key"),
        "password": secret_file(station, "own", f"{CANARY}-own"),
        "environment": {"SOME_TOKEN": secret_file(station, "token", "hidden-t0ken")},
    }
    station.add_job(repositories=["s3"], before=[{"run": "env"}])
    station.fill()
    with watched(station) as seen:
        quicken_it = partial(quicken_on_s3, s3_server, repository_name, f"{CANARY}-own")
        calls = every_command(station, quicken_it=quicken_it)
    assert not [line for line in seen.cmdlines | seen.environments if CANARY.encode() in line]
    assert find_leaks(station, calls) == []
    assert not [line for line in seen.cmdlines if b"hidden-t0ken" in line]
    hooks = [line for line in seen.environments if b"HIGHBALL_JOB=" in line]
    assert not [line for line in hooks if b"hidden-t0ken" in line]
    assert not [one for one in calls if b"hidden-t0ken" in one.stdout + one.stderr.encode()]
    assert {run["outcome"] for run in station.ask("runs").json} == {"success"}


def test_credentials_in_an_address_are_refused_without_repeating_them(station: Station) -> None:
    for url in (
        f"rest:http://me:{CANARY}@example.org/",
        f"sftp://me:{CANARY}@example.org//folder",
        f"s3:https://{CANARY}:{CANARY}@example.org/bucket",
    ):
        station.repositories["nas"]["url"] = url
        answer = station.ask("run", status=2)
        assert CANARY not in answer.text + answer.stderr
        assert "repositories.nas.url" in [problem["at"] for problem in answer.error["problems"]]
        assert CANARY not in station.call("validate").stderr
    assert not station.state.exists()


def test_a_secret_in_place_of_its_reference_is_not_repeated(station: Station) -> None:
    for wrong in (CANARY, [CANARY], {"text": CANARY}, {"file": ["x", CANARY]}):
        station.repositories["nas"]["password"] = wrong
        answer = station.ask("validate", status=2)
        assert CANARY not in answer.text + answer.stderr, wrong


def test_secrets_that_lead_nowhere_are_failures_that_name_the_place(station: Station) -> None:
    program = station.folder / "print-it"
    program.write_text(f"#!/bin/sh\necho {CANARY}\necho the store is locked >&2\nexit 3\n")
    program.chmod(0o755)
    station.repositories["nas"]["password"] = {"command": [str(program)]}
    answer = station.back_up(status=1)
    assert answer.step["reason"]["code"] == "secret_unavailable"
    assert "exit status 3" in answer.step["reason"]["message"]
    assert "the store is locked" in answer.step["reason"]["message"], "its own words, never what it gives"
    assert CANARY not in answer.text + answer.stderr
    for content in ("", "\n\n", "x" * 70_000):
        station.repositories["nas"]["password"] = secret_file(station, "odd", content)
        assert station.ask("run", status=2).error["code"] == "configuration_invalid"


def talking_of(secret: str, station: Station) -> Path:
    """A restic that names a secret whenever it complains, in each of the ways in which restic does."""
    error = f'"message_type":"error","error":{{"message":"no {secret}","Op":"no","Err":"{secret}"}}'
    program = station.folder / "restic"
    program.write_text(
        '#!/bin/sh\ncase " $* " in *" backup "*|*" restore "*)\n'
        f'echo \'{{{error},"item":"/a/file"}}\'\n'
        f"echo 'ignoring error for /a/file: no {secret}' >&2\n"
        f"echo 'Fatal: no {secret}' >&2\nexit 1;;\nesac\n"
        f'exec "{station.restic.path}" "$@"\n'
    )
    program.chmod(0o755)
    return program


def test_what_restic_says_of_files_and_of_failures_shows_no_secret(station: Station) -> None:
    kept = station.folder / "kept"
    keep = f'mkdir {kept}; cp -r {station.state}/runs {kept}; echo "$HIGHBALL_REASON" > {kept}/told'
    station.back_up()
    station.settings["restic"] = str(talking_of(PASSWORD, station))
    station.add_job(after=[{"run": keep}])
    answers = [station.back_up(status=1)]
    station.add_job()
    answers += [station.call("run", "--events"), station.call("restore", "docs"), station.call("status")]
    answers += [station.ask("logs", run["id"]) for run in station.ask("runs").json]
    assert [answer for answer in answers if PASSWORD in answer.text + answer.stderr] == []
    assert find_leaks(station, [], PASSWORD) == []
    assert answers[0].step_in("nas")["warnings"][0]["message"] == "no ***"
    assert "no ***" in (kept / "told").read_text()
    assert not [path for path in kept.rglob("*") if path.is_file() and PASSWORD in path.read_text()]


@pytest.mark.parametrize("edge", [16 * 1024, 64 * 1024, 256 * 1024])
def test_half_a_secret_does_not_show_at_an_edge_of_a_log(station: Station, edge: int) -> None:
    station.password_file.write_text("open sesame\n")
    content = f"'x' * {edge - 4} + open('{station.password_file}').read()"
    station.add_job(after=[{"run": f'python3 -c "print({content})"'}])
    station.back_up()
    [run] = station.ask("runs").json
    log = [event.get("text", "") for event in station.ask("logs", run["id"]).json]
    assert edge == 256 * 1024 or any("***" in text for text in log)
    assert not any("open" in text or "same" in text for text in log)


def test_what_restic_inherits_is_only_what_it_needs(station: Station) -> None:
    station.own_process = True
    program = station.folder / "restic"
    program.write_text(
        f'#!/bin/sh\nenv >> "{station.folder}/environments"\nexec "{station.restic.path}" "$@"\n'
    )
    program.chmod(0o755)
    station.settings["restic"] = str(program)
    station.back_up(
        RESTIC_REPOSITORY="/wrong", RESTIC_PASSWORD="wrong", RESTIC_HOST="wrong", LD_DEBUG_X=CANARY
    )
    seen = (station.folder / "environments").read_text()
    for name in ("RESTIC_REPOSITORY=", "RESTIC_PASSWORD=", "RESTIC_HOST=", CANARY):
        assert name not in seen
