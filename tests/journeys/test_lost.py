"""A repository whose disk died: given up on purpose, and another begun under the same key."""

from __future__ import annotations

import shutil

from journeys.station import Station


def test_a_lost_repository_is_given_up_and_begun_anew(station: Station) -> None:
    station.back_up()
    there = station.ask("setup", "--anew", "nas", "--yes", status=5).error
    assert there["code"] == "repository_there"
    shutil.rmtree(station.path_of())
    failed = station.back_up(status=1).json["runs"][0]["reason"]
    assert failed["code"] == "repository_gone"
    assert "highball setup --anew nas" in failed["message"]
    asked = station.ask("setup", "--anew", "nas", status=2)
    assert asked.error["code"] == "confirmation_required"
    assert "1 snapshot" in station.call("setup", "--anew", "nas").stderr
    shown = station.ask("setup", "--anew", "nas", "--dry-run")
    assert (shown.json["dry_run"], shown.json["gives_up"]["snapshots"]) == (True, 1)
    assert station.ask("status").json[0]["snapshots"] == 1
    station.ask("setup", "--anew", "nas", "--yes")
    [standing] = station.ask("status").json
    assert (standing["last_success_at"], standing["snapshots"]) == (None, 0)
    assert (standing["last_outcome"], standing["last_reason"], standing["failures"]) == (None, None, 0)
    assert b"gone" not in station.call("status").stdout, "that was the one before"
    station.back_up()
    assert len(station.ask("snapshots").json) == 1
    assert station.ask("status").json[0]["snapshots"] == 1


def test_the_database_is_its_owners_alone_whatever_the_folder(station: Station) -> None:
    station.state.mkdir(mode=0o755)
    station.ask("status")
    database = station.state / "highball.db"
    assert database.stat().st_mode & 0o777 == 0o600
    database.chmod(0o644)
    station.back_up()
    for path in station.state.glob("highball.db*"):
        assert path.stat().st_mode & 0o777 == 0o600, path
