"""What is wrong between tables: references to nothing, circles, jobs that lack or swallow a repository.

Works on plain tables as far as it can, so that one wrong table does not hide what is wrong in another.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from highball.config.job import Job
from highball.config.load import Tables
from highball.config.merge import (
    Merged,
    levels_of,
    merge,
    profiles_of,
    table_of,
)
from highball.config.problems import (
    find_nearest,
    listed,
    problem,
    step,
)
from highball.config.references import (
    ALONE,
    TABLE_OF,
    TABLES,
    Reference,
    references_of,
)
from highball.config.repository import Repository
from highball.errors import ConfigurationInvalid, Problem
from highball.model.text import path_for_people
from highball.retention import Retention, effective
from highball.source.path import PathSource
from highball.source.patterns import leaves_out
from highball.source.spelling import check_pattern, lies_inside, misplaced


class Checks:
    """Goes through a document's tables; `found` is what could be read of them, by section."""

    def __init__(self, tables: Tables, found: Mapping[str, Any]) -> None:
        self._tables = tables
        self._jobs: dict[str, Job] = found.get("jobs", {})
        self._repositories: dict[str, Repository] = found.get("repositories", {})

    def find(self) -> Iterator[Problem]:
        """All of it."""
        for name in ALONE:
            yield from self._find_unknown(name, name, table_of(self._tables, name), name)
        for section, kind in TABLES.items():
            for key, table in table_of(self._tables, section).items():
                if isinstance(table, dict):
                    yield from self._find_unknown(kind, key, table, section + step(key))
        yield from self._find_circles()
        for key in table_of(self._tables, "jobs"):
            yield from self._find_in_job(key)

    def _find_unknown(self, kind: str, key: str, table: dict[str, Any], at: str) -> Iterator[Problem]:
        for reference in references_of(kind, key, table):
            target, name = reference.to
            known = table_of(self._tables, TABLE_OF[target])
            if name not in known and not self._is_this_machine(reference):
                hint = find_nearest(name, known) or listed(TABLE_OF[target], known)
                yield problem(f"{at}.{reference.field}", f'there is no {target} "{name}"', hint)

    def _is_this_machine(self, reference: Reference) -> bool:
        """Whether it names a host where none need be declared: on one machine, or its own."""
        target, name = reference.to
        if target != "host":
            return False
        itself = table_of(self._tables, "settings").get("host")
        return not table_of(self._tables, "hosts") or name == itself

    def _find_circles(self) -> Iterator[Problem]:
        profiles = table_of(self._tables, "profiles")
        seen: set[str] = set()
        for key in profiles:
            chain = profiles_of(self._tables, key)
            back = table_of(profiles, chain[0]).get("profile") if chain else None
            if isinstance(back, str) and back in chain and not seen & set(chain):
                circle = chain[: chain.index(back) + 1][::-1]
                shown = " → ".join([*circle, circle[0]])
                yield problem(f"profiles{step(circle[0])}.profile", f"is circular: {shown}")
            seen |= set(chain)

    def _find_in_job(self, key: str) -> Iterator[Problem]:
        merged = merge(levels_of(self._tables, key))
        if not merged.table.get("repositories"):
            first = next(iter(table_of(self._tables, "repositories")), None)
            hint = f'write repositories = ["{first}"]' if first else "declare one: [repositories.ID]"
            place = f"jobs{step(key)}.repositories"
            yield problem(place, "is missing: the job has nowhere to back up to", hint)
        job = self._jobs.get(key)
        if job is None:
            return
        yield from self._find_misplaced(key, job, merged)
        names = merged.table.get("repositories")
        for name in names if isinstance(names, list) else ():
            repository = self._repositories.get(name) if isinstance(name, str) else None
            if repository is not None:
                yield from self._find_swallowed(key, job, merged, name, repository)
                yield from self._find_keeping_nothing(key, name)

    def _find_misplaced(self, key: str, job: Job, merged: Merged) -> Iterator[Problem]:
        patterns = _patterns(merged)
        for source in job.paths:
            for number, message, hint in misplaced(patterns, source.path):
                place = merged.origins.get(f"exclude[{number}]", f"jobs{step(key)}")
                yield problem(f"{place}.exclude", message, hint)

    def _find_swallowed(
        self, key: str, job: Job, merged: Merged, name: str, repository: Repository
    ) -> Iterator[Problem]:
        folder = repository.local_folder
        path = None if folder is None else os.path.normpath(os.fsencode(folder))
        for source in job.paths:
            if path is not None and _swallows(source, _patterns(merged), path):
                yield problem(
                    f"jobs{step(key)}.sources",
                    f"{path_for_people(source.path)} contains the repository {name}, which would back up itself",
                    f'exclude it: exclude = ["{path_for_people(os.path.relpath(path, source.path))}"]',
                )

    def _find_keeping_nothing(self, job: str, repository: str) -> Iterator[Problem]:
        merged = merge(levels_of(self._tables, job, repository), ("retention",))
        try:
            retention = Retention.model_validate(merged.table.get("retention", {}))
        except ValidationError:
            return  # reported where it stands
        place = next(reversed(merged.origins.values()), f"jobs{step(job)}")
        try:
            effective(retention, at=f"{place}.retention")
        except ConfigurationInvalid as error:
            yield from error.problems


def _patterns(merged: Merged) -> list[str]:
    patterns = merged.table.get("exclude")
    return [pattern for pattern in patterns if isinstance(pattern, str)] if isinstance(patterns, list) else []


def _swallows(source: PathSource, excludes: Iterable[str], path: bytes) -> bool:
    """Whether a folder is backed up by this source: below it, and no exclude leaves out it or what it is in."""
    if path == source.path:
        return True
    if not lies_inside(path, source.path):
        return False
    return not leaves_out([*_sound(excludes), *source.exclude], os.path.relpath(path, source.path))


def _sound(patterns: Iterable[str]) -> Iterator[str]:
    """The patterns in their one spelling; what is wrong with the others is reported where they stand."""
    for pattern in patterns:
        with suppress(ValueError):
            yield check_pattern(pattern)
