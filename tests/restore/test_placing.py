"""What stood in a restore's way is put aside, and is back where it was unless something took its place."""

import os
from pathlib import Path

import pytest

from highball.agent.ground import Ground
from highball.agent.placing import clear_away_staging, put_aside


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """A staging directory, as a restore makes it beside its target."""
    path = tmp_path / ".highball-restore-1"
    path.mkdir()
    return path


def put(path: Path, staging: Path, number: int = 0) -> None:
    """Put aside what lies at a path, as a restore does, and be killed right after that."""
    with Ground() as ground:
        put_aside(ground, os.fsencode(path), os.fsencode(staging), number)


def test_what_nothing_took_the_place_of_is_back(tmp_path: Path, staging: Path) -> None:
    precious = [tmp_path / "one", tmp_path / "two\n\udcff"]
    for number, path in enumerate(precious):
        path.write_text(path.name, errors="surrogateescape")
        put(path, staging, number)
        assert not path.exists()
    assert clear_away_staging(os.fsencode(staging)) is None
    assert [path.read_text(errors="surrogateescape") for path in precious] == [p.name for p in precious]
    assert not staging.exists()


def test_what_was_replaced_as_the_plan_said_stays_replaced(tmp_path: Path, staging: Path) -> None:
    place = tmp_path / "place"
    place.write_text("a file where a folder belongs")
    put(place, staging)
    place.mkdir()
    assert clear_away_staging(os.fsencode(staging)) is None
    assert place.is_dir()
    assert not staging.exists()


def test_what_cannot_be_put_back_is_kept(tmp_path: Path, staging: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    put(folder / "precious", staging)
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    assert clear_away_staging(os.fsencode(staging)) is not None
    assert (staging / "aside-0").read_text() == "precious"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_staging_directory_without_anything_aside_goes(staging: Path) -> None:
    (staging / "restored").mkdir()
    assert clear_away_staging(os.fsencode(staging)) is None
    assert not staging.exists()
