"""Who changed what, when, from where, before and after: written in the transaction of the change itself."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from highball.hub.db import audit
from highball.hub.runs import new_run_id
from highball.spec.access import Role


@dataclass(frozen=True)
class Actor:
    """Who acts: a person (`anna`), a token (`token:ci`), the hub itself (`hub`), a command on the machine (`cli`)."""

    name: str
    role: Role = Role.ADMIN
    address: str | None = None


HUB = Actor("hub")
COMMAND = Actor("cli")


def write_down(
    connection: sa.Connection,
    actor: Actor,
    action: str,
    now: datetime,
    *,
    kind: str | None = None,
    key: str | None = None,
    before: Any = None,
    after: Any = None,
    message: str | None = None,
) -> None:
    """Add to the audit; `action` is a word like `changed`, `logged_in`, `cancelled`. Never hand over a secret."""
    told = {"kind": kind, "key": key, "before": before, "after": after, "message": message}
    connection.execute(audit.insert().values(entry(actor, action, now, **told)))


def entry(actor: Actor, action: str, now: datetime, **told: Any) -> dict[str, Any]:
    """The row of one entry, for whoever writes many at once; `told` as in `write_down`."""
    return {
        "id": new_run_id(now, secrets.randbits(74)),
        "at": now,
        "actor": actor.name,
        "address": actor.address,
        "action": action,
        **told,
    }
