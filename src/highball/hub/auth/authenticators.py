"""The second factor of who has a password: the codes of an authenticator app (TOTP, RFC 6238), and recovery codes.

The secret lies sealed in the vault, bound to its user's place there, and counts once a code confirmed it. Recovery
codes lie there as hashes, as passwords do. Each code counts once. Whose guesses are counted is decided by `access`.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyotp
import sqlalchemy as sa

from highball.errors import Conflict, NotAllowed, StateUnusable, Unknown
from highball.hub.audit import Actor, write_down
from highball.hub.auth import passwords, rate_limit, users
from highball.hub.secrets.vault import Vault
from highball.hub.storage.database import Database
from highball.hub.storage.schema import authenticators, vault
from highball.secret import SecretValue

ISSUER = "Highball"
STEP_SECONDS = 30
DRIFT = 1
"""A code of the step before and of the one after counts, too: clocks of phones differ."""

CONFIRM_WITHIN = timedelta(minutes=30)
RECOVERY_CODES = 10
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without those that look alike."""

Prove = Callable[[str, SecretValue, Actor, datetime], None]
"""Raises where this is not the user's password."""


@dataclass(frozen=True)
class SecondFactor:
    """That an account needs a code beside the password, since when, and how many recovery codes it has left."""

    since: datetime
    recovery_codes_left: int


@dataclass(frozen=True)
class Offered:
    """A secret that counts once a code confirmed it: as text, and as the address that a QR code holds."""

    secret: SecretValue
    address: SecretValue


