"""What an event of a run changes in the record: the run's row, its steps, the snapshots and days of repositories.

Every function works within the transaction of whoever takes the event in; the same event must not come twice.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from highball.hub.runs.holds import (
    Held,
    find_since,
    lift_hold,
    open_hold,
)
from highball.hub.runs.scopes import Scope, find_overreach
from highball.hub.runs.set_aside import (
    ending_with_asides,
    read_account,
    spell_account,
    step_set_aside,
    with_asides,
)
from highball.hub.storage.schema import (
    UNTESTED,
    events,
    holds,
    marks,
    moment_to_text,
    repositories,
    repository_days,
    runs,
    snapshots,
    steps,
)
from highball.humanize import counted
from highball.model.event import (
    Event,
    LogLine,
    ProcessStarted,
    RunEnded,
    RunStarted,
    SnapshotSaved,
    Statistics,
    StepEnded,
    StepStarted,
    Waiting,
    WarningSeen,
)
from highball.model.event_lines import put_aside, read_line
from highball.model.fact import LARGEST_NUMBER
from highball.model.run import (
    Action,
    Outcome,
    Reason,
    RunState,
    Step,
)
from highball.model.snapshot import Snapshot
from highball.model.standing import HoldCause
from highball.protocol.tasks import Assignment
from highball.schedule import fire_id

LONGEST_ID = 36
"""So many characters a run's id has."""

_UNSTORABLE = (sa.exc.DataError, sa.exc.IntegrityError, OverflowError, ValueError)
"""What is raised where an event says something that no row can hold."""


@dataclass(frozen=True)
class SetOf:
    """What retention, shrinking and "newest" work on: a set of one job on one host in one repository."""

    repository: str
    host: str
    job: str
    set: str


def of_set(of: SetOf) -> sa.ColumnElement[bool]:
    """Its snapshots."""
    return sa.and_(
        snapshots.c.repository == of.repository,
        snapshots.c.host == of.host,
        snapshots.c.job == of.job,
        snapshots.c.set == of.set,
    )


def take_in(
    connection: sa.Connection, host: str, event: Event, scope: Scope | None, refuse: Callable[[str], None]
) -> Event:
    """Change what an event of a host tells of; the event, or the warning that it was set aside.

    `scope` is what its run was ordered to do; None is one that the hub carries out itself. What goes beyond is set
    aside, and `refuse` is told why. A run that was not ordered changes nothing but its own row.
    """
    why = scope and (find_overreach(event, scope) or _find_other_identity(connection, event, scope))
    is_ordered = scope is None or scope.ordered
    if why:
        refuse(why)
        event = _put_aside(event, why)
    if isinstance(event, LogLine | SnapshotSaved):
        return event
    try:
        with connection.begin_nested():
            _take_in(connection, host, event, is_ordered)
    except _UNSTORABLE as error:
        event = _put_aside(event, f"{type(error).__name__} in the record")
        _take_in(connection, host, event, is_ordered)
    return event


def _put_aside(event: Event, why: str) -> WarningSeen:
    told = event.model_dump(mode="json", exclude_none=True)
    return put_aside(told, event.seq, event.run, event.type, why)


def _find_other_identity(connection: sa.Connection, event: Event, scope: Scope) -> str | None:
    """Which repository a key means was learned once; only making one anew tells another."""
    if not isinstance(event, Statistics) or event.repository_id is None or scope.task == "init":
        return None
    asked = sa.select(repositories.c.identity).where(repositories.c.key == event.repository)
    known = connection.execute(asked).scalar()
    if known in (None, event.repository_id):
        return None
    return f"{event.repository} is known as another repository"


