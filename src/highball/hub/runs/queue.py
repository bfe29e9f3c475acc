"""The queue's rows: what was ordered, what waits and why, and what was given to an agent.

A row is written once, given away once, and given back only where nothing was heard of it; the database decides
between two who try. Which of them may go is `queue`'s to say, and sending them the dispatcher's.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

import sqlalchemy as sa
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticKnownError

from highball.actions import ACTIONS, Verb
from highball.errors import Conflict
from highball.hub.audit import Actor, write_down
from highball.hub.runs.ingest import update_run
from highball.hub.runs.record import Record
from highball.hub.storage.database import Database
from highball.hub.storage.schema import (
    BY_WORD,
    idempotency,
    runs,
)
from highball.model.fact import Fact
from highball.model.run import (
    Action,
    Outcome,
    Reason,
    Run,
    RunKind,
    RunState,
)
from highball.model.text import PathText
from highball.protocol.tasks import Overwrite
from highball.secret import SecretReference
from highball.source.spelling import check_path

KEY_NAME = r"^[\w .,@()+-]{1,100}$"
"""What a key of a repository may be called."""

_WholePath = Annotated[PathText, AfterValidator(check_path)]


def _share_to_check(value: object) -> float | None:
    """A share within 0 and 100 per cent; what is no number is none, so that the repository's own holds."""
    try:
        share = float(str(value).strip().removesuffix("%"))
    except ValueError:
        return None
    return None if math.isnan(share) else min(max(share, 0.0), 100.0)


_FOR_EVERY_TASK = frozenset({"task", "wait_seconds"})


def _is_verb(task: object) -> str:
    """A verb of the table of actions as it is now."""
    if not isinstance(task, str) or task not in ACTIONS:
        *first, last = (f"'{name}'" for name in ACTIONS)
        raise PydanticKnownError("literal_error", {"expected": f"{', '.join(first)} or {last}"})
    return task


def _list_verbs(schema: dict[str, Any]) -> None:
    schema["enum"] = list(ACTIONS)


class RunOrder(Fact):
    """What a run is to do, as somebody asked for it or a schedule says; an agent gets it as a full Assignment."""

    task: Annotated[str, BeforeValidator(_is_verb)] = Field(json_schema_extra=_list_verbs)
    """`discard` is forget and prune in one run; `hub-backup` copies the hub's own database, `history` lets its record
    forget what is old."""
    job: str | None = None
    repository: str | None = None
    dry_run: bool = False
    plan: str | None = Field(
        None,
        max_length=200,
        description="forget, discard: the id of a plan that waited for a person; only it is carried out",
    )
    shown: tuple[Annotated[str, Field(max_length=200)], ...] | None = Field(
        None,
        max_length=1000,
        description="forget, discard: the ids of the plans that somebody looked at (GET /repositories/KEY/retention); "
        "where another one holds by then, nothing of it goes. Left out or null: no plan was looked at, and whatever "
        "retention does not keep by then goes at once, unless a hold or a guard keeps it",
    )
    snapshot: str | None = Field(
        None,
        max_length=200,
        description="the id of one snapshot: forget removes it alone, verify and restore read it",
    )
    paths: tuple[_WholePath, ...] = ()
    target: _WholePath | None = None
    overwrite: Overwrite = Overwrite.NEVER
    all_data: bool = False
    remove_all: bool = False
    subset: Annotated[float | None, BeforeValidator(_share_to_check)] = None
    """How much of the data a check reads, in per cent; null is what the repository says."""
    new: SecretReference | None = None
    """Of keys: the password that is to open the repository, too."""
    key_id: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    key_name: str = Field("highball", pattern=KEY_NAME)
    of_admin: bool = False
    wait_seconds: float | None = Field(None, ge=0, le=30 * 86400)

    @model_validator(mode="after")
    def _names_what_it_is_about(self) -> Self:
        lacking = [name for name in self.verb.needs if not getattr(self, name)]
        if lacking:
            raise ValueError(f"{self.task} needs {' and '.join(lacking)}")
        return self

    @classmethod
    def about(cls, action: str, subject: str | None, **fields: Any) -> Self:
        """An order of a verb on a job or a repository; raises ValidationError where its row says otherwise."""
        verb = ACTIONS.get(action)
        named = next((name for name in ("job", "repository") if verb and name in verb.needs), None)
        return cls.model_validate({"task": action, **({named: subject} if named else {}), **fields})

    @property
    def verb(self) -> Verb:
        """Its row of the table of actions."""
        return ACTIONS[self.task]

    @property
    def kind(self) -> RunKind:
        """What the run is for."""
        return self.verb.kind

    @property
    def action(self) -> Action:
        """What its first step does."""
        return self.verb.action

    @property
    def opens_admin(self) -> bool:
        """Whether it is given the access that may delete."""
        return self.verb.deletes or self.of_admin

    @property
    def may_replace(self) -> bool:
        """Whether it is a restore that may put files over others: in place, or by its rule."""
        in_place = self.target is None or self.overwrite is not Overwrite.NEVER
        return self.task == "restore" and in_place

    @property
    def subject(self) -> str:
        """What it is about, as schedules and pauses name it."""
        about = self.job if "job" in self.verb.needs else self.repository or "hub"
        return f"{self.task}:{about}"


