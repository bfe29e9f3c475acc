"""Setting up, logging in and out, accounts, tokens, the audit, and the secrets that the hub keeps sealed.

Values of secrets come in as JSON and never go out again, except a token's and a link's: once, in the answer that
made it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from highball.config.keys import Key, Title
from highball.config.moment import Moment
from highball.config.roles import (
    Role,
    Token,
    User,
)
from highball.errors import ConfigurationInvalid, LoginNeeded, Problem, Unknown
from highball.hub.audit import Actor, Entry, Wanted, as_csv
from highball.hub.auth.second_factor import spell_code
from highball.hub.auth.sessions import (
    Access,
    CodeAwaited,
    Known,
    LoggedIn,
)
from highball.hub.auth.users import Account, Program
from highball.hub.secrets.vault import Sealed, Vault
from highball.model.run import Reason
from highball.model.text import UtcTime
from highball.secret import SecretValue
from highball.web.authorize import (
    demand,
    known,
    own_user,
)
from highball.web.middleware import (
    EXPOSED,
    address_of,
    find_known,
    give_cookie,
    is_exposed,
    sign_of,
    take_cookie,
)

# --- what is sent and answered --------------------------------------------------------------------


class _Sent(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SetUp(_Sent):
    """The first admin, proved by the set-up link that the hub printed."""

    token: SecretStr = Field(max_length=200)
    name: str = Field(max_length=63)
    password: SecretStr = Field(max_length=4096)


class LogIn(_Sent):
    """A name and a password, and a code where the account has a second factor."""

    name: str = Field(max_length=200)
    password: SecretStr = Field(max_length=4096)
    code: SecretStr | None = Field(
        None, max_length=100, description="of the authenticator app, or a recovery code"
    )


class PasswordByLink(_Sent):
    """A password, set by a one-time link."""

    token: SecretStr = Field(max_length=200)
    password: SecretStr = Field(max_length=4096)


class PasswordChange(_Sent):
    """One's own password, changed."""

    old: SecretStr = Field(max_length=4096)
    new: SecretStr = Field(max_length=4096)
    revoke_tokens: list[Key] = Field([], max_length=1000, description="of one's own, by their keys")


class Confirmation(_Sent):
    """One's own password, typed again."""

    password: SecretStr = Field(max_length=4096)


class Password(_Sent):
    """One's own password."""

    password: SecretStr = Field(max_length=4096)


class Code(_Sent):
    """A code of one's authenticator app."""

    code: SecretStr = Field(max_length=100)


class BothProofs(Password, Code):
    """One's own password, and a code: of the authenticator app, or a recovery code."""


class SecretSent(_Sent):
    """The value of a secret, to be sealed."""

    value: SecretStr = Field(max_length=64 * 1024)


_KEY_BESIDE = Field(None, description="the key to be, where the address does not name it (?key=)")


class Confirming(BaseModel):
    """With one's own password, where it was not typed just now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    current_password: SecretStr | None = Field(
        None, max_length=4096, description="one's own, where it was not typed within the last five minutes"
    )


class NewUser(User, Confirming):
    """A user with the key to be, unless the address names it."""

    key: Key | None = _KEY_BESIDE


class ChangedUser(User, Confirming):
    """A user as it is to be."""


class NewToken(Token, Confirming):
    """A token with the key to be, unless the address names it."""

    key: Key | None = _KEY_BESIDE


class ChangedToken(Token, Confirming):
    """A token as it is to be."""


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


class UserAnswer(User):
    """A user as stored."""

    key: str
    revision: int
    changed_at: UtcTime
    has_password: bool = Field(description="false until the invitation was used")
    has_second_factor: bool = Field(description="whether a log-in needs a code beside the password")
    from_provider: bool = Field(description="whether the provider proves who they are, and no password does")


class OwnToken(Confirming):
    """A token of one's own, with the key to be, unless the address names it."""

    key: Key | None = _KEY_BESIDE
    title: Title | None = None
    role: Role = Field(Role.VIEWER, description="what it may do; not more than oneself")
    restore_in_place: bool = Field(
        False, strict=True, description="it may restore in place, where one may oneself"
    )
    expires_at: Moment | None = None


