"""One machine whose repository is of another engine: all of it is as with restic, and nothing starts one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import testbed
from journeys.station import Station
from testbed.parts import RESTIC_VERSIONS, get_restic
from testbed.trees import same_tree

KNOWS_IT = Path(testbed.__file__).parent / "second_engine"


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    """A machine with copies for a repository, on which no restic can be started."""
    made = Station(tmp_path / "station", get_restic(RESTIC_VERSIONS[-1]), own_process=True)
    made.settings["restic"] = str(made.nowhere / "restic")
    made.environment["PYTHONPATH"] = str(KNOWS_IT)
    made.repositories["nas"] = {"engine": "copies", "folder": str(tmp_path / "copies")}
    made.add_job(retention={"last": 1})
    made.fill()
    (made.source / "sub").mkdir()
    (made.source / "sub" / "one").write_text("one")
    yield made
    made.close()


def test_the_whole_way(station: Station, tmp_path: Path) -> None:
    made = station.ask("setup", "--schedule", "none")
    assert (made.step["action"], made.step["reason"]["code"]) == ("init", "made")
    first = station.back_up().step
    assert (first["outcome"], first["files_new"], first["warnings"]) == ("success", 4, [])
    (station.source / "new").write_text("a new file")
    second = station.back_up().step
    assert (second["files_new"], second["files_changed"], second["files_unmodified"]) == (1, 0, 4)
    assert [one["id"] for one in station.ask("snapshots").json] == [
        first["snapshot_id"],
        second["snapshot_id"],
    ]
    [standing] = station.ask("status").json
    assert (standing["job"], standing["state"], standing["snapshots"]) == ("docs", "healthy", 2)

    assert station.ask("check").step["outcome"] == "success"
    proof = station.ask("verify", "--read-data").step
    assert (proof["outcome"], proof["reason"]["code"], proof["files_compared"]) == ("success", "compared", 5)
    [plan] = station.ask("forget", "--dry-run").json
    assert (plan["held"], [one["id"] for one in plan["remove"]]) == (None, [first["snapshot_id"]])
    assert station.ask("forget").step["snapshots_removed"] == [first["snapshot_id"]]
    assert station.ask("prune").step["bytes_freed"] > 0
    assert station.ask("unlock").step["locks_removed"] == 0

    target = tmp_path / "back"
    restored = station.ask("restore", "docs", "--target", str(target)).step
    assert restored["outcome"] == "success"
    assert same_tree(os.fsencode(station.source), os.fsencode(target) + os.fsencode(station.source)) == []
    (station.source / "sub" / "one").unlink()
    in_place = station.ask("restore", "docs", "--in-place", "--yes").step
    assert (in_place["outcome"], in_place["files_restored"]) == ("success", 1)
    assert (station.source / "sub" / "one").read_text() == "one"


def test_a_plan_that_the_record_contradicts_stands_still(station: Station, tmp_path: Path) -> None:
    station.ask("setup", "--schedule", "none")
    first, second = (station.back_up().step["snapshot_id"] for _ in range(2))
    manifest = tmp_path / "copies" / "snapshots" / f"{first}.json"
    [written] = [one["time"] for one in station.ask("snapshots").json if one["id"] == first]
    manifest.write_text(manifest.read_text().replace(written[:4], "2001"))
    # as the storage tells, the first is too old to be kept; as the record knows, it is not
    station.jobs["docs"]["retention"] = {"within": "1y"}
    [plan] = station.ask("forget", "--dry-run").json
    [differs] = [one["message"] for one in plan["messages"] if one["code"] == "differs_from_restic"]
    assert differs.startswith("the same policy on what the record knows would keep ")
    assert plan["held"] is not None
    station.call("forget")
    assert {one["id"] for one in station.ask("snapshots").json} == {first, second}


def test_a_repository_without_keys_lists_none(station: Station) -> None:
    station.ask("setup", "--schedule", "none")
    assert station.ask("keys", "nas").json == []