class RunRequest(RunOrder):
    """An order as a program sends it: with nothing that its task would pass over, as if it had not been said."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="after")
    def _says_nothing_in_vain(self) -> Self:
        verb = self.verb
        heeded = {*_FOR_EVERY_TASK, *verb.needs, *verb.takes}
        said = {
            name
            for name in self.model_fields_set
            if getattr(self, name) != self.__class__.model_fields[name].default
        }
        in_vain = sorted(said - heeded)
        if "dry_run" in in_vain and verb.preview is not None:
            raise ValueError(f"{self.task} has no dry_run: what it would do is told by {verb.preview}")
        if in_vain:
            raise ValueError(f"{self.task} has no {' and no '.join(in_vain)}")
        return self


class RestoreWish(Fact):
    """A restore that somebody thinks of; no paths are all of them, no rule is the usual one for that place."""

    model_config = ConfigDict(extra="forbid")

    repository: str
    snapshot: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]
    job: str | None = None
    paths: tuple[_WholePath, ...] = ()
    target: _WholePath | None = None
    overwrite: Overwrite | None = None
    counts: bool = True
    """False: entries are only counted where something lies at the target already."""


@dataclass(frozen=True)
class Queued:
    """A run that has not ended, as the dispatcher sees it."""

    id: str
    kind: RunKind
    action: Action
    job: str | None
    repository: str | None
    host: str
    state: RunState
    created_at: datetime
    started_at: datetime | None
    nominal_at: datetime | None
    not_before: datetime | None
    assigned_at: datetime | None
    cancel_requested_at: datetime | None
    last_seq: int
    order: RunOrder | None
    reason_code: str | None = None
    """Why it waits."""
    by_word: bool = False
    """Whether nobody here ordered it: its agent says that it has it."""


class Placing(StrEnum):
    """What became of an order: a new run, the one that its key began, or the same one that waits already."""

    NEW = "new"
    KNOWN = "known"
    WAITING = "waiting"


class Backlog:
    """The runs that have not ended, as rows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._record = Record(database)

    def find_order(self, run: str) -> RunOrder | None:
        """What a run was to do, as it was asked for; None of one that a command on the machine carried out."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(runs).where(runs.c.id == run)).first()
        return _as_order(row) if row is not None and row.order else None

    def enqueue(
        self, order: RunOrder, host: str, now: datetime, *, id: str, actor: Actor, key: str | None = None
    ) -> tuple[Run, Placing]:
        """Write down a run that is to be carried out when nothing stands in its way.

        With the idempotency key of an earlier order of the same actor, it is that order's run; where the same waits
        already, it is that one, as it will do all that is wanted. Raises Conflict where the key was used for another
        order.
        """
        with self._database.write() as connection:
            answer, placing = put_in_queue(connection, order, host, now, id=id, actor=actor, key=key)
        return self._record.find_run(answer), placing

    def has_answered(self, actor: Actor, key: str | None) -> bool:
        """Whether an order of this actor with this idempotency key began a run already."""
        here = (idempotency.c.actor == actor.name) & (idempotency.c.key == key)
        with self._database.read() as connection:
            return (
                key is not None and connection.execute(sa.select(idempotency).where(here)).first() is not None
            )

    def find(self, run: str) -> Queued | None:
        """A run as the dispatcher sees it, whether it has ended or not; None where the record has none of this id."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(runs).where(runs.c.id == run)).first()
        return None if row is None else _as_queued(row)

    def list_unassigned(self) -> list[Queued]:
        """The runs that no agent was given yet, oldest first."""
        asked = (
            sa.select(runs)
            .where(
                runs.c.state == RunState.QUEUED.value, runs.c.assigned_at.is_(None), runs.c.order.is_not(None)
            )
            .order_by(runs.c.created_at, runs.c.id)
        )
        with self._database.read() as connection:
            return [_as_queued(row) for row in connection.execute(asked)]

    def list_going(self) -> list[Queued]:
        """The runs that an agent was given and that have not ended."""
        asked = sa.select(runs).where(
            runs.c.state != RunState.DONE.value,
            sa.or_(runs.c.assigned_at.is_not(None), runs.c.state != RunState.QUEUED.value),
        )
        with self._database.read() as connection:
            return [_as_queued(row) for row in connection.execute(asked)]

    def explain_wait(self, run: str, reason: Reason | None) -> bool:
        """Say why a queued run waits; false where that was known."""
        told = (reason.code, reason.message) if reason else (None, None)
        code, message = runs.c.reason_code, runs.c.reason_message
        with self._database.read() as connection:
            known = connection.execute(sa.select(code, message).where(runs.c.id == run)).first()
        if known is None or tuple(known) == told:
            return False
        with self._database.write() as connection:
            update_run(connection, run, state=RunState.QUEUED, reason=reason)
        return True

    def mark_assigned(self, run: str, now: datetime) -> bool:
        """Give a run away: true for the first to do so, and only while nobody cancelled it."""
        free = (runs.c.id == run) & (runs.c.state == RunState.QUEUED.value) & runs.c.assigned_at.is_(None)
        with self._database.write() as connection:
            told = {"assigned_at": now, "reason_code": None, "reason_message": None}
            return connection.execute(runs.update().where(free).values(**told)).rowcount == 1

    def take_back(self, run: str) -> None:
        """A run did not reach its agent: it waits again."""
        here = (runs.c.id == run) & (runs.c.state == RunState.QUEUED.value) & (runs.c.last_seq == 0)
        with self._database.write() as connection:
            connection.execute(runs.update().where(here).values(assigned_at=None))

    def end_unbegun(self, run: str, outcome: Outcome, reason: Reason, now: datetime) -> bool:
        """End a run that never began; false where it has begun or ended meanwhile."""
        here = (runs.c.id == run) & (runs.c.state == RunState.QUEUED.value) & (runs.c.last_seq == 0)
        with self._database.write() as connection:
            told = {"reason_code": reason.code, "reason_message": reason.message, "ended_at": now}
            ended = {"state": RunState.DONE.value, "outcome": outcome.value, **told}
            return connection.execute(runs.update().where(here).values(**ended)).rowcount == 1

    def request_cancel(self, run: str, actor: Actor, now: datetime) -> Queued:
        """Note that somebody wants the run to end; raises Unknown, and Conflict where it has ended."""
        found = self._record.find_run(run)
        if found.state is RunState.DONE:
            raise Conflict(f"run {found.id} has already ended", code="run_ended")
        with self._database.write() as connection:
            told = {"cancel_requested_at": now, "cancelled_by": actor.name}
            connection.execute(runs.update().where(runs.c.id == found.id).values(**told))
            write_down(connection, actor, "cancelled", now, kind="run", key=found.id)
            return _as_queued(connection.execute(sa.select(runs).where(runs.c.id == found.id)).one())


