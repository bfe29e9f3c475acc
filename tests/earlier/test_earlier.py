"""What an earlier version left (see `make`) opens unchanged: on one machine, and as a hub with its agent."""

from __future__ import annotations

import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from earlier.make import HERE, SAMPLE
from hub.served import Served
from testbed.restic import ResticBinary


@pytest.fixture
def earlier(tmp_path: Path, newest_restic: ResticBinary) -> Iterator[Served]:
    """The machine of the sample, with the program of today."""
    served = Served(tmp_path / "machine", newest_restic)
    shutil.rmtree(served.folder)
    unpack(served.folder)
    served.tables = YAML(typ="safe").load(served.configuration)
    served.tables["settings"]["restic"] = str(newest_restic.path)
    (served.folder / "home").mkdir()
    served.http.headers["authorization"] = (served.folder / "token").read_text()
    try:
        yield served
    finally:
        served.end_everything()


def unpack(folder: Path) -> None:
    """Put everything where it would be, had it been made here."""
    with tarfile.open(SAMPLE) as archive:
        archive.extractall(folder, filter="data")
    for path in folder.rglob("*"):
        if path.is_file() and HERE.encode() in (text := path.read_bytes()):
            path.write_bytes(text.replace(HERE.encode(), bytes(folder)))
    for script in folder.rglob("*.sql"):
        with closing(sqlite3.connect(script.with_suffix(".db"))) as connection:
            connection.executescript(script.read_text())
        script.with_suffix(".db").chmod(0o600)


def test_one_machine_goes_on_where_it_was(earlier: Served, tmp_path: Path) -> None:
    told = earlier.command("status", "--json")
    assert told.returncode == 0, told.stderr
    assert earlier.command("runs").stdout.count(b"docs") >= 2
    assert earlier.command("run", "docs").returncode == 0
    assert earlier.command("forget", "docs", "--yes").returncode == 0
    assert earlier.command("verify", "docs").returncode == 0
    target = tmp_path / "back"
    done = earlier.command("restore", "docs", "--target", str(target), "--yes")
    assert done.returncode == 0, done.stderr
    assert [path.read_text() for path in target.rglob("letter")] == ["dear reader, once more"]


def test_a_hub_goes_on_where_it_was(earlier: Served) -> None:
    earlier.serve()
    jobs = {one["key"]: one for one in earlier.get("jobs")["items"]}
    assert set(jobs) == {"docs", "pictures"}
    [pause] = earlier.get("pauses")
    assert (pause["subject"], pause["reason"]) == ("backup:pictures", "on holiday")
    assert earlier.get("pins/first")["spec"]["reason"] == "the first of the hub"
    assert earlier.get("users/vera")["role"] == "viewer"
    made = datetime.fromtimestamp((earlier.folder / "token").stat().st_mtime, UTC)
    known = earlier.get("runs", limit=100)["items"]
    before = [run for run in known if datetime.fromisoformat(run["created_at"]) < made]
    assert len(before) == 8
    assert {one["outcome"] for one in before} == {"success"}
    for run in before:
        assert earlier.events(run["id"])[-1]["type"] == "run.ended"
        assert earlier.http.get(f"runs/{run['id']}/log").is_success

    assert earlier.back_up()["outcome"] == "success"
    sealed = earlier.end_of(earlier.post("runs", {"task": "backup", "job": "pictures"})["id"])
    assert sealed["outcome"] == "success", sealed
    for task in ("check", "forget", "prune", "stats"):
        done = earlier.end_of(earlier.order(task))
        assert done["outcome"] == "success", done
    held = {one["id"] for one in earlier.get("repositories/nas/snapshots")}
    assert earlier.get("pins/first")["spec"]["snapshot"] in held
    assert len(held) >= 2
