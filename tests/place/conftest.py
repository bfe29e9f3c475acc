"""This machine and the second place, side by side."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from highball.place.base import DeclaredPlace
from highball.place.kinds import KINDS
from highball.place.local import LocalMachine
from testbed import jail
from testbed.jail import DeclaredJail, jailed
from testbed.restic import ResticBinary

ALL: tuple[type[DeclaredPlace], ...] = (*KINDS, DeclaredJail)


@pytest.fixture(scope="module")
def declared_jail(
    newest_restic: ResticBinary, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DeclaredJail]:
    """The second place, with a restic of its own, as long as the tests of a module need it."""
    if os.geteuid() != 0:
        pytest.skip("needs the right to mount")
    jail.register()
    try:
        with jailed(tmp_path_factory.mktemp("jail") / "root", newest_restic.path) as made:
            yield made
    finally:
        jail.forget()


@pytest.fixture(params=ALL, ids=lambda kind: kind.name)
def declared(request: pytest.FixtureRequest) -> DeclaredPlace:
    """Each kind of place in turn; who lists a kind without a bench for it here fails."""
    if request.param is LocalMachine:
        return LocalMachine()
    if request.param is DeclaredJail:
        made: DeclaredJail = request.getfixturevalue("declared_jail")
        return made
    pytest.fail(f"{request.param.name} has no bench")


@pytest.fixture
def root(declared: DeclaredPlace) -> Path:
    """Where its `/` is to be seen on this machine."""
    return Path(f"/proc/{declared.keeper}/root") if isinstance(declared, DeclaredJail) else Path("/")
