"""Nothing is written into another repository, and nothing is told of it as if it were ours."""

import hashlib
import json
import sqlite3
from pathlib import Path

import pytest

from journeys.station import PASSWORD, Answer, Station
from testbed.written import WrittenRepository


def swap(station: Station) -> Path:
    """Put another repository where the usual one was: the same password opens it, and it holds nothing."""
    here = station.path_of()
    here.rename(here.with_name("the-one-before"))
    WrittenRepository(here, PASSWORD, seed=99)
    return here


def photograph(folder: Path) -> dict[str, str]:
    """Every file of a folder, with what it holds."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def code_of(answer: Answer) -> str:
    """Why it failed, be it a run's word or the command's own."""
    if "error" in answer.json:
        return str(answer.error["code"])
    return str(answer.step["reason"]["code"])


def commands_in(station: Station, run: str) -> list[str]:
    """Which commands of restic a run began, `snapshots` and `cat` among them."""
    events = station.ask("logs", run).json
    return [event["type"] for event in events if event["type"] == "process.started"]


def test_a_backup_leaves_another_repository_as_it_is(every_station: Station) -> None:
    station = every_station
    station.back_up()
    there = swap(station)
    before = photograph(there)
    for _ in range(2):
        answer = station.back_up(status=1)
        assert code_of(answer) == "repository_changed"
        assert "nothing was changed" in answer.step["reason"]["message"]
        assert photograph(there) == before
    assert station.ask("status").json[0]["state"] == "failed"


def test_a_job_that_has_saved_nothing_there_yet_leaves_it_as_it_is(each_station: Station) -> None:
    station = each_station
    station.ask("setup", "--schedule", "none")  # meets it; nothing is saved
    there = swap(station)
    before = photograph(there)
    assert code_of(station.back_up(status=1)) == "repository_changed"
    assert photograph(there) == before


@pytest.mark.parametrize(
    "command",
    [
        ("run", "--dry-run"),
        ("snapshots",),
        ("restore", "docs", "--target", "back", "--yes"),
        ("restore", "docs", "--target", "back", "--dry-run"),
        ("verify",),
        ("forget",),
        ("check",),
    ],
    ids=" ".join,
)
def test_what_is_asked_of_another_repository_says_so(station: Station, command: tuple[str, ...]) -> None:
    station.back_up()
    there = swap(station)
    before = photograph(there)
    assert code_of(station.ask(*command, status=1)) == "repository_changed"
    assert photograph(there) == before


def test_a_repository_whose_parent_is_gone_but_is_the_same_is_backed_up(each_station: Station) -> None:
    station = each_station
    first = station.back_up().step["snapshot_id"]
    station.bare("forget", first)
    assert [w["code"] for w in station.back_up(status=3).step["warnings"]] == ["deleted_elsewhere"]
    station.back_up()


def test_where_the_parent_tells_no_process_more_is_started(station: Station) -> None:
    first, second = station.back_up(), station.back_up()
    started = [len(commands_in(station, answer.json["runs"][0]["id"])) for answer in (first, second)]
    assert started == [3, 2]  # whose it is, the backup, its proof; then the parent says whose it is


# --- one repository under two keys ----------------------------------------------------------------


def test_a_second_key_for_a_repository_that_was_met_is_refused(station: Station) -> None:
    station.back_up()
    station.repositories["off"] = {**station.repositories["nas"], "url": f"{station.path_of()}/"}
    station.add_job(repositories=["nas", "off"])
    before = len(station.snapshots())
    answer = station.back_up(status=1)
    assert [step["outcome"] for step in answer.json["runs"][0]["steps"]] == ["success", "failure"]
    reason = answer.step_in("off")["reason"]
    assert reason["code"] == "repository_twice"
    assert "off is the same repository as nas" in reason["message"]
    assert len(station.snapshots()) == before + 1
    [made] = [
        run
        for run in station.ask("setup", "--schedule", "none", status=1).json["runs"]
        if run["repository"] == "off"
    ]
    assert made["reason"]["code"] == "repository_twice"
    assert {one["repository"]: one["state"] for one in station.ask("status").json} == {
        "nas": "healthy",
        "off": "never",
    }


def test_two_keys_that_are_first_met_in_one_run_are_told_apart(station: Station) -> None:
    link = station.folder / "link"
    link.symlink_to(station.path_of())
    station.repositories["off"] = {**station.repositories["nas"], "url": str(link)}
    station.add_job(repositories=["nas", "off"])
    answer = station.back_up(status=1)
    assert answer.step_in("off")["reason"]["code"] == "repository_twice"
    assert len(station.snapshots()) == 1


def test_a_key_that_was_taken_away_stands_in_nobodys_way(station: Station) -> None:
    station.back_up()
    station.repositories["offsite"] = station.repositories.pop("nas")
    station.add_job(repositories=["offsite"])
    station.back_up()


def test_two_keys_that_were_met_before_count_as_one_copy(station: Station) -> None:
    station.repositories["off"] = {**station.repositories["nas"], "url": f"{station.path_of()}/"}
    station.add_job(repositories=["nas"], retention={"last": 1})
    first = station.back_up().step["snapshot_id"]
    station.add_job(repositories=["off"], retention={"last": 1})
    identity = json.loads(station.bare("cat", "config"))["id"]
    with sqlite3.connect(station.state / "highball.db") as record:  # an earlier program met both
        record.execute("insert into repositories (key, identity) values ('off', ?)", (identity,))
    station.back_up()
    told = station.call("status").text
    assert "off and nas are the same repository" in told
    holds = [hold for one in station.ask("status").json for hold in one["holds"]]
    assert {(hold["cause"], hold["acceptable"]) for hold in holds} == {("repository_twice", False)}
    assert station.ask("forget", status=6).error["code"] == "repository_twice"
    assert len(station.snapshots()) == 2
    assert station.ask("accept", "nas", status=6).error["code"] == "repository_twice"
    assert station.ask("ls", first[:8]).json, "its id is no other's because of the twin"
