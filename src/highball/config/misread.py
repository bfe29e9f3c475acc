"""What is written as a shell or another tool reads it, and is something else here, or nothing at all.

It may be a name, and what was declared before goes on: so it is refused only where somebody declares it anew. What
really is a name can be said: a source as `{ b64 = "…" }`, a character of a pattern with `\\` before it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

from highball.config.merge import (
    levels_of,
    merge,
    table_of,
)
from highball.config.problems import problem, step
from highball.errors import Problem

_VARIABLE = re.compile(r"(?<!\\)\$(?:\{[^{}/]*\}|[A-Z_][A-Z0-9_]*(?=/|$))")
_TEMPLATE = re.compile(r"\{\{.*?\}\}")
_WILDCARD = re.compile(r"[*?]")
_CHOICE = re.compile(r"(?<!\\)\{[^{}/]*,[^{}/]*\}")

_FILLED_IN = "write out its value, on each machine"


def find_misread(tables: Mapping[str, Any]) -> Iterator[Problem]:
    """All of it in the tables of a document, each with its place."""
    yield from _in_patterns(table_of(tables, "defaults"), "defaults")
    for key in table_of(tables, "profiles"):
        yield from _in_patterns(table_of(table_of(tables, "profiles"), key), f"profiles{step(key)}")
    for key in table_of(tables, "jobs"):
        job, place = table_of(table_of(tables, "jobs"), key), f"jobs{step(key)}"
        yield from _in_patterns(job, place)
        rows = job.get("sources")
        sources = list(enumerate(rows)) if isinstance(rows, list | tuple) else []
        for number, source in sources:
            yield from _in_source(source, f"{place}.sources[{number}]")
        merged = merge(levels_of(tables, key), ("exclude",))
        for number, pattern in enumerate(_texts(merged.table.get("exclude"))):
            yield from _absolute(pattern, sources, merged.origins.get(f"exclude[{number}]", place))


# --- patterns ------------------------------------------------------------------------------------


def _in_patterns(table: Mapping[str, Any], place: str) -> Iterator[Problem]:
    for number, pattern in enumerate(_texts(table.get("exclude"))):
        found = _about_pattern(pattern)
        if found is not None:
            yield problem(f"{place}.exclude[{number}]", *found)


def _about_pattern(pattern: str) -> tuple[str, str] | None:
    """Why a pattern can never match, and what to write instead."""
    if pattern.startswith("~/"):
        told = "~ is not expanded here, so it would never match"
        return f'"{pattern}": {told}', f'a pattern starts at its source: perhaps "{pattern[2:]}"'
    if (found := _VARIABLE.match(pattern) or _TEMPLATE.search(pattern)) is not None:
        told = f"{found[0]} is not expanded here, so it would never match"
        rest = pattern.removeprefix(found[0]).lstrip("/")
        instead = f'perhaps "{rest}"' if rest and rest != pattern else _FILLED_IN
        return f'"{pattern}": {told}', f"a pattern starts at its source: {instead}"
    if (found := _CHOICE.search(pattern)) is not None:
        return (
            f'"{pattern}": {found[0]} is not expanded here, so it would never match',
            "write a pattern for each",
        )
    return None


def _absolute(pattern: str, sources: list[tuple[int, Any]], place: str) -> Iterator[Problem]:
    """A pattern that leads from the root to a source, with a wildcard on its way: it would be looked for below that."""
    parts = pattern.strip("/").split("/")
    if not pattern.startswith("/"):
        return
    for _, source in sources:
        path = _path_of(source)
        names = path.strip("/").split("/") if path and path != "/" else []
        way = parts[: parts.index("**")] if "**" in parts else parts
        reaches = len(parts) > len(names) and all(_fits(*pair) for pair in zip(way, names, strict=False))
        if names and way and way[0] == names[0] and reaches and way[: len(names)] != names:
            told = f'"{pattern}" repeats {path}, the source at which it starts, so it would never match'
            rest = "/".join(parts[min(len(names), len(way)) :])
            yield problem(f"{place}.exclude", told, f'write "/{rest}"')
            return


def _fits(part: str, name: str) -> bool:
    return part == name or _WILDCARD.search(part) is not None


# --- sources -------------------------------------------------------------------------------------


def _in_source(source: object, place: str) -> Iterator[Problem]:
    if isinstance(source, dict):
        yield from _in_patterns(source, place)
    path = _path_of(source)
    if path is None:
        return
    if (found := _VARIABLE.search(path) or _TEMPLATE.search(path)) is not None:
        yield problem(place, f'"{path}": {found[0]} is not expanded here', _or_a_name(_FILLED_IN, path))
    elif (found := _WILDCARD.search(path)) is not None:
        above = path[: found.start()].rpartition("/")[0] or "/"
        hint = f'back up "{above}" and exclude the rest'
        yield problem(
            place, f'"{path}": a source is one folder or file, not a pattern', _or_a_name(hint, path)
        )


def _or_a_name(hint: str, path: str) -> str:
    spelled = base64.b64encode(path.encode("utf-8", "surrogateescape")).decode()
    return f'{hint}; if that is its real name, write {{ b64 = "{spelled}" }}'


def _path_of(source: object) -> str | None:
    """The path of a source as text; None where it is spelled byte for byte, or is none."""
    path = source.get("path") if isinstance(source, dict) else source
    return path if isinstance(path, str) else None


def _texts(value: object) -> list[str]:
    """The texts of a list; anything else in it keeps its place as a blank."""
    return [one if isinstance(one, str) else "" for one in value] if isinstance(value, list | tuple) else []
