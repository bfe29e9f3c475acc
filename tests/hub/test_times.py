"""What a hub does by itself: fires that become runs, pauses, the copy of its own database, one hub for a state."""

import os
import signal
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from highball.hub.db import fires, open_database
from hub.served import Served
from journeys.station import until


def make_due(served: Served, subject: str) -> str:
    """Let a time of a subject have come a moment ago; returns it."""
    nominal = (datetime.now(UTC) - timedelta(seconds=1)).replace(microsecond=0)
    with open_database(served.state / "highball.db").write() as connection:
        here = fires.c.subject == subject
        changed = connection.execute(fires.update().where(here).values(next_at=nominal, due_at=nominal))
        assert changed.rowcount == 1, connection.execute(sa.select(fires)).all()
    return nominal.isoformat().replace("+00:00", "Z")


def runs_by_themselves(served: Served) -> list[dict[str, object]]:
    """The runs that no person ordered."""
    return [run for run in served.get("runs")["items"] if run["origin"] == "schedule"]


def test_a_fire_becomes_one_run(machine: Served) -> None:
    machine.tables["jobs"]["docs"]["schedule"] = "daily"
    machine.serve()
    assert "backup:docs" in {one["subject"] for one in machine.get("upcoming")}
    nominal = make_due(machine, "backup:docs")
    [run] = until(lambda: runs_by_themselves(machine))
    assert run["nominal_at"] == nominal
    assert machine.end_of(str(run["id"]))["outcome"] == "success"
    machine.kill_hub()
    make_due_again = nominal
    machine.serve()
    assert [one["nominal_at"] for one in runs_by_themselves(machine)] == [make_due_again]


def test_a_paused_job_does_not_fire(machine: Served) -> None:
    machine.tables["jobs"]["docs"]["schedule"] = "daily"
    machine.serve()
    [pause] = machine.post("jobs/docs/pause", {"reason": "moving house"})
    assert (pause["subject"], pause["reason"]) == ("backup:docs", "moving house")
    assert "backup:docs" not in {one["subject"] for one in machine.get("upcoming")}
    assert machine.back_up()["origin"] == "manual", "who says now means now"
    assert machine.post("jobs/docs/resume") == []
    assert "backup:docs" in {one["subject"] for one in machine.get("upcoming")}


def test_the_hub_copies_its_own_database(served: Served) -> None:
    make_due(served, "hub-backup:hub")
    [run] = until(lambda: runs_by_themselves(served))
    done = served.end_of(str(run["id"]))
    assert done["outcome"] == "success", done
    [copy] = (served.state / "backups").iterdir()
    assert copy.stat().st_mode & 0o777 == 0o600
    served.end_of(served.post("hub/backups")["id"])
    assert copy.name in [one["name"] for one in served.get("hub/backups")]


def test_the_nightly_discard_of_what_may_not_be_deleted_is_skipped_and_says_so(machine: Served) -> None:
    machine.tables["repositories"]["nas"]["append_only"] = True
    machine.serve()
    make_due(machine, "discard:nas")
    [run] = until(lambda: runs_by_themselves(machine))
    done = machine.end_of(str(run["id"]))
    assert (done["outcome"], done["reason"]["code"]) == ("skipped", "admin_creds_required")


def test_a_second_hub_and_commands_beside_a_hub_are_refused(served: Served) -> None:
    beside = served.command("status")
    assert beside.returncode == 5
    assert b"--hub" in beside.stderr
    second = served.command("serve", "--listen", "127.0.0.1:1")
    assert second.returncode == 5, second
    os.kill(served.agent_pid, signal.SIGTERM)
