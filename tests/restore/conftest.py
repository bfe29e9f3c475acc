"""A bench for every version of restic."""

from pathlib import Path

import pytest

from restore.bench import Bench
from testbed.restic import ResticBinary


@pytest.fixture
def bench(restic: ResticBinary, tmp_path: Path) -> Bench:
    """A repository of its own, with each restic in turn."""
    return Bench(tmp_path / "bench", restic)
