"""What stood in a restore's way is put aside, and is back where it was unless something took its place."""

import os
import tracemalloc
from pathlib import Path

import pytest

from highball.agent.restore.staging import (
    Staging,
    clear_away_staging,
    put_aside,
)
from highball.place.local_files import LocalFiles

NAME = ".highball-restore-1"


@pytest.fixture
def begun(tmp_path: Path) -> Staging:
    """A staging directory, as a restore makes it beside its target; nobody ends it."""
    return Staging(LocalFiles(), os.fsencode(tmp_path), NAME.encode()).__enter__()


@pytest.fixture
def staging(tmp_path: Path, begun: Staging) -> Path:
    """Where it is."""
    return tmp_path / NAME


def put(path: Path, staging: Staging) -> None:
    """Put aside what lies at a path, as a restore does, and be killed right after that."""
    with LocalFiles() as files:
        put_aside(files, os.fsencode(path), staging.inside)


def clear_away(staging: Path) -> OSError | None:
    """As whoever comes after a killed run does."""
    with LocalFiles() as files:
        return clear_away_staging(files, os.fsencode(staging))


def test_what_nothing_took_the_place_of_is_back(tmp_path: Path, staging: Path, begun: Staging) -> None:
    precious = [tmp_path / "one", tmp_path / "two\n\udcff"]
    for path in precious:
        path.write_text(path.name, errors="surrogateescape")
        put(path, begun)
        assert not path.exists()
    assert clear_away(staging) is None
    assert [path.read_text(errors="surrogateescape") for path in precious] == [p.name for p in precious]
    assert not staging.exists()


def test_what_was_replaced_as_the_plan_said_stays_replaced(
    tmp_path: Path, staging: Path, begun: Staging
) -> None:
    place = tmp_path / "place"
    place.write_text("a file where a folder belongs")
    put(place, begun)
    place.mkdir()
    assert clear_away(staging) is None
    assert place.is_dir()
    assert not staging.exists()


def test_what_cannot_be_put_back_is_kept(tmp_path: Path, staging: Path, begun: Staging) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    put(folder / "precious", begun)
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    assert clear_away(staging) is not None
    assert (staging / "aside-0").read_text() == "precious"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_staging_directory_without_anything_aside_goes(staging: Path) -> None:
    (staging / "restored").mkdir()
    assert clear_away(staging) is None
    assert not staging.exists()


def test_the_folder_around_it_keeps_its_time(tmp_path: Path) -> None:
    os.utime(tmp_path, ns=(1, 1_000_000_000_123_456_789))
    with Staging(LocalFiles(), os.fsencode(tmp_path), NAME.encode()) as staging:
        staging.inside.make_folder(b"/restored").__exit__()
        assert tmp_path.stat().st_mtime_ns == 1_000_000_000_123_456_789
    assert staging.left is None
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mtime_ns == 1_000_000_000_123_456_789


def test_a_folder_that_is_not_of_our_making_is_left(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "precious").write_text("precious")
    assert clear_away(tmp_path / NAME) is not None
    assert (tmp_path / NAME / "precious").read_text() == "precious"


def test_what_was_put_in_its_place_is_left(tmp_path: Path) -> None:
    with Staging(LocalFiles(), os.fsencode(tmp_path), NAME.encode()) as staging:
        (tmp_path / NAME).rename(tmp_path / "moved")
        (tmp_path / NAME).mkdir()
        (tmp_path / NAME / "precious").write_text("precious")
    assert staging.left is not None
    assert (tmp_path / NAME / "precious").read_text() == "precious"


def test_a_note_of_what_was_put_aside_takes_no_more_memory_than_it_needs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tracemalloc.start()
    try:
        with LocalFiles() as files, Staging(files, os.fsencode(tmp_path), NAME.encode()) as staging:
            put_aside(files, os.fsencode(tmp_path / "file"), staging.inside)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert (tmp_path / "file").exists()
