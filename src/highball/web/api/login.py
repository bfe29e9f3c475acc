"""Coming in and going out: the first admin, logging in and out, and a one-time link that sets a password."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, SecretStr

from highball.errors import LoginNeeded
from highball.hub.auth.sessions import CodeAwaited, Known, LoggedIn
from highball.model.role import Role
from highball.model.run import Reason
from highball.web.api.bodies import Sent, value_of
from highball.web.dependencies import TheAccess, TheClock
from highball.web.middleware import (
    EXPOSED,
    address_of,
    find_known,
    give_cookie,
    is_exposed,
    sign_of,
    take_cookie,
)


class SetUp(Sent):
    """The first admin, proved by the set-up link that the hub printed."""

    token: SecretStr = Field(max_length=200)
    name: str = Field(max_length=63)
    password: SecretStr = Field(max_length=4096)


class LogIn(Sent):
    """A name and a password, and a code where the account has a second factor."""

    name: str = Field(max_length=200)
    password: SecretStr = Field(max_length=4096)
    code: SecretStr | None = Field(
        None, max_length=100, description="of the authenticator app, or a recovery code"
    )


class PasswordByLink(Sent):
    """A password, set by a one-time link."""

    token: SecretStr = Field(max_length=200)
    password: SecretStr = Field(max_length=4096)


class SetUpAnswer(BaseModel):
    """Whether the first admin is still to be made."""

    needed: bool


class Me(BaseModel):
    """Who asks."""

    name: str
    role: Role
    user: str | None = Field(description="the user's key; null is a token that acts for itself")
    session: str | None = Field(description="the session's id; null is a token")
    restore_in_place: bool = Field(
        description="whether one's restores may replace what is there; false: into a new folder only"
    )
    warning: Reason | None = Field(
        description="what is unsafe in the way one came: plain http from elsewhere"
    )


router = APIRouter(prefix="/api/v1", tags=["access"])


@router.get("/setup")
def needs_setup(access: TheAccess) -> SetUpAnswer:
    """Whether the first admin is still to be made."""
    return SetUpAnswer(needed=access.needs_setup())


@router.post("/setup", status_code=201)
def set_up(access: TheAccess, clock: TheClock, sent: SetUp, request: Request, response: Response) -> Me:
    """Make the first admin with the token of the set-up link, and log in."""
    began = access.set_up(
        value_of(sent.token), sent.name, value_of(sent.password), clock(), **whence(request)
    )
    return welcome(request, response, began)


@router.post("/login")
def log_in(access: TheAccess, clock: TheClock, sent: LogIn, request: Request, response: Response) -> Me:
    """Begin a session: the browser gets a cookie. Without the code that an account needs: 401 `code_needed`."""
    told = {"former": find_known(request), "sign_of": partial(sign_of, request), **whence(request)}
    began = access.log_in(sent.name, value_of(sent.password), clock(), **told)
    if isinstance(began, CodeAwaited):
        if sent.code is None:
            raise LoginNeeded(
                "this account needs a code beside the password",
                code="code_needed",
                hint="send it as code: of the authenticator app, or a recovery code",
            )
        began = access.finish(began.token, value_of(sent.code), clock(), **told)
    return welcome(request, response, began)


@router.post("/logout", status_code=204)
def log_out(access: TheAccess, clock: TheClock, request: Request, response: Response) -> None:
    """End this session."""
    found = find_known(request)
    if found is not None and found.session is not None:
        access.log_out(found, clock())
    take_cookie(request, response)


@router.post("/password", status_code=204)
def set_password(access: TheAccess, clock: TheClock, sent: PasswordByLink, request: Request) -> None:
    """Set a password by a one-time link; every session of that user ends."""
    access.use_link(value_of(sent.token), value_of(sent.password), clock(), address=address_of(request.scope))


def whence(request: Request) -> dict[str, Any]:
    """From where, and with which browser, somebody comes."""
    return {"address": address_of(request.scope), "browser": request.headers.get("user-agent")}


def welcome(request: Request, response: Response, began: LoggedIn) -> Me:
    """Let the browser have its session, and tell it whose that is."""
    give_cookie(request, response, began)
    return me_of(request, began.known)


def me_of(request: Request, known: Known) -> Me:
    """Who asks, as an answer says it."""
    return Me(
        name=known.actor.name,
        role=known.actor.role,
        user=known.user,
        session=known.session,
        restore_in_place=known.actor.may_restore_in_place,
        warning=EXPOSED if is_exposed(request.scope) else None,
    )
