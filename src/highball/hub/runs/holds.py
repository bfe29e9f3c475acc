"""Holds: what makes retention stand still, for how long already, and what lifts it.

A guard that waits opens one, for a whole repository, for a job there, or for one of its sets; a guard that finds its
hold open adds no other. Some lift themselves once what was wrong is right again, the others wait for a person's word,
which stands in the audit. While a hold is open, no plan that it covers removes anything.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from highball.errors import Misuse, NotAllowed, Unknown
from highball.hub.audit import HUB, Actor, write_down
from highball.hub.storage.database import Database, new_run_id
from highball.hub.storage.schema import (
    holds,
    objects,
    repositories,
    snapshots,
)
from highball.model.run import Reason
from highball.model.standing import (
    NOT_BY_A_PERSON,
    Hold,
    HoldCause,
)
from highball.retention import stands_still

LIFTS = {
    HoldCause.NEWEST_SHRANK: "somebody accepts it, or a later snapshot has the usual size again",
    HoldCause.CHECK_FAILED: "a check succeeds: repair the repository and check it again",
    HoldCause.DELETED_ELSEWHERE: "somebody accepts it, or they are back",
    HoldCause.ROLLED_BACK: "somebody accepts it",
    HoldCause.RESTORE_TEST_FAILED: "a restore test succeeds, or somebody accepts it",
    HoldCause.GAP: "somebody accepts it: review first what would be removed",
    HoldCause.CLOCK_WRONG: "the clock is right",
    HoldCause.REPOSITORY_TWICE: "one of the two is deleted from the configuration",
}
"""What each waits for."""


TOLD_AS = {
    HoldCause.NEWEST_SHRANK: "shrank",
    HoldCause.CHECK_FAILED: "repository_damaged",
    HoldCause.RESTORE_TEST_FAILED: "proof_failed",
}
"""How the run that shows it says the same, where it does not by the cause's own name."""


@dataclass(frozen=True)
class Held:
    """What a hold covers: all of a repository, or only a job there, or only one of its sets on a host."""

    repository: str
    job: str | None = None
    host: str | None = None
    set: str | None = None


# --- for guards, within the transaction of what they saw -----------------------------------------


def open_hold(
    connection: sa.Connection,
    held: Held,
    cause: HoldCause,
    message: str,
    at: datetime,
    *,
    run: str | None = None,
    about: str | None = None,
) -> None:
    """Let retention stand still; one that does so already tells the newest evidence and keeps its beginning.

    `run` is the run that shows it, `about` what exactly is odd (a snapshot's id): a person accepts just that.
    """
    told = {"message": message, "run": run, "about": about}
    found = holds.update().where(*_open_of(held, cause)).values(**told)
    if connection.execute(found).rowcount == 0:
        id = new_run_id(at, secrets.randbits(74))
        place = {name: getattr(held, name) for name in ("repository", "job", "host", "set")}
        connection.execute(holds.insert().values(id=id, cause=cause.value, since=at, **place, **told))


def lift_hold(connection: sa.Connection, held: Held, cause: HoldCause, at: datetime, why: str) -> None:
    """What this guard waited for has come; nothing happens where it held nothing."""
    lifted = {"lifted_at": at, "lifted_by": HUB.name, "why": why}
    connection.execute(holds.update().where(*_open_of(held, cause)).values(**lifted))


def find_since(connection: sa.Connection, held: Held, cause: HoldCause) -> datetime | None:
    """Since when this guard holds; None where it does not."""
    return connection.execute(sa.select(holds.c.since).where(*_open_of(held, cause))).scalar()


def _of(held: Held) -> Iterator[sa.ColumnElement[bool]]:
    for name in ("repository", "job", "host", "set"):
        value = getattr(held, name)
        yield holds.c[name].is_(None) if value is None else holds.c[name] == value


def _open_of(held: Held, cause: HoldCause) -> Iterator[sa.ColumnElement[bool]]:
    yield from _of(held)
    yield holds.c.cause == cause.value
    yield holds.c.lifted_at.is_(None)


# --- for everybody else --------------------------------------------------------------------------