def _take_in(connection: sa.Connection, host: str, event: Event, is_ordered: bool) -> None:
    match event:
        case RunStarted():
            update_run(connection, event.run, state=RunState.RUNNING, started_at=event.at)
        case Waiting():
            update_run(connection, event.run, state=RunState.WAITING, reason=event.reason)
        case StepStarted() | StepEnded() | ProcessStarted():  # the wait, if there was one, is over
            update_run(connection, event.run, state=RunState.RUNNING, reason=None)
        case RunEnded():
            outcome, reason = ending_with_asides(connection, event)
            told = {"outcome": outcome.value, "ended_at": event.ended_at or event.at}
            update_run(connection, event.run, state=RunState.DONE, reason=reason, **told)
        case WarningSeen() if event.set_aside is not None:
            _end_by_aside(connection, event)
        case _:
            pass
    if is_ordered:
        _take_in_evidence(connection, host, event)


def _take_in_evidence(connection: sa.Connection, host: str, event: Event) -> None:
    """What an event tells beyond how its run goes: steps, by which jobs are judged, snapshots and repositories."""
    match event:
        case StepStarted():
            _write_step(connection, event.run, event.running)
        case StepEnded():
            _write_step(connection, event.run, with_asides(connection, event.run, event.done))
            _take_in_snapshots(connection, host, event)
            _take_in_trust(connection, event)
        case Statistics():
            _take_in_statistics(connection, event)
        case WarningSeen() if event.set_aside is not None:
            _write_step(connection, event.run, step_set_aside(connection, event))
        case _:
            pass


def _end_by_aside(connection: sa.Connection, event: WarningSeen) -> None:
    """A run whose end could not be taken in is over all the same."""
    if event.set_aside is not None and event.set_aside.type == "run.ended":
        reason = Reason(code=event.warning.code, message=event.warning.message)
        told = {"outcome": Outcome.FAILURE.value, "ended_at": event.at}
        update_run(connection, event.run, state=RunState.DONE, reason=reason, **told)


# --- a run's row ---------------------------------------------------------------------------------


def update_run(connection: sa.Connection, run: str, *, state: RunState, **told: Any) -> None:
    """Change what is known of a run that has not ended."""
    if "reason" in told:
        reason = told.pop("reason")
        told |= {
            "reason_code": reason.code if reason else None,
            "reason_message": reason.message if reason else None,
        }
    # what the release of an ended run adds (its `after` hooks) does not open it again
    here = (runs.c.id == run) & (runs.c.state != RunState.DONE.value)
    connection.execute(runs.update().where(here).values(state=state.value, **told))


def told_its_end(connection: sa.Connection, run: str) -> bool:
    """Whether the run's own account says how it ended; else the end in its row is the hub's word."""
    asked = sa.select(events.c.lines).where(events.c.run == run)
    chunks = connection.execute(asked.order_by(events.c.first_seq.desc())).scalars()
    lines = (line for chunk in chunks for line in zlib.decompress(chunk).splitlines())
    told = (found[1] for line in lines if (found := read_line(line)) is not None)
    return any(map(is_end, told))


def is_end(event: Event | None) -> bool:
    """Whether an event ends its run, though what it says of the end was set aside."""
    aside = event.set_aside if isinstance(event, WarningSeen) else None
    return isinstance(event, RunEnded) or (aside is not None and aside.type == "run.ended")


def open_again(connection: sa.Connection, row: sa.Row[Any]) -> None:
    """A run of which the hub said itself how it ended (missed, skipped, offline, gone) was carried out after all.

    Of missed times in a row that share it, the others stay missed, in a row that has no time's id.
    """
    if (row.missed_count or 0) > 1:
        rest = {**row._mapping, **_missed(row.missed_count - 1)}
        rest["id"] = fire_id(row.subject, row.host, Outcome.MISSED, row.nominal_at)
        connection.execute(runs.insert().values(**rest))
    untold = ("outcome", "ended_at", "reason_code", "reason_message", "missed_last", "missed_count")
    opened = {"state": RunState.RUNNING.value, **dict.fromkeys(untold)}
    connection.execute(runs.update().where(runs.c.id == row.id).values(**opened))


