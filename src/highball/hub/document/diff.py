"""Changes of the Document, as data: what is declared now, what would be, and what differs field by field.

Pure: nothing here reads or writes the database, or a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from highball.config.dump import as_json
from highball.config.problems import step
from highball.config.references import (
    ALONE,
    TABLES,
    Place,
    Reference,
    Spec,
    place_of,
    references_of,
    with_new_key,
)
from highball.errors import Problem

FROM_FILE = "file"
"""The origin of what the hub's own file declares, which is read at every start: it has the last word."""

APPLIED = "applied"
"""The origin of what another file declares that somebody applied: it is changed by applying that file again."""

BY_HAND = "hand"
"""The origin of what was declared through the hub itself, by a person or a program."""


@dataclass(frozen=True)
class Declared:
    """One declared object as it is stored: what was set, and nothing of what is inherited."""

    kind: str
    key: str
    id: str
    spec: Spec
    revision: int
    origin: str
    former_keys: tuple[str, ...]
    changed_at: datetime
    deleted_at: datetime | None = None
    file: str | None = None
    """Of what was applied: the file that declares it."""

    @property
    def place(self) -> Place:
        """Its kind and its key."""
        return self.kind, self.key

    @property
    def title(self) -> str | None:
        """Its name for people."""
        title = self.spec.get("title")
        return title if isinstance(title, str) else None

    @property
    def lives(self) -> bool:
        """Whether it is part of the Document, not among the deleted."""
        return self.deleted_at is None

    def revised(self, now: datetime, **changes: Any) -> Declared:
        """Its next revision."""
        return replace(self, revision=self.revision + 1, changed_at=now, **changes)


Stored = Mapping[Place, Declared]


@dataclass(frozen=True)
class FieldDifference:
    """One field that differs; None stands also for a field that is not there."""

    at: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Change:
    """What becomes of one object: created, changed, restored, deleted and so on, and what differs."""

    kind: str
    key: str
    what: str
    differences: tuple[FieldDifference, ...] = ()


@dataclass(frozen=True)
class Edit:
    """One object before and after a change; without a before it is new, without an after it is purged."""

    before: Declared | None
    after: Declared | None
    what: str

    @property
    def place(self) -> Place:
        """Its kind, and the key that people know it by."""
        known = self.before or self.after
        assert known is not None
        return known.place

    @property
    def change(self) -> Change:
        """The same for people."""
        return Change(*self.place, self.what, tuple(self._differences()))

    def _differences(self) -> Iterator[FieldDifference]:
        before, after = self.before, self.after
        if before and after and before.key != after.key:
            yield FieldDifference("key", before.key, after.key)
        was = before.spec if before and before.lives else None
        becomes = after.spec if after and after.lives else None
        yield from differences(was, becomes)


@dataclass(frozen=True)
class Revision:
    """One revision of an object: who made it, when, how, and what it changed; no spec is a deletion."""

    revision: int
    at: datetime
    actor: str
    what: str
    spec: Spec | None
    differences: tuple[FieldDifference, ...] = ()


@dataclass(frozen=True)
class Preview:
    """What writing a whole configuration would change, and all that speaks against it."""

    changes: tuple[Change, ...]
    problems: tuple[Problem, ...]
    token: int


# --- what differs --------------------------------------------------------------------------------


def differences(before: Any, after: Any, at: str = "") -> Iterator[FieldDifference]:
    """Where two specs differ, by the innermost field: `schedule.cron`, `sources[1].path`."""
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _between_tables(before, after, at)
    elif not at and (before is None or after is None):
        yield from _between_tables(before or {}, after or {}, at)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{at}[{number}]")
    elif before != after:
        yield FieldDifference(at, before, after)


def _between_tables(before: Spec, after: Spec, at: str) -> Iterator[FieldDifference]:
    for name in [*before, *(name for name in after if name not in before)]:
        place = f"{at}{step(name)}".lstrip(".")
        if name not in before or name not in after:
            yield FieldDifference(place, before.get(name), after.get(name))
        else:
            yield from differences(before[name], after[name], place)


def merge_patch(spec: Spec, patch: Mapping[str, Any]) -> Spec:
    """The spec with these fields set anew (RFC 7396): tables merge, null removes."""
    merged = {name: value for name, value in spec.items() if patch.get(name, ...) is not None}
    for name, value in patch.items():
        if isinstance(value, Mapping):
            inner = spec.get(name)
            merged[name] = merge_patch(inner if isinstance(inner, dict) else {}, value)
        elif value is not None:
            merged[name] = value
    return merged


# --- between tables and objects ------------------------------------------------------------------


def objects_of(tables: Mapping[str, Any]) -> Iterator[tuple[Place, Spec]]:
    """The objects that a document's tables declare."""
    for name in ALONE:
        if tables.get(name):
            yield (name, name), as_json(tables[name])
    for table, kind in TABLES.items():
        for key, spec in (tables.get(table) or {}).items():
            yield (kind, key), as_json(spec or {})


def tables_of(stored: Stored) -> dict[str, Any]:
    """The document's tables of all that lives, in an order that depends on nothing but the keys."""
    living = {place: one.spec for place, one in stored.items() if one.lives}
    tables: dict[str, Any] = {name: living[name, name] for name in ALONE if living.get((name, name))}
    for (kind, key), spec in sorted(living.items(), key=lambda item: item[0]):
        if kind not in ALONE:
            tables.setdefault(_TABLE[kind], {})[key] = spec
    return {name: tables[name] for name in (*ALONE, *TABLES) if name in tables}


_TABLE = {kind: table for table, kind in TABLES.items()}


def applied(stored: Stored, edits: Iterable[Edit]) -> dict[Place, Declared]:
    """What is stored once these edits were made."""
    after = dict(stored)
    for edit in edits:
        if edit.before is not None:
            after.pop(edit.before.place, None)
    for edit in edits:
        if edit.after is not None:
            after[edit.after.place] = edit.after
    return after


# --- who names whom ------------------------------------------------------------------------------


def references_to(stored: Stored, place: Place) -> list[Reference]:
    """All references of living objects to this one."""
    return [
        reference
        for one in stored.values()
        if one.lives
        for reference in references_of(one.kind, one.key, one.spec)
        if reference.to == place and reference.of != place
    ]


def take_on_new_key(stored: Stored, place: Place, new: str, now: datetime) -> Iterator[Edit]:
    """The edits by which all others name the object by its new key; the deleted ones too, without a revision."""
    for one in stored.values():
        spec = with_new_key(one.kind, one.spec, place, new)
        if one.place != place and spec != one.spec:
            after = one.revised(now, spec=spec) if one.lives else replace(one, spec=spec)
            yield Edit(one, after, "changed")


def is_of_file(one: Declared) -> bool:
    """Whether only its file changes it."""
    return one.lives and one.origin in (FROM_FILE, APPLIED)


def problem_of_file(one: Declared, own: str | None) -> Problem:
    """What to say to whoever would change what a file declares; `own` is the hub's."""
    named = one.file or own or "its configuration file"
    return Problem(place_of(one.kind, one.key), f"is declared by {named}", f"change it there: {named}")
