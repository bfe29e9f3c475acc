"""How often somebody may guess: five failures are free, then each doubles the wait, up to a quarter of an hour.

An attempt is counted before it is judged, so that many at once gain nothing. Who is counted is an account or an
address, kept as hashes, because people type passwords where a name belongs; or, apart from what strangers guess, a
browser in which that person had logged in before.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from highball.errors import Throttled
from highball.hub.storage.schema import throttles

FREE = 5
LONGEST = timedelta(minutes=15)
FORGOTTEN_AFTER = timedelta(days=1)


def for_account(name: str) -> str:
    """The subject that stands for an account, whether there is one of that name or not."""
    return f"account:{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def for_browser(id: str) -> str:
    """The subject that stands for a browser in which somebody had logged in before."""
    return f"browser:{id}"


def for_session(id: str) -> str:
    """The subject that stands for a browser that is logged in."""
    return f"session:{id}"


def for_address(address: str | None) -> list[str]:
    """The subject that stands for an address; for IPv6 its network of 64 bits, for all of it is one customer's."""
    if address is None:
        return []
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return [f"address:{hashlib.sha256(address.encode()).hexdigest()[:32]}"]
    if found.version == 6:
        network = ipaddress.ip_network((found, 64), strict=False)
        return [f"address:{network}"]
    return [f"address:{found}"]


def charge(connection: sa.Connection, subjects: Sequence[str], now: datetime) -> None:
    """Count an attempt of each subject as failed until it succeeds; raises Throttled while one has to wait."""
    found = {subject: _find(connection, subject, now) for subject in subjects}
    waits = [row.blocked_until for row in found.values() if row is not None and row.blocked_until]
    if waits and max(waits) > now:
        wait_for = max(waits) - now
        seconds = int(wait_for.total_seconds()) + 1
        raise Throttled(
            f"too many attempts failed: wait {seconds} second" + ("s" if seconds > 1 else ""),
            wait_for=timedelta(seconds=seconds),
            hint="an admin can create a link to set a new password",
        )
    for subject, row in found.items():
        failures = 1 if row is None else row.failures + 1
        told = {"failures": failures, "last_at": now, "blocked_until": _blocked_until(failures, now)}
        if row is None:
            connection.execute(throttles.delete().where(throttles.c.subject == subject))
            connection.execute(throttles.insert().values(subject=subject, **told))
        else:
            connection.execute(throttles.update().where(throttles.c.subject == subject).values(**told))


def forgive(connection: sa.Connection, subject: str) -> None:
    """Forget every failure: the account proved itself."""
    connection.execute(throttles.delete().where(throttles.c.subject == subject))


def take_back(connection: sa.Connection, subjects: Sequence[str]) -> None:
    """The attempt that was counted did not fail; those before it still count."""
    for subject in subjects:
        here = throttles.c.subject == subject
        told = {"failures": throttles.c.failures - 1, "blocked_until": None}
        connection.execute(throttles.update().where(here, throttles.c.failures > 0).values(**told))


def sweep(connection: sa.Connection, now: datetime) -> None:
    """Forget what is long past."""
    connection.execute(throttles.delete().where(throttles.c.last_at < now - FORGOTTEN_AFTER))


def _find(connection: sa.Connection, subject: str, now: datetime) -> sa.Row[Any, Any] | None:
    query = sa.select(throttles.c.failures, throttles.c.blocked_until).where(
        throttles.c.subject == subject, throttles.c.last_at >= now - FORGOTTEN_AFTER
    )
    return connection.execute(query).one_or_none()


def _blocked_until(failures: int, now: datetime) -> datetime | None:
    if failures <= FREE:
        return None
    return now + min(timedelta(seconds=2 ** min(failures - FREE - 1, 20)), LONGEST)
