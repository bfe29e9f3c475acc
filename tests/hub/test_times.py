"""What a hub does by itself: fires that become runs, pauses, the copy of its own database, one hub for a state."""

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from highball.config.repository import SPREAD
from highball.hub.storage.database import open_database
from highball.hub.storage.schema import fires
from hub.served import Corner, Served
from journeys.station import until


def make_due(served: Corner, subject: str) -> str:
    """Let a time of a subject have come a moment ago; returns it."""
    upkeep = ("discard:", "prune:", "check:", "verify:")
    spread = SPREAD if subject.startswith(upkeep) else timedelta(0)
    nominal = (datetime.now(UTC) - spread - timedelta(seconds=1)).replace(microsecond=0)
    with open_database(served.state / "highball.db").write() as connection:
        here = fires.c.subject == subject
        changed = connection.execute(fires.update().where(here).values(next_at=nominal, due_at=nominal))
        assert changed.rowcount == 1, connection.execute(sa.select(fires)).all()
    return nominal.isoformat().replace("+00:00", "Z")


def upcoming(served: Corner) -> set[str]:
    """The subjects whose next time is known."""
    return {one["subject"] for one in served.get("upcoming", limit=500)}


def runs_by_themselves(served: Corner, **of: Any) -> list[dict[str, object]]:
    """The runs that no person ordered; only those of this job or repository."""
    return [run for run in served.get("runs", **of)["items"] if run["origin"] == "schedule"]


def test_a_fire_becomes_one_run(machine: Served) -> None:
    machine.tables["jobs"]["docs"]["schedule"] = "daily"
    machine.serve()
    assert "backup:docs" in upcoming(machine)
    nominal = make_due(machine, "backup:docs")
    [run] = until(lambda: runs_by_themselves(machine))
    assert run["nominal_at"] == nominal
    assert machine.end_of(str(run["id"]))["outcome"] == "success"
    machine.kill_hub()
    make_due_again = nominal
    machine.serve()
    assert [one["nominal_at"] for one in runs_by_themselves(machine)] == [make_due_again]


def test_a_paused_job_does_not_fire(hub: Served, tmp_path: Path) -> None:
    corner = hub.give_corner(tmp_path, schedule="daily")
    until(lambda: f"backup:{corner.job}" in upcoming(corner))
    [pause] = corner.post(f"jobs/{corner.job}/pause", {"reason": "moving house"})
    assert (pause["subject"], pause["reason"]) == (f"backup:{corner.job}", "moving house")
    assert f"backup:{corner.job}" not in upcoming(corner)
    assert corner.back_up()["origin"] == "manual", "who says now means now"
    assert corner.post(f"jobs/{corner.job}/resume") == []
    assert f"backup:{corner.job}" in upcoming(corner)


def ended_by_themselves(corner: Corner) -> list[dict[str, Any]]:
    """The runs that came by themselves in the corner's repository, once they are over."""
    return [one for one in runs_by_themselves(corner, repository=corner.nas) if one["outcome"]]


def test_a_backup_whose_disk_is_away_begins_when_it_is_back(hub: Served, tmp_path: Path) -> None:
    corner = hub.give_corner(tmp_path, {"when_back": True}, schedule="daily")
    corner.back_up()
    away = corner.repository.rename(tmp_path / "unplugged")
    until(lambda: f"backup:{corner.job}" in upcoming(corner))
    make_due(corner, f"backup:{corner.job}")
    [run] = until(lambda: runs_by_themselves(corner, job=corner.job))
    id = str(run["id"])
    until(lambda: corner.run(id)["state"] == "waiting", otherwise=corner.said)
    reason = corner.run(id)["reason"]
    assert reason["code"] == "disk_away"
    assert reason["message"] == f"waiting for the disk of {corner.nas} ({corner.repository})"
    assert corner.run(id)["steps"] == []
    [directory] = [one for one in corner.run_directories() if one.path.name == id]
    os.kill(directory.lock.holder() or 0, signal.SIGKILL)  # as when the machine is switched off
    until(lambda: [event["type"] for event in corner.events(id)].count("run.started") == 2)
    away.rename(corner.repository)
    done = corner.end_of(id)
    assert (done["outcome"], [step["action"] for step in done["steps"]]) == ("success", ["backup"]), done


