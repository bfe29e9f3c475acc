"""What the record answers with, which runs may be asked for, and its rows as that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from highball.hub.runs.scopes import Scope
from highball.hub.runs.set_aside import read_account
from highball.hub.storage.schema import (
    NOT_BACKUP,
    NOT_SUCCESS,
    runs,
    steps,
)
from highball.model.fact import Fact
from highball.model.run import (
    Action,
    Outcome,
    Reason,
    Run,
    RunKind,
    RunState,
    Step,
)


@dataclass(frozen=True)
class Governed:
    """A snapshot that a known run made, or that a person adopted, as the record knows it.

    `run` is null on one that carries no tags of ours: the listing of its set does not show it.
    """

    id: str
    time: datetime
    run: str | None
    size_bytes: int | None
    shrank: bool
    accepted_at: datetime | None
    formerly: tuple[str, ...] = ()
    """The ids that it had before its tags were changed, the first one first."""

    @property
    def names(self) -> tuple[str, ...]:
        """All ids that it has and had."""
        return (*self.formerly, self.id)


@dataclass(frozen=True)
class Ending:
    """How the last step of some kind ended."""

    outcome: Outcome
    ended_at: datetime
    account: Step
    run: str


@dataclass(frozen=True)
class RunFilter:
    """Which runs are wanted; None is any."""

    job: str | None = None
    repository: str | None = None
    host: str | None = None
    kind: RunKind | None = None
    state: RunState | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """The same as SQL."""
        for name in ("job", "repository", "host", "kind", "state", "outcome"):
            wanted = getattr(self, name)
            if wanted is not None:
                yield runs.c[name] == wanted
        if self.job is None and self.repository is None:  # else their own runs are the fewest
            if self.kind not in (None, RunKind.BACKUP):
                yield NOT_BACKUP
            if self.outcome not in (None, Outcome.SUCCESS):
                yield NOT_SUCCESS
        if self.since is not None:
            yield runs.c.created_at >= self.since
        if self.until is not None:
            yield runs.c.created_at < self.until


@dataclass(frozen=True)
class Made:
    """A snapshot that a run made, and what became of it."""

    repository: str
    id: str
    size_bytes: int | None
    shrank: bool
    accepted_at: datetime | None
    forgotten_at: datetime | None
    missing_since: datetime | None


@dataclass(frozen=True)
class Figures:
    """What a backup that saved a snapshot took: how long, how much was new, and how much was read."""

    at: datetime
    seconds: float
    added: float
    read: float

    @property
    def speed(self) -> float:
        """How many bytes were read a second."""
        return self.read / self.seconds if self.seconds else 0.0


class RepositoryDay(Fact):
    """What a repository held at the end of a day (UTC), as far as it was measured."""

    day: str
    bytes_stored: int | None = None
    bytes_restorable: int | None = None
    """What its snapshots would bring back, all together."""
    snapshots: int | None = None


def as_governed(row: sa.Row[Any]) -> Governed:
    """A row of `snapshots`."""
    return Governed(
        row.id, row.time, row.run, row.size_bytes, row.shrank, row.accepted_at, tuple(row.formerly or ())
    )


def list_steps(connection: sa.Connection, ids: Sequence[str]) -> dict[str, list[Step]]:
    """The steps of these runs, by the run."""
    accounts: dict[str, list[Step]] = {}
    for start in range(0, len(ids), 500):
        asked = sa.select(steps).where(steps.c.run.in_(ids[start : start + 500])).order_by(steps.c.number)
        for row in connection.execute(asked):
            accounts.setdefault(row.run, []).append(read_account(row.account))
    return accounts


def as_scope(told: Mapping[str, Any] | None) -> Scope | None:
    """What a run was ordered to do, as it is stored."""
    return None if told is None else Scope.model_validate(told)


def as_run(row: sa.Row[Any], accounts: Sequence[Step]) -> Run:
    """A row of `runs`, with its steps."""
    reason = Reason(code=row.reason_code, message=row.reason_message) if row.reason_code else None
    return Run(
        id=row.id,
        kind=RunKind(row.kind),
        action=Action(row.action),
        job=row.job,
        repository=row.repository,
        state=RunState(row.state),
        outcome=Outcome(row.outcome) if row.outcome else None,
        reason=reason,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        host=row.host,
        origin=row.origin,
        actor=row.actor,
        nominal_at=row.nominal_at,
        missed_last=row.missed_last,
        missed_count=row.missed_count,
        dry_run=bool((row.order or {}).get("dry_run")),
        steps=tuple(accounts),
    )
