"""Passwords of people: which are good enough, and how they are hashed (argon2id) and compared.

Comparing takes as long for an account that does not exist as for one that does.
"""

from __future__ import annotations

import threading
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from highball.errors import ConfigurationInvalid, Problem
from highball.secret import SecretValue

SHORTEST = 10
LONGEST_BYTES = 1024

_HASHER = PasswordHasher()  # argon2id with RFC 9106's second recommendation: 64 MiB, three passes
_AT_ONCE = threading.BoundedSemaphore(2)
"""Each hash needs 64 MiB, so that a flood of log-ins must not compute them side by side."""


def check_password(password: SecretValue, name: str) -> None:
    """Raise ConfigurationInvalid where a new password is too short, or is the account's name.

    There are no rules of composition: length is what makes a password hard to guess.
    """
    text = _text(password)
    if len(text) < SHORTEST:
        raise _refused(f"has fewer than {SHORTEST} characters", "use a passphrase of four or more words")
    if len(password.reveal()) > LONGEST_BYTES:
        raise _refused(f"is longer than {LONGEST_BYTES} bytes", None)
    if text.casefold().strip() == name.casefold():
        raise _refused("is the account's own name", "use a passphrase of four or more words")


def hash_password(password: SecretValue) -> bytes:
    """What is kept of a password."""
    with _AT_ONCE:
        return _HASHER.hash(_text(password)).encode()


def is_right(password: SecretValue, kept: bytes | None) -> bool:
    """Whether this is the password of which `kept` was kept; for None (nobody's) never, after the same time."""
    text = "" if len(password.reveal()) > LONGEST_BYTES else _text(password)
    with _AT_ONCE:
        try:
            found = _HASHER.verify((kept or _nobodys()).decode(), text)
        except (VerificationError, InvalidHashError):
            return False
    return found and kept is not None


def is_outdated(kept: bytes) -> bool:
    """Whether it was hashed with less effort than today's, and should be hashed again."""
    return _HASHER.check_needs_rehash(kept.decode())


@cache
def _nobodys() -> bytes:
    return _HASHER.hash("nobody's password").encode()


def _text(password: SecretValue) -> str:
    """As keyboards differ in how they compose the same letter."""
    return unicodedata.normalize("NFKC", password.reveal().decode("utf-8", "replace"))


def _refused(message: str, hint: str | None) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        f"the password {message}",
        code="password_refused",
        hint=hint,
        problems=[Problem("password", message, hint)],
    )