def was_not_missed(connection: sa.Connection, assignment: Assignment) -> None:
    """A time that counts among missed ones in a row, and whose run an agent turns out to hold, counts no more."""
    here = sa.and_(
        runs.c.subject == assignment.subject,
        runs.c.host == assignment.host,
        runs.c.outcome == Outcome.MISSED.value,
        runs.c.nominal_at <= assignment.nominal_at,
        runs.c.missed_last >= assignment.nominal_at,
    )
    row = connection.execute(sa.select(runs.c.id, runs.c.missed_count).where(here)).first()
    if row is None:
        return
    if row.missed_count == 1:
        connection.execute(runs.delete().where(runs.c.id == row.id))
    else:
        told = _missed(row.missed_count - 1)
        connection.execute(runs.update().where(runs.c.id == row.id).values(**told))


def _missed(count: int) -> dict[str, Any]:
    return {"missed_count": count, "reason_message": missed_words(count)}


def missed_words(count: int) -> str:
    """How the record speaks of missed times in a row."""
    return "missed: nothing ran at this time" if count == 1 else f"missed {count} times in a row"


# --- steps, snapshots, days ----------------------------------------------------------------------


def _write_step(connection: sa.Connection, run: str, step: Step) -> None:
    here = (steps.c.run == run) & (steps.c.number == step.number)
    told = {
        "action": step.action.value,
        "repository": step.repository,
        "job": step.job,
        "outcome": step.outcome.value if step.outcome else None,
        "ended_at": step.ended_at,
        "account": spell_account(step),
    }
    if connection.execute(steps.update().where(here).values(**told)).rowcount == 0:
        connection.execute(steps.insert().values(run=run, number=step.number, **told))


def _take_in_snapshots(connection: sa.Connection, host: str, event: StepEnded) -> None:
    step = event.done
    if step.repository is None or step.job is None or step.set is None:
        return
    of = SetOf(step.repository, step.host or host, step.job, step.set)
    if step.action is Action.BACKUP and step.snapshot_id is not None:
        _govern(connection, of, event)
    if step.snapshots_removed:
        mark_snapshots(connection, of.repository, step.snapshots_removed, forgotten_at=event.at)
    if event.snapshots is not None:
        _mark_missing(connection, of, step.action, event)
        found = find_saved(connection, of.repository, event.snapshots)
        _take_in_saved(connection, of.repository, [one for one in found if one.of == of])
        if not _count_what_came(connection, event):
            held = _sum_up_snapshots(connection, of.repository)
            _note_day(connection, of.repository, event.at, snapshots=held["snapshots"])


def _govern(connection: sa.Connection, of: SetOf, event: StepEnded) -> None:
    step = event.done
    made = next((s for s in event.snapshots or () if s.id == step.snapshot_id), None)
    is_known = (snapshots.c.id == step.snapshot_id) | (
        of_set(of) & (snapshots.c.run == event.run)
    )  # one a run
    known = sa.select(snapshots.c.id).where(snapshots.c.repository == of.repository, is_known).limit(1)
    if made is None or connection.execute(known).first():
        return
    shrank = any(warning.code == "shrank" for warning in step.warnings)
    size = step.bytes_processed if step.bytes_processed is not None else made.size_bytes
    connection.execute(
        snapshots.insert().values(
            repository=of.repository,
            id=made.id,
            host=of.host,
            job=of.job,
            set=of.set,
            run=event.run,
            time=made.time,
            size_bytes=size,
            shrank=shrank,
            forgotten_at=_removed_at(connection, of.repository, made.id, event.at),
        )
    )
    newer = sa.select(snapshots.c.id).where(of_set(of), snapshots.c.time > made.time).limit(1)
    if connection.execute(newer).first() is None:
        _judge_size(connection, of, event, made.id, shrank=shrank)


# --- what a listing shows besides ----------------------------------------------------------------

CLOCK_STEP = timedelta(seconds=2)


@dataclass(frozen=True)
class Saved:
    """A snapshot that a run of ours saved and could not show when it ended."""

    of: SetOf
    snapshot: Snapshot
    run: str
    ended_at: datetime


