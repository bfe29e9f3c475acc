"""What each repository holds, and how it is kept in order: sizes, snapshots, checks, and what was last done there.

Only reads. However many repositories are asked about, the record is asked four times; each question looks up the
newest rows of every repository by an index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from highball.actions import UPKEEP
from highball.config.document import effective_cadences, effective_job
from highball.hub.parts import HubParts
from highball.hub.runs.ingest import as_size, sum_of_sizes
from highball.hub.runs.set_aside import read_account
from highball.hub.secrets.vault import FORMER
from highball.hub.status.health import column_of_newest
from highball.hub.storage.dialects import as_rows
from highball.hub.storage.schema import (
    is_since_anew,
    repositories,
    snapshots,
    steps,
)
from highball.model.fact import Fact
from highball.model.run import (
    Action,
    Outcome,
    Step,
)
from highball.model.text import UtcTime, time_for_people
from highball.schedule import next_times

# --- what is told --------------------------------------------------------------------------------


class Done(Fact):
    """What the last step of some kind came to, and its run."""

    run: str
    step: Step


class Holding(Fact):
    """A repository as it is: what it holds, who uses it, and what was last done to keep it in order."""

    key: str
    title: str | None
    address: str
    engine: str
    """What writes it."""
    host: str
    """Whose agent looks after it."""
    maintenance: str
    jobs: tuple[str, ...]
    identity: str | None = None
    met_at: UtcTime | None = None
    bytes_stored: int | None = None
    measured_at: UtcTime | None = None
    snapshots: int = 0
    others: int | None = None
    """How many more it showed at last that no run made and nobody adopted; null where they were never counted."""
    bytes_protected: int | None = None
    """What its snapshots would bring back, all together."""
    saved: float | None = None
    """How many times as much that was as what was stored, both at `measured_at`; null where what others saved is
    stored beside it."""
    newest_at: UtcTime | None = None
    last: dict[Action, Done] = {}  # noqa: RUF012 - pydantic copies it
    last_good_check: Done | None = None


class Coverage(Fact):
    """How far the checks have read a repository's data since they last began with its first part."""

    done: int
    parts: int
    since: UtcTime | None
    until: UtcTime | None
    """When the last of these parts was read."""
    ends_at: UtcTime | None
    """When all of it will have been read; null where that is not planned."""

    @property
    def percent(self) -> int:
        """The same as a share."""
        return round(100 * self.done / self.parts)


class HeldSecret(Fact):
    """Where a secret of a repository lies; never its value."""

    name: str
    """Its field, as `password` or `admin.rest_password`."""
    kind: str
    """sealed, file, env or command."""
    where: str | None = None
    """The file, the variable or the program."""
    sealed_at: UtcTime | None = None
    sealed_by: str | None = None

    @property
    def of_admin(self) -> bool:
        """Whether it belongs to the access that may delete."""
        return self.name.startswith("admin.")


# --- putting it together -------------------------------------------------------------------------


def list_holdings(hub: HubParts, keys: Sequence[str] | None = None) -> list[Holding]:
    """The repositories with these keys, or all, by key."""
    document = hub.document()
    wanted = sorted(document.repositories if keys is None else keys)
    users: dict[str, list[str]] = {key: [] for key in wanted}
    for job in document.jobs:
        for key in effective_job(document, job).repositories:
            if key in users:
                users[key].append(job)
    with hub.database.read() as connection:
        rows = {row.key: row for row in connection.execute(sa.select(repositories))}
        held = _held(connection, wanted)
        then = _held_then(connection, wanted)
        last, good = _last_done(connection, wanted)
    return [
        Holding(
            key=key,
            title=document.repositories[key].title,
            address=document.repositories[key].address,
            engine=document.repositories[key].engine,
            host=document.repositories[key].maintainer(hub.host),
            maintenance=document.repositories[key].maintenance,
            jobs=tuple(users[key]),
            last=last[key],
            last_good_check=good.get(key),
            **(_known(rows[key]) if key in rows else {}),
            **(_compared(rows[key], then.get(key, (0, 0))) if key in rows else {}),
            **held.get(key, {}),
        )
        for key in wanted
    ]


def list_last_done(hub: HubParts) -> dict[str, dict[Action, Done]]:
    """What was last done to keep each repository in order."""
    with hub.database.read() as connection:
        return _last_done(connection, list(hub.document().repositories))[0]


def _known(row: sa.Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("identity", "met_at", "bytes_stored", "measured_at")}


def _compared(row: sa.Row[Any], then: tuple[int, int]) -> dict[str, Any]:
    """What only figures of one moment tell."""
    ours, protected = then
    others = None if row.snapshots_listed is None else max(0, row.snapshots_listed - ours)
    saved = protected / row.bytes_stored if row.bytes_stored and protected and not others else None
    return {"others": others, "saved": saved}


