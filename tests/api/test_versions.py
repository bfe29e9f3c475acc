"""Which version this is, is told to those who are logged in, and to nobody else."""

from __future__ import annotations

from api.whole import Whole
from highball import __version__
from highball.model.role import Role


def test_strangers_hear_that_the_hub_answers_and_not_which_version_it_is(whole: Whole) -> None:
    stranger, viewer = whole.client(None), whole.client(Role.VIEWER)
    assert stranger.get("/healthz").json() == {"status": "ok"}
    assert viewer.get("/healthz").json() == {"status": "ok", "version": __version__}
    for client, version in ((stranger, "-"), (viewer, __version__)):
        told = client.get("/api/v1/openapi.json").json()
        assert told["info"]["version"] == version
        assert told["paths"]
    assert __version__ not in stranger.get("/api/v1/openapi.json").text
