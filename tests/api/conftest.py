"""One hub for all that asks without changing what others ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api.whole import Whole, whole_hub


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """A hub with one of everything, for this module's tests together."""
    folder = tmp_path_factory.mktemp("whole")
    with whole_hub(folder, folder / "highball.db") as hub:
        yield hub
