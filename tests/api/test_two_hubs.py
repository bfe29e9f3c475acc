"""Two hubs in one process: each app answers of its own hub, as no module holds one."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.whole import ANNA, NOW, whole_hub
from highball.config.roles import User


@pytest.mark.parametrize("address", ["/configuration", "/profiles", "/settings/users", "/api/v1/users"])
def test_an_app_answers_of_its_own_hub_alone(tmp_path: Path, address: str) -> None:
    with whole_hub(tmp_path / "first") as first, whole_hub(tmp_path / "second") as second:
        for whole, name in ((first, "only-here"), (second, "only-there")):
            whole.hub.documents.create("profile", name, {"schedule": "daily"}, now=NOW, actor=ANNA)
            whole.hub.access.create_user(name, User(), ANNA, NOW)
        for _ in range(2):  # each was asked before the other, too
            here, there = first.client().get(address), second.client().get(address)
            assert (here.status_code, there.status_code) == (200, 200)
            assert "only-here" in here.text and "only-there" not in here.text
            assert "only-there" in there.text and "only-here" not in there.text
