"""Users and tokens: who may come in, with which role, and the values that are shown once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from highball.config.roles import Token, User
from highball.errors import ConfigurationInvalid, HighballError, Problem
from highball.hub.auth.users import Account, Program
from highball.hub.hub import Hub
from highball.hub.runs.record import utc_now
from highball.model.role import Role
from highball.web.authorize import Admin, Sees, known, own_user
from highball.web.dependencies import TheHub, ThePages
from highball.web.error_responses import problems_of_request
from highball.web.forms.fields import (
    Number,
    Question,
    Text,
    ask,
    begin_of,
    faults_of,
    revision_that_holds,
    status_of,
)
from highball.web.middleware import url_of
from highball.web.ui.templating import (
    Pages,
    Said,
    go,
)

USERS = "/settings/users"
TOKENS = "/settings/tokens"
OWN_TOKENS = "/settings/own-tokens"
ACCOUNT = "/settings"

NO_ACCOUNT = Said("A token has no account. Log in as a user.", "warn")

router = APIRouter(include_in_schema=False)


# --- users ---------------------------------------------------------------------------------------


def _user_form(
    hub: Hub,
    pages: Pages,
    request: Request,
    sent: Mapping[str, object],
    account: Account | None,
    revision: int = 0,
    error: HighballError | None = None,
) -> Response:
    context = {
        "sent": sent,
        "account": account,
        "revision": revision,
        "error": error,
        "faults": _faults_of_name(error),
        "question": _about_user(account.key) if account else None,
        "reset": _about_factor(account.key) if account else None,
        "provider_tells": _provider_tells(hub),
    }
    return pages.answer(request, "user", context, status=status_of(error))


@router.get(USERS)
def list_users(hub: TheHub, pages: ThePages, request: Request, _: Admin) -> Response:
    return pages.answer(request, "users", {"users": hub.access.list_users()})


@router.get("/settings/users/new")
def new_user(hub: TheHub, pages: ThePages, request: Request, _: Admin) -> Response:
    sent = {"key": "", "title": "", "role": Role.VIEWER.value, "enabled": True}
    return _user_form(hub, pages, request, sent | {"restore_in_place": False}, None)


@router.post(USERS)
def create_user(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    actor: Admin,
    key: Text = "",
    title: Text = "",
    role: Text = "",
    restore_in_place: Text = "",
) -> Response:
    try:
        user = _read_user(title, role, True, in_place=bool(restore_in_place))
        account = hub.access.create_user(key, user, actor, utc_now())
    except HighballError as error:
        sent = {"key": key, "title": title, "role": role, "enabled": True}
        return _user_form(
            hub, pages, request, sent | {"restore_in_place": bool(restore_in_place)}, None, error=error
        )
    return go(
        _user(account.key),
        said=Said(f"The account {account.key} is created. Create a link to invite the user."),
    )


@router.get("/settings/users/{key}")
def show_user(hub: TheHub, pages: ThePages, key: str, request: Request, _: Admin) -> Response:
    account = hub.access.get_user(key)
    user = account.user
    sent = {"key": key, "title": user.title or "", "role": user.role.value, "enabled": user.enabled}
    return _user_form(
        hub, pages, request, sent | {"restore_in_place": user.restore_in_place}, account, account.revision
    )


@router.post("/settings/users/{key}")
def change_user(
    hub: TheHub,
    pages: ThePages,
    key: str,
    request: Request,
    actor: Admin,
    title: Text = "",
    role: Text = "",
    restore_in_place: Text = "",
    enabled: Text = "",
    revision: Number = 0,
) -> Response:
    account = hub.access.get_user(key)
    try:
        user = _read_user(title, role, bool(enabled), in_place=bool(restore_in_place))
        hub.access.change_user(key, user, actor, utc_now(), revision=revision)
    except HighballError as error:
        sent = {"key": key, "title": title, "role": role, "enabled": bool(enabled)}
        sent |= {"restore_in_place": bool(restore_in_place)}
        return _user_form(hub, pages, request, sent, account, revision_that_holds(error, revision), error)
    return go(USERS, said=Said(f"{key} is saved.", undo=f"/history/user/{quote(key, safe='')}"))


@router.post("/settings/users/{key}/link")
def make_link(hub: TheHub, pages: ThePages, key: str, request: Request, actor: Admin) -> Response:
    link = hub.access.make_link(key, actor, utc_now())
    address = f"{url_of(request)}/password#{link.token.reveal().decode()}"
    shown = {"what": "user", "key": key, "value": address, "expires_at": link.expires_at, "back": USERS}
    return pages.answer(request, "shown-once", shown)


@router.post("/settings/users/{key}/end-sessions")
def end_sessions(hub: TheHub, key: str, actor: Admin) -> Response:
    hub.access.end_sessions(hub.access.get_user(key).key, actor, utc_now())
    left = [one.key for one in hub.access.list_tokens_of(key)]
    told = f" These tokens still work in that name: {', '.join(left)}." if left else ""
    return go(_user(key), said=Said(f"{key} is logged out everywhere.{told}"))


@router.get("/settings/users/{key}/reset-second-factor")
def ask_about_factor(hub: TheHub, pages: ThePages, key: str, request: Request, _: Admin) -> Response:
    return ask(pages, request, _about_factor(hub.access.get_user(key).key))


@router.post("/settings/users/{key}/reset-second-factor")
def reset_factor(hub: TheHub, key: str, actor: Admin) -> Response:
    had = hub.access.authenticators.reset(key, actor, utc_now())
    told = "now logs in with the password alone" if had else "has no second factor"
    return go(_user(key), said=Said(f"{key} {told}."))


@router.get("/settings/users/{key}/delete")
def ask_about_user(hub: TheHub, pages: ThePages, key: str, request: Request, _: Admin) -> Response:
    return ask(pages, request, _about_user(hub.access.get_user(key).key))


@router.post("/settings/users/{key}/delete")
def delete_user(hub: TheHub, key: str, actor: Admin) -> Response:
    hub.access.delete_user(key, actor, utc_now())
    return go(USERS, said=Said(f"{key} is deleted, with the tokens in that name."))


def _user(key: str) -> str:
    return f"{USERS}/{quote(key, safe='')}"


def _read_user(title: str, role: str, enabled: bool, *, in_place: bool) -> User:
    told: dict[str, object] = {"title": title.strip() or None, "role": role, "enabled": enabled}
    if in_place:
        told["restore_in_place"] = True
    try:
        return User.model_validate(told)
    except ValidationError as error:
        raise _invalid(error) from None


def _provider_tells(hub: Hub) -> bool:
    """Whether the provider says who may restore in place."""
    provider = hub.document().settings.oidc
    return provider is not None and bool(provider.restore_in_place)


def _invalid(error: ValidationError) -> ConfigurationInvalid:
    return ConfigurationInvalid("some fields are not valid", problems=problems_of_request(error))


def _faults_of_name(error: HighballError | None) -> dict[str, str]:
    """A name that is taken is wrong in its field."""
    if error is not None and error.code in ("user_exists", "token_exists"):
        return {"key": error.message}
    return faults_of(error)


def _about_user(key: str) -> Question:
    return Question(
        title=f"Delete {key}?",
        text="All sessions end and the user’s tokens stop working. The user’s entries stay in the "
        "activity. Restored later, the account needs a new password.",
        action=f"{_user(key)}/delete",
        verb="Delete user",
        back=_user(key),
    )


def _about_factor(key: str) -> Question:
    return Question(
        title=f"Reset the second factor of {key}?",
        text="The password is then enough to log in, and the recovery codes stop working. Make sure that the request "
        "really comes from this user.",
        action=f"{_user(key)}/reset-second-factor",
        verb="Reset second factor",
        back=_user(key),
    )


# --- tokens --------------------------------------------------------------------------------------


def _token_form(
    hub: Hub,
    pages: Pages,
    request: Request,
    sent: Mapping[str, object],
    program: Program | None,
    revision: int = 0,
    error: HighballError | None = None,
) -> Response:
    context = {
        "sent": sent,
        "program": program,
        "revision": revision,
        "users": [
            ("", "No user: a program of its own"),
            *((u.key, u.key) for u in hub.access.list_users()),
        ],
        "error": error,
        "faults": _faults_of_name(error),
        "question": _about_token(program.key) if program else None,
        "renewal": _about_value(program.key) if program else None,
        "own": False,
        "base": TOKENS,
        "back": TOKENS,
    }
    return pages.answer(request, "token", context, status=status_of(error))


@router.get(TOKENS)
def list_tokens(hub: TheHub, pages: ThePages, request: Request, _: Admin) -> Response:
    return pages.answer(request, "tokens", {"tokens": hub.access.list_tokens()})


@router.get("/settings/tokens/new")
def new_token(hub: TheHub, pages: ThePages, request: Request, _: Admin) -> Response:
    sent = {"key": "", "title": "", "role": "viewer", "user": "", "ends": "", "enabled": True}
    return _token_form(hub, pages, request, sent | {"may_grant": False, "restore_in_place": False}, None)


@router.post(TOKENS)
def create_token(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    actor: Admin,
    key: Text = "",
    title: Text = "",
    role: Text = "",
    user: Text = "",
    ends: Text = "",
    may_grant: Text = "",
    restore_in_place: Text = "",
) -> Response:
    rights = {"may_grant": bool(may_grant), "restore_in_place": bool(restore_in_place)}
    try:
        token = _read_token(pages, title, role, user, ends, True, rights=rights)
        program, value = hub.access.create_token(key.strip(), token, actor, utc_now())
    except HighballError as error:
        sent = {"key": key, "title": title, "role": role, "user": user, "ends": ends, "enabled": True}
        return _token_form(hub, pages, request, sent | rights, None, error=error)
    shown = {"what": "token", "key": program.key, "value": value.reveal().decode(), "back": TOKENS}
    return pages.answer(request, "shown-once", shown | {"expires_at": token.expires_at})


@router.get("/settings/tokens/{key}")
def show_token(hub: TheHub, pages: ThePages, key: str, request: Request, _: Admin) -> Response:
    program = hub.access.get_token(key)
    token = program.token
    sent = {
        "key": key,
        "title": token.title or "",
        "role": token.role.value,
        "user": token.user or "",
        "ends": _last_day(token.expires_at, pages),
        "enabled": token.enabled,
        "may_grant": token.may_grant,
        "restore_in_place": token.restore_in_place,
    }
    return _token_form(hub, pages, request, sent, program, program.revision)


@router.post("/settings/tokens/{key}")
def change_token(
    hub: TheHub,
    pages: ThePages,
    key: str,
    request: Request,
    actor: Admin,
    title: Text = "",
    role: Text = "",
    user: Text = "",
    ends: Text = "",
    enabled: Text = "",
    may_grant: Text = "",
    restore_in_place: Text = "",
    revision: Number = 0,
) -> Response:
    program = hub.access.get_token(key)
    rights = {"may_grant": bool(may_grant), "restore_in_place": bool(restore_in_place)}
    try:
        before = program.token.expires_at
        token = _read_token(pages, title, role, user, ends, bool(enabled), before, rights=rights)
        hub.access.change_token(key, token, actor, utc_now(), revision=revision)
    except HighballError as error:
        said = {"key": key, "title": title, "role": role, "user": user, "ends": ends}
        sent = said | {"enabled": enabled} | rights
        return _token_form(hub, pages, request, sent, program, revision_that_holds(error, revision), error)
    return go(TOKENS, said=Said(f"{key} is saved.", undo=f"/history/token/{quote(key, safe='')}"))


@router.get("/settings/tokens/{key}/renew")
def ask_about_value(hub: TheHub, pages: ThePages, key: str, request: Request, _: Admin) -> Response:
    return ask(pages, request, _about_value(hub.access.get_token(key).key))


@router.post("/settings/tokens/{key}/renew")
def renew_token(hub: TheHub, pages: ThePages, key: str, request: Request, actor: Admin) -> Response:
    program, value = hub.access.renew_token(key, actor, utc_now())
    shown = {"what": "token", "key": key, "value": value.reveal().decode(), "back": TOKENS}
    return pages.answer(request, "shown-once", shown | {"expires_at": program.token.expires_at})


@router.get("/settings/tokens/{key}/delete")
def ask_about_token(hub: TheHub, pages: ThePages, key: str, request: Request, _: Admin) -> Response:
    return ask(pages, request, _about_token(hub.access.get_token(key).key))


@router.post("/settings/tokens/{key}/delete")
def delete_token(hub: TheHub, key: str, actor: Admin) -> Response:
    hub.access.delete_token(key, actor, utc_now())
    return go(TOKENS, said=Said(f"{key} is deleted. Its value no longer works."))


def _own_token_form(
    pages: Pages, request: Request, sent: Mapping[str, object], error: HighballError | None = None
) -> Response:
    context = {
        "sent": sent,
        "program": None,
        "revision": 0,
        "error": error,
        "faults": _faults_of_name(error),
        "own": True,
        "base": OWN_TOKENS,
        "back": ACCOUNT,
    }
    return pages.answer(request, "token", context, status=status_of(error))


@router.get("/settings/own-tokens/new")
def new_own_token(pages: ThePages, request: Request, _: Sees) -> Response:
    sent = {"key": "", "title": "", "role": "viewer", "ends": "", "enabled": True}
    return _own_token_form(pages, request, sent | {"restore_in_place": False})


@router.post(OWN_TOKENS)
def create_own_token(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    actor: Sees,
    key: Text = "",
    title: Text = "",
    role: Text = "",
    ends: Text = "",
    restore_in_place: Text = "",
) -> Response:
    me = known(request)
    if me.session is None:
        return go(ACCOUNT, said=NO_ACCOUNT)
    rights = {"restore_in_place": bool(restore_in_place)}
    try:
        token = _read_token(pages, title, role, "", ends, True, rights=rights)
        made = hub.access.create_own_token(own_user(me), key.strip(), token, actor, utc_now())
    except HighballError as error:
        sent = {"key": key, "title": title, "role": role, "ends": ends, "enabled": True}
        return _own_token_form(pages, request, sent | rights, error)
    program, value = made
    shown = {"what": "token", "key": program.key, "value": value.reveal().decode(), "back": ACCOUNT}
    return pages.answer(request, "shown-once", shown | {"expires_at": token.expires_at})


@router.get("/settings/own-tokens/{key}/delete")
def ask_about_own_token(pages: ThePages, key: str, request: Request, _: Sees) -> Response:
    return ask(pages, request, about_own_token(key))


@router.post("/settings/own-tokens/{key}/delete")
def delete_own_token(hub: TheHub, key: str, request: Request, actor: Sees) -> Response:
    me = known(request)
    if me.session is None:
        return go(ACCOUNT, said=NO_ACCOUNT)
    hub.access.delete_own_token(own_user(me), key, actor, utc_now())
    return go(ACCOUNT, said=Said(f"{key} is deleted. Its value no longer works."))


def _token(key: str) -> str:
    return f"{TOKENS}/{quote(key, safe='')}"


def _read_token(
    pages: Pages,
    title: str,
    role: str,
    user: str,
    ends: str,
    enabled: bool,
    before: datetime | None = None,
    *,
    rights: Mapping[str, bool],
) -> Token:
    """The token that a form declares; the end stays what it was `before` where its day is the same."""
    told: dict[str, object] = {"title": title.strip() or None, "role": role, "enabled": enabled}
    told |= {right: True for right, given in rights.items() if given}
    if user:
        told["user"] = user
    if ends:
        told["expires_at"] = before if ends == _last_day(before, pages) else _end_of(ends, pages)
    try:
        return Token.model_validate(told)
    except ValidationError as error:
        raise _invalid(error) from None


def _end_of(day: str, pages: Pages) -> datetime:
    """The end of a day, where the pages' clocks are."""
    try:
        return begin_of(day, pages.zone(), "ends") + timedelta(days=1)
    except OverflowError:
        raise ConfigurationInvalid(
            "there is no later day", problems=[Problem("ends", "there is no later day")]
        ) from None


def _last_day(at: datetime | None, pages: Pages) -> str:
    if at is None:
        return ""
    return f"{(at - timedelta(seconds=1)).astimezone(pages.zone()):%Y-%m-%d}"


def _about_token(key: str) -> Question:
    return Question(
        title=f"Delete the token {key}?",
        text="Its value stops working at once. Its entries stay in the activity.",
        action=f"{_token(key)}/delete",
        verb="Delete token",
        back=_token(key),
    )


def about_own_token(key: str) -> Question:
    """What is asked before somebody deletes a token of their own."""
    action = f"{OWN_TOKENS}/{quote(key, safe='')}/delete"
    return replace(_about_token(key), action=action, back=ACCOUNT)


def _about_value(key: str) -> Question:
    return Question(
        title=f"Create a new value for {key}?",
        text="The current value stops working. The new one is shown once.",
        action=f"{_token(key)}/renew",
        verb="Create new value",
        back=_token(key),
    )
