"""What agents are asked: folders, sources, repositories in each of their states; also answers larger than a message."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from highball.agent.repository_folder import look_at_storage
from highball.hub.audit import HUB
from highball.hub.runs.queue import RunOrder, put_in_queue
from highball.hub.runs.record import utc_now
from highball.hub.storage.database import (
    Database,
    new_run_id,
    open_database,
)
from highball.hub.storage.schema import runs
from highball.place.local import LOCAL
from hub.served import PASSWORD, Corner, Served, Table
from journeys.station import HOST, until
from testbed.restic import Location, ResticBinary
from testbed.unprivileged import Unprivileged
from testbed.written import WrittenRepository


def test_a_folder_of_the_host(corner: Corner) -> None:
    (corner.source / "folder").mkdir()
    found = corner.get("hosts/station/browse", path=str(corner.source))
    assert [(entry["kind"], Path(entry["path"]).name) for entry in found["entries"]] == [
        ("dir", "folder"),
        ("file", "letter"),
    ]
    assert found["entries"][1]["size_bytes"] == len("dear reader")
    nowhere = corner.get("hosts/station/browse", path=str(corner.folder / "nowhere"), expect=(502,))
    assert nowhere["code"] == "path_unknown"
    assert corner.get("hosts/nobody/browse", path="/", expect=(502,))["code"] == "host_offline"


def test_what_patterns_leave_out(corner: Corner) -> None:
    for name, size in {
        "a.tmp": 10,
        "deep/b.tmp": 20,
        "deep/kept": 3,
        "cache/deep/c": 400,
        "own/x": 7,
    }.items():
        path = corner.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    (corner.source / "link").symlink_to("/usr")
    source = {"path": str(corner.source), "exclude": ["own"]}
    wish: Table = {"sources": [source], "exclude": ["*.tmp", "/cache", "never"]}
    found = corner.post("hosts/station/measure", wish)
    assert [(one["files"], one["size_bytes"]) for one in found["left_out"]] == [(2, 30), (1, 400), (0, 0)]
    [measured] = found["sources"]
    assert measured["complete"] is True
    assert measured["kept"] == {"files": 3, "size_bytes": len("dear reader") + 3}
    for number in range(300):
        (corner.source / str(number)).touch()
    [begun] = corner.post("hosts/station/measure", wish | {"seconds": 0})["sources"]
    assert begun["complete"] is False
    assert 0 < begun["kept"]["files"] < 303
    unreal = corner.post("hosts/station/measure", {"sources": ["/proc"]})
    assert unreal["sources"][0]["kept"]["size_bytes"] == 0, "what the kernel tells of itself is no data"
    gone = corner.post("hosts/station/measure", {"sources": ["/no/such/folder"]})
    assert (gone["unreadable"], gone["sources"][0]["kept"]["files"]) == (1, 0)
    assert corner.post("hosts/station/measure", {"sources": ["relative"]}, expect=(422,))


def test_an_answer_larger_than_a_message(corner: Corner) -> None:
    for number in range(1500):
        (corner.source / f"{number:04}-{'long' * 50}").touch()
    found = corner.get("hosts/station/browse", path=str(corner.source))
    assert len(found["entries"]) == 1501


def test_the_states_of_a_repository(corner: Corner) -> None:
    def test() -> tuple[str, str | None]:
        found = corner.post(f"repositories/{corner.nas}/test")
        assert found["host"] == "station"
        return found["state"], found["action"]

    assert test() == ("empty", None)
    corner.back_up()
    assert test() == ("existing", None)
    (corner.folder / "password").write_text("wrong")
    assert test() == ("wrong_password", "retry")
    (corner.folder / "password").write_text("open sesame")
    shutil.move(corner.repository, corner.folder / "moved")
    assert test() == ("gone", "retry")


def test_a_repository_that_is_not_saved(corner: Corner) -> None:
    def test(spec: Table, expect: tuple[int, ...] = (200,), **more: Any) -> Any:
        return corner.post("repositories/test", {"spec": spec, **more}, expect=expect)

    nowhere = {**corner.repository_spec, "url": str(corner.folder / "nothing")}
    assert (test(nowhere)["state"], test(nowhere)["action"]) == ("uninitialised", "init")
    assert "--schedule" not in test(nowhere)["hint"], "that is for one machine without a hub"
    sealed = {**corner.repository_spec, "password": {"sealed": True}}
    assert test(sealed, secrets={"password": PASSWORD})["state"] == "empty"
    assert test(sealed, secrets={"password": "another"})["state"] == "wrong_password"
    unsealed = test(sealed, expect=(422,))
    assert [one["at"] for one in unsealed["problems"]] == ["secrets.password"]
    both = {**corner.repository_spec, "admin": {"password": {"sealed": True}}}
    for password, state in ((PASSWORD, "empty"), ("another", "wrong_password")):
        found = test(both, secrets={"admin.password": password})
        assert (found["state"], found["admin"]["state"]) == ("empty", state)
    unsealed = test(both, expect=(422,))
    assert [one["at"] for one in unsealed["problems"]] == ["secrets.admin.password"]
    refused = test({"url": "nowhere:at/all"}, expect=(422,))
    assert {one["at"] for one in refused["problems"]} == {
        "repositories.unsaved.url",
        "repositories.unsaved.password",
    }
    assert corner.get("repositories/unsaved", expect=(404,))


def test_a_repository_that_would_change_keeps_its_identity_and_its_sealed_secrets(corner: Corner) -> None:
    secret = f"repositories/{corner.nas}/secrets/password"
    corner.http.put(secret, json={"value": PASSWORD}).raise_for_status()
    sealed = {**corner.repository_spec, "password": {"sealed": True}}
    body = {"key": corner.nas, "spec": sealed}
    assert corner.post("repositories/test", body)["state"] == "empty"
    corner.back_up()
    WrittenRepository(corner.folder / "other", PASSWORD, seed=7)
    body["spec"] = {**sealed, "url": str(corner.folder / "other")}
    assert corner.post("repositories/test", body)["state"] == "changed"


def test_a_job(corner: Corner) -> None:
    found = corner.post(f"jobs/{corner.job}/test")
    assert found["repositories"][corner.nas]["state"] == "empty"
    assert [source["sound"] for source in found["sources"]] == [True]
    shutil.rmtree(corner.source)
    [source] = corner.post(f"jobs/{corner.job}/test")["sources"]
    assert (source["sound"], source["code"]) == (False, "source_missing")


def test_a_job_whose_source_is_another_than_it_was(corner: Corner) -> None:
    for name in ("one", "two", "three"):
        (corner.source / name).write_text(name)
    corner.back_up()

    def content() -> dict[str, Any]:
        found: dict[str, Any] = corner.post(f"jobs/{corner.job}/test")["repositories"][corner.nas]["content"]
        return found

    same = content()
    assert (same["state"], same["sampled"], same["found"]) == ("same", 4, 4)
    for name in ("one", "two", "three"):
        (corner.source / name).unlink()
    assert (content()["state"], content()["found"]) == ("few", 1)
    (corner.source / "letter").rename(corner.source / "another")
    assert (content()["state"], content()["found"]) == ("none", 0)
    unasked = corner.post(f"jobs/{corner.job}/test?content=false")["repositories"][corner.nas]
    assert (unasked["state"], unasked["content"]) == ("existing", None)


def test_what_a_repository_holds(corner: Corner) -> None:
    snapshot = corner.back_up()["steps"][0]["snapshot_id"]
    [listed] = corner.get(f"repositories/{corner.nas}/snapshots")
    assert (listed["id"], listed["job"]) == (snapshot, corner.job)
    nodes = corner.get(f"repositories/{corner.nas}/snapshots/{snapshot}/folder", path=str(corner.source))
    assert Path(nodes[-1]["path"]).name == "letter"
    assert corner.get(f"repositories/{corner.nas}/locks") == []


def test_another_repository_in_its_place_is_told_and_left_as_it_is(corner: Corner) -> None:
    corner.back_up()
    shutil.move(corner.repository, corner.folder / "moved")
    there = Path(corner.repository)
    WrittenRepository(there, PASSWORD, seed=99)
    before = sorted(there.rglob("*"))
    told = corner.get(f"repositories/{corner.nas}/snapshots", expect=(502,))
    assert told["code"] == "repository_changed"
    assert corner.post(f"repositories/{corner.nas}/test")["state"] == "changed"
    for order in (corner.order(), corner.order(dry_run=True), corner.order("check")):
        done = corner.end_of(order)
        assert (done["outcome"], done["reason"]["code"]) == ("failure", "repository_changed")
    assert sorted(there.rglob("*")) == before


def test_a_repository_under_another_key_is_refused(corner: Corner) -> None:
    corner.back_up()
    twin = corner.repository_spec
    test = corner.post("repositories/test", {"spec": twin})
    assert test["state"] == "twice", test
    key = f"{corner.nas}-again"
    corner.post(f"repositories?key={key}", twin)
    assert corner.post(f"repositories/{key}/test")["state"] == "twice"
    problems = corner.get("overview")["problems"]
    [told] = [one["reason"]["message"] for one in problems if one["repositories"] == [key]]
    assert "same repository" in told, "what the test found, not that there was none"


@pytest.mark.parametrize("keep", [1, 2])
def test_what_retention_would_remove(hub: Served, tmp_path: Path, keep: int) -> None:
    corner = hub.give_corner(tmp_path, retention={"last": keep})
    for _ in range(2):
        corner.back_up()
    [plan] = corner.get(f"repositories/{corner.nas}/retention")
    assert (len(plan["remove"]), len(plan["keep"])) == (2 - keep, keep)
    corner.post("settings/retention/run", {}, expect=(400,))
    corner.post("settings/retention/run", {"job_id": corner.job, "confirmed": True}, expect=(422,))
    pair = {"job_id": corner.job, "repository_id": corner.nas}
    [previewed] = corner.post("settings/retention/preview", pair)
    assert previewed["id"] == plan["id"]
    [begun] = corner.post("settings/retention/run", {**pair, "confirmed": True})["runs"]
    corner.end_of(begun["id"])
    done = corner.get(f"maintenance/runs/{begun['id']}")
    assert done["status"] == "success"
    assert (done["result"]["deleted"], done["result"]["kept"]) == (2 - keep, keep)
    assert [run["id"] for run in corner.get("maintenance/runs", limit=1)] == [begun["id"]]


def test_the_jobs_of_maintenance(corner: Corner) -> None:
    jobs = {job["key"]: job for job in corner.get("maintenance/jobs")}
    assert set(jobs) >= {f"discard:{corner.nas}", f"check:{corner.nas}", "retention_cleanup_nightly"}
    assert "retention_cleanup_manual" not in jobs
    hidden = {job["key"] for job in corner.get("maintenance/jobs", visible_in_ui=False)}
    assert hidden == {"retention_cleanup_manual"}
    until(lambda: corner.get(f"maintenance/jobs/check:{corner.nas}")["next_run_at"])
    assert corner.get("maintenance/jobs/retention_cleanup_nightly")["next_run_at"]
    assert corner.get("maintenance/jobs/nope", expect=(404,))["code"] == "maintenance_job_unknown"
    assert corner.get("maintenance/runs/nope", expect=(404,))


def test_retention_follows_each_backup_where_it_is_declared_so(corner: Corner) -> None:
    found = corner.http.get(f"repositories/{corner.nas}")
    spec = found.json()["spec"] | {"discard_schedule": "after-backup"}
    etag = {"if-match": found.headers["etag"]}
    assert corner.http.put(f"repositories/{corner.nas}", json=spec, headers=etag).is_success
    corner.back_up()
    [run] = until(lambda: corner.get("maintenance/runs", limit=1))
    until(lambda: corner.get("maintenance/runs", limit=1)[0]["status"] == "success")
    assert (run["run"]["action"], run["run"]["job"], run["run"]["actor"]) == ("forget", corner.job, "hub")


def test_what_a_plan_shows_to_hold_it_is_a_hold_as_soon_as_it_is_shown(
    corner: Corner, newest_restic: ResticBinary
) -> None:
    corner.back_up()
    tags = ("--tag", f"hb:job={corner.job},hb:set=files", "--host", HOST)
    newest_restic.run(
        *("backup", *tags, "--time", "2099-01-01 00:00:00", corner.source),
        at=Location("local", str(corner.repository)),
        password_file=corner.folder / "password",
    )
    [plan] = corner.get(f"repositories/{corner.nas}/retention")
    assert plan["held"]["code"] == "clock_wrong"
    [hold] = corner.get("holds", repository=corner.nas)
    assert (hold["cause"], hold["job"]) == ("clock_wrong", corner.job)


def test_a_scheduled_restore_test_of_what_was_never_saved_is_skipped_and_lights_nothing(
    corner: Corner,
) -> None:
    def due(database: Database) -> str:
        now = utc_now()
        order = RunOrder(task="verify", job=corner.job, repository=corner.nas)
        with database.write() as connection:
            id, _ = put_in_queue(connection, order, HOST, now, id=new_run_id(now, 7), actor=HUB)
            told = {"nominal_at": now, "origin": "schedule"}
            connection.execute(runs.update().where(runs.c.id == id).values(**told))
        database.close()
        return id

    done = corner.end_of(due(open_database(corner.state / "highball.db")))
    assert (done["outcome"], done["reason"]["code"]) == ("skipped", "snapshot_unknown")
    assert f"has no snapshot of {corner.job}" in done["reason"]["message"]
    problems = corner.get("overview")["problems"]
    assert [one for one in problems if one["action"] and corner.nas in one["repositories"]] == []
    by_hand = corner.end_of(corner.order("verify", job=corner.job))
    assert by_hand["outcome"] == "failure", "who asks for one now is told that there is none"


def test_foreign_snapshots_are_adopted_and_released(corner: Corner, newest_restic: ResticBinary) -> None:
    corner.back_up()
    password = corner.folder / "password"
    for year in (2020, 2021):
        arguments = ("--host", "older", "--tag", "weekly", "--time", f"{year}-01-01 00:00:00", corner.source)
        newest_restic.run(
            "backup", *arguments, at=Location("local", str(corner.repository)), password_file=password
        )
    at = f"repositories/{corner.nas}/foreign"
    [group] = corner.get(at)
    assert (group["host"], group["snapshots"], group["job"]) == ("older", 2, None)
    group_at = f"{at}/{group['id']}"
    [plan] = corner.get(f"{group_at}/retention", job=corner.job)
    assert (len(plan["keep"]), len(plan["adopted"]), plan["remove"]) == (3, 2, [])
    assert corner.get(f"{group_at}/retention", job="nope", expect=(404,))["code"] == "job_unknown"
    assert corner.post(f"{group_at}/adopt", {"job": corner.job})["job"] == corner.job
    assert [one["adopted_by"] for one in corner.get(at)] == ["token:tests"]
    assert {one["job"] for one in corner.get(f"repositories/{corner.nas}/snapshots")} == {corner.job}
    assert corner.post(f"{group_at}/adopt", {"job": corner.job}, expect=(404,))["code"] == "group_unknown"
    done = corner.end_of(corner.order("forget", job=corner.job))
    assert (done["outcome"], done["steps"][0]["snapshots_kept"]) == ("success", 3)
    assert corner.post(f"{group_at}/release")["job"] is None
    assert [one["job"] for one in corner.get(at)] == [None]
    told = corner.get("audit", kind="job", key=corner.job)["items"]
    written = {one["action"]: one for one in told if one["action"] in ("adopted", "released")}
    assert {one["actor"] for one in written.values()} == {"token:tests"}
    assert sorted(written["adopted"]["after"]["snapshots"]) == sorted(plan["adopted"])
    assert set(written) == {"adopted", "released"}


def test_a_repository_in_a_folder_that_is_closed_to_us_is_told_of_by_the_nearest_one_above(
    unprivileged: Unprivileged,
) -> None:
    closed = unprivileged.directory / "closed"
    closed.mkdir(mode=0o700)
    os.seteuid(unprivileged.uid)
    try:
        with LOCAL.files() as files:
            storage = look_at_storage(files, closed / "below" / "repository")
    finally:
        os.seteuid(0)
    assert storage is not None
    assert (storage.exists, storage.is_folder, storage.writable) == (False, True, False)
    assert storage.free_bytes > 0
