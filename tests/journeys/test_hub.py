"""The hub's own backups from the command line, and what commands say beside a hub that serves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from highball.hub.storage.leader_lock import lease_on
from journeys.station import Station

ADDRESS = "http://127.0.0.1:8080"


@pytest.fixture(params=["sqlite", "postgresql"])
def kept(request: pytest.FixtureRequest, station: Station) -> Iterator[Station]:
    """A station whose record lies in either database."""
    if request.param == "postgresql":
        station.environment["HIGHBALL_DATABASE"] = request.getfixturevalue("postgres")
    yield station


def place_of(station: Station) -> Path | str:
    """Where its database lies."""
    return station.environment.get("HIGHBALL_DATABASE") or station.state / "highball.db"


def test_what_was_recorded_comes_back_and_backups_go_on(kept: Station) -> None:
    kept.back_up()
    copy = kept.ask("hub", "backup").json["backup"]
    kept.back_up()
    assert len(kept.ask("runs").json) == 2
    answer = kept.ask("hub", "restore-backup", copy, "--yes").json
    assert answer["restored"] == copy
    assert answer["rows"]["runs"] == 1
    assert answer["aside"]
    assert len(kept.ask("runs").json) == 1
    assert kept.back_up().step["outcome"] == "success"
    assert [one["state"] for one in kept.ask("status").json] == ["healthy"]


def test_a_record_moves_from_one_database_to_the_other(station: Station, empty_postgres: str) -> None:
    station.back_up()
    station.ask("hub", "backup")
    answer = station.ask("hub", "restore-backup", "--yes", HIGHBALL_DATABASE=empty_postgres)
    assert answer.json["aside"] is None
    runs = station.ask("runs").json
    assert station.ask("runs", HIGHBALL_DATABASE=empty_postgres).json == runs
    assert station.back_up(HIGHBALL_DATABASE=empty_postgres).step["files_unmodified"] == 3


def test_a_damaged_database_says_the_way_back_and_the_way_works(station: Station) -> None:
    station.back_up()
    station.ask("hub", "backup")
    database = station.state / "highball.db"
    database.write_bytes(b"SQLite format 3\0" + b"\xff" * 4080)
    refused = station.ask("status", status=2)
    assert refused.error["code"] == "database_damaged"
    way = refused.error["hint"].partition(": highball ")[2].split()
    station.ask(*way, "--yes")
    assert len(station.ask("runs").json) == 1


def test_nothing_is_restored_without_a_yes(station: Station) -> None:
    station.back_up()
    station.ask("hub", "backup")
    station.back_up()
    refused = station.ask("hub", "restore-backup", status=2)
    assert refused.error["code"] == "confirmation_required"
    assert len(station.ask("runs").json) == 2
    people = station.call("hub", "restore-backup", "--yes")
    assert "the former database was moved to" in people.text
    assert "1 run." in people.stderr
    assert "Everything recorded since then" in people.stderr


def test_without_a_backup_that_is_said(station: Station) -> None:
    missing = station.ask("hub", "restore-backup", "--yes", status=4)
    assert missing.error["code"] == "backup_unknown"
    named = station.ask("hub", "restore-backup", str(station.folder / "none"), "--yes", status=4)
    assert named.error["code"] == "backup_unknown"


def test_while_a_run_goes_on_nothing_is_restored(station: Station) -> None:
    station.back_up()
    station.ask("hub", "backup")
    gate = station.folder / "gate"
    begun = station.folder / "begun"
    wait = f"touch {begun}; while [ ! -e {gate} ]; do sleep 0.05; done"
    station.add_job(before=[{"run": wait}])
    going = station.start("run", "--json")
    while not begun.exists():
        assert going.process.poll() is None, going.stderr
    refused = station.ask("hub", "restore-backup", "--yes", status=5)
    assert refused.error["code"] == "run_going_on"
    assert station.ask("hub", "backup").json["size_bytes"] > 0
    gate.touch()
    assert going.end().status == 0
    station.ask("hub", "restore-backup", "--yes")


def test_beside_a_hub_that_serves_commands_name_it_and_backups_of_it_go_on(kept: Station) -> None:
    kept.back_up()
    lease = lease_on(place_of(kept))
    assert lease.take(ADDRESS)
    for command in (["status"], ["run"], ["runs"], ["setup"]):
        refused = kept.ask(*command, status=5)
        assert (refused.error["code"], refused.error["hint"]) == ("hub_is_serving", f"use --hub {ADDRESS}")
    kept.ask("hub", "backup")
    refused = kept.ask("hub", "restore-backup", "--yes", status=5)
    assert refused.error["code"] == "hub_is_serving"
    assert refused.error["hint"].startswith("end the hub first"), "over --hub there is no such command"
    for command in (["validate"], ["list"], ["recovery-kit", "nas", "--show"]):
        kept.ask(*command)
    lease.release()
    assert len(kept.ask("runs").json) == 1


def test_an_address_that_makes_no_sense_is_refused_in_words(station: Station) -> None:
    refused = station.ask("status", status=2, HIGHBALL_DATABASE="mysql://a:canary@b/c")
    assert refused.error["code"] == "database_address_invalid"
    assert "canary" not in refused.text + refused.stderr
    away = station.ask(
        "status", status=2, HIGHBALL_DATABASE=f"postgresql://a:canary@/c?host={station.nowhere}"
    )
    assert away.error["code"] == "state_unusable"
    assert "canary" not in away.text + away.stderr


def test_a_group_without_a_command_says_which_there_are(station: Station) -> None:
    help_text = station.call("hub", "--help").text
    for verb in ("backup", "restore-backup", "recovery-kit", "rebuild"):
        assert verb in help_text
    assert station.ask("hub", status=2).error["hint"] == "see: highball hub --help"
    assert "hub" in station.call("--help").text


# --- without any backup of the hub ---------------------------------------------------------------


def test_a_lost_state_and_configuration_come_back_from_the_repository_alone(station: Station) -> None:
    station.back_up()
    station.back_up()
    repository = station.path_of()
    state = station.folder / "another-state"
    lost = Station(station.folder / "lost", station.restic, environment={"HIGHBALL_STATE": str(state)})
    there = ["--url", str(repository), "--password-file", str(station.password_file), "--as", "nas"]
    found = lost.ask("hub", "rebuild", *there).json
    assert [(one["job"], one["host"], one["snapshots"]) for one in found["jobs"]] == [("docs", "station", 2)]

    station.state.rename(station.folder / "burnt")
    settings = f'[settings]\nhost = "station"\nrestic = "{station.restic.path}"\nstate = "{station.state}"\n'
    lost.jobs, lost.repositories = {}, {}
    config = station.folder / "again.toml"
    config.write_text(settings + found["toml"])
    again = ["-c", str(config)]

    def ask(*arguments: str) -> Any:
        answer = lost.call("--json", *again, *arguments)
        assert answer.status == 0, answer
        return answer.json

    assert ask("validate")
    [standing] = ask("status", "docs")
    assert (standing["snapshots"], standing["state"]) == (0, "never")
    assert ask("hub", "rebuild", "--confirm", "docs") == {"adopted": {"docs": 2}}
    [standing] = ask("status", "docs")
    assert standing["snapshots"] == 2
    shown = lost.call("--json", *again, "snapshots").json
    assert all(one["governed"] for one in shown)
    ask("run", "docs")
    assert len(station.snapshots()) == 3


def test_the_newest_backup_of_the_hub_is_fetched_from_its_repository(station: Station) -> None:
    station.back_up()
    copy = Path(station.ask("hub", "backup").json["backup"])
    station.bare("backup", "--tag", "hb:job=hub,hb:set=hub", copy)
    content = copy.read_bytes()
    station.state.rename(station.folder / "burnt")
    fetched = station.ask("hub", "rebuild").json
    assert fetched["repository"] == "nas"
    assert Path(fetched["backup"]).read_bytes() == content
    assert Path(fetched["backup"]).stat().st_mode & 0o777 == 0o600
    station.ask("hub", "restore-backup", "--yes")
    assert len(station.ask("runs").json) == 1
    assert station.ask("hub", "rebuild", "--without-backup").json["jobs"] == []  # docs is declared


def test_what_cannot_be_rebuilt_is_said(station: Station) -> None:
    url = ["--url", str(station.nowhere)]
    assert station.ask("hub", "rebuild", "nass", status=4).error["code"] == "repository_unknown"
    assert station.ask("hub", "rebuild", "--confirm", "x", status=4).error["code"] == "job_unknown"
    assert station.ask("hub", "rebuild", *url, status=2).error["code"] == "usage"
    there = [*url, "--password-file", str(station.password_file)]
    taken = station.ask("hub", "rebuild", *there, "--as", "nas", status=5)
    assert taken.error["code"] == "key_taken"
    gone = station.ask("hub", "rebuild", *there, status=1)
    assert gone.error["code"] == "repository_missing"
    station.bare("backup", "--tag", "hb:job=hub,hb:set=hub", station.source)
    empty = station.ask("hub", "rebuild", status=4)
    assert empty.error["code"] == "backup_unknown"
    station.repositories.clear()
    station.jobs.clear()
    assert station.ask("hub", "rebuild", status=2).error["code"] == "usage"
    people = station.call("hub", "rebuild", *there)
    assert people.status == 1
