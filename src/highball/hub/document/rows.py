"""The rows of the Document: how objects, revisions and what goes with them are read and written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from highball.config.references import Place, Spec
from highball.config.repository import is_reached_otherwise
from highball.hub.audit import Actor, entry
from highball.hub.document.diff import (
    FROM_FILE,
    Declared,
    Edit,
    FieldDifference,
    Revision,
    differences,
)
from highball.hub.document.rename import move_record
from highball.hub.storage.schema import (
    UNTESTED,
    audit,
    marks,
    moment_to_text,
    objects,
    pauses,
    revisions,
    vault,
)

TOKEN = "document"  # noqa: S105 - no secret, a number
"""The mark whose number grows with every change."""

FILE = "configuration file"
"""The mark that names the hub's own file."""

_LOCK = 0x68620001
"""PostgreSQL's advisory lock that writers of the Document take one after another; SQLite has but one writer."""


def read_objects(connection: sa.Connection) -> dict[Place, Declared]:
    return {
        (row.kind, row.key): Declared(
            row.kind,
            row.key,
            row.id,
            row.spec or {},
            row.revision,
            row.origin,
            tuple(row.former_keys),
            row.changed_at,
            row.deleted_at,
            row.file,
        )
        for row in connection.execute(sa.select(objects))
    }


def take_lock(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def read_marks(connection: sa.Connection) -> tuple[int, str | None]:
    asked = sa.select(marks.c.name, marks.c.value).where(marks.c.name.in_([TOKEN, FILE]))
    found = {row.name: row.value for row in connection.execute(asked)}
    return int(found.get(TOKEN, "0")), found.get(FILE)


def write_mark(connection: sa.Connection, name: str, value: str) -> None:
    changed = connection.execute(marks.update().where(marks.c.name == name).values(value=value))
    if changed.rowcount == 0:
        connection.execute(marks.insert().values(name=name, value=value))


def store(connection: sa.Connection, edits: Sequence[Edit], now: datetime, actor: Actor) -> None:
    """Write edits down: the objects, their revisions, the audit, and which repositories nobody has tested so."""
    made: list[dict[str, Any]] = []
    revised: list[dict[str, Any]] = []
    audited: list[dict[str, Any]] = []
    for edit in edits:
        before, after = edit.before, edit.after
        if after is None:
            assert before is not None
            _erase(connection, before)
        elif before is None:
            made.append(_row_of(after))
        else:
            _replace(connection, before, after)
        if after is not None and (before is None or before.revision != after.revision):
            revised.append(_revision_of(after, now, actor, edit.what))
        elif after is not None:
            continue  # a deleted object that names another by its new key
        was, becomes = _for_audit(before), _for_audit(after)
        kind, key = edit.place
        audited.append(entry(actor, edit.what, now, kind=kind, key=key, before=was, after=becomes))
    for table, rows in ((objects, made), (revisions, revised), (audit, audited)):
        if rows:
            connection.execute(table.insert(), rows)
    for edit in edits:
        why = _why_untested(edit)
        if why is not None and edit.after is not None:
            note_untested(connection, edit.after.key, why, now)


def _why_untested(edit: Edit) -> str | None:
    """Why what is known of a repository says nothing of what is declared now; None where it does.

    A new one of the hub's own file is no news to whoever wrote it: the first set-up or run of it tells.
    """
    before, after = edit.before, edit.after
    if edit.place[0] != "repository" or after is None or not after.lives:
        return None
    if before is None:
        return None if after.origin == FROM_FILE else "it was declared, and no test of it succeeded since"
    if not is_reached_otherwise(before.spec, after.spec):
        return None
    return "how it is reached was changed, and no test of it succeeded since"


def note_untested(connection: sa.Connection, repository: str, why: str | None, now: datetime) -> None:
    """A repository was saved though no test of it succeeded, and why; None once one has."""
    name = f"{UNTESTED}{repository}"
    connection.execute(marks.delete().where(marks.c.name == name))
    if why is not None:
        told = f"{moment_to_text(now)} {why[:500]}"
        connection.execute(marks.insert().values(name=name, value=told))


def _for_audit(one: Declared | None) -> Spec | None:
    return one.spec if one is not None and one.lives else None


def _erase(connection: sa.Connection, one: Declared) -> None:
    for table in (objects, revisions):
        connection.execute(table.delete().where(table.c.kind == one.kind, table.c.key == one.key))
    places = vault.c.place.startswith(f"{one.kind}:{one.id}:", autoescape=True)
    connection.execute(vault.delete().where(places))
    subjects = [f"{what}:{one.key}" for what in _SUBJECTS_OF.get(one.kind, ())]
    connection.execute(pauses.delete().where(pauses.c.subject.in_(subjects)))


_SUBJECTS_OF = {"job": ("backup",), "repository": ("discard", "check")}
"""What may be paused about an object of a kind."""


def _replace(connection: sa.Connection, before: Declared, after: Declared) -> None:
    if before.key != after.key:
        here = (revisions.c.kind == before.kind) & (revisions.c.key == before.key)
        connection.execute(revisions.update().where(here).values(key=after.key))
        move_record(connection, before.kind, before.key, after.key)
    connection.execute(objects.update().where(objects.c.id == after.id).values(**_row_of(after)))


def _row_of(one: Declared) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": one.kind,
        "key": one.key,
        "title": one.title,
        "spec": one.spec,
        "revision": one.revision,
        "origin": one.origin,
        "former_keys": list(one.former_keys),
        "changed_at": one.changed_at,
        "deleted_at": one.deleted_at,
        "file": one.file,
    }


def _revision_of(one: Declared, now: datetime, actor: Actor, what: str) -> dict[str, Any]:
    facts = {"kind": one.kind, "key": one.key, "revision": one.revision, "at": now, "actor": actor.name}
    return facts | {"spec": one.spec if one.lives else None, "what": what}


def revisions_of(kind: str, key: str) -> sa.Select[Any]:
    return sa.select(revisions).where(revisions.c.kind == kind, revisions.c.key == key)


def tell_history(rows: Iterable[sa.Row[Any]], keys: tuple[str, ...]) -> Iterator[Revision]:
    """The revisions, each with what it changed; `keys` are all that the object had, one after another."""
    before: Spec | None = None
    number = 0
    for row in rows:
        found = list(differences(before, row.spec))
        if row.what == "rekeyed":
            found.insert(0, FieldDifference("key", keys[number], keys[number + 1]))
            number += 1
        yield Revision(row.revision, row.at, row.actor, row.what or "changed", row.spec, tuple(found))
        before = row.spec
