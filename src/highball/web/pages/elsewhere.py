"""Logging in with the provider of an organisation: the way there, and the way back."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from highball.errors import HighballError
from highball.hub.auth.single_sign_on import BACK_WITHIN
from highball.hub.runs.record import utc_now
from highball.web.dependencies import TheHub, ThePages
from highball.web.middleware import (
    find_known,
    give_cookie,
    give_way_cookie,
    read_way_cookie,
    take_way_cookie,
    url_of,
)
from highball.web.pages.entrance import whence
from highball.web.ui.templating import Pages, go

BACK = "login/provider/back"
_TOLD = ("code", "state", "error", "error_description", "iss")
LONGEST = 8192
"""Codes of some providers are long; nothing else is."""

router = APIRouter(include_in_schema=False)


@router.get("/login/provider")
def depart(hub: TheHub, pages: ThePages, request: Request, to: str = "/", again: str = "") -> Response:
    known = find_known(request)
    if known is not None and not again:
        return go(to)
    try:
        departure = hub.sign_on.depart(_back(request), to, utc_now(), again=bool(again and known))
    except HighballError as error:
        return _refuse(pages, request, error, to)
    response = RedirectResponse(departure.address, 303)
    give_way_cookie(request, response, departure.cookie, BACK_WITHIN)
    return response


@router.get(f"/{BACK}")
def arrive(hub: TheHub, pages: ThePages, request: Request) -> Response:
    told = {name: value[:LONGEST] for name, value in request.query_params.items() if name in _TOLD}
    now = utc_now()
    try:
        arrival = hub.sign_on.arrive(read_way_cookie(request), told, _back(request), now)
        began = hub.access.welcome(arrival, now, former=find_known(request), **whence(request))
    except HighballError as error:
        response = _refuse(pages, request, error, "/")
        take_way_cookie(request, response)
        return response
    response = go(arrival.to)
    take_way_cookie(request, response)
    give_cookie(request, response, began)
    return response


def _back(request: Request) -> str:
    """The address to come back to, as the provider knows it."""
    return f"{url_of(request)}/{BACK}"


def _refuse(pages: Pages, request: Request, error: HighballError, to: str) -> Response:
    told = {"error": error, "name": "", "to": to, "again": False, "kept": [], "confirms": False}
    return pages.answer(request, "login", told, status=error.http_status)
