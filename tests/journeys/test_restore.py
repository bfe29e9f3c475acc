"""A restore never destroys: a new directory by default, in place only after the plan was shown and agreed to."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from journeys.station import Station
from testbed.trees import mixed_tree, same_tree


def below(target: Path, source: Path) -> Path:
    """Where a source comes back below a target."""
    return Path(f"{target}{source}")


def plan_of(station: Station, *arguments: str) -> Any:
    """The plan of a dry run."""
    answer = station.ask("restore", "docs", "--dry-run", *arguments)
    assert answer.json["dry_run"] is True
    return answer.json["plan"]


@pytest.fixture
def saved(each_station: Station) -> Station:
    """A station with one snapshot of a mixed tree."""
    each_station.add_job()
    mixed_tree(os.fsencode(each_station.source), files=6, deep_path_bytes=800)
    if each_station.restic.version < (0, 16, 0):
        (each_station.source / "links" / "not-utf-8").unlink()
    each_station.back_up()
    return each_station


def test_the_default_is_a_new_directory_below_the_current_one(station: Station) -> None:
    snapshot = station.back_up().step["snapshot_id"]
    first = station.ask("restore", "docs")
    expected = station.folder / f"restore-docs-{snapshot[:8]}"
    assert first.json["target"] == str(expected)
    assert same_tree(os.fsencode(station.source), os.fsencode(below(expected, station.source))) == []
    second = station.ask("restore", "docs")
    assert second.json["target"] == f"{expected}-2"
    assert station.ask("runs").json[0]["kind"] == "restore"


def test_a_restore_that_brought_nothing_leaves_no_directory(station: Station) -> None:
    snapshot = station.back_up().step["snapshot_id"]
    program = station.folder / "restic"
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" restore "*) exit 1;; esac\nexec "{station.restic.path}" "$@"\n'
    )
    program.chmod(0o755)
    station.settings["restic"] = str(program)
    station.ask("restore", "docs", status=1)
    station.ask("restore", "docs", "--target", str(station.folder / "not" / "there"), status=1)
    assert not (station.folder / "not").exists()
    (station.folder / "there").mkdir()
    station.ask("restore", "docs", "--target", str(station.folder / "there"), status=1)
    assert list((station.folder / "there").iterdir()) == [], "what was there stays"
    station.settings["restic"] = str(station.restic.path)
    found = station.ask("restore", "docs").json["target"]
    assert found == str(station.folder / f"restore-docs-{snapshot[:8]}")


def test_a_target_that_is_not_empty_loses_nothing(saved: Station) -> None:
    target = saved.folder / "target"
    there = below(target, saved.source) / "folder-0" / "file-0000.bin"
    there.parent.mkdir(parents=True)
    there.write_text("precious")
    (target / "other").write_text("also precious")
    answer = saved.call("restore", "docs", "--target", str(target))
    assert "1 kept unchanged" in answer.stderr
    assert str(there) in answer.stderr
    assert there.read_text() == "precious"
    assert (target / "other").read_text() == "also precious"
    assert answer.status in (0, 3)
    left = same_tree(os.fsencode(saved.source), os.fsencode(below(target, saved.source)))
    assert all("file-0000.bin" in line or "folder-0" in line or "root" in line for line in left), left
    saved.ask("restore", "docs", "--target", str(target), "--overwrite", "always")
    assert there.read_bytes() == (saved.source / "folder-0" / "file-0000.bin").read_bytes()
    assert (target / "other").read_text() == "also precious"


def test_in_place_brings_back_what_changed_and_nothing_else(saved: Station) -> None:
    source = saved.source
    changed, gone, new = (
        source / "folder-0" / "file-0000.bin",
        source / "folder-1" / "file-0001.bin",
        source / "new",
    )
    before, lost = changed.read_bytes(), gone.read_bytes()
    mode = saved.folder.stat().st_mode
    changed.write_text("changed")
    gone.unlink()
    new.write_text("made since")
    plan = plan_of(saved, "--in-place")
    assert (plan["new"]["files"], plan["replaced"]["files"]) == (1, 1)
    assert plan["target"] is None
    assert changed.read_text() == "changed"
    assert saved.ask("restore", "docs", "--in-place", status=2).error["code"] == "confirmation_required"
    assert changed.read_text() == "changed"
    answer = saved.ask("restore", "docs", "--in-place", "--yes")
    assert answer.step["outcome"] == "success"
    assert (changed.read_bytes(), gone.read_bytes()) == (before, lost)
    assert new.read_text() == "made since"
    assert saved.folder.stat().st_mode == mode
    plan = plan_of(saved, "--in-place")
    assert (plan["new"]["entries"], plan["replaced"]["entries"]) == (0, 0)


def test_whatever_the_order_of_sets_is(each_station: Station) -> None:
    """In a folder that others share; the station looks at what is around."""
    station = each_station
    shared = station.folder / "shared"
    source = shared / "source"
    station.add_job(sources=[str(source)])
    station.fill(folder=source)
    (source / "link").symlink_to("file-0001")
    shared.chmod(0o1777)
    station.back_up()
    station.own_process = True
    for seed in ("1", "2", "3"):
        (source / "file-0000").unlink()
        (source / "link").unlink()
        (source / "link").write_text("another kind")
        if seed == "3":
            shutil.rmtree(source)
        station.ask("restore", "docs", "--in-place", "--yes", PYTHONHASHSEED=seed)
        assert (source / "link").is_symlink()
        assert len(list(source.iterdir())) == 4


def test_a_dry_run_of_any_kind_changes_nothing(station: Station) -> None:
    station.back_up()
    (station.source / "file-0000").write_text("changed")
    target = station.folder / "target"
    assert plan_of(station, "--target", str(target))["new"]["files"] == 3
    assert plan_of(station)["new"]["files"] == 3
    assert not target.exists()
    assert not list(station.folder.glob("restore-*"))
    assert (station.source / "file-0000").read_text() == "changed"
    assert len(station.ask("runs").json) == 1


def test_links_never_lead_out_of_the_target(saved: Station) -> None:
    target, outside = saved.folder / "target", saved.folder / "outside"
    outside.mkdir()
    trap = below(target, saved.source)
    trap.mkdir(parents=True)
    (trap / "folder-0").symlink_to(outside)
    saved.call("restore", "docs", "--target", str(target), "--overwrite", "always")
    assert list(outside.iterdir()) == []


def test_snapshots_are_chosen_by_id_by_latest_and_by_date(station: Station) -> None:
    victim = station.source / "file-0000"
    ids = []
    for text in ("first", "second"):
        victim.write_text(text)
        ids.append(station.back_up().step["snapshot_id"])
    foreign = ["--tag", "hb:job=docs,hb:set=files", "--host", "station"]
    victim.write_text("of another")
    station.bare("backup", *foreign, str(station.source))
    between = station.ask("snapshots").json[1]["time"]

    def restored(*arguments: str) -> str:
        target = station.folder / f"target-{len(list(station.folder.iterdir()))}"
        station.ask("restore", "docs", "--target", str(target), *arguments)
        return below(target, victim).read_text()

    assert restored() == "second"
    assert restored("--snapshot", "latest") == "second"
    assert restored("-s", ids[0][:10]) == "first"
    assert restored("-s", between) == "second"
    assert restored("-s", "2099-12-31") == "second"


def test_only_the_named_paths_come_back(saved: Station) -> None:
    target = saved.folder / "target"
    one, folder = saved.source / "folder-0" / "file-0000.bin", saved.source / "links"
    answer = saved.ask("restore", "docs", "--target", str(target), "-p", str(one), "--path", f"{folder}/")
    assert answer.step["outcome"] == "success"
    assert sorted(path.name for path in below(target, saved.source).iterdir()) == ["folder-0", "links"]
    assert [path.name for path in below(target, one.parent).iterdir()] == [one.name]
    assert same_tree(os.fsencode(folder), os.fsencode(below(target, folder))) == []


def test_a_path_that_is_not_there_is_a_failure_and_makes_nothing(station: Station) -> None:
    station.back_up()
    target = station.folder / "target"
    for path in (str(station.nowhere), str(station.source / "fil*"), str(station.source / "file-0000" / "x")):
        answer = station.ask("restore", "docs", "--target", str(target), "--path", path, status=1)
        assert answer.step["reason"]["code"] == "path_unknown"
        assert not target.exists()


def test_a_target_that_is_a_file_is_refused(station: Station) -> None:
    station.back_up()
    target = station.folder / "file"
    target.write_text("mine")
    assert station.ask("restore", "docs", "--target", str(target), status=2).error["code"] == "usage"
    assert target.read_text() == "mine"


@pytest.mark.parametrize("target", ["", " "])
def test_a_target_that_names_nothing_is_refused(station: Station, target: str) -> None:
    station.back_up()
    before = sorted(station.folder.iterdir())
    error = station.ask("restore", "docs", "-y", "--target", target, status=2).error
    assert error["code"] == "usage"
    left = [
        path for path in station.folder.iterdir() if path not in before and not path.name.startswith("call-")
    ]
    assert left == []


def test_the_next_repository_helps_where_the_first_is_gone(station: Station) -> None:
    station.add_repository("second")
    station.add_job(repositories=["nas", "second"])
    station.back_up()
    station.path_of("nas").rename(station.folder / "away")
    answer = station.ask("restore", "docs", "--target", str(station.folder / "target"))
    assert answer.step["repository"] == "second"
    error = station.ask("restore", "docs", "-r", "nas", status=1).error
    assert error["code"] == "repository_gone"


def test_a_cancelled_restore_leaves_no_lock_and_tells_so(station: Station) -> None:
    station.fill(200, 20_000)
    station.back_up()
    going = station.start("--json", "restore", "docs", "--target", str(station.folder / "target"))
    going.send(15)
    answer = going.end()
    assert answer.status in (130, 0, -15), answer
    assert station.locks() == []
