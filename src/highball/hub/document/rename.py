"""Keys: what the change of one means for the record: everything that names the object by its old key moves along.

Snapshots in repositories keep the host and the tags that they have; the former keys of an object say which those are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from highball.actions import verbs_about
from highball.config.references import Place
from highball.errors import Conflict
from highball.hub.storage.schema import (
    ANEW,
    NOT_BY_WORD,
    UNTESTED,
    agents,
    fires,
    holds,
    marks,
    pauses,
    repositories,
    repository_days,
    runs,
    sessions,
    snapshots,
    steps,
)
from highball.model.run import RunState

HOST = "host"
"""The mark that holds the key of the hub's own machine, where the settings name none."""


@dataclass(frozen=True)
class FormerKeys:
    """The keys that declared objects had before."""

    known: Mapping[Place, tuple[str, ...]] = field(default_factory=dict)

    def of(self, kind: str, key: str | None) -> tuple[str, ...]:
        """Those of one object; its snapshots carry them."""
        return () if key is None else self.known.get((kind, key), ())

    def now(self, kind: str, key: str) -> str:
        """The key that an object has now, by any that it has or had."""
        if (kind, key) in self.known:
            return key
        found = (place[1] for place, former in self.known.items() if place[0] == kind and key in former)
        return next(found, key)


UNCHANGED = FormerKeys()
"""No object ever had another key."""

_MOVED: dict[str, tuple[sa.Column[str], ...]] = {
    "job": (runs.c.job, steps.c.job, snapshots.c.job, holds.c.job),
    "repository": (
        runs.c.repository,
        steps.c.repository,
        snapshots.c.repository,
        holds.c.repository,
        repositories.c.key,
        repository_days.c.repository,
    ),
    "host": (runs.c.host, snapshots.c.host, holds.c.host, fires.c.host, agents.c.host),
    "user": (sessions.c.user,),
}
"""For each kind, the columns that hold its keys."""


def move_record(connection: sa.Connection, kind: str, old: str, new: str) -> None:
    """Let the record name an object by its new key; raises Conflict while a run of it is not over."""
    _demand_quiet(connection, kind, old)
    for column in _MOVED.get(kind, ()):
        connection.execute(sa.update(column.table).where(column == old).values({column.name: new}))
    for action in verbs_about(kind):
        for column in (runs.c.subject, fires.c.subject, pauses.c.subject):
            moved = sa.update(column.table).where(column == f"{action}:{old}")
            connection.execute(moved.values({column.name: f"{action}:{new}"}))
    _move_restore_tests(connection, kind, old, new)
    if kind == "repository":
        for mark in (ANEW, UNTESTED):
            named = sa.update(marks).where(marks.c.name == f"{mark}{old}")
            connection.execute(named.values(name=f"{mark}{new}"))
    if kind == "host":
        _move_host(connection, old, new)


def _move_restore_tests(connection: sa.Connection, kind: str, old: str, new: str) -> None:
    """Their subjects name both a repository and a job: `verify:nas:docs`."""
    for column in (runs.c.subject, fires.c.subject, pauses.c.subject):
        if kind == "repository":
            start = f"verify:{old}:"
            there = column.startswith(start, autoescape=True)
            moved = sa.literal(f"verify:{new}:") + sa.func.substr(column, len(start) + 1)
        elif kind == "job":
            there = column.startswith("verify:") & column.endswith(f":{old}", autoescape=True)
            moved = sa.func.substr(column, 1, sa.func.length(column) - len(old)) + sa.literal(new)
        else:
            return
        connection.execute(sa.update(column.table).where(there).values({column.name: moved}))


def _move_host(connection: sa.Connection, old: str, new: str) -> None:
    """A host's key where no column holds it: the hub's own, and times that may have been missed on it."""
    own = (marks.c.name == HOST) & (marks.c.value == old)
    connection.execute(sa.update(marks).where(own).values(value=new))
    asked = sa.select(fires.c.subject, fires.c.owed).where(fires.c.owed.is_not(None))
    for subject, owed in connection.execute(asked).all():
        spans = [span | {"host": new} if span["host"] == old else span for span in owed]
        if spans != owed:
            connection.execute(sa.update(fires).where(fires.c.subject == subject).values(owed=spans))


def _demand_quiet(connection: sa.Connection, kind: str, key: str) -> None:
    column = {"job": runs.c.job, "repository": runs.c.repository, "host": runs.c.host}.get(kind)
    if column is None:
        return
    named = column == key
    if kind == "repository":  # a backup names its repositories only in its steps, so any backup may be at it
        named |= runs.c.kind == "backup"
    asked = sa.select(runs.c.id).where(named, NOT_BY_WORD, runs.c.state != RunState.DONE.value).limit(1)
    run = connection.execute(asked).scalar()
    if run is not None:
        raise Conflict(
            f"{key} cannot get another key while run {run} is not over",
            code="in_use",
            hint="wait for it, or cancel it",
        )
