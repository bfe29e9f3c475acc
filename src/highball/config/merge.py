"""How tables are merged: defaults, then profiles from the first ancestor on, then the job.

Tables merge key by key, lists replace, excludes add, and "none" (in YAML also null) takes back what was
inherited. Works on plain tables as they were written, because "none" is no value of any field.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from highball.config.job import JobSettings

Table = Mapping[str, Any]

BUILT_IN = "built-in"
"""Where a value comes from that nobody named."""

_SHORT = {"schedule": "cron"}
"""Fields whose text is short for a table with this one key."""

_TABLES = ("schedule", "retention", "retry")


@dataclass(frozen=True)
class Level:
    """One table that says something, and its place in the document."""

    place: str
    table: Table


@dataclass
class Merged:
    """What several levels come to: the merged table, and for each value the place it comes from."""

    table: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)


def is_taken_back(value: object) -> bool:
    """Whether this stands for "nothing of what is inherited"."""
    return value is None or value == "none"


def merge(levels: Iterable[Level], names: Iterable[str] = tuple(JobSettings.model_fields)) -> Merged:
    """Merge these fields of the levels, the most general first; what is of the wrong kind replaces."""
    merged = Merged()
    wanted = set(names)
    for level in levels:
        for name, value in level.table.items():
            if name in wanted:
                _apply(merged, name, value, level.place)
    return merged


def _apply(merged: Merged, name: str, value: Any, place: str) -> None:
    short = _SHORT.get(name)
    if short and isinstance(value, str) and not is_taken_back(value):
        value = {short: value}
    if name == "shrink_limit" and is_taken_back(value):
        _replace(merged, name, 0.0, place)
    elif is_taken_back(value):
        _forget(merged, name)
    elif name in _TABLES and isinstance(value, dict):
        _merge_table(merged, name, value, place)
    elif name == "exclude" and isinstance(value, list):
        _add(merged, name, value, place)
    else:
        _replace(merged, name, value, place)


def _forget(merged: Merged, name: str) -> None:
    merged.table.pop(name, None)
    for origin in [origin for origin in merged.origins if _is_of(origin, name)]:
        del merged.origins[origin]


def _is_of(origin: str, name: str) -> bool:
    return origin == name or origin.startswith((f"{name}.", f"{name}["))


def _replace(merged: Merged, name: str, value: Any, place: str) -> None:
    _forget(merged, name)
    merged.table[name] = value
    merged.origins[name] = place


def _merge_table(merged: Merged, name: str, value: Table, place: str) -> None:
    so_far = merged.table.get(name)
    table = merged.table[name] = dict(so_far) if isinstance(so_far, dict) else {}
    merged.origins.pop(name, None)
    for key, one in value.items():
        if is_taken_back(one):
            table.pop(key, None)
            merged.origins.pop(f"{name}.{key}", None)
        else:
            table[key] = one
            merged.origins[f"{name}.{key}"] = place


def _add(merged: Merged, name: str, value: list[Any], place: str) -> None:
    so_far = merged.table.get(name)
    inherited = so_far if isinstance(so_far, list) else []
    merged.table[name] = [*inherited, *value]
    for number in range(len(inherited), len(inherited) + len(value)):
        merged.origins[f"{name}[{number}]"] = place


def settled(table: Table) -> dict[str, Any]:
    """One level's table without what it takes back: what can be validated by itself."""
    return dict(_settle(table))


def _settle(table: Table) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if name == "shrink_limit" and is_taken_back(value):
            yield name, 0.0
        elif name in JobSettings.model_fields and is_taken_back(value):
            continue
        elif name in _TABLES and isinstance(value, dict):
            yield name, {key: one for key, one in value.items() if not is_taken_back(one)}
        else:
            yield name, value


# --- which tables ---------------------------------------------------------------------------------


def table_of(tables: object, name: str) -> dict[str, Any]:
    """The table of that name; an empty one where there is none, or something else in its place."""
    found = tables.get(name) if isinstance(tables, dict) else None
    return found if isinstance(found, dict) else {}


def profiles_of(tables: Table, key: object) -> list[str]:
    """The keys of a profile and its ancestors, the most general first; ends at an unknown one or a circle."""
    chain: list[str] = []
    profiles = table_of(tables, "profiles")
    while isinstance(key, str) and key in profiles and key not in chain:
        chain.append(key)
        key = table_of(profiles, key).get("profile")
    return chain[::-1]


def levels_of(tables: Table, job: str, repository: str | None = None) -> Iterator[Level]:
    """The tables that a job's values come from, the most general first."""
    own = table_of(table_of(tables, "jobs"), job)
    yield Level("defaults", table_of(tables, "defaults"))
    if repository is not None:
        retention = table_of(table_of(tables, "repositories"), repository).get("retention", {})
        yield Level(f"repositories.{repository}", {"retention": retention})
    for profile in profiles_of(tables, own.get("profile")):
        yield Level(f"profiles.{profile}", table_of(table_of(tables, "profiles"), profile))
    yield Level(f"jobs.{job}", own)


def replaced_hooks(tables: Table, job: str) -> Iterator[str]:
    """Of a job's own hooks, in words, each list that takes the place of one which it would inherit."""
    inherited: dict[str, str] = {}
    *above, own = levels_of(tables, job)
    for level in above:
        inherited |= {name: level.place for name in ("before", "after") if level.table.get(name)}
    for name, place in inherited.items():
        if name in own.table:
            yield f"jobs.{job}: {name} replaces that of {place}, whose hooks do not run for this job"
