"""Who changed what, when, from where, before and after: written in the transaction of the change itself."""

from __future__ import annotations

import csv
import io
import itertools
import json
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from highball.errors import NotAllowed
from highball.hub.storage.database import Database, new_run_id
from highball.hub.storage.schema import audit
from highball.model.role import Role
from highball.model.text import UtcTime, time_to_text


@dataclass(frozen=True)
class Actor:
    """Who acts: a person (`anna`), a token (`token:ci`), the hub itself (`hub`), a command on the machine (`cli`)."""

    name: str
    role: Role = Role.ADMIN
    address: str | None = None
    confirmed: bool = field(default=True, compare=False)
    """Whether it may make ways in: a person whose password was typed just now, a token that was made for it."""
    restore_in_place: bool = False
    """The right that an operator has beside the role, and an admin needs no more."""

    @property
    def is_token(self) -> bool:
        """Whether it is a program that proves itself with a token."""
        return self.name.startswith("token:")

    def demand(self, role: Role) -> None:
        """Raise NotAllowed where it has less than this role."""
        if not self.role.includes(role):
            raise NotAllowed(
                f"this needs the role {role.value}, and {self.name} has {self.role.value}",
                hint="ask somebody with that role, or for that role",
            )

    @property
    def may_restore_in_place(self) -> bool:
        """Whether its restores may replace what is there."""
        return self.role is Role.ADMIN or self.restore_in_place


HUB = Actor("hub")
COMMAND = Actor("cli")


_ORDER = itertools.count()
"""What is written down within one millisecond stays in the order in which it was done."""


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
        "id": new_run_id(now, next(_ORDER) % 2**32 << 42 | secrets.randbits(42)),
        "at": now,
        "actor": actor.name,
        "address": actor.address,
        "action": action,
        **told,
    }


# --- reading --------------------------------------------------------------------------------------


class Entry(BaseModel):
    """One thing that somebody did."""

    model_config = ConfigDict(frozen=True)

    id: str
    at: UtcTime
    actor: str
    address: str | None
    action: str
    kind: str | None
    key: str | None
    before: Any = Field(description="what was declared before; null where nothing was")
    after: Any = Field(description="what is declared since; null where nothing is")
    message: str | None


@dataclass(frozen=True)
class AuditFilter:
    """Which entries of the audit; None is all."""

    actor: str | None = None
    kind: str | None = None
    key: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_audit(
    database: Database, wanted: AuditFilter | None = None, *, before: str | None = None, limit: int = 100
) -> list[Entry]:
    """Entries, the newest first; `before` is the id of the last one that was read already."""
    query = (
        sa.select(audit).where(*_conditions(wanted or AuditFilter())).order_by(audit.c.id.desc()).limit(limit)
    )
    if before is not None:
        query = query.where(audit.c.id < before)
    with database.read() as connection:
        return [Entry.model_validate(row._asdict()) for row in connection.execute(query)]


def every_entry(database: Database, wanted: AuditFilter | None = None, *, page: int = 500) -> Iterator[Entry]:
    """All of them, the newest first, a page at a time."""
    before = None
    while entries := list_audit(database, wanted, before=before, limit=page):
        yield from entries
        before = entries[-1].id


COLUMNS = ("at", "actor", "address", "action", "kind", "key", "before", "after", "message")


def as_csv(entries: Iterable[Entry]) -> Iterator[str]:
    """Lines of CSV; no cell is one that a spreadsheet would calculate."""
    yield _line(COLUMNS)
    for entry in entries:
        told = entry.model_dump() | {"at": time_to_text(entry.at)}
        told |= {name: _as_json(told[name]) for name in ("before", "after")}
        yield _line(["" if told[name] is None else str(told[name]) for name in COLUMNS])


def _line(cells: Iterable[str]) -> str:
    written = io.StringIO()
    csv.writer(written).writerow([_harmless(cell) for cell in cells])
    return written.getvalue()


def _harmless(cell: str) -> str:
    """Spreadsheets take a cell that begins like a formula for one, also behind blanks."""
    dangerous = cell.lstrip().startswith(("=", "+", "-", "@")) or cell.startswith(("\t", "\r", "\n"))
    return f"'{cell}" if dangerous else cell


def _as_json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _conditions(wanted: AuditFilter) -> Iterator[sa.ColumnElement[bool]]:
    for name in ("actor", "kind", "key", "action"):
        if getattr(wanted, name) is not None:
            yield audit.c[name] == getattr(wanted, name)
    if wanted.since is not None:
        yield audit.c.at >= wanted.since
    if wanted.until is not None:
        yield audit.c.at < wanted.until
