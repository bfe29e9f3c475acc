"""What is wrong in a configuration is told all at once, with its place, and nothing is begun or made."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from journeys.station import Answer, Station


def call_with(station: Station, text: str | bytes, *arguments: str, name: str = "highball.toml") -> Answer:
    """A call on a configuration of exactly this text."""
    path = station.folder / name
    station.write = lambda: None  # type: ignore[method-assign]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return station.call("--json", "-c", str(path), *arguments)


def places(answer: Answer) -> dict[str, str]:
    """The problems of an answer: place and message."""
    return {problem["at"]: problem["message"] for problem in answer.error["problems"]}


EVERYTHING_WRONG = """
[settings]
timezone = "Mars/Olympus"

[defaults]
exlude = ["*.tmp"]

[profiles.one]
profile = "two"
[profiles.two]
profile = "one"

[repositories.nas]
url = "rest:http://me:canary-secret@example.org/"
password = "canary-secret"

[repositories."Bad Key"]
url = "/x"
password = { file = "relative" }

[jobs.documents]
schedule = "61 * * * *"
repositories = ["nsa"]
sources = ["relative", "/a", "/a/b"]
profile = "nowhere"

[[jobs.documents.before]]
run = ""
timeout = "soon"
"""


def test_all_problems_are_told_at_once_with_their_places(station: Station) -> None:
    answer = call_with(station, EVERYTHING_WRONG, "run")
    assert answer.status == 2
    assert answer.error["code"] == "configuration_invalid"
    found = places(answer)
    for place in (
        "settings.timezone",
        "defaults.exlude",
        "repositories.nas.url",
        "repositories.nas.password",
        "jobs.documents.schedule",
        "jobs.documents.sources[0]",
        "jobs.documents.before[0].run",
        "jobs.documents.before[0].timeout",
    ):
        assert place in found, found
    assert any(place.startswith("profiles.") for place in found), found
    assert "canary" not in answer.text + answer.stderr
    hints = [problem["hint"] for problem in answer.error["problems"] if problem["at"] == "defaults.exlude"]
    assert "exclude" in hints[0]
    assert not station.state.exists()
    assert not list(station.home.iterdir())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[jobs]]\nname = 'x'\n", "jobs"),
        ("format = 2\n", "format"),
        ("jobs = 5\n", "jobs"),
        ("[jobs.a]\nx = \n", "line 2"),
        ("[jobs.a]\n[jobs.a]\n", "line 2"),
        (b"\xff\xfe", "line 1"),
        ("[settings]\nstate = 'relative'\n", "settings.state"),
    ],
)
def test_bad_files_are_refused_with_a_place(station: Station, text: str | bytes, told: str) -> None:
    answer = call_with(station, text, "validate")
    assert answer.status == 2
    assert told in " ".join(places(answer))
    assert not station.state.exists()


@pytest.mark.parametrize("kind", ["bomb", "huge", "deep", "duplicate", "tag"])
def test_traps_are_refused_in_a_moment(station: Station, kind: str) -> None:
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    text = {
        "bomb": f"l0: &l0 [a, a, a, a, a, a, a, a, a]\n{levels}\n",
        "huge": "# " + "x" * 50_000_000,
        "deep": "a: " + "[" * 20_000,
        "duplicate": "jobs: {}\njobs: {}\n",
        "tag": "a: !!python/object/apply:os.system ['touch owned']\n",
    }[kind]
    answer = call_with(station, text, "validate", name="highball.yaml")
    assert answer.status == 2
    assert answer.error["code"] == "configuration_invalid"
    assert not (station.folder / "owned").exists()
    assert not station.state.exists()


def test_the_same_in_yaml(station: Station) -> None:
    text = f"""
format: 1
settings: {{state: {station.state}, restic: {station.restic.path}}}
repositories:
  nas: {{url: {station.path_of()}, password: {{file: {station.password_file}}}}}
jobs:
  docs: {{sources: [{station.source}], repositories: [nas], schedule: daily}}
