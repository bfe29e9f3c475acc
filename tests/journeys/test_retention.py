"""Retention removes exactly what its plan says, of what Highball itself saved, and holds where anything is odd."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from journeys.station import PASSWORD, Station, quicken
from journeys.test_proof import damage
from testbed import parts
from testbed.rest import RestServer


def save(station: Station, times: int) -> list[str]:
    """Back up so many times; the snapshots' ids, oldest first."""
    ids = []
    for number in range(times):
        (station.source / "counter").write_text(str(number))
        ids.append(str(station.back_up().step["snapshot_id"]))
    return ids


def listed(station: Station) -> set[str]:
    """The ids that restic itself lists."""
    return {str(snapshot["id"]) for snapshot in station.snapshots()}


def test_exactly_the_plan_goes_and_others_are_neither_touched_nor_counted(each_station: Station) -> None:
    station = each_station
    station.add_job(retention={"last": 2})
    station.bare("backup", "--host", "elsewhere", str(station.source))
    station.bare("backup", "--host", "station", str(station.source))
    forged = ["--tag", "hb:job=docs,hb:set=files,hb:run=00000000-0000-7000-8000-000000000000"]
    station.bare("backup", "--host", "station", *forged, str(station.source))
    others = listed(station)
    ours = save(station, 3)
    station.bare("backup", "--host", "station", *forged, str(station.source))
    others |= listed(station) - set(ours)
    assert len(others) == 4

    jobs = {one["id"]: one["job"] for one in station.ask("snapshots").json}
    assert {jobs[id] for id in others} == {None}
    [plan] = station.ask("forget", "--dry-run").json
    assert [one["id"] for one in plan["remove"]] == ours[:1]
    assert [one["id"] for one in plan["keep"]] == [ours[2], ours[1]]
    assert all(one["reasons"] for one in plan["keep"])
    assert len(plan["unknown"]) == 2
    assert listed(station) == others | set(ours)

    step = station.ask("forget").step
    assert step["snapshots_removed"] == ours[:1]
    assert step["snapshots_kept"] >= 2
    assert listed(station) == others | set(ours[1:])
    assert station.ask("status").json[0]["snapshots"] == 2
    assert station.ask("forget").step["snapshots_removed"] == []
    station.back_up()


def test_one_snapshot_goes_by_its_id_unless_a_guard_keeps_it(each_station: Station) -> None:
    station = each_station
    oldest, older, newest = save(station, 3)
    for named in ("latest", "", "-x", oldest[:7]):
        error = station.ask("forget", f"--snapshot={named}", "--yes", status=2).error
        assert (error["code"], bool(error["hint"])) == ("snapshot_invalid", True)
    error = station.ask("forget", "--snapshot", "f" * 64, "--yes", status=4).error
    assert (error["code"], bool(error["hint"])) == ("snapshot_unknown", True)
    assert station.ask("forget", "--snapshot", newest, "--yes", status=6).error["code"] == "snapshot_newest"
    assert station.ask("forget", "--snapshot", oldest, status=2).error["code"] == "confirmation_required"
    station.ask("forget", "docs", "--snapshot", oldest, "--yes", status=2)
    station.ask("forget", "-r", "nas", status=2)
    assert listed(station) == {oldest, older, newest}
    step = station.ask("forget", "--snapshot", older[:8], "--yes").step
    assert step["snapshots_removed"] == [older]
    assert listed(station) == {oldest, newest}
    assert station.ask("status").json[0]["snapshots"] == 2


def test_what_was_saved_under_another_name_of_the_machine_is_kept_apart(station: Station) -> None:
    station.add_job(retention={"last": 1})
    before = save(station, 2)
    station.settings["host"] = "renamed"
    after = save(station, 2)
    [run] = station.ask("forget").json["runs"]
    assert {step["host"]: step["snapshots_removed"] for step in run["steps"]} == {
        "station": before[:1],
        "renamed": after[:1],
    }
    assert station.ask("status").json[0]["snapshots"] == 1, "no set misses what another one's listing lacks"
    shown = {one["id"]: one["job"] for one in station.ask("snapshots").json}
    assert shown == {before[1]: "docs", after[1]: "docs"}


def test_a_dry_run_says_why_each_snapshot_stays(station: Station) -> None:
    station.add_job(retention={"last": 1, "daily": 1})
    save(station, 2)
    text = station.call("forget", "--dry-run").text
    lines = [line for line in text.splitlines() if "kept" in line or "will be removed" in line]
    assert len(lines) == 2
    assert "last 1 of 1" in lines[0]
    assert "daily" in lines[0]
    assert "will be removed" in lines[1]
    assert len(listed(station)) == 2
    assert [run["action"] for run in station.ask("runs").json] == ["backup", "backup"]


