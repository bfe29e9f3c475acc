"""Stations: one with the newest restic for what versions cannot change, one with each restic for what they can."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from journeys.station import Station
from testbed import parts
from testbed.restic import ResticBinary


@pytest.fixture(autouse=True)
def record(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With HIGHBALL_TESTS_DATABASE=postgresql the journeys keep their record there, each in a database of its own."""
    if os.environ.get("HIGHBALL_TESTS_DATABASE") == "postgresql":
        monkeypatch.setattr(Station, "database", request.getfixturevalue("postgres"))


@pytest.fixture
def station(newest_restic: ResticBinary, tmp_path: Path) -> Iterator[Station]:
    """A machine with one repository, that is there already, and one job: three small files."""
    made = ready(tmp_path, newest_restic)
    yield made
    made.close()


@pytest.fixture(params=[parts.RESTIC_VERSIONS[0], parts.RESTIC_VERSIONS[-1]])
def each_station(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Station]:
    """The same with the oldest and with the newest restic, between which most differences lie."""
    made = ready(tmp_path, parts.get_restic(request.param))
    yield made
    made.close()


@pytest.fixture
def every_station(restic: ResticBinary, tmp_path: Path) -> Iterator[Station]:
    """The same with each restic in turn: for what each of them does in its own way."""
    made = ready(tmp_path, restic)
    yield made
    made.close()


@pytest.fixture
def bare_station(newest_restic: ResticBinary, tmp_path: Path) -> Iterator[Station]:
    """A machine where nothing is declared yet."""
    made = Station(tmp_path / "station", newest_restic)
    yield made
    made.close()


def ready(folder: Path, restic: ResticBinary) -> Station:
    """A station with the usual repository and job."""
    made = Station(folder / "station", restic)
    made.add_repository()
    made.add_job()
    made.fill()
    return made
