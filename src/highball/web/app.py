"""The app: every address of the hub, its errors as problems, who asks proved before anything is answered."""

from __future__ import annotations

from fastapi import FastAPI

from highball import __version__
from highball.hub.hub import Hub
from highball.web import agents, problems
from highball.web.api import runs


def make_app(hub: Hub) -> FastAPI:
    """The app on a hub."""
    app = FastAPI(
        title="Highball",
        version=__version__,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.register(app)
    app.include_router(runs.make_router(hub))
    app.include_router(agents.make_router(hub.fleet))

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, str]:
        """Whether the hub answers, for whoever restarts it when not."""
        return {"status": "ok", "version": __version__}

    return app