def put_in_queue(
    connection: sa.Connection,
    order: RunOrder,
    host: str,
    now: datetime,
    *,
    id: str,
    actor: Actor,
    key: str | None = None,
) -> tuple[str, Placing]:
    """Write down a run within the transaction of whoever wants it, as `Backlog.enqueue` says; the run's id."""
    told = order.model_dump(mode="json", exclude_defaults=True)
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    known = _find_answer(connection, actor, key, digest)
    if known is not None:
        return known, Placing.KNOWN
    waiting = _find_waiting(connection, order, host)
    if waiting is None:
        connection.execute(runs.insert().values(**_queued_row(order, host, now, id, actor), order=told))
        write_down(connection, actor, "ordered", now, kind="run", key=id, after=told)
    answer = waiting or id
    if key is not None:
        used = {"actor": actor.name, "key": key, "request": digest, "answer": answer, "at": now}
        connection.execute(idempotency.insert().values(**used))
    return answer, Placing.NEW if waiting is None else Placing.WAITING


def _find_waiting(connection: sa.Connection, order: RunOrder, host: str) -> str | None:
    """The run that would do the same there and that nobody was given yet.

    One that came by schedule is the same only while it waits for another run: one that waits for its window, or for
    a host that is away, does not begin when a person says so.
    """
    if order.verb.alone:
        return None
    asked = (
        sa.select(runs)
        .where(runs.c.state == RunState.QUEUED.value, runs.c.assigned_at.is_(None), runs.c.host == host)
        .where(runs.c.order.is_not(None), runs.c.cancel_requested_at.is_(None))
        .where(runs.c.action == order.action.value)
        .where(runs.c.nominal_at.is_(None) | (runs.c.reason_code == "busy"))
        .order_by(runs.c.created_at, runs.c.id)
    )
    wanted = order.model_dump(exclude={"wait_seconds"})
    same = (row.id for row in connection.execute(asked) if _said(row) == wanted)
    return next(same, None)


