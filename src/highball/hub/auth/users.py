"""Users, tokens and one-time links as they are stored, and what has to hold of them after every change.

What declares them lies among the objects, what proves them in the vault, each as its hash; see `access` for who comes
in by them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from highball.config.object_keys import check_key, key_from
from highball.config.provider import Provider
from highball.config.roles import Token, User, restores_in_place
from highball.errors import (
    ConfigurationInvalid,
    ConfirmationNeeded,
    Conflict,
    NotAllowed,
    Problem,
    Stale,
    Unknown,
)
from highball.hub.audit import HUB, Actor, write_down
from highball.hub.document.diff import BY_HAND
from highball.hub.document.rows import (
    TOKEN,
    read_marks,
    write_mark,
)
from highball.hub.storage.database import new_run_id
from highball.hub.storage.schema import (
    authenticators,
    enrolments,
    identities,
    objects,
    revisions,
    sessions,
    token_uses,
    vault,
)
from highball.model.role import Role
from highball.secret import SecretValue

NOBODY = "nobody"
RESERVED = frozenset({HUB.name, "cli", NOBODY, "token"})
"""Names by which the audit calls what is no person."""

SETUP, PASSWORD, CODE = "setup", "password", "code"
"""What one-time tokens are for: the first account, a new password, and the code that is still to come at a log-in."""


@dataclass(frozen=True)
class OneTimeLink:
    """A one-time token and until when it counts."""

    token: SecretValue
    expires_at: datetime


@dataclass(frozen=True)
class Account:
    """A user as stored."""

    key: str
    user: User
    revision: int
    changed_at: datetime
    has_password: bool
    has_second_factor: bool = False
    from_provider: bool = False
    """Whether a provider proves who they are, and nothing here does."""


@dataclass(frozen=True)
class Program:
    """A token as stored, never its value."""

    key: str
    token: Token
    revision: int
    changed_at: datetime
    used_at: datetime | None = None
    """Its last use, to the minute; None is never."""
    used_from: str | None = None


# --- what holds after every change ----------------------------------------------------------------


@contextmanager
def kept_sound(connection: sa.Connection, actor: Actor, now: datetime) -> Iterator[None]:
    """Around a change of users, tokens or where people log in, by whatever way they are changed, in its transaction.

    Who is disabled or gone loses sessions and links, what is deleted loses what proved it; raises NotAllowed
    (`last_admin`) where nobody would be left who can administer, and as `demand_confirmed` does where it makes a way
    in.
    """
    had, before = has_admin(connection), _ways_in(connection)
    yield
    if not actor.confirmed and any(not way.is_in(before.get(id)) for id, way in _ways_in(connection).items()):
        demand_confirmed(actor)
    _shut_out(connection, actor, now)
    if had and not has_admin(connection):
        raise NotAllowed(
            "this is the last admin who can log in",
            code="last_admin",
            hint="create another admin with a password first",
        )


@dataclass(frozen=True)
class _Way:
    """What somebody who comes in by it may do, and for how long."""

    role: Role
    user: str | None = None
    may_grant: bool = False
    expires_at: datetime | None = None
    in_place: bool = True
    provider: Provider | None = None

    def is_in(self, before: _Way | None) -> bool:
        """Whether it lets nobody do more than it did before."""
        if before is None or self.user != before.user or (self.may_grant and not before.may_grant):
            return False
        if self.in_place and not before.in_place:
            return False
        if self.provider != before.provider:  # whoever says who people are makes admins
            return False
        if before.expires_at is not None and (self.expires_at is None or self.expires_at > before.expires_at):
            return False
        return before.role.includes(self.role)


def _ways_in(connection: sa.Connection) -> dict[str, _Way]:
    """The admins, the tokens that have a value, and where people log in, by the ids of their objects."""
    found: dict[str, _Way] = {}
    for row in list_rows(connection, "settings"):
        if (told := row.spec.get("oidc")) is not None:
            found[row.id] = _Way(Role.ADMIN, provider=Provider.model_validate(told))
    for row in list_rows(connection, "user"):
        user = User.model_validate(row.spec)
        if user.enabled and user.role is Role.ADMIN:
            found[row.id] = _Way(user.role)
    proved = connection.execute(sa.select(vault.c.place).where(vault.c.place.like("token:%"))).scalars().all()
    for row in list_rows(connection, "token"):
        token = Token.model_validate(row.spec)
        if token.enabled and _place_of_token(row.id) in proved:
            facts = (token.may_grant, token.expires_at, restores_in_place(token))
            found[row.id] = _Way(token.role, token.user, *facts)
    return found


def demand_confirmed(actor: Actor) -> None:
    """Raise ConfirmationNeeded where a person has to type the password again before they let somebody in, and
    NotAllowed (`grant_needed`) where a token was not made for that.
    """
    if actor.confirmed:
        return
    if actor.is_token:
        raise NotAllowed(
            f"{actor.name} may not create tokens, admins or links",
            code="grant_needed",
            hint="log in, or create a token with may_grant",
        )
    raise ConfirmationNeeded(
        "enter your password again before you grant access",
        hint="send it as current_password, or to POST /me/confirmation first",
    )


def demand_present(actor: Actor) -> None:
    """Raise ConfirmationNeeded where a person has to type the password again; a token has none to type."""
    if not actor.is_token:
        demand_confirmed(actor)


def _shut_out(connection: sa.Connection, actor: Actor, now: datetime) -> None:
    users, tokens = list_rows(connection, "user"), list_rows(connection, "token")
    enabled = {row.key for row in users if User.model_validate(row.spec).enabled}
    for user in connection.execute(sa.select(sessions.c.user).distinct()).scalars().all():
        if user not in enabled:
            end_sessions(connection, user, actor, now, None)
    links = enrolments.c.purpose.in_((PASSWORD, CODE)) & enrolments.c.subject.not_in(enabled)
    connection.execute(enrolments.delete().where(links))
    known = {row.key for row in users}
    owners = {f"user:{row.id}" for row in users}
    owners |= {_place_of_token(row.id) for row in tokens if row.spec.get("user") in {None, *known}}
    ours = vault.c.place.like("user:%") | vault.c.place.like("token:%")
    for place in connection.execute(sa.select(vault.c.place).where(ours)).scalars().all():
        if ":".join(place.split(":")[:2]) not in owners:
            connection.execute(vault.delete().where(vault.c.place == place))
    gone = authenticators.c.user.not_in([row.id for row in users])
    connection.execute(authenticators.delete().where(gone))
    connection.execute(identities.delete().where(identities.c.user.not_in([row.id for row in users])))


# --- declared objects: rows and revisions ---------------------------------------------------------


def store(
    connection: sa.Connection, kind: str, key: str, spec: dict[str, Any] | None, actor: Actor, now: datetime
) -> str:
    """Write an object and its next revision, None deleting it, and note it in the audit; its id."""
    here = (objects.c.kind == kind) & (objects.c.key == key)
    row = connection.execute(sa.select(objects).where(here)).one_or_none()
    revision = 1 if row is None else row.revision + 1
    before = row.spec if row is not None and row.deleted_at is None else None
    told: dict[str, Any] = {"revision": revision, "changed_at": now, "origin": BY_HAND}
    if spec is None:
        what, told["deleted_at"] = "deleted", now
    else:
        told |= {"spec": spec, "title": spec.get("title"), "deleted_at": None}
        what = "created" if row is None else ("changed" if before is not None else "restored")
    id = new_id(now) if row is None else row.id
    if row is None:
        connection.execute(objects.insert().values(kind=kind, key=key, id=id, former_keys=[], **told))
    else:
        connection.execute(objects.update().where(here).values(**told))
    facts = {"kind": kind, "key": key, "revision": revision, "at": now, "actor": actor.name}
    connection.execute(revisions.insert().values(**facts, spec=spec, what=what))
    write_mark(connection, TOKEN, str(read_marks(connection)[0] + 1))  # who knows the Document reads it again
    write_down(connection, actor, what, now, kind=kind, key=key, before=before, after=spec)
    return str(id)


def list_rows(connection: sa.Connection, kind: str) -> list[sa.Row[Any]]:
    """The objects of a kind that are not deleted, by their keys."""
    query = sa.select(objects).where(objects.c.kind == kind, objects.c.deleted_at.is_(None))
    return list(connection.execute(query.order_by(objects.c.key)))


def _find(connection: sa.Connection, kind: str, key: str) -> sa.Row[Any] | None:
    here = (objects.c.kind == kind) & (objects.c.key == key) & objects.c.deleted_at.is_(None)
    return connection.execute(sa.select(objects).where(here)).one_or_none()


def get_row(connection: sa.Connection, kind: str, key: str) -> sa.Row[Any]:
    """An object; raises Unknown."""
    row = _find(connection, kind, key)
    if row is None:
        raise unknown(kind, key)
    return row


def id_of(connection: sa.Connection, kind: str, key: str) -> str:
    """The id that names an object's places in the vault; raises Unknown."""
    return str(get_row(connection, kind, key).id)