class Authenticators:
    """The second factors of a hub's accounts."""

    def __init__(self, database: Database, safe: Vault | None, prove: Prove) -> None:
        self._database = database
        self._safe = safe
        self._prove = prove

    def find(self, user: str) -> SecondFactor | None:
        """The second factor of a user; None is a password alone. Raises Unknown."""
        with self._database.read() as connection:
            return find_factor(connection, users.id_of(connection, "user", user))

    # --- one's own ---

    def offer(self, user: str, password: SecretValue, actor: Actor, now: datetime) -> Offered:
        """A new secret for somebody's app, which `confirm` lets count.

        Raises NotAllowed (`password_wrong`), Conflict (`second_factor_exists`) and Throttled.
        """
        self._prove(user, password, actor, now)
        value = SecretValue(pyotp.random_base32().encode())
        with self._database.write() as connection:
            id = users.id_of(connection, "user", user)
            if find_factor(connection, id) is not None:
                raise _exists()
            self._vault().seal_within(connection, place_of_secret(id), value, actor, now)
        return _offered(value, user)

    def find_offered(self, user: str, now: datetime) -> Offered:
        """The secret that waits for its first code. Raises Conflict (`second_factor_not_offered`)."""
        with self._database.read() as connection:
            id = users.id_of(connection, "user", user)
            if find_factor(connection, id) is not None:
                raise _exists()
            query = sa.select(vault.c.changed_at).where(vault.c.place == place_of_secret(id))
            offered_at = connection.execute(query).scalar()
        if offered_at is None or now >= offered_at + CONFIRM_WITHIN:
            raise Conflict(
                "the set-up has expired or was never started",
                code="second_factor_not_offered",
                hint="start again with a new secret for the app",
            )
        return _offered(self._vault().open(place_of_secret(id)), user)

    def confirm(self, user: str, code: SecretValue, actor: Actor, now: datetime) -> list[SecretValue]:
        """Let the offered secret count, by its first code; the recovery codes, which are told this once.

        Raises NotAllowed (`code_wrong`), Conflict and Throttled.
        """
        self._charge(user, now)
        offered = self.find_offered(user, now)
        step = _find_step(offered.secret, code, now)
        if step is None:
            self._note_wrong(user, actor, now)
            raise wrong_code()
        codes = _make_codes()
        hashes = [passwords.hash_password(one) for one in codes]
        with self._database.write() as connection:
            id = users.id_of(connection, "user", user)
            if find_factor(connection, id) is not None:
                raise _exists()
            connection.execute(authenticators.insert().values(user=id, since=now, used_step=step))
            _keep_codes(connection, id, hashes, actor, now)
            rate_limit.forgive(connection, for_codes(user))
            write_down(connection, actor, "second_factor_set", now, kind="user", key=user)
        return codes

    def renew_codes(
        self, user: str, password: SecretValue, code: SecretValue, actor: Actor, now: datetime
    ) -> list[SecretValue]:
        """Other recovery codes, which are told this once; those before count no more. Raises as `remove` does."""
        id = self._prove_both(user, password, code, actor, now)
        codes = _make_codes()
        hashes = [passwords.hash_password(one) for one in codes]
        with self._database.write() as connection:
            _keep_codes(connection, id, hashes, actor, now)
            write_down(connection, actor, "recovery_codes_made", now, kind="user", key=user)
        return codes

    def remove(
        self, user: str, password: SecretValue, code: SecretValue, actor: Actor, now: datetime
    ) -> None:
        """Let the password alone be enough again.

        Raises Conflict (`second_factor_unset`), NotAllowed (`password_wrong`, `code_wrong`) and Throttled.
        """
        id = self._prove_both(user, password, code, actor, now)
        with self._database.write() as connection:
            forget_factor(connection, id)
            write_down(connection, actor, "second_factor_removed", now, kind="user", key=user)

    def _prove_both(
        self, user: str, password: SecretValue, code: SecretValue, actor: Actor, now: datetime
    ) -> str:
        if self.find(user) is None:
            raise Conflict(
                "this account has no second factor", code="second_factor_unset", hint="set one up first"
            )
        self._prove(user, password, actor, now)
        self._charge(user, now)
        if not self.take(user, code, actor, now):
            self._note_wrong(user, actor, now)
            raise wrong_code()
        with self._database.write() as connection:
            rate_limit.forgive(connection, for_codes(user))
            return users.id_of(connection, "user", user)

    # --- somebody else's ---

    def reset(self, user: str, actor: Actor, now: datetime) -> bool:
        """Take somebody's second factor away, who lost it; False where there was none.

        Raises Unknown, and as `demand_confirmed` does: a password that leaked lets somebody in from then on.
        """
        users.demand_confirmed(actor)
        with self._database.write() as connection:
            id = users.id_of(connection, "user", user)
            had = find_factor(connection, id) is not None
            if had:
                forget_factor(connection, id)
                rate_limit.forgive(connection, for_codes(user))
                write_down(connection, actor, "second_factor_reset", now, kind="user", key=user)
        return had

    # --- codes ---

    def take(self, user: str, code: SecretValue, actor: Actor, now: datetime) -> bool:
        """Whether this code counts: it never will again. Guesses are counted by who asks."""
        with self._database.read() as connection:
            try:
                id = users.id_of(connection, "user", user)
            except Unknown:
                return False
            if find_factor(connection, id) is None:
                return False
        if len(_plain(code)) == 6:
            return self._take_step(id, code, now)
        return self._take_recovery_code(id, user, code, actor, now)

    def _take_step(self, id: str, code: SecretValue, now: datetime) -> bool:
        step = _find_step(self._vault().open(place_of_secret(id)), code, now)
        if step is None:
            return False
        here = (authenticators.c.user == id) & (authenticators.c.used_step < step)
        with self._database.write() as connection:
            return (
                connection.execute(authenticators.update().where(here).values(used_step=step)).rowcount == 1
            )

    def _take_recovery_code(self, id: str, user: str, code: SecretValue, actor: Actor, now: datetime) -> bool:
        text = _plain(code)
        here = vault.c.place == _place_of_code(id, text[:1] if text[:1].isdecimal() else "0")
        with self._database.read() as connection:
            kept = connection.execute(sa.select(vault.c.content).where(here)).scalar()
        kept = None if kept is None else bytes(kept)
        if not passwords.is_right(SecretValue(text.encode()), kept):
            return False
        with self._database.write() as connection:
            gone = connection.execute(vault.delete().where(here, vault.c.content == kept)).rowcount == 1
            if gone:
                left = count_codes(connection, id)
                message = f"{left} left"
                write_down(
                    connection, actor, "recovery_code_used", now, kind="user", key=user, message=message
                )
        return gone

    def _charge(self, user: str, now: datetime) -> None:
        with self._database.write() as connection:
            rate_limit.charge(connection, [for_codes(user)], now)

    def _note_wrong(self, user: str, actor: Actor, now: datetime) -> None:
        with self._database.write() as connection:
            write_down(connection, actor, "code_wrong", now, kind="user", key=user)

    def _vault(self) -> Vault:
        if self._safe is None:
            raise StateUnusable("the vault is closed, so codes cannot be checked")
        return self._safe


