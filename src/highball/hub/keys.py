"""Keys: what the change of one means for the record: everything that names the object by its old key moves along.

Snapshots in repositories keep the tags that they have; the former keys of an object say which those are.
"""

from __future__ import annotations

import sqlalchemy as sa

from highball.errors import Conflict
from highball.facts import RunState
from highball.hub.db import (
    agents,
    fires,
    pauses,
    repositories,
    repository_days,
    runs,
    sessions,
    snapshots,
    steps,
)

_MOVED: dict[str, tuple[sa.Column[str], ...]] = {
    "job": (runs.c.job, steps.c.job, snapshots.c.job),
    "repository": (
        runs.c.repository,
        steps.c.repository,
        snapshots.c.repository,
        repositories.c.key,
        repository_days.c.repository,
    ),
    "host": (runs.c.host, fires.c.host, agents.c.host),
    "user": (sessions.c.user,),
}
"""For each kind, the columns that hold its keys. A snapshot keeps its host: the repository lists it by that name."""

_SUBJECTS = {
    "job": ("backup",),
    "repository": ("discard", "check", "forget", "prune", "verify", "index", "stats"),
}
"""For each kind, the actions whose subjects (`backup:docs`) name it."""


def move_record(connection: sa.Connection, kind: str, old: str, new: str) -> None:
    """Let the record name an object by its new key; raises Conflict while a run of it is not over."""
    _demand_quiet(connection, kind, old)
    for column in _MOVED.get(kind, ()):
        connection.execute(sa.update(column.table).where(column == old).values({column.name: new}))
    for action in _SUBJECTS.get(kind, ()):
        for column in (runs.c.subject, fires.c.subject, pauses.c.subject):
            moved = sa.update(column.table).where(column == f"{action}:{old}")
            connection.execute(moved.values({column.name: f"{action}:{new}"}))


def _demand_quiet(connection: sa.Connection, kind: str, key: str) -> None:
    column = {"job": runs.c.job, "repository": runs.c.repository, "host": runs.c.host}.get(kind)
    if column is None:
        return
    named = column == key
    if kind == "repository":  # a backup names its repositories only in its steps, so any backup may be at it
        named |= runs.c.kind == "backup"
    asked = sa.select(runs.c.id).where(named, runs.c.state != RunState.DONE.value).limit(1)
    run = connection.execute(asked).scalar()
    if run is not None:
        raise Conflict(
            f"{key} cannot get another key while run {run} is not over",
            code="in_use",
            hint="wait for it, or cancel it",
        )