def take_as_evidence(
    connection: sa.Connection, repository: str, listing: Sequence[Snapshot], at: datetime
) -> None:
    """What a listing shows is there, whatever one before it lacked."""
    back = find_back(connection, repository, listing, at)
    mark_snapshots(connection, repository, [row.id for row in back], missing_since=None)
    for of in {SetOf(repository, row.host, row.job, row.set) for row in back}:
        _lift_if_all_are_back(connection, of, at)
    _take_in_saved(connection, repository, find_saved(connection, repository, listing))


def find_back(
    connection: sa.Connection, repository: str, listing: Sequence[Snapshot], at: datetime
) -> list[sa.Row[Any]]:
    """The snapshots that were missing, and that a listing shows."""
    shown = {snapshot.id for snapshot in listing}
    asked = sa.select(snapshots).where(
        snapshots.c.repository == repository,
        snapshots.c.forgotten_at.is_(None),
        snapshots.c.missing_since < at,
    )
    return [row for row in connection.execute(asked) if row.id in shown]


def find_saved(connection: sa.Connection, repository: str, listing: Sequence[Snapshot]) -> list[Saved]:
    """The snapshots of a listing that runs of ours saved, though a listing failed then, or did not show them.

    A tag alone proves nothing. The run is known and over, its step was of that host, job and set in that repository
    and knows no snapshot, it was under way when the snapshot was made; and where two claim the same, neither counts.
    """
    claims: dict[tuple[str, str | None], list[Snapshot]] = {}
    for snapshot in listing:
        if snapshot.run is not None and len(snapshot.run) == LONGEST_ID:
            claims.setdefault((snapshot.run, snapshot.set), []).append(snapshot)
    for start in range(0, len(claims), 500):
        named = [run for run, _ in list(claims)[start : start + 500]]
        asked = sa.select(snapshots.c.run, snapshots.c.set).where(
            snapshots.c.repository == repository, snapshots.c.run.in_(named)
        )
        for known in connection.execute(asked).all():
            claims.pop((known.run, known.set), None)
    found = []
    for start in range(0, len(claims), 500):
        named = [run for run, _ in list(claims)[start : start + 500]]
        found += [
            Saved(of, snapshot, run, ended_at)
            for of, run, begun_at, ended_at in _list_without_snapshot(connection, repository, named)
            if len(claimed := claims.get((run, of.set), [])) == 1
            and (snapshot := claimed[0]).job == of.job
            and snapshot.host == of.host
            and begun_at - CLOCK_STEP <= snapshot.time <= ended_at + CLOCK_STEP
        ]
    return found


def _list_without_snapshot(
    connection: sa.Connection, repository: str, named: Sequence[str]
) -> Iterator[tuple[SetOf, str, datetime, datetime]]:
    """The backup steps of these runs that ended without a known snapshot: of which set, and from when to when."""
    asked = (
        sa.select(steps.c.run, steps.c.account, runs.c.host, runs.c.order)
        .join(runs, runs.c.id == steps.c.run)
        .where(steps.c.run.in_(named), steps.c.repository == repository)
        .where(steps.c.action == Action.BACKUP.value, runs.c.state == RunState.DONE.value)
    )
    for row in connection.execute(asked):
        step = read_account(row.account)
        rehearsed = (row.order or {}).get("dry_run")
        if step.snapshot_id is not None or step.job is None or step.set is None or rehearsed:
            continue
        if step.started_at is not None and step.ended_at is not None:
            of = SetOf(repository, step.host or row.host, step.job, step.set)
            yield of, row.run, step.started_at, step.ended_at


def _take_in_saved(connection: sa.Connection, repository: str, found: Sequence[Saved]) -> None:
    for one in found:
        known = (snapshots.c.repository == repository) & (snapshots.c.id == one.snapshot.id)
        if connection.execute(sa.select(snapshots.c.id).where(known)).first():
            continue
        connection.execute(
            snapshots.insert().values(
                repository=repository,
                id=one.snapshot.id,
                host=one.of.host,
                job=one.of.job,
                set=one.of.set,
                run=one.run,
                time=one.snapshot.time,
                size_bytes=one.snapshot.size_bytes,
                shrank=False,
                forgotten_at=_removed_at(connection, repository, one.snapshot.id, one.ended_at),
            )
        )


