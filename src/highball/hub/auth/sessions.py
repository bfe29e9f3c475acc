"""Who may come in: accounts and tokens, how they prove themselves, and for how long they are believed.

Users and tokens are declared objects like any other; what proves them (hashes of passwords and tokens) lies in
the vault's table, sessions and links in tables of their own, each as its SHA-256. Every change and every log-in
is in the audit. Nothing here knows of HTTP.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from highball.config.roles import Token, User, restores_in_place
from highball.errors import (
    LoginNeeded,
    NotAllowed,
    StateUnusable,
    Unknown,
)
from highball.hub.audit import HUB, Actor, AuditFilter, Entry, every_entry, list_audit, write_down
from highball.hub.auth import identities, passwords, rate_limit
from highball.hub.auth import users as accounts
from highball.hub.auth.authenticators import (
    Authenticators,
    find_factor,
    for_codes,
    wrong_code,
)
from highball.hub.auth.known_browsers import KEY_BYTES, Browsers
from highball.hub.auth.single_sign_on import Arrival
from highball.hub.auth.users import (
    CODE,
    PASSWORD,
    SETUP,
    Account,
    OneTimeLink,
    Program,
)
from highball.hub.secrets.vault import Vault
from highball.hub.storage.database import Database
from highball.hub.storage.schema import (
    enrolments,
    sessions,
    token_uses,
    vault,
)
from highball.model.role import Role
from highball.secret import SecretValue

SET_UP_FOR = timedelta(hours=24)
LINK_FOR = timedelta(days=3)
CODE_WITHIN = timedelta(minutes=10)
"""So long a log-in whose password was right waits for its code."""
IDLE_FOR = timedelta(days=14)
ABSOLUTE_FOR = timedelta(days=90)
CONFIRMED_FOR = timedelta(minutes=5)
"""For so long after somebody typed their password they may let others in without typing it again."""
FROM_PROVIDER_FOR = timedelta(hours=24)
"""Who came from a provider goes there again after this: what it says of their role may have changed."""
SEEN_EVERY = timedelta(minutes=1)
"""A session's last use is written no more often than this, so that reading a page writes nothing."""

_TOKEN = re.compile(r"hb_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")

# --- what is told of them -------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """Who a request proved to be."""

    actor: Actor
    user: str | None
    """The user's key; None is a token that acts for itself."""
    session: str | None = None
    """The session's id; None where a token proved it."""


@dataclass(frozen=True)
class LoggedIn:
    """A session that just began; its token is shown this once, for the browser's cookie."""

    token: SecretValue
    known: Known
    lasts_for: timedelta
    sign: SecretValue
    """By which this browser is known when somebody logs in next."""


@dataclass(frozen=True)
class CodeAwaited:
    """A log-in whose password was right, and that goes on with a code and this token."""

    token: SecretValue


@dataclass(frozen=True)
class BrowserSession:
    """A browser that is logged in."""

    id: str
    user: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    address: str | None
    browser: str | None


SignOf = Callable[[str], str | None]
"""What a browser was given when the user with this name logged in there before."""


def _none(_: str) -> str | None:
    return None