def spec_of(declared: User | Token) -> dict[str, Any]:
    """What was said of it, defaults left out."""
    return declared.model_dump(mode="json", exclude_unset=True)


def new_id(now: datetime) -> str:
    """An id for a new object."""
    return new_run_id(now, secrets.randbits(74))


def demand_free(connection: sa.Connection, kind: str, key: str) -> None:
    """Raises Conflict where there is such an object already."""
    if _find(connection, kind, key) is not None:
        raise Conflict(f'there is a {kind} "{key}" already', code=f"{kind}_exists")


def demand_revision(row: sa.Row[Any], revision: int | None) -> None:
    """Raises Stale where the object is at another revision than the one that was seen."""
    if revision is not None and row.revision != revision:
        raise Stale(
            f'the {row.kind} "{row.key}" was changed meanwhile',
            revision=row.revision,
            hint="read it again, then repeat the change",
        )


def demand_user(connection: sa.Connection, token: Token) -> None:
    """Raises ConfigurationInvalid where a token is to act for a user that there is not."""
    if token.user is not None and find_user(connection, token.user) is None:
        message = f'there is no user "{token.user}"'
        raise ConfigurationInvalid(message, problems=[Problem("user", message)])


def unknown(kind: str, key: str) -> Unknown:
    """That there is no such object."""
    return Unknown(f'there is no {kind} "{key}"', code=f"{kind}_unknown")