class Holds:
    """What stands still, and a person's word that it may go on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_open(self, repository: str | None = None) -> list[Hold]:
        """What stands still now, the oldest first; in one repository where it is named."""
        with self._database.read() as connection:
            return list_open(connection, repository)

    def list_of(self, repository: str, job: str, host: str, set: str) -> list[Hold]:
        """What holds the retention of one set."""
        return [
            hold
            for hold in self.list_open(repository)
            if hold.job in (None, job) and hold.host in (None, host) and hold.set in (None, set)
        ]

    def list_accepted(self, held: Held, cause: HoldCause) -> set[str]:
        """What exactly was odd there, and right by a person's word."""
        by_a_person = holds.c.lifted_by.is_not(None) & (holds.c.lifted_by != HUB.name)
        asked = sa.select(holds.c.about).where(*_of(held), holds.c.cause == cause.value, by_a_person)
        with self._database.read() as connection:
            return set(connection.execute(asked.where(holds.c.about.is_not(None))).scalars())

    def settle(
        self, held: Held, cause: HoldCause, found: str | None, now: datetime, about: str | None = None
    ) -> None:
        """Open or lift by what a look just now found; the record is left alone where nothing changes."""
        is_open = any(hold.cause is cause for hold in self._exactly(held))
        if (found is not None) == is_open:
            return
        with self._database.write() as connection:
            if found is None:
                lift_hold(connection, held, cause, now, "it is right again")
            else:
                open_hold(connection, held, cause, found, now, about=about)

    def _exactly(self, held: Held) -> Iterator[Hold]:
        for hold in self.list_open(held.repository):
            if (hold.job, hold.host, hold.set) == (held.job, held.host, held.set):
                yield hold

    # --- a person's word ---

    def accept(self, id: str, actor: Actor, now: datetime, reason: str | None = None) -> Hold:
        """Lift one; raises Unknown, and NotAllowed where no word can make it right."""
        lifted = self._accept(lambda _, hold: hold.id == id, actor, now, reason)
        if not lifted:
            raise Unknown(
                f"there is no open hold {id}",
                code="hold_unknown",
                hint="list all holds with: highball status",
            )
        return lifted[0]

    def accept_run(self, run: str, actor: Actor, now: datetime, reason: str | None = None) -> list[Hold]:
        """Lift what a run showed; none is lifted where it holds nothing. Raises NotAllowed.

        Of several runs in a row that came out as small, the word for one is good for all.
        """

        def is_shown(connection: sa.Connection, hold: Hold) -> bool:
            return hold.run == run or _is_about_as_small(connection, hold, run)

        return self._accept(is_shown, actor, now, reason)

    def accept_repository(
        self, repository: str, actor: Actor, now: datetime, reason: str | None = None
    ) -> list[Hold]:
        """Lift all that waits for a person in a repository. Raises Misuse where nothing does, and NotAllowed."""
        lifted = self._accept(lambda _, hold: hold.repository == repository, actor, now, reason)
        if not lifted:
            raise Misuse(
                f"nothing holds retention in {repository}",
                code="nothing_to_accept",
                hint="list all holds with: highball status",
            )
        return lifted

    def _accept(
        self, wanted: Callable[[sa.Connection, Hold], bool], actor: Actor, now: datetime, reason: str | None
    ) -> list[Hold]:
        with self._database.write() as connection:
            found = [hold for hold in list_open(connection) if wanted(connection, hold)]
            lifted = [hold for hold in found if hold.acceptable]
            if found and not lifted:
                raise NotAllowed(
                    f"{found[0].message}: retention is on hold until {found[0].lifts}",
                    code=found[0].cause.value,
                    hint="list all holds with: highball status",
                )
            for hold in lifted:
                _lift_by(connection, hold, actor, now, reason)
        return lifted