class TokenAnswer(Token):
    """A token as stored."""

    key: str
    revision: int
    changed_at: UtcTime
    used_at: UtcTime | None = Field(description="its last use, to the minute; null is never")
    used_from: str | None = Field(description="from which address that was")


class TokenMade(TokenAnswer):
    """A token that was just made, with its value, which nobody can read again."""

    value: str


class LinkAnswer(BaseModel):
    """A one-time token that sets a password."""

    token: str
    expires_at: UtcTime


class SealedAnswer(BaseModel):
    """That a secret is set, and since when; never its value."""

    secret: str
    sealed: Literal[True] = True
    set_at: UtcTime
    set_by: str


class AuditPage(BaseModel):
    """Entries of the audit, the newest first."""

    items: list[Entry]
    cursor: str | None = Field(description="what to send to read on; null is the end")


# --- the addresses --------------------------------------------------------------------------------

VIEWER = Depends(demand(Role.VIEWER))
ADMIN = Depends(demand(Role.ADMIN))

Viewer = Annotated[Actor, VIEWER]
Admin = Annotated[Actor, ADMIN]
IfMatch = Annotated[str | None, Header(alias="If-Match", pattern=r'^(W/)?"\d{1,9}"$')]
SecretName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,120}$")]
Anyway = Annotated[
    bool,
    Query(description="also where nobody can say whether it opens the repository: the one before is kept"),
]

ByKey = Annotated[Key | None, Query(description="the key to be, as at every other address")]

Prove = Callable[[str, str, SecretValue, bool], Awaitable[bool]]
"""Raises where a value does not open its repository; says whether the one before is to be kept beside it."""


async def _take_as_it_is(key: str, secret: str, value: SecretValue, anyway: bool) -> bool:
    return False


def make_router(
    access: Access, vault: Vault, clock: Callable[[], datetime], prove: Prove = _take_as_it_is
) -> APIRouter:
    """The addresses of this room; `prove` looks at a value before it is sealed."""
    router = APIRouter(tags=["access"])
    _add_entrance(router, access, clock)
    _add_me(router, access, clock)
    _add_second_factor(router, access, clock)
    _add_own_sessions(router, access, clock)
    _add_own_tokens(router, access, clock)
    _add_users(router, access, clock)
    _add_tokens(router, access, clock)
    _add_audit(router, access)
    _add_secrets(router, vault, clock, prove)
    return router


def _add_entrance(router: APIRouter, access: Access, clock: Callable[[], datetime]) -> None:
    @router.get("/setup")
    def needs_setup() -> SetUpAnswer:
        """Whether the first admin is still to be made."""
        return SetUpAnswer(needed=access.needs_setup())

    @router.post("/setup", status_code=201)
    def set_up(sent: SetUp, request: Request, response: Response) -> Me:
        """Make the first admin with the token of the set-up link, and log in."""
        began = access.set_up(
            _value(sent.token), sent.name, _value(sent.password), clock(), **_whence(request)
        )
        return _welcome(request, response, began)

    @router.post("/login")
    def log_in(sent: LogIn, request: Request, response: Response) -> Me:
        """Begin a session: the browser gets a cookie. Without the code that an account needs: 401 `code_needed`."""
        told = {"former": find_known(request), "sign_of": partial(sign_of, request), **_whence(request)}
        began = access.log_in(sent.name, _value(sent.password), clock(), **told)
        if isinstance(began, CodeAwaited):
            if sent.code is None:
                raise LoginNeeded(
                    "this account needs a code beside the password",
                    code="code_needed",
                    hint="send it as code: of the authenticator app, or a recovery code",
                )
            began = access.finish(began.token, _value(sent.code), clock(), **told)
        return _welcome(request, response, began)

    @router.post("/logout", status_code=204)
    def log_out(request: Request, response: Response) -> None:
        """End this session."""
        found = find_known(request)
        if found is not None and found.session is not None:
            access.log_out(found, clock())
        take_cookie(request, response)

    @router.post("/password", status_code=204)
    def set_password(sent: PasswordByLink, request: Request) -> None:
        """Set a password by a one-time link; every session of that user ends."""
        access.use_link(_value(sent.token), _value(sent.password), clock(), address=address_of(request.scope))


