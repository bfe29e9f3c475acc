"""A hub of its own for each test; `served` has one that answers already."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.served import Served, serve
from testbed.restic import ResticBinary


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