def _is_about_as_small(connection: sa.Connection, hold: Hold, run: str) -> bool:
    """Whether a run left a snapshot of the same set that is not more than twice the size of the newest."""
    if hold.cause is not HoldCause.NEWEST_SHRANK:
        return False
    columns = (snapshots.c.repository, snapshots.c.host, snapshots.c.job, snapshots.c.set)
    here = sa.tuple_(*columns) == sa.tuple_(hold.repository, hold.host, hold.job, hold.set)
    of_run = sa.select(snapshots.c.size_bytes).where(here, snapshots.c.run == run, snapshots.c.shrank)
    newest = sa.select(snapshots.c.size_bytes).where(here, snapshots.c.id == hold.about)
    size, before = (connection.execute(asked).scalar() for asked in (newest, of_run))
    return size is not None and before is not None and size * 2 >= before


def list_open(connection: sa.Connection, repository: str | None = None) -> list[Hold]:
    """What stands still now, the oldest first; in one repository where it is named."""
    asked = sa.select(holds).where(holds.c.lifted_at.is_(None)).order_by(holds.c.since, holds.c.id)
    if repository is not None:
        asked = asked.where(holds.c.repository == repository)
    return [*map(_as_hold, connection.execute(asked)), *_list_twins(connection, repository)]


def _list_twins(connection: sa.Connection, repository: str | None) -> Iterator[Hold]:
    """Repositories that are one under two keys: what retention removes by one key is gone by the other, too.

    Nobody opens these holds: they are so for as long as both keys are declared.
    """
    one, other = repositories.alias("one"), repositories.alias("other")
    declared = sa.select(objects.c.key).where(objects.c.kind == "repository", objects.c.deleted_at.is_(None))
    asked = (
        sa.select(one.c.key, sa.func.min(other.c.key).label("twin"), one.c.met_at)
        .join(other, (one.c.identity == other.c.identity) & (one.c.key != other.c.key))
        .where(one.c.key.in_(declared), other.c.key.in_(declared))
        .group_by(one.c.key, one.c.met_at)
        .order_by(one.c.key)
    )
    for row in connection.execute(asked if repository is None else asked.where(one.c.key == repository)):
        cause = HoldCause.REPOSITORY_TWICE
        yield Hold(
            id=f"twin-{row.key}",
            repository=row.key,
            cause=cause,
            message=f"{row.key} and {row.twin} are the same repository, so backups to both are one copy only",
            lifts=LIFTS[cause],
            acceptable=False,
            since=row.met_at or datetime.now(UTC),
        )


def covering(found: Iterable[Hold], repository: str, job: str) -> tuple[Hold, ...]:
    """Those that hold the retention of a job in a repository, whole or in part."""
    return tuple(hold for hold in found if hold.repository == repository and hold.job in (None, job))


def is_shown_by(hold: Hold, code: str | None) -> bool:
    """Whether what a run says by this code is what the hold is for."""
    return code is not None and code in (hold.cause.value, TOLD_AS.get(hold.cause))


def as_reasons(found: Iterable[Hold]) -> tuple[Reason, ...]:
    """The same as a plan says it."""
    return tuple(stands_still(hold.cause.value, hold.message, until=hold.lifts) for hold in found)


def _lift_by(connection: sa.Connection, hold: Hold, actor: Actor, now: datetime, reason: str | None) -> None:
    lifted = {"lifted_at": now, "lifted_by": actor.name, "why": reason}
    connection.execute(holds.update().where(holds.c.id == hold.id).values(**lifted))
    if hold.cause is HoldCause.NEWEST_SHRANK:  # from now on its size is the usual one
        here = (snapshots.c.repository == hold.repository) & (snapshots.c.id == hold.about)
        connection.execute(snapshots.update().where(here).values(accepted_at=now))
    told = {"hold": hold.id, "cause": hold.cause.value, "job": hold.job, "message": hold.message}
    write_down(
        connection,
        actor,
        "accepted",
        now,
        kind="repository",
        key=hold.repository,
        before=told,
        message=reason,
    )


def _as_hold(row: sa.Row[Any]) -> Hold:
    cause = HoldCause(row.cause)
    return Hold(
        id=row.id,
        repository=row.repository,
        job=row.job,
        host=row.host,
        set=row.set,
        cause=cause,
        message=row.message,
        lifts=LIFTS[cause],
        acceptable=cause not in NOT_BY_A_PERSON,
        since=row.since,
        run=row.run,
        about=row.about,
    )
