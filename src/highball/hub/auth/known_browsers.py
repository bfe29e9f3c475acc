"""Browsers in which somebody has logged in before: known by a sign that only this hub can have made.

The sign lets nobody in. It says that this browser's guesses are its own, so that no stranger's wrong ones keep
somebody out who has been here before.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

COUNTS_FOR = timedelta(days=400)
"""Longer than that no browser keeps a cookie."""

KEY_BYTES = 32
_ID_BYTES = 16
_LONGEST = 300


class Browsers:
    """Makes signs for browsers, and knows its own."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make_sign(self, user: str, now: datetime) -> str:
        """A sign for a browser in which the user with this id has logged in."""
        told = f"{secrets.token_hex(_ID_BYTES)}.{int(now.timestamp())}"
        return f"{told}.{self._proof(user, told)}"

    def find(self, sign: str | None, user: str, now: datetime) -> str | None:
        """Which browser of this user it is; None where the sign is no such one, or too old."""
        if sign is None or len(sign) > _LONGEST or sign.count(".") != 2 or not sign.isascii():
            return None
        id, since, proof = sign.split(".")
        if not hmac.compare_digest(self._proof(user, f"{id}.{since}"), proof):
            return None
        return id if now.timestamp() < int(since) + COUNTS_FOR.total_seconds() else None

    def _proof(self, user: str, told: str) -> str:
        return hmac.new(self._key, f"{user}.{told}".encode(), hashlib.sha256).hexdigest()
