"""People whom an OpenID Connect provider proves: which account is theirs, and the role that they have this time.

An identity is the issuer's and the subject's, never a name. An account with a password of its own is nobody's but its
owner's: no provider opens it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from highball.config.object_keys import key_from
from highball.config.provider import Provider
from highball.config.roles import User
from highball.errors import NotAllowed
from highball.hub.audit import HUB, Actor, write_down
from highball.hub.auth import users
from highball.hub.auth.single_sign_on import Proved, find_claim
from highball.hub.storage.schema import identities
from highball.model.role import Role


def role_of(provider: Provider, claims: Mapping[str, Any]) -> Role | None:
    """The highest role that the claim gives; None lets nobody in."""
    roles = [provider.roles[one] for one in _values(provider, claims) if one in provider.roles]
    return max(roles, key=list(Role).index, default=provider.default_role)


def _values(provider: Provider, claims: Mapping[str, Any]) -> list[str]:
    told = find_claim(claims, provider.claim)
    values = [told] if isinstance(told, str) else told if isinstance(told, list) else []
    return [one for one in values if isinstance(one, str)]


def _rights(proved: Proved, role: Role) -> dict[str, Any]:
    """What an account is given at a log-in: its role, and where the provider tells of it, the right to replace."""
    given: dict[str, Any] = {"role": role.value}
    if telling := proved.provider.restore_in_place:
        given["restore_in_place"] = any(one in telling for one in _values(proved.provider, proved.claims))
    return given


def find_account(connection: sa.Connection, proved: Proved) -> str | None:
    """The key of the account that belongs to this identity."""
    rows = {row.id: row.key for row in users.list_rows(connection, "user")}
    return rows.get(_find_owner(connection, proved) or "")


def let_in(connection: sa.Connection, proved: Proved, address: str | None, now: datetime) -> str:
    """The account of who was proved, with the role of this time; made, or taken over by its name, at the first.

    Raises NotAllowed (`account_unknown`, `account_has_password`, `account_of_another`, `account_disabled`).
    """
    role = role_of(proved.provider, proved.claims)
    assert role is not None
    given = _rights(proved, role)
    key = find_account(connection, proved) or _adopt(connection, proved, given, address, now)
    row = users.get_row(connection, "user", key)
    user = User.model_validate(row.spec)
    if not user.enabled:
        raise NotAllowed(
            f"the account {key} is disabled here",
            code="account_disabled",
            hint="an admin can enable it",
        )
    _give(connection, key, user, given, now)
    return key


def shut_out(connection: sa.Connection, proved: Proved, now: datetime) -> str | None:
    """Who has no role any more is logged out, and their tokens may do no more than look; the account's key."""
    key = find_account(connection, proved)
    if key is not None:
        user = users.find_user(connection, key)
        assert user is not None
        _give(connection, key, user, _rights(proved, Role.VIEWER), now)
        users.end_sessions(connection, key, HUB, now, None)
    return key


def no_role(provider: Provider) -> NotAllowed:
    """That the provider's claims give no role here."""
    return NotAllowed(
        f"your account at {provider.label} has no role here",
        code="role_missing",
        hint=f"ask for one of the values of {provider.claim} that settings.oidc names",
    )


def _give(connection: sa.Connection, key: str, user: User, given: dict[str, Any], now: datetime) -> None:
    changed = users.spec_of(user) | given
    if User.model_validate(changed) != user:
        with users.kept_sound(connection, HUB, now):
            users.store(connection, "user", key, changed, HUB, now)


def _adopt(
    connection: sa.Connection, proved: Proved, given: dict[str, Any], address: str | None, now: datetime
) -> str:
    told = find_claim(proved.claims, proved.provider.name_claim)
    name = key_from(told.partition("@")[0]) if isinstance(told, str) else ""
    if not name:
        raise NotAllowed(
            f"the provider sends no name in {proved.provider.name_claim}",
            code="account_unknown",
            hint="check name_claim and scopes under settings.oidc",
        )
    if users.find_user(connection, name) is None:
        if not proved.provider.create_accounts:
            raise NotAllowed(
                f"there is no account {name} here",
                code="account_unknown",
                hint="an admin can create one of that name, without a password",
            )
        key = users.check_name(name)
        user = User.model_validate(given)
        with users.kept_sound(connection, HUB, now):
            users.store(connection, "user", key, users.spec_of(user), HUB, now)
    elif users.find_password(connection, name) is not None:
        raise NotAllowed(
            f"the account {name} has a password, so a provider cannot open it",
            code="account_has_password",
            hint="log in with that password, or ask an admin to rename it",
        )
    id = users.id_of(connection, "user", name)
    before = connection.execute(sa.select(identities).where(identities.c.user == id)).one_or_none()
    if before is not None and before.issuer == proved.provider.issuer:
        raise NotAllowed(
            f"the account {name} belongs to somebody else at {proved.provider.label}",
            code="account_of_another",
            hint="an admin can delete or rename it",
        )
    connection.execute(identities.delete().where(identities.c.user == id))
    told_now = {"issuer": proved.provider.issuer, "subject": proved.subject, "user": id, "since": now}
    connection.execute(identities.insert().values(**told_now))
    users.remove_links(connection, name)
    actor = Actor(name, Role(given["role"]), address)
    write_down(connection, actor, "linked", now, kind="user", key=name)
    return name


def _find_owner(connection: sa.Connection, proved: Proved) -> str | None:
    here = (identities.c.issuer == proved.provider.issuer) & (identities.c.subject == proved.subject)
    return connection.execute(sa.select(identities.c.user).where(here)).scalar()