def test_snapshots_whose_tags_were_changed_are_followed_under_their_new_ids(every_station: Station) -> None:
    station = every_station
    station.add_job(retention={"last": 1})
    ids = save(station, 3)
    station.pins["audit"] = {"repository": "nas", "snapshot": ids[0], "reason": "audit"}
    for tag in ("keep", "again"):
        station.bare("tag", "--add", tag, ids[0], ids[1]) if tag == "keep" else station.bare(
            "tag", "--add", tag
        )
        station.back_up()
        assert station.ask("status").json[0]["holds"] == []
    assert {one["job"] for one in station.ask("snapshots").json} == {"docs"}
    [plan] = station.ask("forget", "--dry-run").json
    assert plan["unknown"] == []
    assert [[why["code"] for why in one["reasons"]] for one in plan["keep"]] == [
        ["last", "newest"],
        ["pinned"],
    ]
    assert len(station.ask("forget").step["snapshots_removed"]) == 3
    assert station.ask("status").json[0]["snapshots"] == 2


def test_of_twins_that_other_tags_made_one_is_listed(station: Station) -> None:
    """Storage that only appends keeps the one that `restic tag` would remove."""
    station.add_job()
    [ours] = save(station, 1)
    station.bare("backup", "--host", "elsewhere", str(station.source))
    [foreign] = listed(station) - {ours}
    for id in (ours, foreign):
        kept = station.path_of() / "snapshots" / id
        content = kept.read_bytes()
        station.bare("tag", "--add", "keep", id)
        kept.write_bytes(content)
    assert len(listed(station)) == 4
    told = {one["id"]: one["job"] for one in station.ask("snapshots").json}
    assert len(told) == 2 and foreign not in told
    assert told[ours] == "docs"


def test_another_jobs_snapshots_are_another_set(station: Station) -> None:
    station.add_job(retention={"last": 1})
    station.add_job("other", retention={"last": 5})
    station.back_up()
    station.back_up()
    answer = station.ask("forget")
    removed = {run["job"]: len(run["steps"][0]["snapshots_removed"]) for run in answer.json["runs"]}
    assert removed == {"docs": 1, "other": 0}
    assert len(listed(station)) == 3


def test_the_snapshot_last_proved_stays(station: Station) -> None:
    station.add_job(retention={"last": 1})
    first, *_ = save(station, 1)
    assert station.ask("verify").step["outcome"] == "success"
    save(station, 2)
    [plan] = station.ask("forget", "--dry-run").json
    kept = {one["id"]: [reason["code"] for reason in one["reasons"]] for one in plan["keep"]}
    assert "last_verified" in kept[first]
    station.ask("forget")
    assert first in listed(station)


def test_a_shrunken_newest_snapshot_holds_retention(station: Station) -> None:
    station.add_job(retention={"last": 1})
    station.fill(4, 50_000)
    ids = save(station, 1)
    for path in sorted(station.source.iterdir())[1:]:
        path.unlink()
    shrunken = station.back_up(status=3).json["runs"][0]
    error = station.ask("forget", status=6).error
    assert error["code"] == "newest_shrank"
    assert ids[0] in listed(station)
    station.ask("accept", shrunken["id"])
    assert station.ask("forget").step["snapshots_removed"] == ids


def test_an_older_copy_of_the_repository_holds_retention_until_a_person_accepts_it(station: Station) -> None:
    station.add_job(retention={"last": 1})
    save(station, 1)
    shutil.copytree(station.path_of(), station.folder / "older")
    save(station, 2)
    shutil.rmtree(station.path_of())
    (station.folder / "older").rename(station.path_of())
    (station.source / "counter").write_text("again")
    warned = station.back_up(status=3).step["warnings"]
    assert "deleted_elsewhere" in {one["code"] for one in warned}, warned
    there = listed(station)

    told = station.call("status").text
    assert "Retention of docs in nas has been on hold since" in told
    assert "highball accept nas" in told
    [hold] = station.ask("status").json[0]["holds"]
    assert (hold["cause"], hold["acceptable"]) == ("deleted_elsewhere", True)
    error = station.ask("forget", status=6).error
    assert error["code"] == "deleted_elsewhere"
    assert "highball accept nas" in error["hint"]
    assert listed(station) == there
    station.back_up()
    assert station.ask("status").json[0]["holds"], "a good backup does not bring back what is gone"

    station.ask("accept", "nas", "--reason", "that copy is right")
    assert station.ask("status").json[0]["holds"] == []
    assert len(station.ask("forget").step["snapshots_removed"]) == 2