def check_name(name: str) -> str:
    """The key of a new account. Raises ConfigurationInvalid."""
    key = name.strip().lower()
    check_token_key(key)
    if key in RESERVED:
        raise _refuse_key(f'"{key}" is reserved by the audit log')
    return key


def check_token_key(key: str) -> None:
    """Raises ConfigurationInvalid where this cannot be a key."""
    try:
        check_key(key)
    except ValueError as error:
        resembling = key_from(key)
        hint = f'perhaps "{resembling}"' if resembling not in ("", key) else None
        raise _refuse_key(str(error), hint) from None


def _refuse_key(message: str, hint: str | None = None) -> ConfigurationInvalid:
    told = "use lower-case letters and digits only, without spaces"
    return ConfigurationInvalid(told, hint=hint, problems=[Problem("key", message, hint)])


# --- accounts -------------------------------------------------------------------------------------


def find_user(connection: sa.Connection, key: str) -> User | None:
    """A user that is not deleted."""
    row = _find(connection, "user", key)
    return None if row is None else User.model_validate(row.spec)


def find_password(connection: sa.Connection, key: str) -> bytes | None:
    """The hash of a user's password."""
    row = _find(connection, "user", key)
    if row is None:
        return None
    query = sa.select(vault.c.content).where(vault.c.place == place_of_password(row.id))
    found = connection.execute(query).scalar()
    return None if found is None else bytes(found)


def keep_proof(connection: sa.Connection, place: str, hashed: bytes, actor: Actor, now: datetime) -> None:
    """Keep a hash in the place of the one before."""
    connection.execute(vault.delete().where(vault.c.place == place))
    told = {"content": hashed, "changed_at": now, "actor": actor.name}
    connection.execute(vault.insert().values(place=place, **told))


def has_admin(connection: sa.Connection) -> bool:
    """Whether some enabled admin has a password, so that somebody can log in and administer."""
    return any(
        account.user.role is Role.ADMIN and account.user.enabled and account.has_password
        for account in (as_account(connection, row) for row in list_rows(connection, "user"))
    )


def end_sessions(connection: sa.Connection, user: str, actor: Actor, now: datetime, keep: str | None) -> int:
    """End a user's sessions, but for one that is kept; how many there were."""
    query = sessions.delete().where(sessions.c.user == user)
    if keep is not None:
        query = query.where(sessions.c.id != keep)
    ended = connection.execute(query).rowcount
    if ended:
        message = f"{ended} of them"
        write_down(connection, actor, "sessions_ended", now, kind="user", key=user, message=message)
    return ended


def note_failure(
    connection: sa.Connection,
    key: str | None,
    user: User | None,
    right: bool,
    address: str | None,
    now: datetime,
) -> None:
    """Without the name where there is no such account: people type passwords there."""
    why = "no such account" if user is None else "the account is disabled" if right else "wrong password"
    actor = Actor(key or NOBODY, Role.VIEWER, address)
    write_down(connection, actor, "login_failed", now, kind="user", key=key, message=why)