def _add_me(router: APIRouter, access: Access, clock: Callable[[], datetime]) -> None:
    @router.get("/me")
    def who_am_i(request: Request, _: Viewer) -> Me:
        """Who asks."""
        return _me(request, known(request))

    @router.put("/me/password", status_code=204)
    def change_password(sent: PasswordChange, request: Request, response: Response, _: Viewer) -> None:
        """Change one's own password; one's other sessions end, and the tokens that are named.

        The header `Highball-Tokens` names those that still let somebody in.
        """
        me = known(request)
        access.change_password(
            me, _value(sent.old), _value(sent.new), clock(), revoke=[str(key) for key in sent.revoke_tokens]
        )
        _name_tokens(access, me, response)

    @router.post("/me/confirmation")
    def confirm(sent: Confirmation, request: Request, response: Response, _: Viewer) -> Me:
        """Type one's password again: for five minutes one may let others in. The cookie is another one then."""
        whence = _whence(request)
        began = access.confirm_for_a_while(
            known(request), _value(sent.password), clock(), browser=whence["browser"]
        )
        return _welcome(request, response, began)


def _add_own_sessions(router: APIRouter, access: Access, clock: Callable[[], datetime]) -> None:
    @router.get("/me/sessions")
    def list_sessions(request: Request, _: Viewer) -> list[SessionAnswer]:
        """Where one is logged in."""
        me = known(request)
        return [
            SessionAnswer.model_validate(one).model_copy(update={"current": one.id == me.session})
            for one in access.list_sessions(own_user(me), clock())
        ]

    @router.delete("/me/sessions", status_code=204)
    def end_sessions(
        request: Request,
        response: Response,
        actor: Viewer,
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
    def end_session(id: str, request: Request, actor: Viewer) -> None:
        """Log out one browser."""
        access.end_session(own_user(known(request)), id, actor, clock())


def _add_second_factor(router: APIRouter, access: Access, clock: Callable[[], datetime]) -> None:
    factors = access.authenticators

    @router.get("/me/second-factor")
    def get_second_factor(request: Request, _: Viewer) -> SecondFactorAnswer:
        """Whether one's account needs a code beside the password."""
        found = factors.find(own_user(known(request)))
        since, left = (None, 0) if found is None else (found.since, found.recovery_codes_left)
        return SecondFactorAnswer(since=since, recovery_codes_left=left)

    @router.post("/me/second-factor", status_code=201)
    def offer_second_factor(sent: Password, request: Request, actor: Viewer) -> SecondFactorOffered:
        """A secret for an authenticator app; it counts once `confirm` was sent a code of it."""
        offered = factors.offer(own_user(known(request)), _value(sent.password), actor, clock())
        secret, address = offered.secret.reveal().decode(), offered.address.reveal().decode()
        return SecondFactorOffered(secret=secret, address=address)

    @router.post("/me/second-factor/confirm")
    def confirm_second_factor(sent: Code, request: Request, actor: Viewer) -> RecoveryCodes:
        """Let the secret count: from now on a log-in needs a code. The recovery codes are in this answer only."""
        codes = factors.confirm(own_user(known(request)), _value(sent.code), actor, clock())
        return RecoveryCodes(recovery_codes=[spell_code(one) for one in codes])

    @router.post("/me/second-factor/recovery-codes")
    def renew_recovery_codes(sent: BothProofs, request: Request, actor: Viewer) -> RecoveryCodes:
        """Other recovery codes; those before count no more."""
        me = own_user(known(request))
        codes = factors.renew_codes(me, _value(sent.password), _value(sent.code), actor, clock())
        return RecoveryCodes(recovery_codes=[spell_code(one) for one in codes])

    @router.post("/me/second-factor/remove", status_code=204)
    def remove_second_factor(sent: BothProofs, request: Request, actor: Viewer) -> None:
        """Let the password alone be enough again."""
        me = own_user(known(request))
        factors.remove(me, _value(sent.password), _value(sent.code), actor, clock())


def _add_own_tokens(router: APIRouter, access: Access, clock: Callable[[], datetime]) -> None:
    @router.get("/me/tokens")
    def list_own_tokens(request: Request, _: Viewer) -> list[TokenAnswer]:
        """The tokens that act in one's name, with their last use."""
        return [_token(program) for program in access.list_own_tokens(own_user(known(request)))]

    @router.post("/me/tokens", status_code=201)
    def create_own_token(
        sent: OwnToken, request: Request, response: Response, actor: Viewer, key: ByKey = None
    ) -> TokenMade:
        """A token in one's own name; its value is in this answer and nowhere else."""
        token = Token.model_validate(sent.model_dump(exclude=_NOT_DECLARED, exclude_unset=True))
        user = own_user(known(request))
        actor = _confirmed(access, request, sent, actor, clock)
        made = access.create_own_token(user, _key_of(sent.key, key), token, actor, clock())
        return _tagged(response, _token_made(*made))

    @router.delete("/me/tokens/{key}", status_code=204)
    def delete_own_token(key: str, request: Request, actor: Viewer) -> None:
        """Delete a token of one's own: its value opens nothing any more."""
        access.delete_own_token(own_user(known(request)), key, actor, clock())


def _add_users(router: APIRouter, access: Access, clock: Callable[[], datetime]) -> None:
    @router.get("/users", dependencies=[ADMIN])
    def list_users() -> list[UserAnswer]:
        """Every account."""
        return [_user(account) for account in access.list_users()]

    @router.post("/users", status_code=201)
    def create_user(
        sent: NewUser, request: Request, response: Response, actor: Admin, key: ByKey = None
    ) -> UserAnswer:
        """A new account without a password: a link invites its owner to set one."""
        user = User.model_validate(sent.model_dump(exclude=_NOT_DECLARED, exclude_unset=True))
        actor = _confirmed(access, request, sent, actor, clock)
        return _tagged(response, _user(access.create_user(_key_of(sent.key, key), user, actor, clock())))

    @router.get("/users/{key}", dependencies=[ADMIN])
    def get_user(key: str, response: Response) -> UserAnswer:
        """One account."""
        return _tagged(response, _user(access.get_user(key)))

    @router.put("/users/{key}")
    def change_user(
        key: str,
        sent: ChangedUser,
        request: Request,
        response: Response,
        actor: Admin,
        revision: IfMatch = None,
    ) -> UserAnswer:
        """Change what is declared of an account; one that is disabled is logged out."""
        user = User.model_validate(sent.model_dump(exclude=_NOT_DECLARED, exclude_unset=True))
        actor = _confirmed(access, request, sent, actor, clock)
        changed = access.change_user(key, user, actor, clock(), revision=_revision(revision))
        return _tagged(response, _user(changed))

    @router.delete("/users/{key}", status_code=204)
    def delete_user(key: str, actor: Admin, revision: IfMatch = None) -> None:
        """Delete an account, its sessions and its tokens."""
        access.delete_user(key, actor, clock(), revision=_revision(revision))

    @router.post("/users/{key}/link", status_code=201)
    def make_link(key: str, request: Request, actor: Admin, sent: Confirming | None = None) -> LinkAnswer:
        """A one-time link to set a password: an invitation, or a way back in."""
        actor = _confirmed(access, request, sent, actor, clock)
        link = access.make_link(key, actor, clock())
        return LinkAnswer(token=link.token.reveal().decode(), expires_at=link.expires_at)

    @router.delete("/users/{key}/second-factor", status_code=204)
    def reset_second_factor(key: str, actor: Admin) -> None:
        """Take away the second factor of somebody who lost it: the password alone is enough again."""
        access.authenticators.reset(key, actor, clock())

    @router.delete("/users/{key}/sessions", status_code=204)
    def log_out_everywhere(key: str, actor: Admin) -> None:
        """End every session of an account."""
        access.end_sessions(access.get_user(key).key, actor, clock())


def _add_tokens(router: APIRouter, access: Access, clock: Callable[[], datetime]) -> None:
    @router.get("/tokens", dependencies=[ADMIN])
    def list_tokens() -> list[TokenAnswer]:
        """Every token, never its value."""
        return [_token(program) for program in access.list_tokens()]

    @router.post("/tokens", status_code=201)
    def create_token(
        sent: NewToken, request: Request, response: Response, actor: Admin, key: ByKey = None
    ) -> TokenMade:
        """A new token; its value is in this answer and nowhere else."""
        token = Token.model_validate(sent.model_dump(exclude=_NOT_DECLARED, exclude_unset=True))
        actor = _confirmed(access, request, sent, actor, clock)
        program, value = access.create_token(_key_of(sent.key, key), token, actor, clock())
        return _tagged(response, _token_made(program, value))

    @router.post("/tokens/{key}/value", status_code=201)
    def renew_token(
        key: str, request: Request, response: Response, actor: Admin, sent: Confirming | None = None
    ) -> TokenMade:
        """Another value for a token; the one before opens nothing any more."""
        actor = _confirmed(access, request, sent, actor, clock)
        return _tagged(response, _token_made(*access.renew_token(key, actor, clock())))

    @router.get("/tokens/{key}", dependencies=[ADMIN])
    def get_token(key: str, response: Response) -> TokenAnswer:
        """One token."""
        return _tagged(response, _token(access.get_token(key)))

    @router.put("/tokens/{key}")
    def change_token(
        key: str,
        sent: ChangedToken,
        request: Request,
        response: Response,
        actor: Admin,
        revision: IfMatch = None,
    ) -> TokenAnswer:
        """Change what is declared of a token; its value stays."""
        token = Token.model_validate(sent.model_dump(exclude=_NOT_DECLARED, exclude_unset=True))
        actor = _confirmed(access, request, sent, actor, clock)
        changed = access.change_token(key, token, actor, clock(), revision=_revision(revision))
        return _tagged(response, _token(changed))

    @router.delete("/tokens/{key}", status_code=204)
    def delete_token(key: str, actor: Admin, revision: IfMatch = None) -> None:
        """Delete a token: its value opens nothing any more."""
        access.delete_token(key, actor, clock(), revision=_revision(revision))


_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


def _add_audit(router: APIRouter, access: Access) -> None:
    @router.get("/audit", dependencies=[ADMIN], response_model=AuditPage, responses=_CSV)
    def read_audit(
        actor: str | None = None,
        kind: str | None = None,
        key: str | None = None,
        action: str | None = None,
        since: Annotated[Moment | None, Query(alias="from")] = None,
        until: Annotated[Moment | None, Query(alias="to")] = None,
        cursor: Annotated[str | None, Query(max_length=36)] = None,
        limit: Annotated[int | None, Query(ge=1, le=500)] = None,
        format: Literal["json", "csv"] | None = None,
        accept: Annotated[str, Header()] = "",
    ) -> AuditPage | Response:
        """Who changed what, when and from where: 100 entries where no limit is said; as CSV without one all at once."""
        wanted = Wanted(actor, kind, key, action, since, until)
        if format == "csv" or (format is None and "text/csv" in accept):
            return StreamingResponse(
                as_csv(islice(access.every_entry(wanted), limit)),
                media_type="text/csv; charset=utf-8",
                headers={"Content-Disposition": 'attachment; filename="highball-audit.csv"'},
            )
        limit = limit or 100
        found = access.list_audit(wanted, before=cursor, limit=limit + 1)
        more = len(found) > limit
        return AuditPage(items=found[:limit], cursor=found[limit - 1].id if more else None)


def _add_secrets(router: APIRouter, vault: Vault, clock: Callable[[], datetime], prove: Prove) -> None:
    @router.get("/repositories/{key}/secrets", dependencies=[ADMIN])
    def list_secrets(key: str) -> list[SealedAnswer]:
        """Which secrets of a repository are sealed here, and since when."""
        id = vault.find_place(key, "password").split(":")[1]
        return [_sealed(one) for one in vault.list_places(id)]

    @router.get("/repositories/{key}/secrets/{secret}", dependencies=[ADMIN])
    def get_secret(key: str, secret: SecretName) -> SealedAnswer:
        """Since when a secret is sealed; never its value."""
        found = vault.find(vault.find_place(key, secret))
        if found is None:
            raise Unknown(f'no "{secret}" is sealed for {key}', code="secret_unset")
        return _sealed(found)

    @router.put("/repositories/{key}/secrets/{secret}")
    async def set_secret(
        key: str, secret: SecretName, sent: SecretSent, actor: Admin, anyway: Anyway = False
    ) -> SealedAnswer:
        """Seal a value: `password`, `admin` (the admin access's password), or another field's name.

        A password that does not open the repository is refused.
        """
        value = _value(sent.value)
        place = await asyncio.to_thread(vault.find_place, key, secret)
        keep = await prove(key, secret, value, anyway)
        return _sealed(await asyncio.to_thread(vault.seal, place, value, actor, clock(), keep_former=keep))

    @router.post("/repositories/{key}/secrets/{secret}/bring-back")
    def bring_back_secret(key: str, secret: SecretName, actor: Admin) -> SealedAnswer:
        """Let the value that was replaced without proof be the one again."""
        return _sealed(vault.bring_back(vault.find_place(key, secret), actor, clock()))

    @router.delete("/repositories/{key}/secrets/{secret}", status_code=204)
    def remove_secret(key: str, secret: SecretName, actor: Admin) -> None:
        """Forget a sealed value; where none is, that is no error."""
        vault.remove(vault.find_place(key, secret), actor, clock())


# --- small steps ----------------------------------------------------------------------------------

_NOT_DECLARED = {"key", "current_password"}


def _confirmed(
    access: Access, request: Request, sent: Confirming | None, actor: Actor, clock: Callable[[], datetime]
) -> Actor:
    """Who asks, with the password that came along looked at."""
    if sent is None or sent.current_password is None:
        return actor
    return access.confirm(known(request), _value(sent.current_password), clock())


def _name_tokens(access: Access, me: Known, response: Response) -> None:
    left = [one.key for one in access.list_tokens_of(own_user(me)) if one.token.enabled]
    if left:
        response.headers["Highball-Tokens"] = ", ".join(left)


def _key_of(in_body: str | None, in_address: str | None) -> str:
    """The key to be, said in the address or beside what it is of. Raises ConfigurationInvalid for none and for two."""
    told = {key for key in (in_body, in_address) if key is not None}
    if len(told) == 1:
        return told.pop()
    message = "is missing" if not told else "is another one than in the body"
    problem = Problem("query.key", message, "name it once, like ?key=anna")
    raise ConfigurationInvalid(f"the key {message}", code="request_invalid", problems=[problem])


def _value(sent: SecretStr) -> SecretValue:
    return SecretValue(sent.get_secret_value().encode("utf-8", "replace"))


def _whence(request: Request) -> dict[str, Any]:
    return {"address": address_of(request.scope), "browser": request.headers.get("user-agent")}


def _welcome(request: Request, response: Response, began: LoggedIn) -> Me:
    give_cookie(request, response, began)
    return _me(request, began.known)


def _me(request: Request, known: Known) -> Me:
    return Me(
        name=known.actor.name,
        role=known.actor.role,
        user=known.user,
        session=known.session,
        restore_in_place=known.actor.may_restore_in_place,
        warning=EXPOSED if is_exposed(request.scope) else None,
    )


def _user(account: Account) -> UserAnswer:
    return UserAnswer(
        **account.user.model_dump(),
        key=account.key,
        revision=account.revision,
        changed_at=account.changed_at,
        has_password=account.has_password,
        has_second_factor=account.has_second_factor,
        from_provider=account.from_provider,
    )


def _token(program: Program) -> TokenAnswer:
    return TokenAnswer(
        **program.token.model_dump(),
        key=program.key,
        revision=program.revision,
        changed_at=program.changed_at,
        used_at=program.used_at,
        used_from=program.used_from,
    )


def _token_made(program: Program, value: SecretValue) -> TokenMade:
    return TokenMade.model_validate(_token(program).model_dump() | {"value": value.reveal().decode()})


def _sealed(sealed: Sealed) -> SealedAnswer:
    return SealedAnswer(secret=sealed.slot, set_at=sealed.set_at, set_by=sealed.set_by)


_Answer = TypeVar("_Answer", UserAnswer, TokenAnswer, TokenMade)


def _tagged(response: Response, answer: _Answer) -> _Answer:
    response.headers["ETag"] = f'"{answer.revision}"'
    return answer


def _revision(if_match: str | None) -> int | None:
    return None if if_match is None else int(if_match.removeprefix("W/").strip('"'))
