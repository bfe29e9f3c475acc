"""Nothing is written into another repository, and nothing is told of it as if it were ours."""

import hashlib
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
        assert "nothing was touched" in answer.step["reason"]["message"]
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