def _said(row: sa.Row[Any]) -> dict[str, Any]:
    return _as_order(row).model_dump(exclude={"wait_seconds"})


def _find_answer(connection: sa.Connection, actor: Actor, key: str | None, digest: str) -> str | None:
    if key is None:
        return None
    here = (idempotency.c.actor == actor.name) & (idempotency.c.key == key)
    found = connection.execute(sa.select(idempotency).where(here)).first()
    if found is not None and found.request != digest:
        raise Conflict("this Idempotency-Key was used for another order", code="idempotency_key_reused")
    return None if found is None else str(found.answer)


def _queued_row(order: RunOrder, host: str, now: datetime, id: str, actor: Actor) -> dict[str, Any]:
    return {
        "id": id,
        "kind": order.kind.value,
        "action": order.action.value,
        "job": order.job,
        "repository": order.repository,
        "host": host,
        "state": RunState.QUEUED.value,
        "created_at": now,
        "last_seq": 0,
        "subject": order.subject,
        "origin": "manual",
        "actor": actor.name,
    }


def _as_order(row: sa.Row[Any]) -> RunOrder:
    return RunOrder.model_validate({"job": row.job, "repository": row.repository, **row.order})


def _as_queued(row: sa.Row[Any]) -> Queued:
    return Queued(
        id=row.id,
        kind=RunKind(row.kind),
        action=Action(row.action),
        job=row.job,
        repository=row.repository,
        host=row.host,
        state=RunState(row.state),
        created_at=row.created_at,
        started_at=row.started_at,
        nominal_at=row.nominal_at,
        not_before=row.not_before,
        assigned_at=row.assigned_at,
        cancel_requested_at=row.cancel_requested_at,
        last_seq=row.last_seq,
        order=_as_order(row) if row.order else None,
        reason_code=row.reason_code,
        by_word=row.origin == BY_WORD,
    )
