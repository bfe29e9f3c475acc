"""First light: set up, back up, look, check, prove, keep, bring back, on every restic and every backend."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from journeys.places import declare_elsewhere, quicken_elsewhere
from journeys.station import Station, quicken
from testbed.restic import ResticBinary
from testbed.trees import mixed_tree, same_tree


@pytest.fixture
def new(restic: ResticBinary, tmp_path: Path) -> Iterator[Station]:
    """A machine whose repository is not there yet, with each restic in turn."""
    made = Station(tmp_path / "station", restic)
    made.add_repository(made=False)
    made.add_job(retention={"last": 1})
    yield made
    made.close()


def the_whole_way(station: Station, key: str, quicken_it: Callable[[], None]) -> None:
    """Every action once, each judged by what it answers; the repository is quickened once it is made."""
    source = os.fsencode(station.source)
    made = station.ask("setup", "--schedule", "none")
    assert made.step["action"] == "init"
    assert made.step["reason"]["code"] == "made"
    quicken_it()

    first = station.back_up()
    step = first.step_in(key)
    assert step["outcome"] == "success"
    assert step["files_new"] > 10
    assert step["bytes_added"] > 0
    assert step["warnings"] == []
    (station.source / "new").write_text("a new file")
    second = station.back_up().step_in(key)
    assert (second["files_new"], second["files_changed"]) == (1, 0)
    assert second["files_unmodified"] == step["files_new"]

    listed = station.ask("snapshots").json
    assert [one["id"] for one in listed] == [step["snapshot_id"], second["snapshot_id"]]
    for one in listed:
        assert set(one) >= {"id", "time", "job", "host", "tags", "paths", "repository", "size_bytes"}
        assert one["time"].endswith("Z")
        assert (one["job"], one["host"], one["repository"]) == ("docs", "station", key)
        assert one["paths"] == [str(station.source)]
        assert one["size_bytes"] > 0

    assert station.ask("check").step["outcome"] == "success"
    proof = station.ask("verify", "--read-data").step
    assert (proof["outcome"], proof["reason"]["code"]) == ("success", "compared")
    assert proof["files_compared"] > 10
    forgotten = station.ask("forget").step
    assert forgotten["snapshots_removed"] == [step["snapshot_id"]]
    assert station.ask("prune").step["bytes_freed"] >= 0
    assert station.ask("unlock").step["locks_removed"] == 0
    assert station.ask("stats").json[0]["bytes_stored"] > 0
    [stands] = station.ask("status").json
    assert (stands["job"], stands["repository"], stands["state"], stands["snapshots"]) == (
        "docs",
        key,
        "healthy",
        1,
    )
    assert stands["age_seconds"] < 120
    assert stands["last_success_at"]
    assert stands["last_check_at"]
    assert stands["last_restore_proof_at"]
    target = station.folder / "back"
    loses = station.restic.version < (0, 16, 0) and os.path.lexists(source + b"/links/not-utf-8")
    back = station.ask("restore", "docs", "--target", str(target), status=3 if loses else 0).step
    assert back["outcome"] == ("warning" if loses else "success")
    differences = same_tree(source, os.fsencode(target) + source)
    if loses:  # these cannot save a link's target that is not UTF-8, and say so
        differences = [line for line in differences if "not-utf-8" not in line]
    assert differences == []


def test_the_whole_way_with_every_restic(new: Station, newest_restic: ResticBinary) -> None:
    mixed_tree(os.fsencode(new.source), files=12, deep_path_bytes=1500)
    new.own_process = new.restic == newest_restic  # once all of it as processes of their own
    the_whole_way(new, "nas", lambda: quicken(new.path_of()))


@pytest.mark.parametrize("kind", ["sftp", "s3", "rest"])
def test_the_whole_way_on_every_backend(
    bare_station: Station, kind: str, request: pytest.FixtureRequest, repository_name: str
) -> None:
    station = bare_station
    station.fill(12)
    declare_elsewhere(station, kind, request, repository_name)
    station.add_job(repositories=[kind], retention={"last": 1})
    the_whole_way(station, kind, lambda: quicken_elsewhere(kind, request, repository_name))


# --- setting up ----------------------------------------------------------------------------------


def test_setup_twice_is_harmless(bare_station: Station) -> None:
    new = bare_station
    new.add_repository(made=False)
    new.add_job()
    new.fill()
    new.ask("setup")
    quicken(new.path_of())
    config = (new.path_of() / "config").read_bytes()
    new.back_up()
    again = new.ask("setup").step
    assert (again["outcome"], again["reason"]["code"]) == ("success", "met")
    assert (new.path_of() / "config").read_bytes() == config
    assert len(new.snapshots()) == 1
    assert new.back_up().step["files_new"] == 0


@pytest.mark.parametrize("command", ["setup", "run"])
def test_a_repository_that_vanished_is_never_made_anew(each_station: Station, command: str) -> None:
    each_station.back_up()
    shutil.rmtree(each_station.path_of())
    answer = each_station.ask(command, status=1)
    assert answer.step["reason"]["code"] == "repository_gone", answer
    assert not each_station.path_of().exists()


def test_every_command_tells_that_a_repository_is_gone(station: Station) -> None:
    station.back_up()
    shutil.rmtree(station.path_of())
    for command in ("check", "prune", "unlock", "stats", "verify"):
        answer = station.ask(command, status=1)
        assert "runs" in answer.json or isinstance(answer.json, list), answer
        assert _reason(answer.json) == "repository_gone", answer
    for ask in (["snapshots"], ["forget"], ["forget", "--dry-run"], ["restore", "docs"]):
        assert station.ask(*ask, status=1).error["code"] == "repository_gone"
    station.back_up(status=1)
    assert station.ask("status").json[0]["state"] == "failed"


def _reason(document: object) -> object:
    found = document if isinstance(document, list) else document["runs"][0]["steps"]  # type: ignore[index]
    return found[0]["reason"]["code"]


def test_a_mount_point_without_its_disk_is_gone_too(station: Station) -> None:
    station.back_up()
    shutil.rmtree(station.path_of())
    station.path_of().mkdir()
    assert station.back_up(status=1).step["reason"]["code"] == "repository_gone"
    assert station.ask("setup", status=1).step["reason"]["code"] == "repository_gone"
    assert list(station.path_of().iterdir()) == []


def test_another_repository_at_the_same_address_is_refused(station: Station) -> None:
    station.back_up()
    shutil.rmtree(station.path_of())
    station.add_repository()
    before = sorted(station.path_of().rglob("*"))
    for command in ("setup", "prune"):
        answer = station.ask(command, status=1)
        assert _reason(answer.json) == "repository_changed", answer
    assert sorted(station.path_of().rglob("*")) == before


def test_another_repository_is_neither_kept_in_order_nor_green(station: Station) -> None:
    station.back_up()
    shutil.rmtree(station.path_of())
    station.add_repository()
    for command in ("check", "unlock", "verify", "stats"):
        assert _reason(station.ask(command, status=1).json) == "repository_changed"
    assert station.ask("forget", status=1).error["code"] == "repository_changed"
    station.back_up(status=1)
    assert station.ask("status").json[0]["state"] != "healthy"


def test_a_backup_without_setup_fails_and_makes_nothing(new: Station) -> None:
    new.fill()
    answer = new.back_up(status=1)
    assert answer.step["reason"]["code"] == "repository_missing"
    assert "highball setup" in answer.step["reason"]["message"]
    assert not new.path_of().exists()


def test_setup_dry_run_changes_nothing(bare_station: Station) -> None:
    station = bare_station
    station.add_repository(made=False)
    station.add_job()
    plan = station.ask("setup", "--dry-run").json
    assert plan["dry_run"] is True
    assert [one["repository"] for one in plan["repositories"]] == ["nas"]
    assert not station.state.exists()
    assert not station.path_of().exists()
    assert "repository nas" in station.call("setup", "--dry-run").text


def test_one_repository_that_cannot_be_made_does_not_stop_the_next(station: Station) -> None:
    (station.folder / "wrong").write_text("not its password")
    station.repositories["nas"]["password"] = {"file": str(station.folder / "wrong")}
    station.add_repository("good", made=False)
    answer = station.ask("setup", status=1)
    assert answer.step_in("nas")["reason"]["code"] == "wrong_password"
    assert answer.step_in("good")["reason"]["code"] == "made"


def test_the_state_is_for_its_owner_only(station: Station) -> None:
    station.back_up()
    open_to_others = [
        path
        for path in [station.state, *station.state.rglob("*")]
        if path.stat().st_mode & 0o077 and not any(p.stat().st_mode & 0o077 == 0 for p in path.parents)
    ]
    assert open_to_others == []


def test_a_dry_run_saves_and_records_nothing(station: Station) -> None:
    station.add_job(before=[{"run": f"touch {station.folder}/hooked"}])
    answer = station.back_up("--dry-run")
    assert answer.json["dry_run"] is True
    assert answer.step["files_new"] == 3
    assert answer.step["snapshot_id"] is None
    assert station.snapshots() == []
    assert station.ask("runs").json == []
    assert not (station.folder / "hooked").exists()


def test_a_wrong_password_is_told_as_such(each_station: Station) -> None:
    station = each_station
    station.password_file.write_text("not the password")
    assert station.back_up(status=1).step["reason"]["code"] == "wrong_password"
    assert station.ask("snapshots", status=1).error["code"] == "wrong_password"


def test_bare_restic_finds_what_highball_saved(station: Station) -> None:
    station.back_up()
    [snapshot] = station.snapshots()
    assert sorted(tag.partition("=")[0] for tag in snapshot["tags"]) == ["hb:job", "hb:run", "hb:set"]
    assert snapshot["hostname"] == "station"


def test_a_run_says_which_patterns_leave_nothing_out(station: Station) -> None:
    """Those that were declared before anybody looked; new ones are refused."""
    station.fill()
    for job in ("docs", "other"):
        station.add_job(job, exclude=[f"0/{job}", "*.tmp"])
    assert "!" not in station.call("run", "docs").stderr
    with sqlite3.connect(station.state / "highball.db") as record:
        record.execute("update objects set spec = replace(spec, '0/', '~/')")
    for job in ("docs", "other"):
        station.add_job(job, exclude=[f"~/{job}", "*.tmp"])
    told = station.call("run", "docs").stderr
    assert '! jobs.docs.exclude[0]: "~/docs": ~ is not expanded here' in told
    assert "~/other" not in told
