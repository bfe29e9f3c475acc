"""The way in: the first account, logging in and out, a link that sets a password, and how pages look to whom."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from highball.errors import HighballError
from highball.hub.audit import Actor
from highball.hub.auth.sessions import CodeAwaited, LoggedIn
from highball.hub.hub import Hub
from highball.hub.runs.record import utc_now
from highball.humanize import counted
from highball.secret import SecretValue
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import (
    LongText,
    Sent,
    Text,
)
from highball.web.middleware import (
    address_of,
    find_known,
    give_cookie,
    sign_of,
    take_cookie,
)
from highball.web.ui import status_looks
from highball.web.ui.templating import (
    ACCENTS,
    KEPT,
    THEMES,
    Pages,
    Said,
    as_fields,
    go,
    own,
)

COOKIE_SECONDS = 365 * 86400

router = APIRouter(include_in_schema=False)


@router.get("/setup")
def show_set_up(hub: TheHub, pages: ThePages, request: Request) -> Response:
    if not hub.access.needs_setup():
        told = Said("This hub already has its first account. The set-up link no longer works.", "warn")
        return go("/start" if find_known(request) else "/login?to=/start", said=told)
    return pages.answer(
        request, "account", {"error": None, "name": "", "token": "", "password": "", "faults": {}}
    )


@router.post("/setup")
def set_up(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    token: Text = "",
    name: Text = "",
    password: Text = "",
    zone: Text = "",
) -> Response:
    try:
        began = hub.access.set_up(
            _secret(token.strip()), name.strip(), _secret(password), utc_now(), **whence(request)
        )
    except HighballError as error:
        # Only what is wrong is typed again: the answer goes to who has just typed the rest, and is kept nowhere.
        told = {"error": error, "name": name, "token": token, "password": password}
        told["faults"] = {one.at: status_looks.sentence(one.message) for one in error.problems}
        return pages.answer(request, "account", told, status=error.http_status)
    _take_zone(hub, zone, began.known.actor)
    return _welcome(request, began, "/start")


def _take_zone(hub: Hub, zone: str, actor: Actor) -> None:
    """Let times be those of the first admin's browser, where nobody has said whose they are."""
    if not zone or hub.document().jobs or "timezone" in hub.document().tables.get("settings", {}):
        return
    with contextlib.suppress(HighballError):  # no zone of ours, or a file says what the settings are
        revision = hub.operations.get_object("settings", "settings").revision
        told = {"timezone": zone[:100]}
        hub.operations.patch_object("settings", "settings", told, actor, expected=revision)


@router.get("/login")
def show_login(hub: TheHub, pages: ThePages, request: Request, to: str = "/") -> Response:
    if hub.access.needs_setup():
        return go("/setup")
    if find_known(request) is not None:
        return go(to)
    return pages.answer(
        request,
        "login",
        {"error": None, "name": "", "to": to, "again": False, "kept": [], "confirms": False},
    )


@router.post("/login")
def log_in(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    sent: Sent,
    name: Text = "",
    password: Text = "",
    to: LongText = "/",
    again: Text = "",
    confirms: Text = "",
) -> Response:
    kept = _kept(sent)
    try:
        began = hub.access.log_in(name.strip(), _secret(password), utc_now(), **_about(request))
    except HighballError as error:
        told = {"error": error, "name": name, "to": to, "again": bool(again), "kept": kept}
        told |= {"confirms": bool(confirms)}
        return pages.answer(request, "login", told, status=error.http_status)
    if isinstance(began, CodeAwaited):
        token = began.token.reveal().decode()
        told = {"error": None, "token": token, "to": to, "again": bool(again), "kept": kept}
        return pages.answer(request, "login-code", told)
    return _go_on(pages, request, began, to, again, kept)


@router.post("/login/code")
def send_code(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    sent: Sent,
    token: Text = "",
    code: Text = "",
    to: LongText = "/",
    again: Text = "",
) -> Response:
    kept = _kept(sent)
    try:
        began = hub.access.finish(_secret(token), _secret(code), utc_now(), **_about(request))
    except HighballError as error:
        told = {"error": error, "token": token, "name": "", "to": to, "again": bool(again), "kept": kept}
        told["confirms"] = False
        page = "login" if error.code == "login_expired" else "login-code"
        return pages.answer(request, page, told, status=error.http_status)
    return _go_on(pages, request, began, to, again, kept)


def _go_on(
    pages: Pages, request: Request, began: LoggedIn, to: str, again: str, kept: list[tuple[str, str]]
) -> Response:
    """To where the browser was going; with a form that was filled before, by way of a page that holds it."""
    if not again:
        return _welcome(request, began, to)
    response = pages.answer(request, "again", {"name": began.known.user, "to": own(to), "kept": kept})
    give_cookie(request, response, began)
    return response


@router.post("/logout")
def log_out(hub: TheHub, request: Request) -> Response:
    known = find_known(request)
    if known is not None:
        hub.access.log_out(known, utc_now())
    response = go("/login")
    take_cookie(request, response)
    return response


@router.get("/password")
def show_link(pages: ThePages, request: Request) -> Response:
    return pages.answer(request, "password", {"error": None, "token": ""})


@router.post("/password")
def set_password(
    hub: TheHub, pages: ThePages, request: Request, token: Text = "", password: Text = ""
) -> Response:
    try:
        user = hub.access.use_link(
            _secret(token.strip()), _secret(password), utc_now(), address=address_of(request.scope)
        )
    except HighballError as error:
        told = {"error": error, "token": token}
        return pages.answer(request, "password", told, status=error.http_status)
    left = hub.access.list_tokens_of(user)
    said = f"The password of {user} is set. Log in with it."
    if left:
        works = "works" if len(left) == 1 else "work"
        said += f" {counted(len(left), 'token')} of {user} still {works}: check under Settings."
    return go("/login", said=Said(said))


@router.post("/theme")
def choose_looks(theme: Text = "", accent: Text = "", to: Text = "/") -> Response:
    response = go(to)
    for name, value, among in (("theme", theme, THEMES), ("accent", accent, ACCENTS)):
        if value in among:
            response.set_cookie(name, value, max_age=COOKIE_SECONDS, samesite="lax", path="/")
    return response


def _kept(sent: Sent) -> list[tuple[str, str]]:
    """The fields of a form whose session had ended."""
    return [(field.removeprefix(KEPT), value) for field, value in as_fields(sent) if field.startswith(KEPT)]


def _welcome(request: Request, began: LoggedIn, to: str) -> Response:
    response = go(to)
    give_cookie(request, response, began)
    return response


def _about(request: Request) -> dict[str, Any]:
    """Whence a log-in comes, and what the browser holds of those before."""
    return {"former": find_known(request), "sign_of": partial(sign_of, request), **whence(request)}


def whence(request: Request) -> dict[str, Any]:
    """From where, and with which browser, somebody comes."""
    browser = request.headers.get("user-agent")
    return {"address": address_of(request.scope), "browser": browser[:200] if browser else None}


def _secret(text: str) -> SecretValue:
    return SecretValue(text.encode())
