"""Trials: what is to open a repository is tried from its agent before it takes the place of what opens it now.

A password that opens nothing is refused. Where nobody can say, because the agent or the storage is away, whoever
insists is let through, and the value before is kept.
"""

from __future__ import annotations

import asyncio

from highball.errors import Conflict, HighballError
from highball.hub.agents.remote_repository import AskedOverWire
from highball.hub.hub import Hub
from highball.hub.runs.record import utc_now
from highball.hub.secrets.vault import FORMER
from highball.secret import SecretValue
from highball.web.api.connection_tests import RepositoryTestAnswer, try_out

OPENS = ("existing", "empty", "locked")
"""The states of a repository that was opened."""

OPENERS = {"password": "password", "admin": "admin.password"}
"""The slots in the vault whose values open a repository, and what they are called in its spec."""


async def prove_secret(hub: Hub, key: str, slot: str, value: SecretValue, anyway: bool) -> bool:
    """Whether the value before is to be kept beside this one.

    Raises Conflict where it does not open the repository (`password_refused`), and where nobody can say, it would
    replace another, and nobody insists (`password_untried`).
    """
    if slot.endswith(FORMER):
        raise Conflict(
            f"{slot} is kept by the hub itself", code="secret_kept", hint=f"set {slot[: -len(FORMER)]}"
        )
    if slot not in OPENERS:
        return False
    replaces = await asyncio.to_thread(_replaces, hub, key, slot, value)
    try:
        asked = await asyncio.to_thread(_asked_with, hub, key, slot, value)
        if asked is None:
            return replaces
        found: RepositoryTestAnswer | None = await try_out(hub, asked)
        why = found.message if found else ""
    except HighballError as error:
        found, why = None, error.message
    if found is not None and found.state == "wrong_password":
        raise refused(key)
    if found is not None and found.state in OPENS and not hub.repositories.get(key).has_admin:
        await asyncio.to_thread(hub.record.note_test, key, None, utc_now())
    proved = found is not None and found.state in (*OPENS, "uninitialised")
    if replaces and not proved and not anyway:
        raise untried(key, why)
    return replaces and not proved


def refused(key: str) -> Conflict:
    """That a password does not open what is there."""
    return Conflict(
        f"this password does not open {key}, so nothing was changed",
        code="password_refused",
        hint=f"send the one that it has; a new one is made by rotation: highball keys {key} --rotate",
    )


def untried(key: str, why: str) -> Conflict:
    """That nobody can say whether a password opens a repository."""
    return Conflict(
        f"nobody can say whether this password opens {key}: {why}",
        code="password_untried",
        hint="try again once it can be reached; with anyway=true it is sealed, and the one before is kept",
    )


def _replaces(hub: Hub, key: str, slot: str, value: SecretValue) -> bool:
    """Whether another value than this lies there."""
    place = hub.vault.find_place(key, slot)
    if hub.vault.find(place) is None:
        return False
    return hub.vault.open(place).reveal() != value.reveal().rstrip(b"\r\n")


def _asked_with(hub: Hub, key: str, slot: str, value: SecretValue) -> AskedOverWire | None:
    """The repository as this value would open it; None where it has no such access."""
    tried = hub.repositories.get(key).with_sealed(slot)
    if tried is None:
        return None
    return hub.repositories.asked_unsaved(key, tried, {OPENERS[slot]: value}, admin=slot == "admin")
