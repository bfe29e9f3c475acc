"""A listing that was odd once, a record that is lost, a machine that is new: what is there is found and restored."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from journeys.station import HOST, Station


def let_listing(station: Station, answer: str) -> None:
    """From now on restic answers so where it is asked what the repository holds."""
    program = station.folder / "restic"
    real = station.restic.path
    program.write_text(f'#!/bin/sh\ncase " $* " in *" snapshots "*) {answer};; esac\nexec "{real}" "$@"\n')
    program.chmod(0o755)
    station.settings["restic"] = str(program)


def heal(station: Station) -> None:
    station.settings["restic"] = str(station.restic.path)


def restored(station: Station, *more: str) -> Path:
    target = station.folder / f"back-{len(list(station.folder.iterdir()))}"
    answer = station.call("restore", "docs", "--target", str(target), *more)
    assert answer.status == 0, answer
    back = target / str(station.source).lstrip("/")
    assert {f.name: f.read_bytes() for f in back.iterdir()} == {
        f.name: f.read_bytes() for f in station.source.iterdir()
    }
    return target


@pytest.mark.parametrize("answer", ["echo '[]'; exit 0", "echo 'connection refused' >&2; exit 1"])
def test_a_snapshot_whose_listing_was_odd_is_found_by_whoever_needs_it(station: Station, answer: str) -> None:
    station.back_up()
    let_listing(station, answer)
    assert station.back_up(status=1).step["reason"]["code"] == "no_proof"
    heal(station)
    ids = [one["id"] for one in station.snapshots()]
    assert len(ids) == 2
    restored(station)
    assert station.ask("verify").step["snapshot_id"] == ids[-1]
    assert [(one["id"], one["governed"]) for one in station.ask("snapshots").json] == [(i, True) for i in ids]
    assert station.ask("status").json[0]["snapshots"] == 2
    station.add_job(retention={"last": 1})
    assert station.ask("forget").step["snapshots_removed"] == ids[:1]


def test_a_new_machine_restores_and_proves_by_the_tags_and_says_so(station: Station) -> None:
    station.back_up()
    station.back_up()
    shutil.rmtree(station.state)
    station.state.mkdir()
    told = " ".join(station.call("status").text.split())
    assert "docs in nas: no backup is known, and nas has not been listed yet" in told
    assert "highball run docs" in told and "if the record was lost: highball snapshots docs" in told
    answer = station.call("restore", "docs", "--target", str(station.folder / "first"))
    assert answer.status == 0, answer
    assert "2 snapshots carry its tags, and are used" in answer.stderr
    [standing] = station.ask("status").json
    assert (standing["snapshots"], standing["unknown_snapshots"]) == (0, 2)
    told = " ".join(station.call("status").text.split())
    assert "docs in nas: no backup is known, but nas contains 2 snapshots of unknown runs" in told
    for way in ("highball run docs", "highball hub rebuild --confirm docs", "highball adopt nas"):
        assert way in told, told
    assert "highball hub rebuild --confirm docs" in answer.stderr
    assert "highball adopt nas" in answer.stderr
    restored(station, "-s", "latest")
    step = station.ask("verify").step
    assert step["snapshot_id"] == station.snapshots()[-1]["id"]
    [run, *_] = station.ask("runs").json
    events = station.ask("logs", run["id"]).json
    assert [e["warning"]["code"] for e in events if e["type"] == "warning"] == ["unconfirmed"]
    assert station.ask("status").json[0]["snapshots"] == 0, "nothing is governed by that"
    assert station.call("hub", "rebuild", "--confirm", "docs").status == 0
    assert station.ask("status").json[0]["snapshots"] == 2


def test_a_repository_that_was_looked_into_and_holds_none_of_it_was_never_backed_up_to(
    station: Station,
) -> None:
    station.add_job("other")
    station.back_up("other")
    told = " ".join(station.call("status").text.split())
    assert "docs in nas has never been backed up → highball run docs" in told


def test_another_key_in_the_file_hides_no_snapshot(station: Station) -> None:
    station.back_up()
    station.repositories["attic"] = station.repositories.pop("nas")
    station.add_job(repositories=["attic"])
    restored(station)
    assert station.ask("verify").step["outcome"] == "success"
    late = station.ask("rekey", "repository", "nas", "attic", "--yes", status=2).error
    assert late["code"] == "rekeyed_too_late"
    assert "highball adopt attic" in late["hint"]


def test_what_another_host_saved_is_named_and_not_taken(station: Station) -> None:
    station.back_up()
    shutil.rmtree(station.state)
    station.state.mkdir()
    station.settings["host"] = "another"
    answer = station.call("restore", "docs", "--target", str(station.folder / "back"))
    assert answer.status == 4, answer
    assert f"1 snapshot carries its tags, of {HOST}" in answer.stderr
    assert "-s ID" in answer.stderr


def test_of_a_run_whose_log_was_removed_with_the_old_history_that_is_said(station: Station) -> None:
    run = station.back_up().json["runs"][0]["id"]
    database = sqlite3.connect(station.state / "highball.db")
    with database:
        database.execute("DELETE FROM events")
    database.close()
    told = station.call("logs", run)
    assert "removed with old history" in told.stderr and b"success" in told.stdout
    assert station.ask("logs", run).json == []