def test_maintenance_that_comes_by_itself_is_skipped_while_the_disk_is_away(
    hub: Served, tmp_path: Path
) -> None:
    often = {"prune_schedule": "weekly", "verify_schedule": "weekly"}
    corner = hub.give_corner(tmp_path, {"when_back": True, **often})
    corner.back_up()
    corner.repository.rename(tmp_path / "unplugged")
    subjects = {f"{task}:{corner.nas}" for task in ("discard", "prune", "check")}
    subjects.add(f"verify:{corner.nas}:{corner.job}")
    until(lambda: subjects <= upcoming(corner))
    for subject in subjects:
        make_due(corner, subject)
    found = until(lambda: ends if len(ends := ended_by_themselves(corner)) == len(subjects) else None)
    away = f"skipped: the disk of {corner.nas} was away ({corner.repository})"
    assert {(one["outcome"], one["reason"]["code"]) for one in found} == {("skipped", "disk_away")}, found
    assert all(away in one["reason"]["message"] for one in found)
    assert not [
        one
        for one in corner.get("overview")["problems"]
        if corner.nas in one["repositories"] and one["action"]
    ]
    by_hand = corner.end_of(corner.order("check", repository=corner.nas))
    assert (by_hand["outcome"], by_hand["reason"]["code"]) == ("failure", "repository_gone")


def of_the_hub(run: dict[str, object], action: str) -> bool:
    """Whether the hub does this for itself."""
    return run["action"] == action and run["repository"] is run["job"] is None


def test_old_history_goes_every_night_and_says_so(hub: Served) -> None:
    make_due(hub, "history:hub")
    [run] = until(lambda: [run for run in runs_by_themselves(hub) if of_the_hub(run, "history")])
    done = hub.end_of(str(run["id"]))
    assert (done["outcome"], done["steps"][0]["reason"]["code"]) == ("success", "expired"), done
    done_for = {one["id"]: one["maintenance_job"] for one in hub.get("maintenance/runs")}
    assert done_for[str(run["id"])] == "history:hub"
    jobs = {one["id"]: one for one in hub.get("maintenance/jobs")}
    assert jobs["history:hub"]["next_run_at"] is not None


def test_the_hub_copies_its_own_database(hub: Served) -> None:
    make_due(hub, "hub-backup:hub")
    [run] = until(lambda: [run for run in runs_by_themselves(hub) if of_the_hub(run, "backup")])
    done = hub.end_of(str(run["id"]))
    assert done["outcome"] == "success", done
    [copy] = (hub.state / "backups").iterdir()
    assert copy.stat().st_mode & 0o777 == 0o600
    hub.end_of(hub.post("hub/backups")["id"])
    assert copy.name in [one["name"] for one in hub.get("hub/backups")]


def test_the_nightly_discard_of_what_may_not_be_deleted_is_skipped_and_says_so(
    hub: Served, tmp_path: Path
) -> None:
    corner = hub.give_corner(tmp_path, {"append_only": True})
    until(lambda: f"discard:{corner.nas}" in upcoming(corner))
    make_due(corner, f"discard:{corner.nas}")
    [run] = until(lambda: runs_by_themselves(corner, repository=corner.nas))
    done = corner.end_of(str(run["id"]))
    assert (done["outcome"], done["reason"]["code"]) == ("skipped", "admin_creds_required")


def test_a_second_hub_and_commands_beside_a_hub_are_refused(hub: Served) -> None:
    beside = hub.command("status")
    assert beside.returncode == 5
    assert b"--hub" in beside.stderr
    second = hub.command("serve", "--listen", "127.0.0.1:1")
    assert second.returncode == 5, second