def save_long_ago(station: Station, days: range) -> None:
    """Snapshots of the job, one of each of so many days ago, that a person adopts."""
    for ago in days:
        at = datetime.now(UTC) - timedelta(days=ago)
        tags = f"hb:job=docs,hb:set=files,hb:run={uuid4()}"
        told = ("--host", "station", "--tag", tags, "--time", f"{at:%Y-%m-%d %H:%M:%S}")
        station.bare("backup", *told, str(station.source))
    [group] = station.ask("adopt", "nas").json
    station.ask("adopt", "nas", group["id"], "--job", "docs", "--yes")


def test_after_a_gap_retention_asks_before_nothing_from_before_is_left(station: Station) -> None:
    station.add_job(retention={"within": "30d"}, schedule="daily")
    save_long_ago(station, range(41, 45))
    save(station, 1)
    error = station.ask("forget", status=6).error
    assert error["code"] == "gap"
    assert "highball accept nas" in error["hint"]
    assert len(listed(station)) == 5
    [hold] = station.ask("status").json[0]["holds"]
    assert (hold["cause"], hold["job"]) == ("gap", "docs")
    save(station, 1)
    assert station.ask("forget", status=6).error["code"] == "gap"
    station.ask("accept", "nas", "--reason", "the machine was off")
    assert len(station.ask("forget").step["snapshots_removed"]) == 4
    assert station.ask("status").json[0]["holds"] == []


def test_retention_after_a_backup_is_a_run_of_its_own_behind_it(station: Station) -> None:
    station.repositories["nas"]["discard_schedule"] = "after-backup"
    station.add_job(retention={"last": 1})
    station.add_job("other", retention={"last": 5})
    station.ask("run", "other")
    station.back_up("docs")
    backup, removal = station.ask("run", "docs").json["runs"]
    assert (backup["action"], removal["action"], removal["job"]) == ("backup", "forget", "docs")
    assert len(removal["steps"][0]["snapshots_removed"]) == 1
    assert len(listed(station)) == 2
    assert "steps" in station.ask("run", "docs", "--dry-run").json["runs"][0]
    station.ask("forget")
    standing = {one["job"]: one for one in station.ask("status").json}
    assert standing["docs"]["last_retention_at"]


def test_the_worse_of_a_backup_and_its_retention_decides(station: Station) -> None:
    station.add_job(retention={"last": 1})
    station.fill(4, 50_000)
    save(station, 1)
    for path in sorted(station.source.iterdir())[1:]:
        path.unlink()
    shrunken = station.back_up(status=3).json["runs"][0]["id"]
    station.repositories["nas"]["discard_schedule"] = ["daily", "after-backup"]
    backup, removal = station.ask("run", status=3).json["runs"]
    assert removal["outcome"] == "warning"
    assert removal["reason"]["code"] == "newest_shrank"
    assert len(listed(station)) == 3
    station.ask("accept", shrunken)
    assert [run["action"] for run in station.ask("run").json["runs"]] == ["backup", "forget"]
    assert backup["outcome"] == "warning"


def test_status_says_where_retention_was_never_applied(station: Station) -> None:
    station.add_job(retention={"last": 1})
    save(station, 2)
    assert "Retention was never applied" in station.call("status").text
    assert station.ask("status").json[0]["last_retention_at"] is None
    station.ask("forget")
    assert "Retention was never applied" not in station.call("status").text


def test_a_failed_check_holds_retention_until_one_succeeds(station: Station) -> None:
    station.repositories["nas"]["check_share"] = "100%"
    station.add_job(retention={"last": 1})
    station.fill(2, 100_000)
    save(station, 2)
    packs = {path: path.read_bytes() for path in (station.path_of() / "data").rglob("*") if path.is_file()}
    damage(station)
    assert station.ask("check", status=1).step["reason"]["code"] == "repository_damaged"
    assert station.ask("forget", status=6).error["code"] == "check_failed"
    assert len(listed(station)) == 2
    for path, content in packs.items():
        path.write_bytes(content)
    station.ask("check")
    assert len(station.ask("forget").step["snapshots_removed"]) == 1


def test_a_snapshot_of_tomorrow_holds_retention(station: Station) -> None:
    station.add_job(retention={"last": 1})
    save(station, 2)
    tags = ["--tag", "hb:job=docs,hb:set=files", "--host", "station"]
    station.bare("backup", "--time", "2099-01-01 00:00:00", *tags, str(station.source))
    assert station.ask("forget", status=6).error["code"] == "clock_wrong"
    assert len(listed(station)) == 3


