"""The app: every address of the hub, its errors as problems, who asks proved before anything is answered."""

from __future__ import annotations

import warnings
from dataclasses import replace

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic.warnings import UnsupportedFieldAttributeWarning

from highball import __version__
from highball.hub.hub import Hub
from highball.hub.runs.record import utc_now
from highball.web import agent_socket, error_responses
from highball.web.api import (
    accounts,
    audit_log,
    connection_tests,
    declared,
    foreign_snapshots,
    hosts,
    login,
    maintenance,
    oidc,
    overview,
    own_account,
    own_tokens,
    recovery,
    repositories,
    repository_keys,
    runs,
    schedule,
    sealed_secrets,
    tokens,
)
from highball.web.dependencies import equip
from highball.web.middleware import (
    Guard,
    Rules,
    find_known,
)
from highball.web.pages import (
    activity,
    configuration,
    elsewhere,
    entrance,
    folders,
    history,
    job_form,
    jobs,
    keyrings,
    keys,
    loss,
    people,
    profiles,
    repair,
    repository_form,
    second_factor,
    settings,
    snapshots,
    start,
    trends,
)
from highball.web.pages import hosts as hosts_page
from highball.web.pages import maintenance as maintenance_page
from highball.web.pages import overview as overview_page
from highball.web.pages import repositories as repositories_page
from highball.web.pages import restore as restore_page
from highball.web.pages import runs as runs_page
from highball.web.query_parameters import refuse_unknown_parameters
from highball.web.subpath import SubPath
from highball.web.ui.templating import Assets, Pages

# FastAPI names its bodies by an alias that pydantic has no use for where a class is built late: no fault of anybody's.
warnings.filterwarnings("ignore", category=UnsupportedFieldAttributeWarning)


def make_app(hub: Hub, rules: Rules | None = None, root: str = "") -> FastAPI:
    """The app on a hub, by the rules of its installation, below this path."""
    app = FastAPI(
        title="Highball",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=error_responses.REFUSALS,
    )
    error_responses.register(app)
    pages = Pages(hub)
    equip(app, hub, pages)
    rules = replace(rules or Rules(), streams=("/agent/v1/bulk/",), lasting=("/api/v1/stream",))
    app.add_middleware(
        Guard,
        access=hub.access,
        clock=utc_now,
        rules=rules,
        draw=pages.answer_error,
        limits=hub.bus.limits,
    )
    if root:
        app.add_middleware(SubPath, root=root)
    _add_addresses(app)
    app.mount("/static", Assets())
    _add_pages(app, pages)
    app.include_router(itself)
    return app


def _add_addresses(app: FastAPI) -> None:
    """Those for programs; agents have theirs."""
    strict = [Depends(refuse_unknown_parameters)]
    for router in (
        login.router,
        own_account.router,
        own_tokens.router,
        accounts.router,
        tokens.router,
        audit_log.router,
        sealed_secrets.router,
        declared.router,
        overview.router,
        runs.router,
        hosts.router,
        connection_tests.router,
        repositories.router,
        foreign_snapshots.router,
        maintenance.router,
        schedule.router,
        recovery.router,
        repository_keys.router,
        oidc.router,
    ):
        app.include_router(router, dependencies=strict)
    app.include_router(agent_socket.router)


def _add_pages(app: FastAPI, pages: Pages) -> None:
    """Those for people, and what went wrong shown as one of them."""
    for router in (
        entrance.router,
        start.router,
        overview_page.router,
        runs_page.router,
        restore_page.router,
        snapshots.router,
        repository_form.router,
        keyrings.router,
        loss.router,
        repair.router,
        repositories_page.router,
        maintenance_page.router,
        hosts_page.router,
        settings.router,
        second_factor.router,
        elsewhere.router,
        people.router,
        activity.router,
        history.router,
        keys.router,
        configuration.router,
        profiles.router,
        folders.router,
        job_form.router,
        trends.router,
        jobs.router,
    ):
        app.include_router(router, dependencies=[Depends(pages.note_news)])
    error_responses.show_on_pages(app, pages.answer_error, pages.ask_to_log_in, pages.ask_to_confirm)


itself = APIRouter(include_in_schema=False)
"""What an app tells of itself, to whoever asks."""


@itself.get("/healthz")
async def healthz(request: Request) -> dict[str, str]:
    """Whether the hub answers, for whoever restarts it when not; which version it is, whoever is logged in.

    No thread is needed for that.
    """
    told = {"status": "ok"}
    return told if find_known(request) is None else told | {"version": __version__}


@itself.get("/api/v1/openapi.json")
def describe(request: Request) -> JSONResponse:
    """The whole API; which version it is of, whoever is logged in."""
    told = request.app.openapi()
    if find_known(request) is None:
        told = told | {"info": told["info"] | {"version": "-"}}
    return JSONResponse(told)
