"""Tokens, for admins: which programs may ask, with which role; a value goes out once, in the answer that made it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import Field

from highball.config.object_keys import Key
from highball.config.roles import Token
from highball.hub.auth.users import Program
from highball.model.text import UtcTime
from highball.secret import SecretValue
from highball.web.api.bodies import (
    KEY_BESIDE,
    NOT_DECLARED,
    ByKey,
    Confirming,
    IfMatch,
    confirmed,
    key_of,
    revision_of,
    tagged,
)
from highball.web.authorize import Admin
from highball.web.dependencies import TheAccess, TheClock


class NewToken(Token, Confirming):
    """A token with the key to be, unless the address names it."""

    key: Key | None = KEY_BESIDE


class ChangedToken(Token, Confirming):
    """A token as it is to be."""


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


router = APIRouter(prefix="/api/v1", tags=["access"])


@router.get("/tokens")
def list_tokens(access: TheAccess, _: Admin) -> list[TokenAnswer]:
    """Every token, never its value."""
    return [token_answer(program) for program in access.list_tokens()]


@router.post("/tokens", status_code=201)
def create_token(
    access: TheAccess,
    clock: TheClock,
    sent: NewToken,
    request: Request,
    response: Response,
    actor: Admin,
    key: ByKey = None,
) -> TokenMade:
    """A new token; its value is in this answer and nowhere else."""
    token = Token.model_validate(sent.model_dump(exclude=NOT_DECLARED, exclude_unset=True))
    actor = confirmed(access, request, sent, actor, clock)
    program, value = access.create_token(key_of(sent.key, key), token, actor, clock())
    return tagged(response, made_answer(program, value))


@router.post("/tokens/{key}/value", status_code=201)
def renew_token(
    access: TheAccess,
    clock: TheClock,
    key: str,
    request: Request,
    response: Response,
    actor: Admin,
    sent: Confirming | None = None,
) -> TokenMade:
    """Another value for a token; the one before opens nothing any more."""
    actor = confirmed(access, request, sent, actor, clock)
    return tagged(response, made_answer(*access.renew_token(key, actor, clock())))


@router.get("/tokens/{key}")
def get_token(access: TheAccess, _: Admin, key: str, response: Response) -> TokenAnswer:
    """One token."""
    return tagged(response, token_answer(access.get_token(key)))


@router.put("/tokens/{key}")
def change_token(
    access: TheAccess,
    clock: TheClock,
    key: str,
    sent: ChangedToken,
    request: Request,
    response: Response,
    actor: Admin,
    revision: IfMatch = None,
) -> TokenAnswer:
    """Change what is declared of a token; its value stays."""
    token = Token.model_validate(sent.model_dump(exclude=NOT_DECLARED, exclude_unset=True))
    actor = confirmed(access, request, sent, actor, clock)
    changed = access.change_token(key, token, actor, clock(), revision=revision_of(revision))
    return tagged(response, token_answer(changed))


@router.delete("/tokens/{key}", status_code=204)
def delete_token(
    access: TheAccess, clock: TheClock, key: str, actor: Admin, revision: IfMatch = None
) -> None:
    """Delete a token: its value opens nothing any more."""
    access.delete_token(key, actor, clock(), revision=revision_of(revision))


def token_answer(program: Program) -> TokenAnswer:
    """A token as stored, without its value."""
    return TokenAnswer(
        **program.token.model_dump(),
        key=program.key,
        revision=program.revision,
        changed_at=program.changed_at,
        used_at=program.used_at,
        used_from=program.used_from,
    )


def made_answer(program: Program, value: SecretValue) -> TokenMade:
    """A token with the value that it just got."""
    return TokenMade.model_validate(token_answer(program).model_dump() | {"value": value.reveal().decode()})