"""
    assert call_with(station, text, "run", name="highball.yml").status == 0
    assert len(station.snapshots()) == 1


def test_secrets_that_cannot_be_had_are_told_all_at_once_before_anything_begins(station: Station) -> None:
    hooked = station.folder / "hooked"
    station.add_repository("other")
    station.repositories["nas"]["password"] = {"file": str(station.nowhere)}
    station.repositories["other"]["password"] = {"env": "NOT_SET_ANYWHERE"}
    station.add_job(repositories=["nas", "other"], before=[{"run": f"touch {hooked}"}])
    for command in ("run", "validate", "setup", "check", "snapshots"):
        answer = station.ask(command, status=2)
        assert set(places(answer)) == {"repositories.nas.password", "repositories.other.password"}, answer
    assert not hooked.exists()
    assert station.ask("runs").json == []
    assert station.ask("list").json[0]["job"] == "docs"


def test_a_repository_that_is_not_used_does_not_stop_a_job(station: Station) -> None:
    station.add_repository("other")
    station.repositories["other"]["password"] = {"file": str(station.nowhere)}
    station.back_up("docs")


def test_restic_missing_or_too_old(station: Station) -> None:
    station.settings["restic"] = str(station.nowhere)
    assert station.ask("run", status=2).error["code"] == "restic_missing"
    old = station.folder / "old-restic"
    old.write_text("#!/bin/sh\necho restic 0.13.1 compiled with go1.18 on linux/amd64\n")
    old.chmod(0o755)
    station.settings["restic"] = str(old)
    error = station.ask("run", status=2).error
    assert error["code"] == "restic_too_old"
    assert "0.14" in error["message"]
    other = station.folder / "other"
    other.write_text("#!/bin/sh\necho hello\n")
    other.chmod(0o755)
    station.settings["restic"] = str(other)
    assert station.ask("run", status=2).error["code"] == "restic_missing"
    assert station.ask("runs").json == []


def test_a_state_directory_that_cannot_be_used(station: Station) -> None:
    station.state.write_text("a file is in the way")
    for command in ("run", "status", "runs"):
        assert station.ask(command, status=2).error["code"] == "state_unusable"


def test_a_database_that_is_none_is_left_as_it_is(station: Station) -> None:
    station.state.mkdir()
    database = station.state / "highball.db"
    database.write_bytes(b"this is no database, but may be precious" * 100)
    before = database.read_bytes()
    assert station.ask("status", status=2).error["code"] == "database_damaged"
    assert database.read_bytes() == before


def test_the_configuration_may_change_between_runs(station: Station) -> None:
    station.back_up()
    station.add_job("second")
    del station.jobs["docs"]
    assert [one["job"] for one in station.ask("status").json] == ["second"]
    assert station.ask("runs").json[0]["job"] == "docs"
    station.back_up()
    station.add_job("docs")
    by_job = {one["job"]: one["snapshots"] for one in station.ask("status").json}
    assert by_job == {"second": 1, "docs": 1}


def test_excludes_are_inherited_and_anchored(station: Station) -> None:
    for name in ("keep", "drop.tmp", "inner/drop.log", "inner/cache/x", "cache/x"):
        (station.source / name).parent.mkdir(exist_ok=True, parents=True)
        (station.source / name).write_text(name)
    station.defaults["exclude"] = ["*.tmp"]
    station.profiles["tidy"] = {"exclude": ["*.log"]}
    station.add_job(profile="tidy", sources=[{"path": str(station.source), "exclude": ["/cache"]}])
    snapshot = station.back_up().step["snapshot_id"]
    paths = [Path(str(node["path"])) for node in station.ask("ls", snapshot).json]
    inside = {str(path.relative_to(station.source)) for path in paths if station.source in path.parents}
    assert {"keep", "inner/cache/x"} <= inside
    assert not inside & {"drop.tmp", "inner/drop.log", "cache/x", "cache"}


def test_hooks_that_a_job_does_not_inherit_are_told(station: Station) -> None:
    station.defaults["before"] = [{"run": "mount /mnt/nas"}]
    station.add_job("own", before=[{"run": "pg_dump app"}])
    station.add_job("usual")
    told = "jobs.own: before replaces that of defaults, whose hooks do not run for this job"
    assert station.ask("validate").json["remarks"] == [told]
    assert told in station.call("validate").text


def test_what_would_never_match_is_refused_before_anything_runs(station: Station) -> None:
    station.add_job(exclude=["~/.cache"], sources=["/home/*/docs"])
    for command in ("validate", "run"):
        error = station.ask(command, status=2).error
        assert {problem["at"] for problem in error["problems"]} == {
            "jobs.docs.exclude[0]",
            "jobs.docs.sources[0]",
        }
        assert all(problem["hint"] for problem in error["problems"])
    assert station.snapshots() == []


def test_a_pattern_that_begins_nowhere_is_told_and_spoils_nothing(station: Station) -> None:
    station.add_job(exclude=["/some/where"])
    run = station.back_up().json["runs"][0]["id"]
    [seen] = [event["warning"] for event in station.ask("logs", run).json if event["type"] == "warning"]
    assert seen["code"] == "exclude_idle"
    assert '"/some/where" matches nothing' in seen["message"]


def test_nothing_is_written_beside_state_and_repository(station: Station) -> None:
    station.own_process = True
    station.write()
    before = {path for path in station.folder.iterdir() if not path.name.startswith("call-")}
    station.back_up()
    station.ask("verify")
    after = {path for path in station.folder.iterdir() if not path.name.startswith("call-")}
    assert after - before == {station.state}
    assert os.listdir(station.home) == []


def test_another_key_is_written_in_the_file_first_and_what_was_known_stays(tmp_path: Path) -> None:
    file = tmp_path / "highball.json.yaml"
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "HIGHBALL_STATE": str(tmp_path / "state")}
    repository = {"url": str(tmp_path / "nas"), "password": {"env": "X"}}
    tables = {
        "settings": {"host": "here"},
        "repositories": {"nas": repository},
        "jobs": {"docs": {"sources": ["/etc"], "repositories": ["nas"]}},
    }

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        file.write_text(json.dumps(tables))
        asked = [sys.executable, "-m", "highball", "-c", str(file), "--json", *words]
        return subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)

    def objects() -> list[tuple[str, str]]:
        with contextlib.closing(sqlite3.connect(tmp_path / "state" / "highball.db")) as connection:
            asked = "select key, former_keys from objects where deleted_at is null and kind != 'settings'"
            return sorted(connection.execute(asked))

    assert call("runs").returncode == 0
    early = call("rekey", "repository", "nas", "attic", "--yes")
    assert json.loads(early.stdout)["error"]["code"] == "key_not_in_file"
    tables["repositories"] = {"attic": repository}
    tables["jobs"] = {"docs": {"sources": ["/etc"], "repositories": ["attic"]}}
    asked = call("rekey", "repository", "nas", "attic")
    assert json.loads(asked.stdout)["error"]["code"] == "confirmation_required"
    assert objects() == [("docs", "[]"), ("nas", "[]")], "nothing was taken in"
    done = call("rekey", "repository", "nas", "attic", "--yes")
    assert done.returncode == 0, done.stdout
    assert [(one["kind"], one["what"]) for one in json.loads(done.stdout)] == [
        ("repository", "rekeyed"),
        ("job", "changed"),
    ]
    assert objects() == [("attic", '["nas"]'), ("docs", "[]")]
    assert call("runs").returncode == 0
    tables["repositories"] = {"nas": repository}
    tables["jobs"] = {"docs": {"sources": ["/etc"], "repositories": ["nas"]}}
    back = call("change-id", "repository", "attic", "nas", "--yes")
    assert back.returncode == 0, back.stdout
    assert [(one["kind"], one["what"]) for one in json.loads(back.stdout)] == [
        ("repository", "rekeyed"),
        ("job", "changed"),
    ]
    assert [key for key, _ in objects()] == ["docs", "nas"]
