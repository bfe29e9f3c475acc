"""What agents are asked: folders, sources, repositories in each of their states; also answers larger than a message."""

import shutil
from pathlib import Path

import pytest

from hub.served import Served
from testbed.restic import Location


def test_a_folder_of_the_host(served: Served) -> None:
    (served.source / "folder").mkdir()
    found = served.get("hosts/station/browse", path=str(served.source))
    assert [(entry["kind"], Path(entry["path"]).name) for entry in found["entries"]] == [
        ("dir", "folder"),
        ("file", "letter"),
    ]
    assert found["entries"][1]["size_bytes"] == len("dear reader")
    nowhere = served.get("hosts/station/browse", path="/no/such/folder", expect=(502,))
    assert nowhere["code"] == "path_unknown"
    assert served.get("hosts/nobody/browse", path="/", expect=(502,))["code"] == "host_offline"


def test_an_answer_larger_than_a_message(served: Served) -> None:
    for number in range(1500):
        (served.source / f"{number:04}-{'long' * 50}").touch()
    found = served.get("hosts/station/browse", path=str(served.source))
    assert len(found["entries"]) == 1501


def test_the_states_of_a_repository(served: Served) -> None:
    def test() -> tuple[str, str | None]:
        found = served.post("repositories/nas/test")
        assert found["host"] == "station"
        return found["state"], found["action"]

    assert test() == ("empty", None)
    served.back_up()
    assert test() == ("existing", None)
    (served.folder / "password").write_text("wrong")
    assert test() == ("wrong_password", "retry")
    (served.folder / "password").write_text("open sesame")
    shutil.move(served.repository, served.folder / "moved")
    assert test() == ("gone", "retry")


def test_a_job(served: Served) -> None:
    found = served.post("jobs/docs/test")
    assert found["repositories"]["nas"]["state"] == "empty"
    assert [source["sound"] for source in found["sources"]] == [True]
    shutil.rmtree(served.source)
    [source] = served.post("jobs/docs/test")["sources"]
    assert (source["sound"], source["code"]) == (False, "source_missing")


def test_what_a_repository_holds(served: Served) -> None:
    snapshot = served.back_up()["steps"][0]["snapshot_id"]
    [listed] = served.get("repositories/nas/snapshots")
    assert (listed["id"], listed["job"]) == (snapshot, "docs")
    nodes = served.get(f"repositories/nas/snapshots/{snapshot}/folder", path=str(served.source))
    assert Path(nodes[-1]["path"]).name == "letter"
    assert served.get("repositories/nas/locks") == []


@pytest.mark.parametrize("keep", [1, 2])
def test_what_retention_would_remove(machine: Served, keep: int) -> None:
    machine.tables["jobs"]["docs"]["retention"] = {"last": keep}
    machine.serve()
    for _ in range(2):
        machine.back_up()
    [plan] = machine.get("repositories/nas/retention")
    assert (len(plan["remove"]), len(plan["keep"])) == (2 - keep, keep)
    machine.post("settings/retention/run", {}, expect=(400,))
    machine.post("settings/retention/run", {"job_id": "docs", "confirmed": True}, expect=(422,))
    pair = {"job_id": "docs", "repository_id": "nas"}
    [previewed] = machine.post("settings/retention/preview", pair)
    assert previewed["id"] == plan["id"]
    [begun] = machine.post("settings/retention/run", {**pair, "confirmed": True})["runs"]
    machine.end_of(begun["id"])
    done = machine.get(f"maintenance/runs/{begun['id']}")
    assert done["status"] == "success"
    assert (done["result"]["deleted"], done["result"]["kept"]) == (2 - keep, keep)
    assert [run["id"] for run in machine.get("maintenance/runs", limit=1)] == [begun["id"]]


def test_the_jobs_of_maintenance(served: Served) -> None:
    jobs = {job["key"]: job for job in served.get("maintenance/jobs")}
    assert set(jobs) >= {"discard:nas", "check:nas", "retention_cleanup_nightly"}
    assert "retention_cleanup_manual" not in jobs
    everything = {job["key"] for job in served.get("maintenance/jobs", visible_in_ui=False)}
    assert "retention_cleanup_manual" in everything
    assert served.get("maintenance/jobs/check:nas")["next_run_at"]
    assert served.get("maintenance/jobs/nope", expect=(404,))["code"] == "maintenance_job_unknown"
    assert served.get("maintenance/runs/nope", expect=(404,))


def test_foreign_snapshots_are_adopted_and_released(served: Served) -> None:
    served.back_up()
    password = served.folder / "password"
    for year in (2020, 2021):
        arguments = ("--host", "older", "--tag", "weekly", "--time", f"{year}-01-01 00:00:00", served.source)
        served.restic.run(
            "backup", *arguments, at=Location("local", str(served.repository)), password_file=password
        )
    at = "repositories/nas/foreign"
    [group] = served.get(at)
    assert (group["host"], group["snapshots"], group["job"]) == ("older", 2, None)
    group_at = f"{at}/{group['id']}"
    [plan] = served.get(f"{group_at}/retention", job="docs")
    assert (len(plan["keep"]), len(plan["adopted"]), plan["remove"]) == (3, 2, [])
    assert served.get(f"{group_at}/retention", job="nope", expect=(404,))["code"] == "job_unknown"
    assert served.post(f"{group_at}/adopt", {"job": "docs"})["job"] == "docs"
    assert [one["adopted_by"] for one in served.get(at)] == ["token:tests"]
    assert {one["job"] for one in served.get("repositories/nas/snapshots")} == {"docs"}
    assert served.post(f"{group_at}/adopt", {"job": "docs"}, expect=(404,))["code"] == "group_unknown"
    done = served.end_of(served.order("forget", job="docs"))
    assert (done["outcome"], done["steps"][0]["snapshots_kept"]) == ("success", 3)
    assert served.post(f"{group_at}/release")["job"] is None
    assert [one["job"] for one in served.get(at)] == [None]
    told = served.get("audit", kind="job", key="docs")["items"]
    written = {one["action"]: one for one in told if one["action"] in ("adopted", "released")}
    assert {one["actor"] for one in written.values()} == {"token:tests"}
    assert sorted(written["adopted"]["after"]["snapshots"]) == sorted(plan["adopted"])
    assert set(written) == {"adopted", "released"}
