"""Which declared things name which others: found, counted, and rewritten when a key changes.

Works on plain tables as they were written. "none" in a field that can be inherited takes back and names nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from highball.config.merge import is_taken_back

Spec = dict[str, Any]
Place = tuple[str, str]
"""An object: its kind and its key."""

TABLES = {
    "hosts": "host",
    "profiles": "profile",
    "repositories": "repository",
    "jobs": "job",
    "pins": "pin",
    "users": "user",
    "tokens": "token",
}
"""The document's tables of objects, and the kind that each holds; `settings` and `defaults` are objects alone."""

ALONE = ("settings", "defaults")

TABLE_OF = {kind: table for table, kind in TABLES.items()} | {name: name for name in ALONE}

_INHERITED = {"host": "host", "repositories": "repository"}

NAMES: Mapping[str, Mapping[str, str]] = {
    "settings": {"host": "host", "backup_repository": "repository"},
    "defaults": _INHERITED,
    "profile": _INHERITED | {"profile": "profile"},
    "job": _INHERITED | {"profile": "profile"},
    "repository": {"host": "host", "maintained_by": "host"},
    "pin": {"repository": "repository"},
    "token": {"user": "user"},
}
"""For each kind, its fields that name others, and of which kind these are."""


@dataclass(frozen=True)
class Reference:
    """One object naming another; `field` is where, as `repositories[0]`."""

    of: Place
    field: str
    to: Place


def references_of(kind: str, key: str, spec: Mapping[str, Any]) -> Iterator[Reference]:
    """Whom this object names."""
    for field, target in NAMES.get(kind, {}).items():
        value = spec.get(field)
        if isinstance(value, list):
            for number, name in enumerate(value):
                if isinstance(name, str):
                    yield Reference((kind, key), f"{field}[{number}]", (target, name))
        elif isinstance(value, str) and not is_taken_back(value):
            yield Reference((kind, key), field, (target, value))


def with_new_key(kind: str, spec: Spec, of: Place, new: str) -> Spec:
    """The spec with an object's new key wherever it names that object."""
    target, old = of
    fields = [field for field, names in NAMES.get(kind, {}).items() if names == target and field in spec]
    return spec | {field: _renamed(spec[field], old, new) for field in fields}


def changes_of_key(tables: Mapping[str, Any], kind: str, old: str, new: str) -> list[dict[str, Any]]:
    """What another key for an object changes: the object itself, and each that names it."""
    key = {"at": "key", "before": old, "after": new}
    found = [{"kind": kind, "key": old, "what": "rekeyed", "differences": [key]}]
    declared = [(name, name, tables.get(name) or {}) for name in ALONE]
    declared += [
        (TABLES[table], key, spec) for table in TABLES for key, spec in tables.get(table, {}).items()
    ]
    for of, name, spec in declared:
        after = with_new_key(of, spec, (kind, old), new)
        differing = [
            {"at": field, "before": spec[field], "after": after[field]}
            for field in spec
            if after[field] != spec[field]
        ]
        if differing:
            found.append({"kind": of, "key": name, "what": "changed", "differences": differing})
    return found


def _renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, list):
        return [new if name == old else name for name in value]
    return new if value == old and not is_taken_back(value) else value


def place_of(kind: str, key: str) -> str:
    """Where an object stands in the document: `jobs.docs`, `settings`."""
    return kind if kind in ALONE else f"{TABLE_OF[kind]}.{key}"