class Access:
    """The hub's accounts, tokens and sessions."""

    def __init__(
        self,
        database: Database,
        safe: Vault | None = None,
        *,
        idle_for: timedelta = IDLE_FOR,
        absolute_for: timedelta = ABSOLUTE_FOR,
        key: bytes | None = None,
    ) -> None:
        """With the `key` it makes signs for browsers; without one they count as long as this process lives."""
        self._database = database
        self.authenticators = Authenticators(database, safe, self._prove_password)
        self._browsers = Browsers(key or secrets.token_bytes(KEY_BYTES))
        self._idle_for = idle_for
        self._absolute_for = absolute_for

    # --- the first account ---

    def make_setup_token(self, now: datetime) -> OneTimeLink | None:
        """The one-time token for the first admin, in place of any before; None where an admin can log in."""
        with self._database.write() as connection:
            connection.execute(enrolments.delete().where(enrolments.c.purpose == SETUP))
            if accounts.has_admin(connection):
                return None
            return accounts.make_link(connection, SETUP, None, now, SET_UP_FOR, HUB)

    def needs_setup(self) -> bool:
        """Whether no admin can log in."""
        with self._database.read() as connection:
            return not accounts.has_admin(connection)

    def set_up(
        self,
        token: SecretValue,
        name: str,
        password: SecretValue,
        now: datetime,
        *,
        address: str | None = None,
        browser: str | None = None,
    ) -> LoggedIn:
        """Make the first admin, and log in. Raises NotAllowed (`link_invalid`), ConfigurationInvalid, Throttled."""
        key = accounts.check_name(name)
        passwords.check_password(password, key)
        actor = Actor(key, Role.ADMIN, address)
        with self._link(token, SETUP, address, now) as (connection, _):
            if accounts.has_admin(connection):
                raise accounts.link_invalid()
            accounts.demand_free(connection, "user", key)
            user = User(role=Role.ADMIN)
            id = accounts.store(connection, "user", key, accounts.spec_of(user), actor, now)
            hashed = passwords.hash_password(password)
            accounts.keep_proof(connection, accounts.place_of_password(id), hashed, actor, now)
            write_down(connection, actor, "set_up", now, kind="user", key=key)
            return self._begin(connection, key, actor, now, browser)

    # --- coming in and going out ---

    def log_in(
        self,
        name: str,
        password: SecretValue,
        now: datetime,
        *,
        address: str | None = None,
        browser: str | None = None,
        former: Known | None = None,
        sign_of: SignOf = _none,
    ) -> LoggedIn | CodeAwaited:
        """Begin a session, or one that `finish` begins by a code, where the account has a second factor.

        It takes the place of the `former` one of that user. A browser in which this user had logged in before, as
        `sign_of` says, is counted apart: no stranger's guesses keep them out.

        Raises LoginNeeded (`login_failed`), the same for every reason, and Throttled.
        """
        key = name.strip().lower()
        account, from_where = rate_limit.for_account(key), rate_limit.for_address(address)
        with self._database.write() as connection:
            browser_known = self._find_browser(connection, key, sign_of(key), now)
            if browser_known is not None:
                account, from_where = rate_limit.for_browser(browser_known), []
            rate_limit.charge(connection, [account, *from_where], now)
        with self._database.read() as connection:
            kept = accounts.find_password(connection, key)
        right = passwords.is_right(password, kept)
        with self._database.write() as connection:
            # Looked at again: while the password was compared, the account may have been changed.
            user = accounts.find_user(connection, key)
            if (
                right
                and user is not None
                and user.enabled
                and accounts.find_password(connection, key) == kept
            ):
                rate_limit.forgive(connection, account)
                rate_limit.take_back(connection, from_where)
                self._hash_again(connection, key, kept, password, now)
                actor = _person(key, user, address)
                if find_factor(connection, accounts.id_of(connection, "user", key)) is not None:
                    link = accounts.make_link(connection, CODE, key, now, CODE_WITHIN, actor)
                    return CodeAwaited(link.token)
                write_down(connection, actor, "logged_in", now, kind="user", key=key)
                return self._begin(connection, key, actor, now, browser, former)
            accounts.note_failure(connection, key if user is not None else None, user, right, address, now)
        raise LoginNeeded(
            "the name or the password is wrong",
            code="login_failed",
            hint="an admin can create a link to set a new password",
        )

    def finish(
        self,
        awaited: SecretValue,
        code: SecretValue,
        now: datetime,
        *,
        address: str | None = None,
        browser: str | None = None,
        former: Known | None = None,
        sign_of: SignOf = _none,
    ) -> LoggedIn:
        """Begin the session of a log-in that waited for this code; with a wrong one it goes on waiting.

        Raises LoginNeeded (`login_expired`), NotAllowed (`code_wrong`) and Throttled.
        """
        here = (enrolments.c.token == accounts.digest(awaited.reveal())) & (enrolments.c.purpose == CODE)
        with self._database.read() as connection:
            row = connection.execute(sa.select(enrolments).where(here)).one_or_none()
        if row is None or row.subject is None or now >= row.expires_at:
            raise _login_expired()
        key, from_where = row.subject, rate_limit.for_address(address)
        with self._database.write() as connection:
            if self._find_browser(connection, key, sign_of(key), now) is not None:
                from_where = []
            rate_limit.charge(connection, [for_codes(key), *from_where], now)
        right = self.authenticators.take(key, code, Actor(key, Role.VIEWER, address), now)
        with self._database.write() as connection:
            user = accounts.find_user(connection, key)
            if not right:
                message = "wrong code" if user is not None else "no such account"
                actor = Actor(key, Role.VIEWER, address)
                write_down(connection, actor, "login_failed", now, kind="user", key=key, message=message)
            elif user is None or not connection.execute(enrolments.delete().where(here)).rowcount:
                raise _login_expired()  # shut out meanwhile, or another browser was quicker
            else:
                rate_limit.forgive(connection, for_codes(key))
                rate_limit.take_back(connection, from_where)
                actor = _person(key, user, address)
                write_down(connection, actor, "logged_in", now, kind="user", key=key)
                return self._begin(connection, key, actor, now, browser, former)
        raise wrong_code()

    def find_browser(self, sign: str, now: datetime) -> str | None:
        """Which browser this is, by whomever it was used before; None where no user of this hub was."""
        with self._database.read() as connection:
            users = [row.id for row in accounts.list_rows(connection, "user")]
        return next((found for id in users if (found := self._browsers.find(sign, id, now))), None)

    def _find_browser(
        self, connection: sa.Connection, key: str, sign: str | None, now: datetime
    ) -> str | None:
        if accounts.find_user(connection, key) is None:
            return None
        return self._browsers.find(sign, accounts.id_of(connection, "user", key), now)

    def welcome(
        self,
        arrival: Arrival,
        now: datetime,
        *,
        address: str | None = None,
        browser: str | None = None,
        former: Known | None = None,
    ) -> LoggedIn:
        """Begin the session of who came back from the provider, in place of the `former` one of that user.

        Raises NotAllowed as `identities.let_in` does, `role_missing`, and `confirmed_as_another` where somebody else
        was to prove again who they are.
        """
        proved = arrival.proved
        if identities.role_of(proved.provider, proved.claims) is None:
            with self._database.write() as connection:
                key = identities.shut_out(connection, proved, now)
                actor = Actor(key or accounts.NOBODY, Role.VIEWER, address)
                message = "no role at the provider"
                write_down(connection, actor, "login_failed", now, kind="user", key=key, message=message)
            raise identities.no_role(proved.provider)
        with self._database.write() as connection:
            known_as = identities.find_account(connection, proved)
            if arrival.again and (former is None or former.user != known_as):
                raise NotAllowed(
                    "the provider confirmed another person than the one logged in here",
                    code="confirmed_as_another",
                    hint="log out here first, or log in there with the same account",
                )
            key = identities.let_in(connection, proved, address, now)
            user = accounts.find_user(connection, key)
            assert user is not None
            actor = _person(key, user, address)
            action = "confirmed" if arrival.again else "logged_in"
            write_down(connection, actor, action, now, kind="user", key=key, message="by the provider")
            long_ago = datetime(1970, 1, 1, tzinfo=UTC)
            return self._begin(
                connection,
                key,
                actor,
                now,
                browser,
                former,
                lasts_for=min(FROM_PROVIDER_FOR, self._absolute_for),
                proved_at=proved.proved_at or long_ago,
            )

    def log_out(self, known: Known, now: datetime) -> None:
        """End the session that this request came with."""
        with self._database.write() as connection:
            gone = connection.execute(sessions.delete().where(sessions.c.id == known.session)).rowcount
            if gone:
                write_down(connection, known.actor, "logged_out", now, kind="user", key=known.user)

    def find_by_session(self, token: str, now: datetime, *, address: str | None = None) -> Known | None:
        """Who this cookie's token belongs to; None where it is none, too old, or the account may not log in."""
        hashed = accounts.digest(token)
        with self._database.read() as connection:
            row = connection.execute(sa.select(sessions).where(sessions.c.token == hashed)).one_or_none()
            if row is None or now >= row.expires_at or now >= row.seen_at + self._idle_for:
                return None
            user = accounts.find_user(connection, row.user)
        if user is None or not user.enabled:
            return None
        if now - row.seen_at >= SEEN_EVERY:
            with suppress(StateUnusable), self._database.write() as connection:  # a full disk hides nothing
                connection.execute(sessions.update().where(sessions.c.token == hashed).values(seen_at=now))
        confirmed = now < (row.proved_at or row.created_at) + CONFIRMED_FOR
        return Known(_person(row.user, user, address, confirmed=confirmed), row.user, row.id)

    def find_by_token(self, value: str, now: datetime, *, address: str | None = None) -> Known | None:
        """Which program this token's value belongs to, with no more rights than its user has now."""
        match = _TOKEN.fullmatch(value)
        if match is None:
            return None
        with self._database.read() as connection:
            row = accounts.find_token(connection, match[1], value)
            if row is None:
                return None
            token = Token.model_validate(row.spec)
            user = None if token.user is None else accounts.find_user(connection, token.user)
        if not token.enabled or (token.expires_at is not None and now >= token.expires_at):
            return None
        if token.user is not None and (user is None or not user.enabled):
            return None
        self._note_use(row, now, address)
        role = token.role if user is None or user.role.includes(token.role) else user.role
        in_place = restores_in_place(token) and (user is None or restores_in_place(user))
        return Known(Actor(f"token:{row.key}", role, address, token.may_grant, in_place), token.user)

    def _note_use(self, row: sa.Row[Any], now: datetime, address: str | None) -> None:
        """Written no more often than a session's, unless it comes from elsewhere."""
        if row.used_at is not None and row.address == address and now - row.used_at < SEEN_EVERY:
            return
        with suppress(StateUnusable), self._database.write() as connection:  # a full disk hides nothing
            connection.execute(token_uses.delete().where(token_uses.c.token == row.id))
            told = {"token": row.id, "used_at": now, "address": address}
            connection.execute(token_uses.insert().values(**told))

    def _begin(
        self,
        connection: sa.Connection,
        key: str,
        actor: Actor,
        now: datetime,
        browser: str | None,
        former: Known | None = None,
        *,
        lasts_for: timedelta | None = None,
        proved_at: datetime | None = None,
    ) -> LoggedIn:
        if former is not None and former.user == key:
            connection.execute(sessions.delete().where(sessions.c.id == former.session))
        lasts_for = lasts_for or self._absolute_for
        token = secrets.token_urlsafe(32)
        id = accounts.new_id(now)
        connection.execute(
            sessions.insert().values(
                token=accounts.digest(token),
                id=id,
                user=key,
                created_at=now,
                seen_at=now,
                expires_at=now + lasts_for,
                address=actor.address,
                browser=browser[:300] if browser else None,
                proved_at=proved_at,
            )
        )
        sign = self._browsers.make_sign(accounts.id_of(connection, "user", key), now)
        proof, known = SecretValue(token.encode()), Known(actor, key, id)
        return LoggedIn(proof, known, lasts_for, SecretValue(sign.encode()))

    def _hash_again(
        self, connection: sa.Connection, key: str, kept: bytes | None, password: SecretValue, now: datetime
    ) -> None:
        if kept is not None and passwords.is_outdated(kept):
            place = accounts.place_of_password(accounts.id_of(connection, "user", key))
            hashed = passwords.hash_password(password)
            connection.execute(vault.update().where(vault.c.place == place).values(content=hashed))

    # --- sessions ---

    def list_sessions(self, user: str, now: datetime) -> list[BrowserSession]:
        """A user's sessions that still count, the last used first."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(sessions)
                .where(sessions.c.user == user, sessions.c.expires_at > now)
                .where(sessions.c.seen_at > now - self._idle_for)
                .order_by(sessions.c.seen_at.desc(), sessions.c.id.desc())
            ).all()
        untold = ("token", "proved_at")
        return [BrowserSession(**{n: v for n, v in row._asdict().items() if n not in untold}) for row in rows]

    def end_session(self, user: str, id: str, actor: Actor, now: datetime) -> None:
        """End one session of a user. Raises Unknown."""
        here = (sessions.c.user == user) & (sessions.c.id == id)
        with self._database.write() as connection:
            if connection.execute(sessions.delete().where(here)).rowcount == 0:
                raise Unknown("there is no such session", code="session_unknown")
            write_down(connection, actor, "session_ended", now, kind="user", key=user)

    def end_sessions(self, user: str, actor: Actor, now: datetime, *, keep: str | None = None) -> int:
        """End a user's sessions, except the one with this id; how many there were."""
        with self._database.write() as connection:
            return accounts.end_sessions(connection, user, actor, now, keep)

    # --- passwords and links ---

    def make_link(self, user: str, actor: Actor, now: datetime) -> OneTimeLink:
        """A one-time token by which a user sets a password; those made before count no more. Raises Unknown."""
        with self._database.write() as connection:
            if accounts.find_user(connection, user) is None:
                raise accounts.unknown("user", user)
            accounts.demand_local(connection, user)
            accounts.demand_confirmed(actor)
            accounts.remove_links(connection, user)
            write_down(connection, actor, "link_made", now, kind="user", key=user)
            return accounts.make_link(connection, PASSWORD, user, now, LINK_FOR, actor)

    def use_link(
        self, token: SecretValue, password: SecretValue, now: datetime, *, address: str | None = None
    ) -> str:
        """Set the password of the user whom the link was made for; ends that one's sessions; the user's key.

        Raises NotAllowed (`link_invalid`), ConfigurationInvalid (and then the link still counts), Throttled.
        """
        with self._link(token, PASSWORD, address, now) as (connection, user):
            if user is None or accounts.find_user(connection, user) is None:
                raise accounts.link_invalid()
            passwords.check_password(password, user)
            actor = Actor(user, Role.VIEWER, address)
            self._set_password(connection, user, password, actor, now, keep=None)
            return user

    def change_password(
        self, known: Known, old: SecretValue, new: SecretValue, now: datetime, *, revoke: Collection[str] = ()
    ) -> None:
        """Change one's own password; ends one's other sessions, and those of one's tokens that are named.

        Raises NotAllowed (`password_wrong`, `session_needed`), ConfigurationInvalid, Throttled, and Unknown for a
        token of somebody else.
        """
        if known.user is None or known.session is None:
            raise NotAllowed("a token cannot change a password", code="session_needed", hint="log in first")
        passwords.check_password(new, known.user)
        self._demand_own(known.user, revoke)
        self._demand_password(
            known.user, known.actor, old, "password_change_failed", now, session=known.session
        )
        with self._database.write() as connection:
            self._set_password(connection, known.user, new, known.actor, now, keep=known.session)
        self.revoke(known.user, revoke, known.actor, now)

    def confirm(self, known: Known, password: SecretValue, now: datetime) -> Actor:
        """Who asks, now that the password was typed again: so they may let others in.

        Raises NotAllowed (`password_wrong`, `session_needed`) and Throttled.
        """
        if known.user is None or known.session is None:
            raise NotAllowed("a token has no password", code="session_needed", hint="log in first")
        self._demand_password(
            known.user, known.actor, password, "confirmation_failed", now, session=known.session
        )
        return replace(known.actor, confirmed=True)

    def confirm_for_a_while(
        self, known: Known, password: SecretValue, now: datetime, *, browser: str | None = None
    ) -> LoggedIn:
        """The same for CONFIRMED_FOR, in a session that takes the place of this one. Raises as `confirm` does."""
        actor = self.confirm(known, password, now)
        assert known.user is not None
        with self._database.write() as connection:
            write_down(connection, actor, "confirmed", now, kind="user", key=known.user)
            return self._begin(connection, known.user, actor, now, browser, known)

    def _prove_password(self, user: str, password: SecretValue, actor: Actor, now: datetime) -> None:
        self._demand_password(user, actor, password, "confirmation_failed", now)

    def _demand_password(
        self,
        user: str,
        actor: Actor,
        password: SecretValue,
        otherwise: str,
        now: datetime,
        *,
        session: str | None = None,
    ) -> None:
        account = rate_limit.for_account(user) if session is None else rate_limit.for_session(session)
        with self._database.write() as connection:
            rate_limit.charge(connection, [account], now)
            kept = accounts.find_password(connection, user)
        if not passwords.is_right(password, kept):
            with self._database.write() as connection:
                write_down(connection, actor, otherwise, now, kind="user", key=user)
            raise NotAllowed("the password is wrong", code="password_wrong")
        with self._database.write() as connection:
            rate_limit.forgive(connection, account)

    def _set_password(
        self,
        connection: sa.Connection,
        user: str,
        password: SecretValue,
        actor: Actor,
        now: datetime,
        *,
        keep: str | None,
    ) -> None:
        place = accounts.place_of_password(accounts.id_of(connection, "user", user))
        accounts.keep_proof(connection, place, passwords.hash_password(password), actor, now)
        rate_limit.forgive(connection, rate_limit.for_account(user))
        accounts.remove_links(connection, user)
        write_down(connection, actor, "password_set", now, kind="user", key=user)
        accounts.end_sessions(connection, user, actor, now, keep)

    @contextmanager
    def _link(
        self, token: SecretValue, purpose: str, address: str | None, now: datetime
    ) -> Iterator[tuple[sa.Connection, str | None]]:
        """The transaction in which a one-time token is used, and its subject. Raises NotAllowed and Throttled."""
        from_where = rate_limit.for_address(address)
        with self._database.write() as connection:
            rate_limit.charge(connection, from_where, now)
        hashed = accounts.digest(token.reveal())
        here = (enrolments.c.token == hashed) & (enrolments.c.purpose == purpose)
        with self._database.write() as connection:
            row = connection.execute(sa.select(enrolments).where(here)).one_or_none()
            if row is None or row.used_at is not None or now >= row.expires_at:
                raise accounts.link_invalid()
            rate_limit.take_back(connection, from_where)
            connection.execute(enrolments.update().where(here).values(used_at=now))
            yield connection, row.subject

    # --- users ---

    def list_users(self) -> list[Account]:
        """Every user, by key."""
        with self._database.read() as connection:
            return [accounts.as_account(connection, row) for row in accounts.list_rows(connection, "user")]

    def get_user(self, key: str) -> Account:
        """One user. Raises Unknown."""
        with self._database.read() as connection:
            return accounts.as_account(connection, accounts.get_row(connection, "user", key))

    def create_user(self, key: str, user: User, actor: Actor, now: datetime) -> Account:
        """A new user, who has no password yet: `make_link` invites. Raises Conflict and ConfigurationInvalid."""
        key = accounts.check_name(key)
        with self._database.write() as connection, accounts.kept_sound(connection, actor, now):
            accounts.demand_free(connection, "user", key)
            accounts.store(connection, "user", key, accounts.spec_of(user), actor, now)
            return accounts.as_account(connection, accounts.get_row(connection, "user", key))

    def change_user(
        self, key: str, user: User, actor: Actor, now: datetime, *, revision: int | None = None
    ) -> Account:
        """What is declared of a user; one that is disabled is logged out everywhere.

        Raises Unknown, Stale, and NotAllowed (`last_admin`).
        """
        with self._database.write() as connection, accounts.kept_sound(connection, actor, now):
            accounts.demand_revision(accounts.get_row(connection, "user", key), revision)
            accounts.store(connection, "user", key, accounts.spec_of(user), actor, now)
            return accounts.as_account(connection, accounts.get_row(connection, "user", key))

    def delete_user(self, key: str, actor: Actor, now: datetime, *, revision: int | None = None) -> None:
        """Delete a user with the password, the sessions and the tokens in that name, so that none of it comes
        back with the name. Raises as `change_user` does.
        """
        with self._database.write() as connection, accounts.kept_sound(connection, actor, now):
            accounts.demand_revision(accounts.get_row(connection, "user", key), revision)
            for other in accounts.list_rows(connection, "token"):
                if other.spec.get("user") == key:
                    accounts.store(connection, "token", other.key, None, actor, now)
            accounts.store(connection, "user", key, None, actor, now)

    # --- tokens ---

    def list_tokens(self) -> list[Program]:
        """Every token, by key."""
        with self._database.read() as connection:
            return [accounts.as_program(connection, row) for row in accounts.list_rows(connection, "token")]

    def get_token(self, key: str) -> Program:
        """One token. Raises Unknown."""
        with self._database.read() as connection:
            return accounts.as_program(connection, accounts.get_row(connection, "token", key))

    def create_token(
        self, key: str, token: Token, actor: Actor, now: datetime
    ) -> tuple[Program, SecretValue]:
        """A new token and its value, which is told this once. Raises Conflict and ConfigurationInvalid."""
        accounts.check_token_key(key)
        with self._database.write() as connection, accounts.kept_sound(connection, actor, now):
            accounts.demand_free(connection, "token", key)
            accounts.demand_user(connection, token)
            id = accounts.store(connection, "token", key, accounts.spec_of(token), actor, now)
            value = accounts.make_value(connection, id, actor, now)
            return accounts.as_program(connection, accounts.get_row(connection, "token", key)), value

    def renew_token(self, key: str, actor: Actor, now: datetime) -> tuple[Program, SecretValue]:
        """Another value for a token (or the first, of one that a file declared); the one before opens nothing.

        Raises Unknown.
        """
        with self._database.write() as connection:
            row = accounts.get_row(connection, "token", key)
            accounts.demand_confirmed(actor)
            write_down(connection, actor, "renewed", now, kind="token", key=key)
            return accounts.as_program(connection, row), accounts.make_value(connection, row.id, actor, now)

    def change_token(
        self, key: str, token: Token, actor: Actor, now: datetime, *, revision: int | None = None
    ) -> Program:
        """What is declared of a token; its value stays. Raises Unknown, Stale and ConfigurationInvalid."""
        with self._database.write() as connection, accounts.kept_sound(connection, actor, now):
            accounts.demand_revision(accounts.get_row(connection, "token", key), revision)
            accounts.demand_user(connection, token)
            accounts.store(connection, "token", key, accounts.spec_of(token), actor, now)
            return accounts.as_program(connection, accounts.get_row(connection, "token", key))

    def delete_token(self, key: str, actor: Actor, now: datetime, *, revision: int | None = None) -> None:
        """Delete a token: its value opens nothing any more. Raises Unknown and Stale."""
        with self._database.write() as connection, accounts.kept_sound(connection, actor, now):
            accounts.demand_revision(accounts.get_row(connection, "token", key), revision)
            accounts.store(connection, "token", key, None, actor, now)

    # --- tokens of one's own ---

    def list_own_tokens(self, user: str) -> list[Program]:
        """The tokens that act in a user's name, by key."""
        return [one for one in self.list_tokens() if one.token.user == user]

    def list_tokens_of(self, user: str) -> list[Program]:
        """The tokens by which a user could still come in: in that name, or with a value that this user made."""
        with self._database.read() as connection:
            made = accounts.list_made_by(connection, user)
        return [one for one in self.list_tokens() if one.token.user == user or one.key in made]

    def revoke(self, user: str, keys: Collection[str], actor: Actor, now: datetime) -> None:
        """Delete these of a user's tokens. Raises Unknown for one that is not theirs."""
        self._demand_own(user, keys)
        for key in dict.fromkeys(keys):
            self.delete_token(key, actor, now)

    def _demand_own(self, user: str, keys: Collection[str]) -> None:
        theirs = {one.key for one in self.list_tokens_of(user)} if keys else set()
        for key in keys:
            if key not in theirs:
                raise accounts.unknown("token", key)

    def create_own_token(
        self, user: str, key: str, token: Token, actor: Actor, now: datetime
    ) -> tuple[Program, SecretValue]:
        """A token in one's own name, that may no more than oneself.

        Raises NotAllowed (`role_too_high`, `restore_in_place_needed`).
        """
        if not actor.role.includes(token.role):
            raise NotAllowed(
                f"your tokens can do no more than you: {actor.role.value}, not {token.role.value}",
                code="role_too_high",
                hint=f"choose the role {actor.role.value} or a lower one",
            )
        if token.restore_in_place and not actor.may_restore_in_place:
            raise NotAllowed(
                "your tokens can do no more than you, and you may not restore in place",
                code="restore_in_place_needed",
                hint="create it without restore_in_place; an admin can give you that right: Settings, Users",
            )
        own = token.model_copy(update={"user": user})
        return self.create_token(key, own, actor, now)

    def delete_own_token(self, user: str, key: str, actor: Actor, now: datetime) -> None:
        """Delete a token in one's own name; another's is as if it were not there. Raises Unknown."""
        if self.get_token(key).token.user != user:
            raise accounts.unknown("token", key)
        self.delete_token(key, actor, now)

    # --- audit, and what is long past ---

    def list_audit(
        self, wanted: AuditFilter | None = None, *, before: str | None = None, limit: int = 100
    ) -> list[Entry]:
        """Entries of the audit, the newest first; `before` is the id of the last one that was read already."""
        return list_audit(self._database, wanted, before=before, limit=limit)

    def note(
        self, actor: Actor, action: str, now: datetime, *, kind: str, key: str, after: Any = None
    ) -> None:
        """Write down that somebody did what changes nothing declared."""
        with self._database.write() as connection:
            write_down(connection, actor, action, now, kind=kind, key=key, after=after)

    def every_entry(self, wanted: AuditFilter | None = None) -> Iterator[Entry]:
        """All entries of the audit, the newest first."""
        return every_entry(self._database, wanted)

    def sweep(self, now: datetime) -> None:
        """Remove sessions, links and throttles that count no more; to be called now and then."""
        with self._database.write() as connection:
            over = (sessions.c.expires_at <= now) | (sessions.c.seen_at <= now - self._idle_for)
            connection.execute(sessions.delete().where(over))
            ours = enrolments.c.purpose.in_((SETUP, PASSWORD, CODE))
            connection.execute(enrolments.delete().where(ours, enrolments.c.expires_at <= now))
            rate_limit.sweep(connection, now)


def _person(key: str, user: User, address: str | None, *, confirmed: bool = True) -> Actor:
    return Actor(key, user.role, address, confirmed, restores_in_place(user))


def _login_expired() -> LoginNeeded:
    return LoginNeeded(
        "the code was entered too late",
        code="login_expired",
        hint="log in again, with name and password",
    )
