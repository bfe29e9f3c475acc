"""What runs by itself: due times in the database, and the runs that they become.

Due times lie in the table `fires` and come from schedules, never from how long the hub has been up. Each nominal
time becomes one run: queued, skipped because its own subject is still running, or missed; one in a pause becomes
none. What a tick does, it does in transactions of bounded size that may be repeated: a fire's run id is computed
from the fire, so a second one is refused by the database. Nothing here sends a run anywhere; that is the queue's.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from heapq import merge
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from highball.errors import Unknown
from highball.hub.audit import HUB, Actor
from highball.hub.runs.ingest import missed_words
from highball.hub.runs.pauses import (
    Pause,
    as_pause,
    begin_pause,
    demand_end,
    end_pause,
    pauses_of,
)
from highball.hub.runs.subjects import Planned, Subject
from highball.hub.storage.database import Database
from highball.hub.storage.schema import (
    NOT_BY_WORD,
    NOT_REHEARSED,
    fires,
    pauses,
    runs,
)
from highball.model.run import (
    Action,
    Outcome,
    RunKind,
    RunState,
)
from highball.model.text import time_to_text
from highball.schedule import (
    Schedule,
    duration_from_value,
    fire_id,
    interval,
    jitter_of,
    times_after,
)

MOST_ROWS = 500
"""So many subjects are dealt with in one transaction."""

MOST_TIMES = 1000
"""So many times of one subject are dealt with in one transaction: a clock may jump by years."""

ALL_TIMES = 2**31
"""Where a schedule or a pause changes, nothing may be left for later."""

_LEAST_LATENESS = timedelta(minutes=1)
"""The shortest interval there is: whatever is less late than this is not late."""

_LOG = logging.getLogger(__name__)

# --- what comes of it ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Fired:
    """A run that the scheduler wrote down: queued (no outcome), skipped, or a row of missed times."""

    run: str
    subject: str
    host: str
    nominal_at: datetime
    outcome: Outcome | None = None
    count: int = 1


@dataclass(frozen=True)
class Upcoming:
    """A time that will come: nominal, and when it is due with its jitter."""

    subject: str
    host: str
    at: datetime
    due_at: datetime


class Scheduler:
    """Keeps the due times and makes runs of them. Two may work on one database at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- what is wanted ---

    def reconcile(self, planned: Iterable[Planned], now: datetime) -> list[Fired]:
        """Make the table of due times equal what is planned; what had come before a change becomes a run first."""
        wanted = {one.subject: one for one in planned}
        with self._database.read() as connection:
            stored = {row.subject: _Fire.of(row) for row in connection.execute(sa.select(fires))}
        differing = [one.subject for one in wanted.values() if not _equal(stored.get(one.subject), one)]
        differing += [one.subject for one in stored.values() if one.subject not in wanted and not one.gone]
        fired: list[Fired] = []
        for subjects in _pieces(sorted(differing), MOST_ROWS):
            with self._database.write() as connection:
                known = _lock(connection, fires.c.subject.in_(subjects))
                dealing = _Dealing(connection, now, _open_subjects(connection), most=ALL_TIMES, closing=True)
                dealing.deal(known, gone={one.subject for one in known if one.subject not in wanted})
                fired += dealing.fired
                for fire in known:
                    _change(connection, fire, wanted.get(fire.subject), now)
                new = set(subjects) & wanted.keys() - {fire.subject for fire in known}
                _insert(connection, fires, [_begin(wanted[subject], now).values for subject in sorted(new)])
        return fired

    # --- the clock ---

    def tick(self, now: datetime, reported: Collection[str]) -> list[Fired]:
        """Make runs of what is due; `reported` are the hosts whose agents have told what they ran by themselves.

        Of a host that has not, only the newest time is queued; others are missed only once it has. A run id
        that an agent's report brought is left as it is.
        """
        with self._database.read() as connection:
            due = _subjects(connection, fires.c.due_at <= now)
            owing = _subjects(connection, fires.c.owed.is_not(None))
            over = connection.execute(sa.select(pauses.c.subject).where(pauses.c.until <= now)).first()
            under_way = _open_subjects(connection) if due else {}
        fired: list[Fired] = []
        for subjects in _pieces(owing, MOST_ROWS) if reported else ():
            with self._database.write() as connection:
                fired += _settle(connection, _lock(connection, fires.c.subject.in_(subjects)), reported, now)
        for subjects in _pieces(due, MOST_ROWS):
            with self._database.write() as connection:
                known = _lock(connection, fires.c.subject.in_(subjects) & (fires.c.due_at <= now))
                dealing = _Dealing(connection, now, under_way, reported)
                dealing.deal(known)
                _update(connection, known)
                fired += dealing.fired
        if over:
            self._end_pauses(now)
        return fired

    def _end_pauses(self, now: datetime) -> None:
        with self._database.write() as connection:
            late = sa.select(fires.c.subject).where(fires.c.due_at <= now)
            asked = sa.select(pauses).where(pauses.c.until <= now, pauses.c.subject.not_in(late))
            for row in connection.execute(asked).all():
                end_pause(connection, as_pause(row), HUB, now)

    # --- what comes next ---

    def upcoming(
        self, n: int, now: datetime, *, subject: str | None = None, host: str | None = None
    ) -> list[Upcoming]:
        """The next n times that will fire, by when they are due; of one subject or host alone where it is named."""
        asked = sa.select(fires).where(fires.c.next_at.is_not(None)).order_by(fires.c.due_at)
        if subject is not None:
            asked = asked.where(fires.c.subject == subject)
        if host is not None:
            asked = asked.where(fires.c.host == host)
        with self._database.read() as connection:
            paused = pauses_of(connection, now)
            resting = fires.c.subject.in_([one.subject for one in paused.values() if one.until is not None])
            # Who is not among the first n by its next time has none among the first n times.
            rows = [
                *connection.execute(asked.where(fires.c.subject.not_in(list(paused))).limit(n)),
                *connection.execute(asked.where(resting)),
            ]
        times = (_coming(_Fire.of(row), paused.get(row.subject)) for row in rows)
        return list(islice(merge(*times, key=lambda one: one.due_at), n))

    def next_of(self, subject: str, now: datetime) -> Upcoming | None:
        """When this fires next; None where it does not by itself, or is paused until somebody resumes it."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(fires).where(fires.c.subject == subject)).first()
            pause = pauses_of(connection, now).get(subject)
        return next(_coming(_Fire.of(row), pause), None) if row else None

    def next_of_each(self, subjects: Sequence[str], now: datetime) -> dict[str, Upcoming]:
        """When each of these fires next, as far as it does."""
        asked = sa.select(fires).where(fires.c.subject.in_(subjects))
        with self._database.read() as connection:
            rows = connection.execute(asked).all()
            paused = pauses_of(connection, now)
        times = (next(_coming(_Fire.of(row), paused.get(row.subject)), None) for row in rows)
        return {one.subject: one for one in times if one is not None}

    # --- pauses ---

    def pause(
        self, subject: str, until: datetime | None, actor: Actor, now: datetime, reason: str | None = None
    ) -> None:
        """No fires until then, or until somebody resumes it. Raises Unknown, and Misuse for a time past or far away."""
        demand_end(until, now)
        with self._database.write() as connection:
            self._catch_up(connection, subject, now)
            begin_pause(connection, Pause(subject, now, until, actor.name, reason), actor, now)

    def pause_all(
        self,
        until: datetime | None,
        actor: Actor,
        now: datetime,
        reason: str | None = None,
        *,
        maintenance: bool = False,
    ) -> list[str]:
        """Pause all jobs that have a schedule, and all maintenance where that is meant; tells what is paused by it.

        A pause that lasts longer already stays as it is. Raises Misuse for a time past or far away.
        """
        demand_end(until, now)
        with self._database.write() as connection:
            held = pauses_of(connection, now)
            chosen = [
                subject
                for subject in self._scheduled(connection)
                if maintenance or Subject.of(subject).task == "backup"
                if subject not in held or not held[subject].outlasts(until)
            ]
            for subject in chosen:
                self._catch_up(connection, subject, now)
                begin_pause(connection, Pause(subject, now, until, actor.name, reason), actor, now)
        return chosen

    def resume(self, subject: str, actor: Actor, now: datetime) -> None:
        """Fire again, from the next time on; nothing happens where there is no pause. Raises Unknown."""
        with self._database.write() as connection:
            self._catch_up(connection, subject, now)
            row = connection.execute(sa.select(pauses).where(pauses.c.subject == subject)).first()
            if row is not None:
                end_pause(connection, as_pause(row), actor, now)

    def resume_all(self, actor: Actor, now: datetime) -> list[str]:
        """Let everything that is paused fire again, from the next time on; tells what does."""
        with self._database.write() as connection:
            held = pauses_of(connection, now)
            chosen = [subject for subject in self._scheduled(connection) if subject in held]
            for subject in chosen:
                self._catch_up(connection, subject, now)
                end_pause(connection, held[subject], actor, now)
        return chosen

    def list_pauses(self, now: datetime) -> list[Pause]:
        """The pauses that hold now of what is scheduled, by subject."""
        with self._database.read() as connection:
            held = pauses_of(connection, now)
            return [held[subject] for subject in self._scheduled(connection) if subject in held]

    def _scheduled(self, connection: sa.Connection) -> list[str]:
        """What fires by itself, in one order for all who write."""
        there = connection.execute(sa.select(fires).where(fires.c.schedule != ""))
        return sorted(fire.subject for fire in map(_Fire.of, there) if not fire.gone)

    def _catch_up(self, connection: sa.Connection, subject: str, now: datetime) -> None:
        """What was due before a pause begins or ends is dealt with as it was then."""
        known = [fire for fire in _lock(connection, fires.c.subject == subject) if not fire.gone]
        if not known:
            raise Unknown(f'nothing is scheduled as "{subject}"', code="subject_unknown")
        dealing = _Dealing(connection, now, _open_subjects(connection), most=ALL_TIMES)
        dealing.deal([fire for fire in known if fire.is_due(now)])
        _update(connection, known)


# --- rows of the table ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rhythm:
    """What due times are computed from, read back from where it is stored."""

    schedule: Schedule
    catch_up: timedelta | None

    def times(self, after: datetime) -> Iterator[datetime]:
        return times_after(self.schedule, after, "UTC")

    def is_late(self, nominal: datetime, by: timedelta) -> bool:
        """Whether a time is too late to run."""
        if by < _LEAST_LATENESS:
            return False
        allowed = self.catch_up
        if allowed is None:
            allowed = interval(self.schedule, nominal, "UTC") or _LEAST_LATENESS
        return by >= allowed


@lru_cache(maxsize=4096)
def _rhythm_from(told: str) -> _Rhythm:
    found = json.loads(told)
    catch_up = found.get("catch_up")
    return _Rhythm(
        Schedule.model_validate(found["schedule"]),
        None if catch_up is None else duration_from_value(catch_up),
    )


@lru_cache(maxsize=8192)
def _time_after(told: str, after: datetime) -> datetime | None:
    """The next time of a rhythm: kept, for many subjects share one."""
    return next(_rhythm_from(told).times(after), None)


@dataclass
class _AwaitedTimes:
    """Times of a host that wait for its report: those after one moment, up to another."""

    schedule: str
    host: str
    after: datetime
    until: datetime

    @property
    def told(self) -> dict[str, str]:
        times = {"after": time_to_text(self.after), "until": time_to_text(self.until)}
        return {"schedule": self.schedule, "host": self.host, **times}

    @classmethod
    def of(cls, told: dict[str, str]) -> _AwaitedTimes:
        after, until = (datetime.fromisoformat(told[name]) for name in ("after", "until"))
        return cls(told["schedule"], told["host"], after, until)


@dataclass
class _Fire:
    """A row, while it is worked on."""

    subject: str
    action: str
    host: str
    schedule: str
    next_at: datetime | None = None
    due_at: datetime | None = None
    fired_at: datetime | None = None
    owed: list[_AwaitedTimes] = field(default_factory=list)

    @classmethod
    def of(cls, row: sa.Row[Any]) -> _Fire:
        return cls(**{**row._mapping, "owed": [_AwaitedTimes.of(told) for told in row.owed or ()]})

    @property
    def values(self) -> dict[str, Any]:
        return {**vars(self), "owed": [span.told for span in self.owed] or None}

    @property
    def gone(self) -> bool:
        """Whether it is planned no more, and only here because it owes times."""
        return not self.schedule

    @property
    def rhythm(self) -> _Rhythm:
        return _rhythm_from(self.schedule)

    @property
    def jitter(self) -> timedelta:
        return jitter_of(self.subject, self.host, self.rhythm.schedule)

    def is_due(self, now: datetime) -> bool:
        return self.due_at is not None and self.due_at <= now

    def id_at(self, nominal: datetime) -> str:
        return fire_id(self.subject, self.host, self.action, nominal)

    def take_passed(self, until: datetime, most: int) -> list[datetime]:
        """The times that have come, at most so many; the row goes on to the one after them."""
        if self.next_at is None or self.next_at > until:
            return []
        passed: list[datetime] = []
        time: datetime | None = self.next_at
        while time is not None and time <= until and len(passed) < most:
            passed.append(time)
            time = _time_after(self.schedule, time)
        self.next_at = time
        self.fired_at = passed[-1]
        self.due_at = None if self.next_at is None else self.next_at + self.jitter
        return passed

    def owe(self, times: Sequence[datetime], follows: datetime | None) -> None:
        """Remember times that are missed unless the host tells otherwise; `follows` is the one dealt with before."""
        last = self.owed[-1] if self.owed else None
        here = last and (last.schedule, last.host, last.until) == (self.schedule, self.host, follows)
        if last and here:
            last.until = times[-1]
        else:
            self.owed.append(
                _AwaitedTimes(self.schedule, self.host, times[0] - timedelta(seconds=1), times[-1])
            )


def _equal(fire: _Fire | None, planned: Planned) -> bool:
    return fire is not None and (fire.schedule, fire.host, fire.action) == (
        planned.told,
        planned.host,
        planned.action.value,
    )


def _begin(planned: Planned, after: datetime) -> _Fire:
    """The row of a subject from that moment on."""
    fire = _Fire(planned.subject, planned.action.value, planned.host, planned.told)
    fire.next_at = next(fire.rhythm.times(after), None)
    fire.due_at = None if fire.next_at is None else fire.next_at + fire.jitter
    return fire


def _change(connection: sa.Connection, fire: _Fire, planned: Planned | None, now: datetime) -> None:
    """From now on as planned; what the subject owes, it goes on owing."""
    if planned is not None:
        # A clock that was set back has not undone what fired.
        fresh = _begin(planned, max(now, fire.fired_at or now))
        _update(connection, [replace(fresh, fired_at=fire.fired_at, owed=fire.owed)])
        return
    if fire.owed:  # a pause stays, as what was deleted may be restored
        _update(connection, [replace(fire, schedule="", next_at=None, due_at=None)])
    else:
        connection.execute(fires.delete().where(fires.c.subject == fire.subject))


def _coming(fire: _Fire, pause: Pause | None) -> Iterator[Upcoming]:
    if fire.next_at is None or (pause is not None and pause.until is None):
        return
    jitter = fire.jitter
    begin = fire.next_at
    if pause is not None and pause.until is not None and pause.covers(begin + jitter):
        # Not a time after the other: a pause may cover thousands of them.
        begin = pause.until - jitter - timedelta(microseconds=1)
    for times in ([fire.next_at], fire.rhythm.times(begin)):
        for at in times:
            if pause is None or not pause.covers(at + jitter):
                yield Upcoming(fire.subject, fire.host, at, at + jitter)


# --- what becomes of times that have come --------------------------------------------------------


@dataclass
class _Dealing:
    """Deals with the times of some subjects that have come, in one transaction.

    While ticking, a time has come when it is due; when a schedule is `closing`, as soon as its nominal time has
    passed: the run then waits for the rest of its jitter in the queue.
    """

    connection: sa.Connection
    now: datetime
    under_way: dict[str, str]
    """The subjects that have a run which has not ended, and the words for it."""
    reported: Collection[str] = ()
    most: int = MOST_TIMES
    closing: bool = False
    fired: list[Fired] = field(default_factory=list)

    def deal(self, known: Iterable[_Fire], gone: Collection[str] = ()) -> None:
        """Write down the runs of these, and move them on; whose subjects are `gone` start nothing more."""
        dealt = [(fire, fire.fired_at) for fire in known]
        came = [(fire, before, times) for fire, before in dealt if (times := self._take(fire))]
        if not came:
            return
        subjects = [fire.subject for fire, _, _ in came]
        self._paused = pauses_of(self.connection, None, subjects)
        self._known = _known_ids(self.connection, [f.id_at(time) for f, _, times in came for time in times])
        self._rows: list[dict[str, Any]] = []
        for fire, before, times in came:
            self._settle(fire, before, times, fire.subject in gone)
        _insert(self.connection, runs, self._rows)

    def _take(self, fire: _Fire) -> list[datetime]:
        try:
            if fire.gone:
                return []
            return fire.take_passed(self.now if self.closing else self.now - fire.jitter, self.most)
        except (ValueError, LookupError) as error:  # a time zone that an update of the system took away
            _LOG.error("%s does not fire, for its schedule cannot be read: %s", fire.subject, error)
            return []

    def _settle(self, fire: _Fire, before: datetime | None, times: list[datetime], gone: bool) -> None:
        newest = self._newest(fire, times)
        if (
            newest is not None
            and fire.id_at(newest) not in self._known
            and not self._start(fire, newest, gone)
        ):
            newest = None
        for group, follows in _groups(times, before, lambda time: self._is_settled(fire, time, newest)):
            if fire.host in self.reported:
                self.fired.append(_miss(self.connection, fire, group, follows, self.now))
            else:
                fire.owe(group, follows)

    def _is_settled(self, fire: _Fire, time: datetime, newest: datetime | None) -> bool:
        return time == newest or self._is_paused(fire, time) or fire.id_at(time) in self._known

    def _is_paused(self, fire: _Fire, time: datetime) -> bool:
        pause = self._paused.get(fire.subject)
        return pause is not None and pause.covers(time + fire.jitter)

    def _newest(self, fire: _Fire, times: list[datetime]) -> datetime | None:
        """The time that is to run, if it is not too late for it."""
        if fire.is_due(self.now) and not self.closing:  # there are more than one transaction takes
            return None
        newest = next((time for time in reversed(times) if not self._is_paused(fire, time)), None)
        if newest is None or _rhythm_from(fire.schedule).is_late(newest, self.now - newest - fire.jitter):
            return None
        return newest

    def _start(self, fire: _Fire, nominal: datetime, gone: bool) -> bool:
        """Queue the run of this time, or skip it; False where a host that has not reported may have run it."""
        row = _run(fire, nominal, self.now)
        under_way = self.under_way.get(fire.subject)
        if gone:
            row |= _done(Outcome.SKIPPED, "unplanned", "skipped: no longer scheduled", self.now)
        elif under_way is not None and fire.host not in self.reported:
            return False
        elif under_way is not None:
            row |= _done(Outcome.SKIPPED, "still_running", under_way, self.now)
        else:
            due_at = nominal + fire.jitter
            row["not_before"] = due_at if due_at > self.now else None
        self._rows.append(row)
        outcome = row["outcome"] and Outcome(row["outcome"])
        self.fired.append(Fired(row["id"], fire.subject, fire.host, nominal, outcome))
        return True


def _settle(
    connection: sa.Connection, known: list[_Fire], reported: Collection[str], now: datetime
) -> list[Fired]:
    """What the hosts that have reported did not run themselves is missed now."""
    fired = []
    for fire in known:
        owed, fire.owed = fire.owed, []
        for span in owed:
            rest = span if span.host not in reported else None
            if rest is None:
                missed, rest = _settle_span(connection, replace(fire, host=span.host), span, now)
                fired += missed
            if rest is not None:
                fire.owed.append(rest)
    _update(connection, known)
    done = [fire.subject for fire in known if fire.gone and not fire.owed]
    connection.execute(fires.delete().where(fires.c.subject.in_(done)))
    return fired


def _settle_span(
    connection: sa.Connection, fire: _Fire, span: _AwaitedTimes, now: datetime
) -> tuple[list[Fired], _AwaitedTimes | None]:
    times = []
    for time in islice(_rhythm_from(span.schedule).times(span.after), MOST_TIMES):
        if time > span.until:
            break
        times.append(time)
    known = _known_ids(connection, [fire.id_at(time) for time in times])
    groups = _groups(times, span.after, lambda time: fire.id_at(time) in known)
    fired = [_miss(connection, fire, group, follows, now) for group, follows in groups]
    more = len(times) == MOST_TIMES
    return fired, replace(span, after=times[-1]) if more else None


def _groups(
    times: Sequence[datetime], before: datetime | None, settled: Callable[[datetime], bool]
) -> Iterator[tuple[list[datetime], datetime | None]]:
    """Rows of times of which none is settled, each with the time before it."""
    group: list[datetime] = []
    for time in times:
        if not settled(time):
            group.append(time)
            continue
        if group:
            yield group, before
        group, before = [], time
    if group:
        yield group, before


# --- runs ----------------------------------------------------------------------------------------


def _miss(
    connection: sa.Connection, fire: _Fire, times: list[datetime], follows: datetime | None, now: datetime
) -> Fired:
    """One run for a row of missed times; where the time before them was missed too, its run is theirs."""
    row = _run(fire, times[0], now) | {"missed_count": len(times)}
    before = None
    if follows is not None:
        asked = sa.select(runs.c.id, runs.c.nominal_at, runs.c.missed_count).where(
            runs.c.subject == fire.subject, runs.c.host == fire.host, runs.c.missed_last == follows
        )
        before = connection.execute(asked).first()
    if before is not None:
        row |= {**before._mapping, "missed_count": before.missed_count + len(times)}
    count = row["missed_count"]
    row |= {**_done(Outcome.MISSED, "missed", missed_words(count), now), "missed_last": times[-1]}
    if before is None:
        _insert(connection, runs, [row])
    else:
        names = ("missed_last", "missed_count", "reason_message", "ended_at")
        told = {name: row[name] for name in names}
        connection.execute(runs.update().where(runs.c.id == before.id).values(**told))
    return Fired(row["id"], fire.subject, fire.host, row["nominal_at"], Outcome.MISSED, count)


def _run(fire: _Fire, nominal: datetime, now: datetime) -> dict[str, Any]:
    """A queued run, as a row."""
    about = Subject.of(fire.subject)
    return {
        "id": fire.id_at(nominal),
        "kind": (RunKind.BACKUP if about.task == "backup" else RunKind.MAINTENANCE).value,
        "action": fire.action,
        "job": about.job,
        "repository": about.repository,
        "host": fire.host,
        "state": RunState.QUEUED.value,
        "outcome": None,
        "reason_code": None,
        "reason_message": None,
        "created_at": now,
        "ended_at": None,
        "last_seq": 0,
        "subject": fire.subject,
        "nominal_at": nominal,
        "origin": "schedule",
        "actor": HUB.name,
        "order": {"task": about.task},
        "not_before": None,
        "missed_last": None,
        "missed_count": None,
    }


def _done(outcome: Outcome, code: str, message: str, now: datetime) -> dict[str, Any]:
    told = {"reason_code": code, "reason_message": message, "ended_at": now, "order": None}
    return {"state": RunState.DONE.value, "outcome": outcome.value, **told}


def _open_subjects(connection: sa.Connection) -> dict[str, str]:
    """The subjects that have a run which has not ended, and the words for it; a dry run saves nothing in its place."""
    columns = (runs.c.subject, runs.c.kind, runs.c.action, runs.c.job, runs.c.repository, runs.c.state)
    states = [state.value for state in RunState if state is not RunState.DONE]
    found = {}
    under_way = (runs.c.state.in_(states), NOT_REHEARSED, NOT_BY_WORD)
    for row in connection.execute(sa.select(*columns).where(*under_way)):
        subject = row.subject
        if subject is None and row.kind != RunKind.RESTORE:  # a command on the machine began it
            task = "discard" if row.action in (Action.FORGET, Action.PRUNE) else row.action
            subject = f"{task}:{row.job if row.kind == RunKind.BACKUP else row.repository}"
        running = row.state == RunState.RUNNING
        found[subject] = f"skipped: the previous run is still {'running' if running else 'waiting to run'}"
    return found


def _known_ids(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    known: set[str] = set()
    for some in _pieces(ids, MOST_ROWS):
        known.update(connection.execute(sa.select(runs.c.id).where(runs.c.id.in_(some))).scalars())
    return known


# --- pauses --------------------------------------------------------------------------------------


# --- statements ----------------------------------------------------------------------------------

_Piece = TypeVar("_Piece")


def _pieces(whole: Sequence[_Piece], size: int) -> Iterator[Sequence[_Piece]]:
    return (whole[start : start + size] for start in range(0, len(whole), size))


def _subjects(connection: sa.Connection, where: sa.ColumnElement[bool]) -> Sequence[str]:
    asked = sa.select(fires.c.subject).where(where).order_by(fires.c.due_at, fires.c.subject)
    return connection.execute(asked).scalars().all()


def _lock(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[_Fire]:
    """Rows that nobody else changes until the transaction ends; PostgreSQL is told, SQLite's writers are alone."""
    asked = sa.select(fires).where(where).order_by(fires.c.due_at, fires.c.subject).with_for_update()
    return [_Fire.of(row) for row in connection.execute(asked)]


def _insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Rows that are there already stay as they are."""
    if rows:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)


def _update(connection: sa.Connection, known: Sequence[_Fire]) -> None:
    if known:
        here = fires.update().where(fires.c.subject == sa.bindparam("of"))
        named: dict[str, Any] = {
            name: sa.bindparam(f"new_{name}") for name in _Fire.__dataclass_fields__ if name != "subject"
        }
        rows = [
            {"of": fire.subject, **{f"new_{name}": value for name, value in fire.values.items()}}
            for fire in known
        ]
        connection.execute(here.values(**named), rows)