def held_by(of: SetOf) -> Held:
    """What a hold of this set covers."""
    return Held(of.repository, of.job, of.host, of.set)


def _judge_size(connection: sa.Connection, of: SetOf, event: StepEnded, id: str, *, shrank: bool) -> None:
    """The newest snapshot of a set is much smaller than those before it, or it is not."""
    held, cause = held_by(of), HoldCause.NEWEST_SHRANK
    if shrank:
        message = f"the newest snapshot of {of.job} in {of.repository} is much smaller than those before it"
        open_hold(connection, held, cause, message, event.at, run=event.run, about=id)
    else:
        lift_hold(connection, held, cause, event.at, "a later snapshot has the usual size")


def _removed_at(connection: sa.Connection, repository: str, id: str, after: datetime) -> datetime | None:
    """When a snapshot was removed: its run may be told later than the run that removed it."""
    asked = sa.select(steps.c.ended_at, steps.c.account).where(
        steps.c.action == Action.FORGET.value, steps.c.repository == repository, steps.c.ended_at >= after
    )
    for row in connection.execute(asked):
        if id in (read_account(row.account).snapshots_removed or ()):
            removed_at: datetime = row.ended_at
            return removed_at
    return None


def _mark_missing(connection: sa.Connection, of: SetOf, action: Action, event: StepEnded) -> None:
    """Snapshots that the listing lacks are missing; those that it shows again are not.

    It may be told late, and says nothing of what is younger than itself. A backup lists what carries the tags of its
    set; what was adopted without them only a removal looks for.
    """
    follow(connection, of.repository, event.snapshots or (), of_set(of))
    at, shown = event.at, {snapshot.id for snapshot in event.snapshots or ()}
    asked = sa.select(snapshots.c.id, snapshots.c.missing_since).where(
        of_set(of),
        snapshots.c.forgotten_at.is_(None),
        snapshots.c.time < at,
        sa.true() if action is Action.FORGET else snapshots.c.run.is_not(None),
    )
    found = connection.execute(asked).all()
    lost = [row.id for row in found if row.id not in shown and row.missing_since is None]
    back = [row.id for row in found if row.id in shown and row.missing_since and row.missing_since < at]
    mark_snapshots(connection, of.repository, back, missing_since=None)
    if lost:
        miss(connection, of, lost, at, event.run)
    elif back:
        _lift_if_all_are_back(connection, of, at)


def miss(connection: sa.Connection, of: SetOf, lost: Sequence[str], at: datetime, run: str | None) -> None:
    """Snapshots that should be there are not: the record knows it, and retention stands still."""
    mark_snapshots(connection, of.repository, lost, missing_since=at)
    message, cause = words_of_lost(of, len(lost)), HoldCause.DELETED_ELSEWHERE
    open_hold(connection, held_by(of), cause, message, at, run=run, about=lost[0])


def words_of_lost(of: SetOf, count: int) -> str:
    """How holds and plans tell of snapshots that are gone."""
    were = "was" if count == 1 else "were"
    return f"{counted(count, 'snapshot')} of {of.job} in {of.repository} {were} deleted elsewhere"


def _lift_if_all_are_back(connection: sa.Connection, of: SetOf, at: datetime) -> None:
    """What vanished before a hold began was accepted, or is not what it waits for."""
    since = find_since(connection, held_by(of), HoldCause.DELETED_ELSEWHERE)
    if since is None:
        return
    still = sa.select(snapshots.c.id).where(of_set(of), snapshots.c.missing_since >= since).limit(1)
    if connection.execute(still).first() is None:
        lift_hold(connection, held_by(of), HoldCause.DELETED_ELSEWHERE, at, "they are back")


