"""Restores that a hub orders: what was asked for comes back, and everything around it is photographed."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hub.served import Corner, Served

OLD, NEW = 1_000_000_000_000_000_000, 1_500_000_000_123_456_789


@pytest.fixture
def saved(corner: Corner) -> tuple[Corner, str]:
    """A corner with one snapshot of a small tree, whose mine and theirs can be told apart."""
    for name in ("same", "older", "gone", "sub/deep", "kind/inner"):
        (corner.source / name).parent.mkdir(exist_ok=True)
        (corner.source / name).write_text(f"saved {name}")
        os.utime(corner.source / name, ns=(NEW, NEW))
    (corner.source / "sub").chmod(0o711)
    corner.folder.chmod(0o1777)
    (corner.folder / "beside").write_text("not of the job")
    return corner, corner.back_up()["steps"][0]["snapshot_id"]


def spoil(source: Path) -> None:
    """Lose one entry, change another, and put a link and a folder where others were."""
    (source / "gone").unlink()
    (source / "older").write_text("older, and mine")
    os.utime(source / "older", ns=(OLD, OLD))
    shutil.rmtree(source / "kind")
    (source / "kind").symlink_to("/nowhere")
    (source / "same").unlink()
    (source / "same").mkdir()
    (source / "mine").write_text("in no snapshot")


def bring_back(corner: Corner, snapshot: str, outcome: str = "success", **more: Any) -> None:
    """Have a restore end so."""
    done = corner.end_of(corner.order("restore", snapshot=snapshot, **more))
    assert done["outcome"] == outcome, (done["reason"], corner.said)


def test_in_place_where_things_are_of_another_kind(saved: tuple[Corner, str]) -> None:
    corner, snapshot = saved
    spoil(corner.source)
    bring_back(corner, snapshot, "warning", paths=[str(corner.source)], overwrite="if-changed")
    for name in ("older", "gone", "sub/deep", "kind/inner"):
        assert (corner.source / name).read_text() == f"saved {name}"
    assert (corner.source / "same").is_dir(), "a folder is never taken away, were it empty"
    assert (corner.source / "mine").read_text() == "in no snapshot"


def test_in_place_where_all_of_it_is_lost(saved: tuple[Corner, str]) -> None:
    corner, snapshot = saved
    shutil.rmtree(corner.source)
    bring_back(corner, snapshot, paths=[str(corner.source)], overwrite="always")
    assert (corner.source / "sub").stat().st_mode & 0o7777 == 0o711
    assert (corner.source / "kind" / "inner").read_text() == "saved kind/inner"


def test_one_file_in_place_and_beside_what_is_there(saved: tuple[Corner, str]) -> None:
    corner, snapshot = saved
    wanted = corner.source / "sub" / "deep"
    wanted.unlink()
    bring_back(corner, snapshot, paths=[str(wanted)])
    assert wanted.read_text() == "saved sub/deep"
    target = corner.folder / "target"
    (target / corner.source.relative_to("/")).mkdir(parents=True)
    (target / "mine").write_text("in no snapshot")
    bring_back(corner, snapshot, paths=[str(corner.source)], target=str(target))
    assert (target / wanted.relative_to("/")).read_text() == "saved sub/deep"


def test_with_the_oldest_restic_too(machine_of_old: Served) -> None:
    served = machine_of_old
    (served.source / "sub").mkdir()
    (served.source / "sub" / "deep").write_text("saved sub/deep")
    snapshot = served.back_up()["steps"][0]["snapshot_id"]
    served.folder.chmod(0o1777)
    (served.source / "sub" / "deep").unlink()
    (served.source / "letter").unlink()
    (served.source / "letter").symlink_to("/nowhere")
    bring_back(served, snapshot, paths=[str(served.source)], overwrite="if-changed")
    assert (served.source / "letter").read_text() == "dear reader"
    shutil.rmtree(served.source)
    bring_back(served, snapshot, paths=[str(served.source)], overwrite="never")
    assert (served.source / "sub" / "deep").read_text() == "saved sub/deep"
