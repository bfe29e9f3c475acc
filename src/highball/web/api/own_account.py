"""One's own account: who one is, one's password, the second factor, and where one is logged in.

Secrets of a second factor go out once, in the answer that made them.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from highball.config.object_keys import Key
from highball.hub.auth.authenticators import spell_code
from highball.hub.auth.sessions import Access, Known
from highball.model.text import UtcTime
from highball.web.api.bodies import Sent, value_of
from highball.web.api.login import Me, me_of, welcome, whence
from highball.web.authorize import Sees, known, own_user
from highball.web.dependencies import TheAccess, TheClock
from highball.web.middleware import take_cookie


class PasswordChange(Sent):
    """One's own password, changed."""

    old: SecretStr = Field(max_length=4096)
    new: SecretStr = Field(max_length=4096)
    revoke_tokens: list[Key] = Field([], max_length=1000, description="of one's own, by their keys")


class Confirmation(Sent):
    """One's own password, typed again."""

    password: SecretStr = Field(max_length=4096)


class Password(Sent):
    """One's own password."""

    password: SecretStr = Field(max_length=4096)


class Code(Sent):
    """A code of one's authenticator app."""

    code: SecretStr = Field(max_length=100)


class BothProofs(Password, Code):
    """One's own password, and a code: of the authenticator app, or a recovery code."""


class SessionAnswer(BaseModel):
    """A browser that is logged in."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    created_at: UtcTime
    seen_at: UtcTime
    expires_at: UtcTime
    address: str | None
    browser: str | None
    current: bool = False


class SecondFactorAnswer(BaseModel):
    """Whether one's account needs a code beside the password."""

    since: UtcTime | None = Field(description="null: the password alone is enough")
    recovery_codes_left: int


class SecondFactorOffered(BaseModel):
    """A secret for an authenticator app; it counts once a code of the app was sent."""

    secret: str = Field(description="in base 32, to be typed into the app")
    address: str = Field(description="the same as otpauth://, which apps read as a QR code")


class RecoveryCodes(BaseModel):
    """Codes that count once each, in place of the app's; nobody can read them again."""

    recovery_codes: list[str]


router = APIRouter(prefix="/api/v1", tags=["access"])


# --- who one is, and one's password ---------------------------------------------------------------


@router.get("/me")
def who_am_i(request: Request, _: Sees) -> Me:
    """Who asks."""
    return me_of(request, known(request))


@router.put("/me/password", status_code=204)
def change_password(
    access: TheAccess, clock: TheClock, sent: PasswordChange, request: Request, response: Response, _: Sees
) -> None:
    """Change one's own password; one's other sessions end, and the tokens that are named.

    The header `Highball-Tokens` names those that still let somebody in.
    """
    me = known(request)
    access.change_password(
        me, value_of(sent.old), value_of(sent.new), clock(), revoke=[str(key) for key in sent.revoke_tokens]
    )
    _name_tokens(access, me, response)


@router.post("/me/confirmation")
def confirm(
    access: TheAccess, clock: TheClock, sent: Confirmation, request: Request, response: Response, _: Sees
) -> Me:
    """Type one's password again: for five minutes one may let others in. The cookie is another one then."""
    browser = whence(request)["browser"]
    began = access.confirm_for_a_while(known(request), value_of(sent.password), clock(), browser=browser)
    return welcome(request, response, began)


def _name_tokens(access: Access, me: Known, response: Response) -> None:
    left = [one.key for one in access.list_tokens_of(own_user(me)) if one.token.enabled]
    if left:
        response.headers["Highball-Tokens"] = ", ".join(left)


# --- the second factor ---------------------------------------------------------------------------


@router.get("/me/second-factor")
def get_second_factor(access: TheAccess, request: Request, _: Sees) -> SecondFactorAnswer:
    """Whether one's account needs a code beside the password."""
    found = access.authenticators.find(own_user(known(request)))
    since, left = (None, 0) if found is None else (found.since, found.recovery_codes_left)
    return SecondFactorAnswer(since=since, recovery_codes_left=left)


@router.post("/me/second-factor", status_code=201)
def offer_second_factor(
    access: TheAccess, clock: TheClock, sent: Password, request: Request, actor: Sees
) -> SecondFactorOffered:
    """A secret for an authenticator app; it counts once `confirm` was sent a code of it."""
    offered = access.authenticators.offer(own_user(known(request)), value_of(sent.password), actor, clock())
    secret, address = offered.secret.reveal().decode(), offered.address.reveal().decode()
    return SecondFactorOffered(secret=secret, address=address)


@router.post("/me/second-factor/confirm")
def confirm_second_factor(
    access: TheAccess, clock: TheClock, sent: Code, request: Request, actor: Sees
) -> RecoveryCodes:
    """Let the secret count: from now on a log-in needs a code. The recovery codes are in this answer only."""
    codes = access.authenticators.confirm(own_user(known(request)), value_of(sent.code), actor, clock())
    return RecoveryCodes(recovery_codes=[spell_code(one) for one in codes])


@router.post("/me/second-factor/recovery-codes")
def renew_recovery_codes(
    access: TheAccess, clock: TheClock, sent: BothProofs, request: Request, actor: Sees
) -> RecoveryCodes:
    """Other recovery codes; those before count no more."""
    me = own_user(known(request))
    codes = access.authenticators.renew_codes(
        me, value_of(sent.password), value_of(sent.code), actor, clock()
    )
    return RecoveryCodes(recovery_codes=[spell_code(one) for one in codes])


@router.post("/me/second-factor/remove", status_code=204)
def remove_second_factor(
    access: TheAccess, clock: TheClock, sent: BothProofs, request: Request, actor: Sees
) -> None:
    """Let the password alone be enough again."""
    me = own_user(known(request))
    access.authenticators.remove(me, value_of(sent.password), value_of(sent.code), actor, clock())


# --- where one is logged in ----------------------------------------------------------------------


@router.get("/me/sessions")
def list_sessions(access: TheAccess, clock: TheClock, request: Request, _: Sees) -> list[SessionAnswer]:
    """Where one is logged in."""
    me = known(request)
    return [
        SessionAnswer.model_validate(one).model_copy(update={"current": one.id == me.session})
        for one in access.list_sessions(own_user(me), clock())
    ]


@router.delete("/me/sessions", status_code=204)
def end_sessions(
    access: TheAccess,
    clock: TheClock,
    request: Request,
    response: Response,
    actor: Sees,
    revoke_token: Annotated[
        list[Key] | None, Query(max_length=1000, description="also delete these tokens of one's own")
    ] = None,
) -> None:
    """Log out everywhere, here too; the header `Highball-Tokens` names the tokens that still let somebody in."""
    me = known(request)
    access.revoke(own_user(me), [str(key) for key in revoke_token or ()], actor, clock())
    access.end_sessions(own_user(me), actor, clock())
    _name_tokens(access, me, response)
    take_cookie(request, response)


@router.delete("/me/sessions/{id}", status_code=204)
def end_session(access: TheAccess, clock: TheClock, id: str, request: Request, actor: Sees) -> None:
    """Log out one browser."""
    access.end_session(own_user(known(request)), id, actor, clock())
