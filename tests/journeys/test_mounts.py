"""What is mounted in a source, or is one: what of it is saved, and what is said where nothing is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from journeys.station import Station


@pytest.fixture
def mounted(each_station: Station) -> Iterator[Path]:
    """A source in which a folder of the same file system is mounted, and another file system."""
    each_station.fill(1)
    kept = each_station.folder / "kept"
    kept.mkdir()
    (kept / "bound").write_text("of the same file system")
    mounts: dict[Path, list[str | Path]] = {
        each_station.source / "bind": ["--bind", kept],
        each_station.source / "disk": ["-t", "tmpfs", "none"],
    }
    try:
        for at, what in mounts.items():
            at.mkdir()
            if subprocess.run(["mount", *what, at], capture_output=True, check=False).returncode != 0:
                pytest.skip("needs the right to mount")
        (each_station.source / "disk" / "other").write_text("of another file system")
        yield each_station.source
    finally:
        for at in mounts:
            subprocess.run(["umount", "-l", at], capture_output=True, check=False)


def saved(station: Station) -> set[str]:
    """The names of what the newest snapshot holds."""
    newest = station.snapshots()[-1]
    return {Path(line).name for line in station.bare("ls", newest["id"]).decode().splitlines()[1:]}


def test_a_bind_mount_in_a_source_is_saved_and_another_file_system_where_it_may_be(
    each_station: Station, mounted: Path
) -> None:
    each_station.back_up()
    assert {"bound", "other"} <= saved(each_station)
    each_station.add_job(one_file_system=True)
    each_station.back_up()
    assert "bound" in saved(each_station), "it is of the same file system"
    assert "disk" in saved(each_station) and "other" not in saved(each_station)


def test_a_mount_that_is_a_source_is_saved_with_one_file_system_too(
    each_station: Station, mounted: Path
) -> None:
    each_station.add_job(sources=[str(mounted / "bind"), str(mounted / "disk")], one_file_system=True)
    each_station.back_up()
    assert {"bound", "other"} <= saved(each_station)


def test_a_source_of_which_only_another_file_system_would_be_saved_is_no_success(
    each_station: Station, mounted: Path
) -> None:
    each_station.add_job(sources=[str(mounted)], exclude=["bind", "file*"], one_file_system=True)
    step = each_station.back_up(status=3).step
    [warning] = step["warnings"]
    assert warning["code"] == "source_left_out" and "one_file_system" in warning["message"]