def _held_then(connection: sa.Connection, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
    """How many snapshots of ours there were when all that are in a repository were last counted, and what ours would
    have brought back when it was last measured."""
    forgotten, missing = snapshots.c.forgotten_at, snapshots.c.missing_since.is_(None)

    def there_at(moment: sa.Column[Any]) -> sa.ColumnElement[bool]:
        return sa.and_(snapshots.c.time <= moment, sa.or_(forgotten.is_(None), forgotten > moment))

    measured, listed = there_at(repositories.c.measured_at), there_at(repositories.c.listed_at)
    asked = (
        sa.select(
            snapshots.c.repository,
            sum_of_sizes(sa.case((measured, snapshots.c.size_bytes))).label("bytes_protected"),
            sa.func.sum(sa.case((listed, 1))).label("ours"),
        )
        .join(repositories, repositories.c.key == snapshots.c.repository)
        .where(snapshots.c.repository.in_(keys), missing, sa.or_(measured, listed))
        .group_by(snapshots.c.repository)
    )
    rows = connection.execute(asked)
    return {row.repository: (int(row.ours or 0), as_size(row.bytes_protected or 0)) for row in rows}


def _held(connection: sa.Connection, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The count, size and newest of the snapshots that runs made and that are there."""
    asked = (
        sa.select(
            snapshots.c.repository,
            sa.func.count().label("snapshots"),
            sum_of_sizes().label("bytes_protected"),
            sa.func.max(snapshots.c.time, type_=snapshots.c.time.type).label("newest_at"),
        )
        .where(snapshots.c.repository.in_(keys))
        .where(snapshots.c.forgotten_at.is_(None), snapshots.c.missing_since.is_(None))
        .group_by(snapshots.c.repository)
    )
    return {
        row.repository: {
            "snapshots": row.snapshots,
            "bytes_protected": None if row.bytes_protected is None else as_size(row.bytes_protected),
            "newest_at": row.newest_at,
        }
        for row in connection.execute(asked)
    }


def _last_done(
    connection: sa.Connection, keys: Sequence[str]
) -> tuple[dict[str, dict[Action, Done]], dict[str, Done]]:
    """The last step of each kind, and the last check that found nothing wrong."""
    one = as_rows(connection, ("repository",), [(key,) for key in keys])
    here = (steps.c.repository == one.c.repository) & is_since_anew(steps.c.ended_at, one.c.repository)
    columns: list[sa.ColumnElement[Any]] = [one.c.repository]
    for action in UPKEEP:
        columns += [
            column_of_newest(steps.c.run, action, here).label(f"{action}_run"),
            column_of_newest(steps.c.account, action, here).label(action.value),
        ]
    good = (Action.CHECK, here, Outcome.SUCCESS)
    columns += [
        column_of_newest(steps.c.run, *good).label("good_run"),
        column_of_newest(steps.c.account, *good).label("good"),
    ]
    last: dict[str, dict[Action, Done]] = {key: {} for key in keys}
    checked = {}
    for row in connection.execute(sa.select(*columns)).mappings():
        for action in UPKEEP:
            if row[action.value] is not None:
                step = read_account(row[action.value])
                last[row["repository"]][action] = Done(run=row[f"{action}_run"], step=step)
        if row["good"] is not None:
            checked[row["repository"]] = Done(run=row["good_run"], step=read_account(row["good"]))
    return last, checked


# --- how far checks have read --------------------------------------------------------------------


def find_coverage(hub: HubParts, key: str, now: datetime) -> Coverage | None:
    """How far the checks of a repository have read its data; None where they read none."""
    document = hub.document()
    repository, parts = document.repositories[key], document.repositories[key].check_slices
    if parts is None:
        return None
    read = list(_read_in_turn(hub.record.list_parts_read(key, parts)))
    done = len(read)
    ends = None
    if done < parts and repository.maintenance != "off" and hub.scheduler.next_of(f"check:{key}", now):
        times = next_times(
            effective_cadences(document, key).check, now, document.settings.timezone, parts - done
        )
        ends = times[-1] if len(times) == parts - done else None
    return Coverage(
        done=done,
        parts=parts,
        since=read[-1] if read else None,
        until=read[0] if read else None,
        ends_at=ends,
    )


def _read_in_turn(checks: Sequence[tuple[int, datetime]]) -> Iterator[datetime]:
    """When each part of the round was read that is under way, the newest first."""
    before = None
    for part, at in checks:
        if before is not None and part != before - 1:
            return
        before = part
        yield at


# --- its secrets ---------------------------------------------------------------------------------


def list_secrets(hub: HubParts, key: str) -> list[HeldSecret]:
    """Where each secret of a repository lies, and since when what is sealed."""
    placed = hub.vault.place(key, hub.document().repositories[key])
    sealed = {one.place: one for one in hub.vault.list_places()}
    found = []
    for name, reference in placed.secrets():
        if reference.sealed is not None:
            held = sealed.get(str(reference.sealed))
            told = {"sealed_at": held.set_at, "sealed_by": held.set_by} if held else {}
            found.append(HeldSecret(name=name, kind="sealed", **told))
        elif reference.file is not None:
            found.append(HeldSecret(name=name, kind="file", where=str(reference.file)))
        elif reference.env is not None:
            found.append(HeldSecret(name=name, kind="env", where=reference.env))
        else:
            found.append(HeldSecret(name=name, kind="command", where=(reference.command or ("",))[0]))
    return found


def tell_undo_leaves(hub: HubParts, key: str, to: int) -> str | None:
    """What an undo to this revision cannot bring back, as a sentence: sealed values that were replaced since."""
    later = [one.at for one in hub.documents.history("repository", key) if one.revision > to]
    id = hub.vault.find_place(key, "password").split(":")[1]
    replaced = [one for one in hub.vault.list_places(id) if later and one.set_at >= min(later)]
    names = [_called(one.slot) for one in replaced if not one.slot.endswith(FORMER)]
    if not names:
        return None
    when = time_for_people(max(one.set_at for one in replaced))
    what = f"Its {', '.join(names)} {'was' if len(names) == 1 else 'were'} replaced {when}"
    return f"{what} and {'stays' if len(names) == 1 else 'stay'}: an undo brings back settings, never a sealed value."


def _called(slot: str) -> str:
    return "admin password" if slot == "admin" else slot.replace("environment.", "").replace("_", " ")