def _take_in_trust(connection: sa.Connection, event: StepEnded) -> None:
    """Whether what a repository holds can be trusted: a check and a restore test hold retention until one succeeds."""
    step = event.done
    if step.repository is None:
        return
    if step.action is Action.CHECK:
        held, cause = Held(step.repository), HoldCause.CHECK_FAILED
        bad, message = "repository_damaged", f"the last check of {step.repository} failed"
    elif step.action is Action.VERIFY:
        held, cause = Held(step.repository, step.job), HoldCause.RESTORE_TEST_FAILED
        whose = f"{step.job} from {step.repository}" if step.job else step.repository
        bad, message = "proof_failed", f"the last restore test of {whose} failed"
    else:
        return
    if _is_outdated(connection, step):
        return
    since = find_since(connection, held, cause)
    if step.outcome is Outcome.SUCCESS and since is not None and since <= event.at:
        lift_hold(connection, held, cause, event.at, "the last one succeeded")
    elif step.outcome is Outcome.FAILURE and step.reason is not None and step.reason.code == bad:
        open_hold(connection, held, cause, message, event.at, run=event.run)


def _is_outdated(connection: sa.Connection, step: Step) -> bool:
    """Whether a later step of the same kind succeeded already: this one is told late."""
    later = sa.select(steps.c.run).where(
        steps.c.action == step.action.value,
        steps.c.repository == step.repository,
        steps.c.job.is_(None) if step.job is None else steps.c.job == step.job,
        steps.c.outcome == Outcome.SUCCESS.value,
        steps.c.ended_at > step.ended_at,
    )
    return connection.execute(later.limit(1)).first() is not None


def follow(
    connection: sa.Connection,
    repository: str,
    listing: Sequence[Snapshot],
    among: sa.ColumnElement[bool] | None = None,
) -> None:
    """Know those by their new ids to which `restic tag` gave one: restic records the first, and the old one is gone.

    `among` are those that the listing is of; None is all of the repository.
    """
    renamed = list_renamed(listing)
    if not renamed:
        return
    here = (snapshots.c.repository == repository) & snapshots.c.forgotten_at.is_(None)
    known = set(connection.execute(sa.select(snapshots.c.id).where(here)).scalars())
    asked = sa.select(snapshots.c.id, snapshots.c.formerly).where(here)
    rows = connection.execute(asked if among is None else asked.where(among)).all()
    by_first = {(row.formerly or [row.id])[0]: row for row in rows}
    for snapshot in renamed:
        row = by_first.get(snapshot.original or "")
        if row is None or snapshot.id in known:
            continue
        told = {"id": snapshot.id, "formerly": [*(row.formerly or ()), row.id], "missing_since": None}
        mark_snapshots(connection, repository, [row.id], **told)
        about = (holds.c.repository == repository) & (holds.c.about == row.id)
        connection.execute(holds.update().where(about).values(about=snapshot.id))


def list_renamed(listing: Iterable[Snapshot]) -> list[Snapshot]:
    """Those of a listing that had another id, which it does not show any more."""
    listed = list(listing)
    shown = {snapshot.id for snapshot in listed}
    return [one for one in listed if one.original is not None and one.original not in shown]


def mark_snapshots(connection: sa.Connection, repository: str, ids: Sequence[str], **told: Any) -> None:
    """Change what is known of these snapshots."""
    for start in range(0, len(ids), 500):
        here = (snapshots.c.repository == repository) & snapshots.c.id.in_(ids[start : start + 500])
        connection.execute(snapshots.update().where(here).values(**told))


def _take_in_statistics(connection: sa.Connection, event: Statistics) -> None:
    """Only what is known is changed, and by nothing that is told too late."""
    here = repositories.c.key == event.repository
    known = connection.execute(sa.select(repositories).where(here)).first()
    if known is None:
        connection.execute(repositories.insert().values(key=event.repository, met_at=event.at))
    told: dict[str, Any] = {}
    if event.repository_id is not None:
        told |= {"identity": event.repository_id}
        if known is not None and known.met_at is None:  # one was given up, and another begun in its place
            told |= {"met_at": event.at}
        _note_reached(connection, event.repository, event.at)
    if event.snapshots is not None and not (known and known.listed_at and event.at < known.listed_at):
        told |= {"snapshots_listed": event.snapshots, "listed_at": event.at}
    if told:
        connection.execute(repositories.update().where(here).values(**told))
    if event.bytes_stored is not None and not (known and known.measured_at and event.at < known.measured_at):
        _note_stored(connection, event.repository, event.bytes_stored, event.at)


