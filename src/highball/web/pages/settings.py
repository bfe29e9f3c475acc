"""Settings: one's own account and sessions, how the pages look, what holds for the whole installation, and the hub
itself with the copies of its database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from zoneinfo import available_timezones

from fastapi import APIRouter, Form, Request, Response
from pydantic import Field

from highball.errors import HighballError
from highball.hub.hub import Hub
from highball.hub.runs.record import utc_now
from highball.schedule import NAMED
from highball.web.authorize import Admin, Sees, known, own_user
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import (
    Number,
    Text,
    faults_of,
    file_of,
    new_order_key,
    revision_that_holds,
    secret,
    status_of,
)
from highball.web.pages.maintenance import list_copies
from highball.web.pages.people import ACCOUNT, NO_ACCOUNT, about_own_token
from highball.web.ui.templating import (
    ACCENTS,
    Pages,
    Said,
    go,
)

Keys = Annotated[tuple[Annotated[str, Field(max_length=63)], ...], Form(max_length=1000)]
"""Boxes that were ticked, each with the key that it stands for."""

GENERAL = "/settings/general"
HUB = "/settings/hub"

router = APIRouter(include_in_schema=False)


# --- one's own account ---------------------------------------------------------------------------


def _answer_account(hub: Hub, pages: Pages, request: Request, error: HighballError | None = None) -> Response:
    me = known(request)
    has_session = me.user is not None and me.session is not None
    context: dict[str, Any] = {
        "account": hub.access.get_user(own_user(me)) if has_session else None,
        "factor": hub.access.authenticators.find(own_user(me)) if has_session else None,
        "sessions": hub.access.list_sessions(own_user(me), utc_now()) if has_session else [],
        "own_session": me.session,
        "tokens": [(one, about_own_token(one.key)) for one in hub.access.list_own_tokens(own_user(me))]
        if has_session
        else [],
        "ways": hub.access.list_tokens_of(own_user(me)) if has_session else [],
        "browser": name_of_browser,
        "error": error,
        "faults": _faults_of_password(error),
    }
    return pages.answer(request, "settings", context, status=status_of(error))


@router.get(ACCOUNT)
def show_account(hub: TheHub, pages: ThePages, request: Request, _: Sees) -> Response:
    return _answer_account(hub, pages, request)


@router.post("/settings/password")
def change_password(
    hub: TheHub, pages: ThePages, request: Request, _: Sees, old: Text = "", new: Text = "", revoke: Keys = ()
) -> Response:
    me = known(request)
    if me.session is None:
        return go(ACCOUNT, said=NO_ACCOUNT)
    try:
        hub.access.change_password(me, secret(old), secret(new), utc_now(), revoke=revoke)
    except HighballError as error:
        return _answer_account(hub, pages, request, error)
    told = _tell_revoked(revoke)
    return go(ACCOUNT, said=Said(f"Your password is changed. Your other sessions have ended.{told}"))


@router.post("/settings/sessions/end-others")
def end_others(hub: TheHub, request: Request, actor: Sees, revoke: Keys = ()) -> Response:
    me = known(request)
    if me.session is None:
        return go(ACCOUNT, said=NO_ACCOUNT)
    hub.access.revoke(own_user(me), revoke, actor, utc_now())
    hub.access.end_sessions(own_user(me), actor, utc_now(), keep=me.session)
    return go(ACCOUNT, said=Said(f"All your other sessions have ended.{_tell_revoked(revoke)}"))


@router.post("/settings/sessions/{id}/end")
def end_session(hub: TheHub, id: str, request: Request, actor: Sees) -> Response:
    me = known(request)
    if me.session is None:
        return go(ACCOUNT, said=NO_ACCOUNT)
    hub.access.end_session(own_user(me), id, actor, utc_now())
    return go(ACCOUNT, said=Said("The session has ended."))


def _tell_revoked(keys: Sequence[str]) -> str:
    return f" Deleted: {', '.join(keys)}." if keys else ""


def _faults_of_password(error: HighballError | None) -> dict[str, str]:
    if error is not None and error.code == "password_wrong":
        return {"old": "The password is wrong."}
    return faults_of(error)


_BROWSERS = (("Edg", "Edge"), ("Firefox", "Firefox"), ("Chrom", "Chrome"), ("Safari", "Safari"))
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


def name_of_browser(told: str | None) -> str:
    """What a browser says of itself, in short: `Firefox on Linux`."""
    told = told or ""
    browser = next((name for sign, name in _BROWSERS if sign in told), None)
    system = next((name for sign, name in _SYSTEMS if sign in told), None)
    if browser is None:
        return told[:40] or "Unknown browser"
    return f"{browser} on {system}" if system else browser


# --- how pages look ------------------------------------------------------------------------------


@router.get("/settings/appearance")
def show_looks(pages: ThePages, request: Request, _: Sees) -> Response:
    return pages.answer(request, "appearance", {"accents": ACCENTS})


# --- what holds for the whole installation -------------------------------------------------------


def _answer_general(
    hub: Hub,
    pages: Pages,
    request: Request,
    sent: dict[str, str],
    revision: int,
    error: HighballError | None = None,
) -> Response:
    stored = hub.operations.get_object("settings", "settings")
    nowhere = [("", "None")]
    context = {
        "sent": sent,
        "revision": revision,
        "file": file_of(hub, stored),
        "zones": sorted(available_timezones()),
        "clock": f"{utc_now().astimezone(pages.zone()):%H:%M}",
        "usual_times": list(NAMED.items()),
        "repositories": nowhere + [(key, key) for key in hub.document().repositories],
        "host": hub.host,
        "state": str(hub.state),
        "programs": hub.documents.own_programs(),
        "error": error,
        "faults": faults_of(error, "settings"),
    }
    return pages.answer(request, "general", context, status=status_of(error))


@router.get(GENERAL)
def show_general(hub: TheHub, pages: ThePages, request: Request, _: Sees) -> Response:
    stored = hub.operations.get_object("settings", "settings")
    return _answer_general(hub, pages, request, _as_sent(stored.spec), stored.revision)


@router.post(GENERAL)
def change_general(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    actor: Admin,
    timezone: Text = "",
    hourly: Text = "",
    daily: Text = "",
    weekly: Text = "",
    monthly: Text = "",
    backup_repository: Text = "",
    logs: Text = "",
    runs: Text = "",
    last: Text = "",
    revision: Number = 0,
) -> Response:
    times = {"hourly": hourly, "daily": daily, "weekly": weekly, "monthly": monthly}
    alone = {"timezone": timezone, "backup_repository": backup_repository}
    fields: dict[str, Any] = {name: text.strip() or None for name, text in alone.items()}
    fields["times"] = {name: text.strip() or None for name, text in times.items()}
    if not any(fields["times"].values()):
        fields["times"] = None
    history = {"logs": logs, "runs": runs, "last": last}
    fields["history"] = {name: _as_number(text) for name, text in history.items() if text.strip()} or None
    try:
        hub.operations.patch_object("settings", "settings", fields, actor, expected=revision)
    except HighballError as error:
        return _answer_general(
            hub, pages, request, alone | times | history, revision_that_holds(error, revision), error
        )
    undo = "/history/settings/settings"
    return go(GENERAL, said=Said("The settings are saved.", undo=undo if revision else None))


def _as_number(text: str) -> str | int:
    """What was typed, as a number where it is one."""
    return int(text) if text.strip().isascii() and text.strip().isdigit() else text.strip()


def _as_sent(spec: dict[str, Any]) -> dict[str, str]:
    """The settings as the form's fields hold them."""
    found = {name: str(spec.get(name) or "") for name in ("timezone", "backup_repository")}
    found |= {name: str((spec.get("history") or {}).get(name, "")) for name in ("logs", "runs", "last")}
    return found | {name: str((spec.get("times") or {}).get(name, "")) for name in NAMED}


# --- the hub itself ------------------------------------------------------------------------------


@router.get(HUB)
def show_hub(hub: TheHub, pages: ThePages, request: Request, _: Admin) -> Response:
    context = {
        "host": hub.host,
        "state": str(hub.state),
        "file": hub.documents.file(),
        "copies": list_copies(hub),
        "order": new_order_key(),
    }
    return pages.answer(request, "hub", context)


@router.post("/settings/hub/backups")
def back_up(hub: TheHub, actor: Admin, order: Text = "") -> Response:
    hub.operations.order("hub-backup", None, actor=actor, key=order[:64] or None)
    return go(HUB, said=Said("The hub backup has started."))