# --- what is stored -------------------------------------------------------------------------------


def find_factor(connection: sa.Connection, id: str) -> SecondFactor | None:
    """The second factor of the user whose object has this id."""
    row = connection.execute(sa.select(authenticators).where(authenticators.c.user == id)).one_or_none()
    return None if row is None else SecondFactor(row.since, count_codes(connection, id))


def count_codes(connection: sa.Connection, id: str) -> int:
    """How many recovery codes a user has left."""
    query = sa.select(sa.func.count()).select_from(vault).where(vault.c.place.like(_place_of_code(id, "%")))
    return int(connection.execute(query).scalar_one())


def forget_factor(connection: sa.Connection, id: str) -> None:
    """Keep nothing of a user's second factor."""
    connection.execute(authenticators.delete().where(authenticators.c.user == id))
    connection.execute(vault.delete().where(vault.c.place == place_of_secret(id)))
    connection.execute(vault.delete().where(vault.c.place.like(_place_of_code(id, "%"))))


def for_codes(user: str) -> str:
    """Whose guesses of codes are counted: apart from those of passwords, for who has the password guesses these."""
    return rate_limit.for_account(f"{user}\0code")


def wrong_code() -> NotAllowed:
    """That a code does not count."""
    return NotAllowed(
        "this code is wrong or was already used",
        code="code_wrong",
        hint="wait for the next code in the app, and check the phone’s clock",
    )


def place_of_secret(id: str) -> str:
    """Where in the vault the secret of a user's app lies."""
    return f"user:{id}:totp"


def _place_of_code(id: str, number: str) -> str:
    return f"user:{id}:recovery-{number}"


def _keep_codes(connection: sa.Connection, id: str, hashes: list[bytes], actor: Actor, now: datetime) -> None:
    connection.execute(vault.delete().where(vault.c.place.like(_place_of_code(id, "%"))))
    for number, hashed in enumerate(hashes):
        users.keep_proof(connection, _place_of_code(id, str(number)), hashed, actor, now)


def _exists() -> Conflict:
    return Conflict(
        "this account already has a second factor",
        code="second_factor_exists",
        hint="remove it first, with the password and a code",
    )


# --- codes themselves -----------------------------------------------------------------------------


def _offered(value: SecretValue, user: str) -> Offered:
    text = value.reveal().decode()
    address = pyotp.TOTP(text).provisioning_uri(name=user, issuer_name=ISSUER)
    return Offered(value, SecretValue(address.encode()))


def _find_step(value: SecretValue, code: SecretValue, now: datetime) -> int | None:
    """The step of time that a code belongs to; None where it is none of these minutes'."""
    text = _plain(code)
    app = pyotp.TOTP(value.reveal().decode(), interval=STEP_SECONDS)
    this = int(now.timestamp()) // STEP_SECONDS
    found = [step for step in range(this - DRIFT, this + DRIFT + 1) if _same(app.generate_otp(step), text)]
    return found[0] if found else None


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _plain(code: SecretValue) -> str:
    """As it is compared: people type codes in groups."""
    return re.sub(r"[\s-]", "", code.reveal().decode("utf-8", "replace")).lower()[:40]


def _make_codes() -> list[SecretValue]:
    """Each begins with its number, so that it is compared with one hash only."""
    return [
        SecretValue(f"{number}{''.join(secrets.choice(_LETTERS) for _ in range(11))}".encode())
        for number in range(RECOVERY_CODES)
    ]


def spell_code(code: SecretValue) -> str:
    """A recovery code as people copy it: in groups of four."""
    text = code.reveal().decode()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))