def test_maintenance_that_is_off_removes_nothing(station: Station) -> None:
    station.repositories["nas"] |= {"maintenance": "off", "accept_growth": True}
    station.add_job(retention={"last": 1})
    ids = save(station, 2)
    assert station.ask("forget", status=6).error["code"] == "maintenance_off"
    assert listed(station) == set(ids)


def test_one_held_plan_does_not_stop_the_others(station: Station) -> None:
    station.add_repository("other")
    station.repositories["nas"] |= {"maintenance": "off", "accept_growth": True}
    station.add_job(repositories=["nas", "other"], retention={"last": 1})
    for _ in range(2):
        station.back_up()
    answer = station.ask("forget", status=3)
    assert answer.step["repository"] == "other"
    assert [one["code"] for one in answer.json["refused"]] == ["maintenance_off"]
    assert answer.json["outcome"] == "warning"


def test_a_repository_that_is_gone_makes_the_whole_a_failure(station: Station) -> None:
    station.add_repository("other")
    station.add_job(repositories=["nas", "other"])
    station.back_up()
    station.path_of("nas").rename(station.folder / "away")
    answer = station.ask("forget", status=1)
    assert answer.step["repository"] == "other"
    assert answer.json["outcome"] == "failure"


def test_prune_frees_what_forget_left(every_station: Station) -> None:
    station = every_station
    station.add_job(retention={"last": 1})
    station.fill(1, 300_000)
    station.back_up()
    station.fill(1, 300_000)
    station.back_up()
    station.ask("forget")
    step = station.ask("prune").step
    assert step["bytes_freed"] > 250_000
    assert station.ask("stats").json[0]["bytes_stored"] == step["bytes_stored"]


# --- append-only ---------------------------------------------------------------------------------


@pytest.fixture
def on_append_only(
    request: pytest.FixtureRequest, tmp_path: Path, rest_server: RestServer, repository_name: str
) -> Iterator[Callable[..., Station]]:
    """Makes a station whose repository lies on an append-only server; says so only where told to."""
    made: list[Station] = []

    def make(version: str, **fields: Any) -> Station:
        station = Station(tmp_path / "station", parts.get_restic(version))
        (station.folder / "rest").write_text(rest_server.password)
        station.repositories["rest"] = {
            "kind": "rest",
            "endpoint": rest_server.address,
            "path": rest_server.path(repository_name),
            "rest_username": rest_server.user,
            "rest_password": {"file": str(station.folder / "rest")},
            "password": station.secret,
            **fields,
        }
        station.add_job(repositories=["rest"], retention={"last": 1})
        station.fill()
        station.ask("setup")
        quicken(rest_server.data / rest_server.path(repository_name))
        made.append(station)
        return station

    yield make
    for station in made:
        station.close()


@pytest.mark.each_restic
@pytest.mark.parametrize("version", ["0.18.0", "0.19.1"])
def test_a_refusal_to_delete_is_a_failure_whatever_restic_says(
    on_append_only: Callable[..., Station], version: str
) -> None:
    station = on_append_only(version)
    save(station, 2)
    step = station.ask("forget", status=1, timeout=100).step
    assert (step["outcome"], step["reason"]["code"]) == ("failure", "not_deleted")
    assert step["snapshots_removed"] == []
    assert step["snapshots_kept"] == 2
    assert station.ask("status").json[0]["snapshots"] == 2


def test_append_only_without_an_admin_access_is_not_allowed(on_append_only: Callable[..., Station]) -> None:
    station = on_append_only("0.19.1", append_only=True)
    save(station, 2)
    for command in ("forget", "prune"):
        error = station.ask(command, status=6).error
        assert error["code"] == "admin_creds_required"
        assert "admin" in error["hint"]
    assert len(station.ask("snapshots").json) == 2
    assert [run["action"] for run in station.ask("runs").json] == ["backup", "backup", "init"]


def test_the_admin_access_deletes_and_the_everyday_access_does_the_rest(
    on_append_only: Callable[..., Station], rest_admin: RestServer, rest_server: RestServer
) -> None:
    station = on_append_only("0.19.1", append_only=True)
    ours = station.repositories["rest"]
    ours["admin"] = {"endpoint": rest_admin.address, "path": ours["path"]}
    first, second = save(station, 2)
    assert station.ask("forget").step["snapshots_removed"] == [first]
    assert [one["id"] for one in station.ask("snapshots").json] == [second]
    station.ask("prune")
    assert PASSWORD not in rest_server.log.read_text()
