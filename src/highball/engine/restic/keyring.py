"""The keys of a restic repository: each is one password that opens all of it. They are listed, added and removed.

A new password reaches restic by a file in memory, never by its arguments.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice

import pydantic_core

from highball.engine.restic.commands import Restic
from highball.engine.restic.retrying import FinishedProcess
from highball.errors import RepositoryError
from highball.model.snapshot import RepositoryKey
from highball.process.child import Input
from highball.secret import SecretValue

MOST_KEYS = 200
"""More are not looked at: restic tries only a few at each opening."""


def list_keys(restic: Restic) -> list[RepositoryKey]:
    """The keys, the oldest first, each with its whole id; raises RepositoryError."""
    inside = replace(restic, timezone="UTC")  # restic tells when each was made by the clock of its zone
    try:
        told = pydantic_core.from_json(inside.collect("key", "list", "--no-lock"))
        found = [_read_key(one) for one in islice(told, MOST_KEYS)]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise RepositoryError(
            "restic's list of keys cannot be read",
            code="unreadable_answer",
            hint="is this program really restic? try it by hand with: restic key list --json",
        ) from None
    if any(len(one.id) < 64 for one in found):  # before 0.17 it told their beginnings
        whole = inside.collect("list", "keys", "--no-lock", json=False).decode().split()
        found = [one.model_copy(update={"id": _whole(one.id, whole)}) for one in found]
    return sorted(found, key=lambda one: (one.created_at or datetime.min.replace(tzinfo=UTC), one.id))


def add_key(restic: Restic, password: SecretValue, user: str, host: str) -> FinishedProcess:
    """Let another password open it, too; `user` and `host` are what the key is called."""
    named = [f"--user={user}", f"--host={host}"]
    return restic.change("key", "add", *named, "--new-password-file", Input(password.reveal()))


def remove_key(restic: Restic, id: str) -> FinishedProcess:
    """Let the password of this key open it no more; restic refuses the key that it opened it by."""
    return restic.change("key", "remove", id)


def _read_key(told: dict[str, object]) -> RepositoryKey:
    created = None
    with contextlib.suppress(ValueError):  # it is told only for people
        created = datetime.strptime(str(told["created"]), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return RepositoryKey(
        id=str(told["id"])[:64],
        user=str(told.get("userName", ""))[:200],
        host=str(told.get("hostName", ""))[:200],
        created_at=created,
        current=bool(told["current"]),
    )


def _whole(id: str, among: list[str]) -> str:
    return next((one for one in among if one.startswith(id)), id)
