"""The Document in the database: one row per declared object, one revision per change.

On one machine, loading a file applies it: what the file names is stored as it was written (only what was set),
what it no longer names is soft-deleted, and a key that comes back is restored. Nothing is applied unless all
of the file was right.
"""

from __future__ import annotations

import platform
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from highball.hub.db import Database, marks, new_run_id, objects, revisions
from highball.spec.document import Document
from highball.spec.key import key_from

FROM_FILE = "file"

Spec = dict[str, Any]
Place = tuple[str, str]


@dataclass(frozen=True)
class Change:
    """One object that applying a document changes."""

    kind: str
    key: str
    what: str
    """created, changed, restored or deleted"""


def apply_document(
    database: Database, document: Document, *, now: datetime, actor: str = "cli"
) -> list[Change]:
    """Make the stored objects equal the document; all in one transaction, and only what differs."""
    wanted = dict(_declared(document))
    with database.read() as connection:
        stored = _read(connection)
    changes = list(_compare(wanted, stored))
    if changes:
        with database.write() as connection:
            stored = _read(connection)
            changes = list(_compare(wanted, stored))
            for change in changes:
                _store(connection, change, wanted.get((change.kind, change.key)), stored, now, actor)
    return changes


def read_host(database: Database, document: Document) -> str:
    """This machine's key: the one the settings name, else its name made a key at first use and recorded."""
    if document.settings.host is not None:
        return document.settings.host
    with database.read() as connection:
        known = connection.execute(sa.select(marks.c.value).where(marks.c.name == "host")).scalar()
    if known is not None:
        return str(known)
    host = key_from(platform.node().split(".")[0]) or "this-machine"
    with database.write() as connection:
        first = connection.execute(sa.select(marks.c.value).where(marks.c.name == "host")).scalar()
        if first is not None:  # another process was quicker
            return str(first)
        connection.execute(marks.insert().values(name="host", value=host))
    return host


def _declared(document: Document) -> Iterator[tuple[Place, Spec]]:
    told = document.tables
    for kind, key in (("settings", "settings"), ("defaults", "defaults")):
        if told.get(kind):
            yield (kind, key), told[kind]
    for table, kind in (("profiles", "profile"), ("repositories", "repository"), ("jobs", "job")):
        for key, spec in told.get(table, {}).items():
            yield (kind, key), spec


def _read(connection: sa.Connection) -> dict[Place, sa.Row[Any]]:
    return {(row.kind, row.key): row for row in connection.execute(sa.select(objects))}


def _compare(wanted: dict[Place, Spec], stored: dict[Place, sa.Row[Any]]) -> Iterator[Change]:
    for place, spec in wanted.items():
        row = stored.get(place)
        if row is None:
            yield Change(*place, "created")
        elif row.deleted_at is not None:
            yield Change(*place, "restored")
        elif row.spec != spec:
            yield Change(*place, "changed")
    for place, row in stored.items():
        if place not in wanted and row.deleted_at is None and row.origin == FROM_FILE:
            yield Change(*place, "deleted")


def _store(
    connection: sa.Connection,
    change: Change,
    spec: Spec | None,
    stored: dict[Place, sa.Row[Any]],
    now: datetime,
    actor: str,
) -> None:
    row = stored.get((change.kind, change.key))
    revision = 1 if row is None else row.revision + 1
    here = (objects.c.kind == change.kind) & (objects.c.key == change.key)
    if row is None:
        id = new_run_id(now, secrets.randbits(74))
        fresh = {"kind": change.kind, "key": change.key, "id": id, "origin": FROM_FILE, "former_keys": []}
        told = {"spec": spec, "title": (spec or {}).get("title"), "revision": revision, "changed_at": now}
        connection.execute(objects.insert().values(**fresh, **told))
    elif spec is None:
        connection.execute(
            objects.update().where(here).values(deleted_at=now, revision=revision, changed_at=now)
        )
    else:
        told = {"spec": spec, "title": spec.get("title"), "origin": FROM_FILE}
        connection.execute(
            objects.update().where(here).values(**told, deleted_at=None, revision=revision, changed_at=now)
        )
    facts = {"kind": change.kind, "key": change.key, "revision": revision, "at": now, "actor": actor}
    connection.execute(revisions.insert().values(**facts, spec=spec, what=change.what))