def as_account(connection: sa.Connection, row: sa.Row[Any]) -> Account:
    """A user as stored."""
    query = sa.select(vault.c.place).where(vault.c.place == place_of_password(row.id))
    has_password = connection.execute(query).scalar() is not None
    found = sa.select(authenticators.c.user).where(authenticators.c.user == row.id)
    has_second_factor = connection.execute(found).scalar() is not None
    linked = sa.select(identities.c.user).where(identities.c.user == row.id)
    from_provider = connection.execute(linked).scalar() is not None
    ways = (has_password, has_second_factor, from_provider)
    return Account(row.key, User.model_validate(row.spec), row.revision, row.changed_at, *ways)


def place_of_password(id: str) -> str:
    """Where in the vault the hash of a password lies."""
    return f"user:{id}:password"


# --- tokens and links -----------------------------------------------------------------------------


def find_token(connection: sa.Connection, end_of_id: str, value: str) -> sa.Row[Any] | None:
    """The object of the token with this value, of those whose id ends so."""
    query: sa.Select[Any] = (
        sa.select(objects.c.id, objects.c.key, objects.c.spec, vault.c.content)
        .add_columns(token_uses.c.used_at, token_uses.c.address)
        .join(vault, vault.c.place == sa.literal("token:").concat(objects.c.id))
        .outerjoin(token_uses, token_uses.c.token == objects.c.id)
        .where(objects.c.kind == "token", objects.c.deleted_at.is_(None), objects.c.id.like(f"%{end_of_id}"))
    )
    hashed = digest(value).encode()
    rows = connection.execute(query).all()
    return next((row for row in rows if hmac.compare_digest(bytes(row.content), hashed)), None)


def make_value(connection: sa.Connection, id: str, actor: Actor, now: datetime) -> SecretValue:
    """A new value of a token; only its hash is kept."""
    value = f"hb_{id[-8:]}_{secrets.token_urlsafe(32)}"
    keep_proof(connection, _place_of_token(id), digest(value).encode(), actor, now)
    return SecretValue(value.encode())


def list_made_by(connection: sa.Connection, user: str) -> set[str]:
    """The keys of the tokens whose value this user made."""
    query = (
        sa.select(objects.c.key)
        .join(vault, vault.c.place == sa.literal("token:").concat(objects.c.id))
        .where(objects.c.kind == "token", objects.c.deleted_at.is_(None), vault.c.actor == user)
    )
    return set(connection.execute(query).scalars())


def as_program(connection: sa.Connection, row: sa.Row[Any]) -> Program:
    """A token as stored, with its last use."""
    use = connection.execute(sa.select(token_uses).where(token_uses.c.token == row.id)).one_or_none()
    used = (None, None) if use is None else (use.used_at, use.address)
    return Program(row.key, Token.model_validate(row.spec), row.revision, row.changed_at, *used)


def _place_of_token(id: str) -> str:
    return f"token:{id}"


def make_link(
    connection: sa.Connection,
    purpose: str,
    subject: str | None,
    now: datetime,
    counts_for: timedelta,
    actor: Actor,
) -> OneTimeLink:
    """A one-time token for this purpose; only its hash is kept."""
    token = secrets.token_urlsafe(32)
    expires_at = now + counts_for
    told = {"purpose": purpose, "subject": subject, "expires_at": expires_at, "actor": actor.name}
    connection.execute(enrolments.insert().values(token=digest(token), **told))
    return OneTimeLink(SecretValue(token.encode()), expires_at)


def remove_links(connection: sa.Connection, user: str) -> None:
    """Let the links of a user count no more, nor the log-ins that wait for a code."""
    here = enrolments.c.purpose.in_((PASSWORD, CODE)) & (enrolments.c.subject == user)
    connection.execute(enrolments.delete().where(here))


def demand_local(connection: sa.Connection, user: str) -> None:
    """Raise NotAllowed (`account_of_provider`) where a provider proves who this is, and no password may."""
    if as_account(connection, get_row(connection, "user", user)).from_provider:
        raise NotAllowed(
            f"{user} logs in with the provider, and has no password here",
            code="account_of_provider",
            hint="create another account for a login with a password",
        )


def link_invalid() -> NotAllowed:
    """That a link does not count."""
    return NotAllowed(
        "this link has been used, has expired, or is not valid",
        code="link_invalid",
        hint="ask for a new one; the hub prints a new set-up link when it starts",
    )


def digest(token: str | bytes) -> str:
    """The SHA-256 by which a token is found."""
    return hashlib.sha256(token.encode() if isinstance(token, str) else token).hexdigest()
