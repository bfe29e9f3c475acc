"""A corner of a hub that serves all tests; and a hub of a test's own, to be configured, killed or started again."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hub.served import PASSWORD, Corner, Served, serve
from testbed.restic import ResticBinary


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory, newest_restic: ResticBinary) -> Iterator[Served]:
    """A hub for all that do each other no harm: who asks it leaves it running and its settings alone."""
    with serve(tmp_path_factory.mktemp("hub"), newest_restic) as served:
        served.serve()
        yield served


@pytest.fixture
def corner(hub: Served, tmp_path: Path) -> Corner:
    """A repository and a job of the test's own at that hub."""
    return hub.give_corner(tmp_path)


@pytest.fixture
def sealed(hub: Served, tmp_path: Path) -> Corner:
    """A corner whose repository is opened by a password that the hub keeps sealed."""
    corner = hub.give_corner(tmp_path, {"password": {"sealed": True}})
    corner.seal(PASSWORD)
    corner.back_up()
    return corner


@pytest.fixture
def plain(hub: Served) -> Iterator[httpx.Client]:
    """A browser without script, logged in at that hub."""
    told = {"origin": hub.url}
    with httpx.Client(base_url=hub.url, headers=told, trust_env=False, timeout=60) as client:
        client.post("/login", data={"name": "anna", "password": "correct horse battery"})
        yield client


@pytest.fixture
def machine(tmp_path: Path, newest_restic: ResticBinary) -> Iterator[Served]:
    """A machine whose hub is not started yet."""
    with serve(tmp_path, newest_restic) as served:
        yield served


@pytest.fixture
def served(machine: Served) -> Served:
    """A machine whose hub serves."""
    machine.serve()
    return machine


@pytest.fixture
def machine_of_old(tmp_path: Path, oldest_restic: ResticBinary) -> Iterator[Served]:
    """A machine whose hub serves, with the oldest restic."""
    with serve(tmp_path, oldest_restic) as served:
        served.serve()
        yield served
