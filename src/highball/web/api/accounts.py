"""Accounts, for admins: who may come in with which role, and the links by which people set a password."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from highball.config.object_keys import Key
from highball.config.roles import User
from highball.hub.auth.users import Account
from highball.model.text import UtcTime
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


class NewUser(User, Confirming):
    """A user with the key to be, unless the address names it."""

    key: Key | None = KEY_BESIDE


class ChangedUser(User, Confirming):
    """A user as it is to be."""


class UserAnswer(User):
    """A user as stored."""

    key: str
    revision: int
    changed_at: UtcTime
    has_password: bool = Field(description="false until the invitation was used")
    has_second_factor: bool = Field(description="whether a log-in needs a code beside the password")
    from_provider: bool = Field(description="whether the provider proves who they are, and no password does")


class LinkAnswer(BaseModel):
    """A one-time token that sets a password."""

    token: str
    expires_at: UtcTime


router = APIRouter(prefix="/api/v1", tags=["access"])


@router.get("/users")
def list_users(access: TheAccess, _: Admin) -> list[UserAnswer]:
    """Every account."""
    return [_answer_of(account) for account in access.list_users()]


@router.post("/users", status_code=201)
def create_user(
    access: TheAccess,
    clock: TheClock,
    sent: NewUser,
    request: Request,
    response: Response,
    actor: Admin,
    key: ByKey = None,
) -> UserAnswer:
    """A new account without a password: a link invites its owner to set one."""
    user = User.model_validate(sent.model_dump(exclude=NOT_DECLARED, exclude_unset=True))
    actor = confirmed(access, request, sent, actor, clock)
    return tagged(response, _answer_of(access.create_user(key_of(sent.key, key), user, actor, clock())))


@router.get("/users/{key}")
def get_user(access: TheAccess, _: Admin, key: str, response: Response) -> UserAnswer:
    """One account."""
    return tagged(response, _answer_of(access.get_user(key)))


@router.put("/users/{key}")
def change_user(
    access: TheAccess,
    clock: TheClock,
    key: str,
    sent: ChangedUser,
    request: Request,
    response: Response,
    actor: Admin,
    revision: IfMatch = None,
) -> UserAnswer:
    """Change what is declared of an account; one that is disabled is logged out."""
    user = User.model_validate(sent.model_dump(exclude=NOT_DECLARED, exclude_unset=True))
    actor = confirmed(access, request, sent, actor, clock)
    changed = access.change_user(key, user, actor, clock(), revision=revision_of(revision))
    return tagged(response, _answer_of(changed))


@router.delete("/users/{key}", status_code=204)
def delete_user(access: TheAccess, clock: TheClock, key: str, actor: Admin, revision: IfMatch = None) -> None:
    """Delete an account, its sessions and its tokens."""
    access.delete_user(key, actor, clock(), revision=revision_of(revision))


@router.post("/users/{key}/link", status_code=201)
def make_link(
    access: TheAccess,
    clock: TheClock,
    key: str,
    request: Request,
    actor: Admin,
    sent: Confirming | None = None,
) -> LinkAnswer:
    """A one-time link to set a password: an invitation, or a way back in."""
    actor = confirmed(access, request, sent, actor, clock)
    link = access.make_link(key, actor, clock())
    return LinkAnswer(token=link.token.reveal().decode(), expires_at=link.expires_at)


@router.delete("/users/{key}/second-factor", status_code=204)
def reset_second_factor(access: TheAccess, clock: TheClock, key: str, actor: Admin) -> None:
    """Take away the second factor of somebody who lost it: the password alone is enough again."""
    access.authenticators.reset(key, actor, clock())


@router.delete("/users/{key}/sessions", status_code=204)
def log_out_everywhere(access: TheAccess, clock: TheClock, key: str, actor: Admin) -> None:
    """End every session of an account."""
    access.end_sessions(access.get_user(key).key, actor, clock())


def _answer_of(account: Account) -> UserAnswer:
    return UserAnswer(
        **account.user.model_dump(),
        key=account.key,
        revision=account.revision,
        changed_at=account.changed_at,
        has_password=account.has_password,
        has_second_factor=account.has_second_factor,
        from_provider=account.from_provider,
    )