def _note_reached(connection: sa.Connection, repository: str, at: datetime) -> None:
    """It is as it is declared, unless that was changed since."""
    here = marks.c.name == f"{UNTESTED}{repository}"
    since = connection.execute(sa.select(marks.c.value).where(here)).scalar()
    if since is not None and moment_to_text(at) >= since.partition(" ")[0]:
        connection.execute(marks.delete().where(here))


def _count_what_came(connection: sa.Connection, event: StepEnded) -> bool:
    """A backup that says by how much the repository grew makes what is stored known anew: measured it need not be.

    Not where more came since, by a backup that does not say so or in attempts that failed: a check and a prune
    measure again.
    """
    step, at = event.done, event.at
    if step.action is not Action.BACKUP or step.snapshot_id is None or step.bytes_packed is None:
        return False
    known = connection.execute(sa.select(repositories).where(repositories.c.key == step.repository)).first()
    if known is None or known.bytes_stored is None or step.attempts > 1 or at < known.measured_at:
        return False
    others = (snapshots.c.time > known.measured_at) & (snapshots.c.id != step.snapshot_id)
    came = sa.select(snapshots.c.id).where(snapshots.c.repository == step.repository, others).limit(1)
    if connection.execute(came).first() is not None:
        return False
    stored = known.bytes_stored + step.bytes_packed
    if stored > LARGEST_NUMBER:
        return False
    _note_stored(connection, known.key, stored, at)
    return True


def _note_stored(connection: sa.Connection, repository: str, count: int, at: datetime) -> None:
    """How much a repository stores; what its snapshots would bring back at this moment is noted beside it."""
    here = repositories.c.key == repository
    connection.execute(repositories.update().where(here).values(bytes_stored=count, measured_at=at))
    held = _sum_up_snapshots(connection, repository)
    _note_day(connection, repository, at, bytes_stored=count, **held)


def _note_day(connection: sa.Connection, repository: str, at: datetime, **told: int) -> None:
    """What a repository held at the end of a day, as far as is known of it."""
    day = f"{at.astimezone(UTC):%Y-%m-%d}"
    here = (repository_days.c.repository == repository) & (repository_days.c.day == day)
    if connection.execute(repository_days.update().where(here).values(**told)).rowcount == 0:
        connection.execute(repository_days.insert().values(repository=repository, day=day, **told))


def _sum_up_snapshots(connection: sa.Connection, repository: str) -> dict[str, int]:
    """How many there are, and what they would bring back all together."""
    there = (snapshots.c.forgotten_at.is_(None), snapshots.c.missing_since.is_(None))
    asked = sa.select(sa.func.count(), sum_of_sizes()).where(snapshots.c.repository == repository, *there)
    count, restorable = connection.execute(asked).one()
    return {"snapshots": int(count), "bytes_restorable": as_size(restorable or 0)}


def sum_of_sizes(sizes: sa.ColumnElement[Any] = snapshots.c.size_bytes) -> sa.ColumnElement[Any]:
    """The bytes of snapshots all together, as a number that does not overflow."""
    return sa.func.sum(sa.cast(sizes, sa.Double))


def as_size(sum_of: float) -> int:
    """Such a sum as a size."""
    return min(round(sum_of), LARGEST_NUMBER)


def chunk(run: str, told: Sequence[Event]) -> dict[str, Any]:
    """Events as a row keeps them."""
    lines = b"\n".join(event.model_dump_json(exclude_none=True).encode() for event in told)
    return {"run": run, "first_seq": told[0].seq, "last_seq": told[-1].seq, "lines": zlib.compress(lines, 6)}
