"""A repository of another engine, over the wire: a hub orders, its agent does, and neither starts a restic."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.served import Elsewhere, Served, Table
from journeys.test_second_engine import KNOWS_IT
from testbed.restic import ResticBinary
from testbed.trees import same_tree


@pytest.fixture
def copies(tmp_path: Path, newest_restic: ResticBinary) -> Iterator[Served]:
    """A hub that is not started yet, whose machine knows the second engine and has no restic that could be started."""
    made = Served(tmp_path / "hub", newest_restic, knows=KNOWS_IT)
    made.tables["settings"]["restic"] = str(made.folder / "no-restic")
    made.tables["repositories"]["nas"] = {"engine": "copies", "folder": str(tmp_path / "copies")}
    made.tables["jobs"]["docs"]["retention"] = {"last": 1}
    try:
        yield made
    finally:
        made.end_everything()


def step_of(served: Served, task: str, **about: object) -> Table:
    """The only step of a run that was ordered, which has to be a success."""
    done = served.end_of(served.order(task, **about))
    assert done["outcome"] == "success", (done, served.said)
    found: list[Table] = done["steps"]
    assert len(found) == 1, found
    return found[0]


def test_the_whole_way(copies: Served, tmp_path: Path) -> None:
    copies.serve()
    found = copies.post("repositories/nas/test")
    assert (found["state"], found["action"]) == ("uninitialised", "init")
    form = {"act": "test", "engine": "copies", "folder": str(tmp_path / "other"), "key": "other"}
    page = copies.http.post(f"{copies.url}/repositories/new", data=form)
    assert "There is no repository there yet" in page.text
    assert step_of(copies, "init")["reason"]["code"] == "made"
    found = copies.post("repositories/nas/test")
    assert (found["state"], found["restic"]) == ("empty", None)
    assert (found["engine"], found["version"]) == ("copies", "1")
    facts = copies.agent["facts"]
    assert (facts["restic"], facts["copies"]) == (None, "1")

    first = step_of(copies, "backup")
    [run] = copies.get("runs", kind="backup")["items"]
    said = copies.http.get(f"runs/{run['id']}/log").text
    assert f"copies: Snapshot {first['snapshot_id'][:8]} saved in nas" in said
    assert "restic:" not in said
    (copies.source / "new").write_text("a new file")
    second = step_of(copies, "backup")
    assert (second["files_new"], second["files_unmodified"]) == (1, 1)
    listed = copies.get("repositories/nas/snapshots")
    assert {one["id"] for one in listed} == {first["snapshot_id"], second["snapshot_id"]}
    [standing] = copies.get("status")
    assert (standing["state"], standing["snapshots"]) == ("healthy", 2)

    step_of(copies, "check")
    assert step_of(copies, "verify", job="docs")["reason"]["code"] == "compared"
    [plan] = copies.get("repositories/nas/retention")
    assert (plan["held"], [one["id"] for one in plan["remove"]]) == (None, [first["snapshot_id"]])
    assert step_of(copies, "forget")["snapshots_removed"] == [first["snapshot_id"]]
    step_of(copies, "prune")
    assert copies.get("repositories/nas/locks") == []

    about = {"job": "docs", "snapshot": second["snapshot_id"], "paths": [str(copies.source)]}
    target = tmp_path / "hub" / "back"
    step_of(copies, "restore", **about, target=str(target))
    assert same_tree(os.fsencode(copies.source), os.fsencode(target) + os.fsencode(copies.source)) == []
    (copies.source / "letter").unlink()
    step_of(copies, "restore", **about, overwrite="never")
    assert (copies.source / "letter").read_text() == "dear reader"


def test_a_hub_saves_itself_there_and_comes_back(copies: Served) -> None:
    copies.tables["settings"]["backup_repository"] = "nas"
    copies.serve()
    step_of(copies, "init")
    step_of(copies, "backup")
    done = copies.end_of(copies.post("hub/backups")["id"])
    assert done["outcome"] == "success", (done, copies.said)
    assert copies.end_hub() == 0
    shutil.rmtree(copies.state)
    for words in (["rebuild"], ["restore-backup", "--yes"]):
        told = copies.command("hub", *words)
        assert told.returncode == 0, told.stderr
    copies.serve()
    [standing] = copies.get("status")
    assert standing["snapshots"] == 1


def test_an_agent_that_does_not_know_the_engine_says_so(copies: Served, tmp_path: Path) -> None:
    copies.serve()
    copies.post("hosts?key=laptop", {})
    with Elsewhere(tmp_path / "laptop", copies, "laptop") as laptop:
        laptop.join()
        spec = {"engine": "copies", "folder": str(tmp_path / "far"), "maintained_by": "laptop"}
        copies.post("repositories?key=far", spec)
        asked = copies.http.post("repositories/far/test").json()
        done = copies.end_of(copies.post("runs", {"task": "init", "repository": "far"})["id"])
        assert (asked["code"], done["reason"]["code"]) == ("unsupported", "unsupported")
