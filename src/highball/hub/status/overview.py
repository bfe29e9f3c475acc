"""Is everything protected, and could it be restored? What somebody has to see to, what runs, and what comes next.

Only reads: the standings, the strips, the record, the fires and the agents, put side by side as facts. What they
mean in words is for whoever shows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, ClassVar

import sqlalchemy as sa

from highball.actions import UPKEEP
from highball.config.document import (
    HUB_JOB,
    Document,
    effective_job,
    is_about,
    place_of,
)
from highball.config.job import Job
from highball.hub.parts import HubParts
from highball.hub.runs.holds import is_shown_by, list_open
from highball.hub.runs.pauses import Pause
from highball.hub.runs.record import utc_now
from highball.hub.runs.scheduler import Upcoming
from highball.hub.runs.set_aside import read_account
from highball.hub.runs.subjects import planned_of
from highball.hub.status.daily_outcomes import (
    Strip,
    first_day,
    list_strips,
)
from highball.hub.status.health import (
    has_failed,
    list_standings,
    list_untested,
)
from highball.hub.storage.dialects import as_rows
from highball.hub.storage.schema import (
    NOT_REHEARSED,
    agents,
    is_since_anew,
    moment_to_text,
    runs,
    steps,
)
from highball.model.fact import Fact
from highball.model.run import (
    Action,
    Outcome,
    Progress,
    Reason,
    Run,
    RunKind,
)
from highball.model.standing import (
    Health,
    Hold,
    HoldCause,
    Standing,
)
from highball.model.text import UtcTime
from highball.schedule import (
    OVERDUE_WITHOUT_SCHEDULE,
    Schedule,
    next_times,
)

MOST_SHOWN = 100
"""So many runs that have not ended are told at most, and so many times that come."""

NEXT_SHOWN = 10

# --- what is told --------------------------------------------------------------------------------


class ProblemKind(StrEnum):
    """What somebody has to see to, the most pressing first."""

    UNWRITABLE = "unwritable"
    INVALID = "invalid"
    FAILURE = "failure"
    OVERDUE = "overdue"
    NEVER = "never"
    MISSED = "missed"
    OFFLINE = "offline"
    TWIN = "twin"
    UNTESTED = "untested"
    HELD = "held"
    WARNING = "warning"
    UNPROVED = "unproved"


class StandingProblem(Fact, title="Problem"):
    """Something that somebody has to see to: of a job, of a repository (and what was done there), or of a host."""

    kind: ProblemKind
    job: str | None = None
    repositories: tuple[str, ...] = ()
    """Of a job: where it is so."""
    host: str | None = None
    action: Action | None = None
    since: UtcTime | None = None
    reason: Reason | None = None
    run: str | None = None
    """The last run that shows it."""
    hold: str | None = None
    """The hold that this is, or that has the same cause."""
    failures: int | None = None
    """Of a job that failed: how many backups in a row."""
    last_good_at: UtcTime | None = None
    last_good_in: str | None = None
    """Where the newest good backup of the job lies."""


class JobOverview(Fact):
    """How a job stands: the worst of its repositories, each of them, and its last days."""

    key: str
    title: str | None
    host: str
    enabled: bool
    schedule: Schedule
    health: Health
    standings: tuple[Standing, ...]
    strip: Strip
    """The worst outcome of each day from `first_day` on; null is a day on which nothing was due."""
    next: Upcoming | None
    paused: bool
    paused_until: UtcTime | None
    """Null with `paused` is until somebody resumes it."""


class UnderWay(Fact):
    """A run that has not ended, and how far it is, where its agent has told."""

    run: Run
    progress: Progress | None


class OverviewCounts(Fact, title="Verdict"):
    """The counts that answer the question."""

    as_of: UtcTime
    jobs: int
    need: int
    """So many jobs have a problem that is more than a missing proof."""
    health: dict[Health, int]
    """How many jobs stand so, each by the worst of its repositories."""
    problems: dict[ProblemKind, int]
    unproved: int
    """So many jobs have snapshots somewhere that were never proved restorable."""
    oldest_proof_at: UtcTime | None
    oldest_proof_of: str | None
    paused: int = 0
    """So many jobs run only when somebody says so, until their pause ends."""
    paused_until: UtcTime | None = None
    """When the last of the pauses ends; null while one of them has no end."""


class Overview(Fact):
    """Everything that the landing page says."""

    verdict: OverviewCounts
    problems: tuple[StandingProblem, ...]
    first_day: date
    matching: int
    """So many jobs are what was asked for; `jobs` are some of them."""
    jobs: tuple[JobOverview, ...]
    """Those with problems first."""
    running: tuple[UnderWay, ...]
    next: tuple[Upcoming, ...]


# --- putting it together -------------------------------------------------------------------------


@dataclass(frozen=True)
class JobFilter:
    """Which jobs are wanted; blank is any. `state` is a health, or one of those below."""

    text: str = ""
    state: str = ""
    host: str = ""
    tag: str = ""

    NEEDS_YOU: ClassVar = "needs-you"
    PAUSED: ClassVar = "paused"
    UNPROVED: ClassVar = "unproved"

    def takes(self, job: Job, key: str, host: str) -> bool:
        """Whether a job is meant by what is declared of it."""
        words = f"{key} {job.title or ''}".casefold()
        return (
            self.text.casefold() in words
            and self.host in ("", host)
            and (not self.tag or self.tag in job.tags)
        )


@dataclass(frozen=True)
class Survey:
    """How every job stands and what somebody has to see to: what costs most of an overview to find out."""

    grounds: object
    at: datetime
    document: Document
    by_job: Mapping[str, Sequence[Standing]]
    problems: Sequence[StandingProblem]
    """The most pressing first."""
    looked_at: dict[str, JobOverview] = field(default_factory=dict)
    """Jobs as they were found since: nothing about them changes while the grounds are the same."""


def grounds(hub: HubParts) -> object:
    """What a survey rests on besides the clock: while this is the same, another one would find the same."""
    twins = tuple(sorted(hub.fleet.list_twins(utc_now())))
    return hub.database.mark(), hub.fleet.here, twins, hub.database.trouble


def survey(hub: HubParts, now: datetime) -> Survey:
    """How everything stands now."""
    on, document = grounds(hub), hub.document()
    by_job: dict[str, list[Standing]] = {key: [] for key in document.jobs}
    for standing in list_standings(document, hub.database, hub.host, now, list(by_job)):
        by_job[standing.job].append(standing)
    found = [*_of_the_record(hub), *_of_configuration(hub)]
    with hub.database.read() as connection:
        holds = _list_holds(connection, document)
        found += [
            *_of_jobs(connection, document, by_job, now),
            *_of_untested(connection, document),
            *_of_repositories(connection, list(document.repositories)),
            *_of_hosts(connection, document, hub),
            *_of_twins(hub),
        ]
        problems = _each_cause_once(connection, found, holds)
    problems.sort(key=lambda one: (_PRESSING.index(one.kind), one.since or now))
    return Survey(on, now, document, by_job, problems)


def look_over(
    hub: HubParts, found: Survey, *, limit: int = 50, offset: int = 0, wanted: JobFilter = JobFilter()
) -> Overview:
    """Everything as it was found, with so many of the jobs that are wanted, those with problems first."""
    now, document, by_job = found.at, found.document, found.by_job
    chosen = _pressing_first(by_job, found.problems)
    if wanted != JobFilter():
        chosen = list(_chosen(hub, found, chosen, wanted))
    return Overview(
        verdict=_verdict(by_job, found.problems, hub.scheduler.list_pauses(now), now),
        problems=tuple(found.problems),
        first_day=first_day(now, document.settings.timezone),
        matching=len(chosen),
        jobs=tuple(_look_at_each(hub, found, chosen[offset : offset + limit])),
        running=tuple(
            UnderWay(run=run, progress=hub.progress.find(run.id))
            for run in hub.record.list_under_way(MOST_SHOWN)
        ),
        next=tuple(hub.scheduler.upcoming(NEXT_SHOWN, now)),
    )


def look_at(hub: HubParts, found: Survey, key: str) -> tuple[JobOverview, list[StandingProblem]]:
    """One job as it was found, and what somebody has to see to about it; raises Unknown."""
    effective_job(found.document, key)
    problems = [one for one in found.problems if one.job == key and one.action is None]
    return _look_at_each(hub, found, [key])[0], problems


def _look_at_each(hub: HubParts, found: Survey, keys: Sequence[str]) -> list[JobOverview]:
    known = found.looked_at
    new = {key: found.by_job[key] for key in keys if key not in known}
    if new:
        known |= {job.key: job for job in _jobs(hub, found.document, new, found.at)}
    return [known[key] for key in keys]


def _chosen(hub: HubParts, found: Survey, keys: Iterable[str], wanted: JobFilter) -> Iterator[str]:
    needy = {one.job for one in found.problems if one.kind is not ProblemKind.UNPROVED}
    unproved = {one.job for one in found.problems if one.kind is ProblemKind.UNPROVED}
    paused = {pause.subject for pause in hub.scheduler.list_pauses(found.at)}
    for key in keys:
        job = effective_job(found.document, key)
        states = {worst(found.by_job[key]).value}
        if key in needy:
            states.add(wanted.NEEDS_YOU)
        if key in unproved:
            states.add(wanted.UNPROVED)
        if f"backup:{key}" in paused or not job.enabled:
            states.add(wanted.PAUSED)
        if wanted.state in ("", *states) and wanted.takes(job, key, job.host or hub.host):
            yield key


_PRESSING = list(ProblemKind)
_UNWELL = [Health.NEVER, Health.OVERDUE, Health.FAILED, Health.LATE, Health.HEALTHY]


def worst(standings: Iterable[Standing]) -> Health:
    """How a job stands that stands so in its repositories."""
    return min((one.state for one in standings), key=_UNWELL.index, default=Health.NEVER)


def _pressing_first(jobs: Iterable[str], problems: Sequence[StandingProblem]) -> list[str]:
    """The keys of the jobs, those with the most pressing problem first; `problems` is in that order."""
    first: dict[str, int] = {}
    for place, problem in enumerate(problems):
        if problem.job is not None:
            first.setdefault(problem.job, place)
    return sorted(jobs, key=lambda key: (first.get(key, len(problems)), key))


def _verdict(
    by_job: Mapping[str, Sequence[Standing]],
    problems: Sequence[StandingProblem],
    pauses: Sequence[Pause],
    now: datetime,
) -> OverviewCounts:
    keys = {*by_job, *(one.job for one in problems if one.job)}
    proofs = [
        (one.last_restore_proof_at, one.job)
        for standings in by_job.values()
        for one in standings
        if one.last_restore_proof_at is not None
    ]
    oldest = min(proofs, default=(None, None))
    ends = [pause.until for pause in pauses if pause.subject.removeprefix("backup:") in by_job]
    known = [end for end in ends if end is not None]
    return OverviewCounts(
        as_of=now,
        jobs=len(keys),
        need=len({one.job for one in problems if one.job and one.kind is not ProblemKind.UNPROVED}),
        health=dict(Counter(worst(standings) for standings in by_job.values())),
        problems=dict(Counter(one.kind for one in problems)),
        unproved=len({one.job for one in problems if one.kind is ProblemKind.UNPROVED}),
        oldest_proof_at=oldest[0],
        oldest_proof_of=oldest[1],
        paused=len(ends),
        paused_until=max(known, default=None) if len(known) == len(ends) else None,
    )


def _jobs(
    hub: HubParts, document: Document, by_job: Mapping[str, Sequence[Standing]], now: datetime
) -> Iterator[JobOverview]:
    strips = list_strips(document, hub.database, now, list(by_job))
    coming = hub.scheduler.next_of_each([f"backup:{key}" for key in by_job], now)
    pauses = {pause.subject: pause for pause in hub.scheduler.list_pauses(now)}
    for key, standings in by_job.items():
        job, pause = effective_job(document, key), pauses.get(f"backup:{key}")
        yield JobOverview(
            key=key,
            title=job.title,
            host=job.host or hub.host,
            enabled=job.enabled,
            schedule=job.schedule,
            health=worst(standings),
            standings=tuple(standings),
            strip=strips[key],
            next=coming.get(f"backup:{key}"),
            paused=pause is not None,
            paused_until=pause.until if pause else None,
        )


# --- problems of the hub itself ------------------------------------------------------------------


def _of_the_record(hub: HubParts) -> Iterator[StandingProblem]:
    """That nothing can be written down now: nothing can be ordered, and what agents tell waits with them."""
    trouble = hub.database.trouble
    if trouble is not None:
        message = f"{trouble.message}; {trouble.hint}" if trouble.hint else trouble.message
        yield StandingProblem(
            kind=ProblemKind.UNWRITABLE, host=hub.host, reason=Reason(code=trouble.code, message=message)
        )


# --- problems of what is declared -----------------------------------------------------------------


def _of_configuration(hub: HubParts) -> Iterator[StandingProblem]:
    """What is declared and cannot hold: the hub's own file, and each stored object that is left out."""
    if hub.file_fault is not None:
        message = f"{hub.documents.file()}: {hub.file_fault.message}; the former configuration stays in force"
        yield StandingProblem(
            kind=ProblemKind.INVALID, reason=Reason(code=hub.file_fault.code, message=message)
        )
    faults = hub.documents.list_faults()
    keys = [one.key for one in hub.documents.list_objects("job")] if faults else []
    for fault in faults:
        key = next((key for key in keys if is_about(fault, [place_of("job", key)])), None)
        hint = f" ({fault.hint})" if fault.hint else ""
        reason = Reason(code="configuration_invalid", message=f"{fault.at} {fault.message}{hint}")
        yield StandingProblem(kind=ProblemKind.INVALID, job=key, reason=reason)


# --- problems of jobs ----------------------------------------------------------------------------


def _of_jobs(
    connection: sa.Connection, document: Document, by_job: Mapping[str, Sequence[Standing]], now: datetime
) -> Iterator[StandingProblem]:
    begun = _first_bad(connection, [one for found in by_job.values() for one in found if _kind_of(one)])
    missed = _last_missed(connection, list(by_job))
    for key, standings in by_job.items():
        last_good = max(
            (one for one in standings if one.last_success_at is not None),
            default=None,
            key=lambda one: one.last_success_at or now,
        )
        told = {
            "job": key,
            "last_good_at": last_good.last_success_at if last_good else None,
            "last_good_in": last_good.repository if last_good else None,
        }
        row = missed.get(key)
        fresh = row is not None and (last_good is None or row.missed_last > last_good.last_success_at)
        miss = row if fresh else None
        wrong = {kind: [one for one in standings if _kind_of(one) is kind] for kind in _OF_STANDING}
        for kind, there in wrong.items():
            if there:
                yield StandingProblem(kind=kind, **_told_of(document, kind, there, begun, miss), **told)
        if miss is not None and not any(wrong.values()):
            yield StandingProblem(
                kind=ProblemKind.MISSED, since=miss.nominal_at, **_told_of_miss(miss), **told
            )
        unproved = [one for one in standings if one.snapshots and one.last_restore_proof_at is None]
        if unproved:
            places = tuple(one.repository for one in unproved)
            yield StandingProblem(kind=ProblemKind.UNPROVED, repositories=places, **told)


_OF_STANDING = (ProblemKind.FAILURE, ProblemKind.OVERDUE, ProblemKind.NEVER, ProblemKind.WARNING)


def _kind_of(standing: Standing) -> ProblemKind | None:
    """A backup that failed tells more than that it is overdue by now."""
    if has_failed(standing.last_outcome, standing.last_reason):
        return ProblemKind.FAILURE
    if standing.state is Health.OVERDUE:
        return ProblemKind.OVERDUE
    if standing.last_outcome is Outcome.WARNING:
        return ProblemKind.WARNING
    return ProblemKind.NEVER if standing.state is Health.NEVER else None


def _told_of(
    document: Document,
    kind: ProblemKind,
    there: Sequence[Standing],
    begun: Mapping[tuple[str, str], datetime],
    miss: sa.Row[Any] | None,
) -> dict[str, Any]:
    """Where, since when, and why: the oldest of several tells."""
    told: dict[str, Any] = {"repositories": tuple(one.repository for one in there)}
    if kind in (ProblemKind.FAILURE, ProblemKind.WARNING):
        since = [begun[one.job, one.repository] for one in there if (one.job, one.repository) in begun]
        told |= {"since": min(since, default=None)}
        told |= {"reason": there[0].last_reason, "run": there[0].last_run}
        told |= {"failures": max(one.failures for one in there) or None}
    elif kind is ProblemKind.OVERDUE:
        told |= {"since": min(_due_since(document, one) for one in there)}
    if miss is not None and kind in (ProblemKind.OVERDUE, ProblemKind.NEVER):
        told |= _told_of_miss(miss)
    return told


def _told_of_miss(row: sa.Row[Any]) -> dict[str, Any]:
    return {"reason": Reason(code=row.reason_code, message=row.reason_message), "run": row.id}


def _due_since(document: Document, standing: Standing) -> datetime:
    """When the backup was due that has not come."""
    assert standing.last_success_at is not None
    schedule = effective_job(document, standing.job).schedule
    due = next_times(schedule, standing.last_success_at, document.settings.timezone)
    return due[0] if due else standing.last_success_at + OVERDUE_WITHOUT_SCHEDULE


def _first_bad(connection: sa.Connection, standings: Sequence[Standing]) -> dict[tuple[str, str], datetime]:
    """When the first backup ended that was not good, since the last good one."""
    told = [(one.job, one.repository, moment_to_text(one.last_success_at)) for one in standings]
    pair = as_rows(connection, ("job", "repository", "after"), told)
    bad = [Outcome.FAILURE.value, Outcome.WARNING.value, Outcome.CANCELLED.value]
    asked = (
        sa.select(pair.c.job, pair.c.repository, sa.func.min(steps.c.ended_at, type_=steps.c.ended_at.type))
        .join(steps, (steps.c.job == pair.c.job) & (steps.c.repository == pair.c.repository))
        .join(runs, runs.c.id == steps.c.run)
        .where(steps.c.action == Action.BACKUP.value, steps.c.outcome.in_(bad), NOT_REHEARSED)
        .where(sa.type_coerce(steps.c.ended_at, sa.Text) > pair.c.after)
        .group_by(pair.c.job, pair.c.repository)
    )
    return {(job, repository): at for job, repository, at in connection.execute(asked)}


def _last_missed(connection: sa.Connection, jobs: Sequence[str]) -> dict[str, sa.Row[Any]]:
    """The newest row of missed times of each job."""
    one = as_rows(connection, ("job",), [(job,) for job in jobs])
    last = (
        sa.select(sa.func.max(runs.c.missed_last))
        .where(runs.c.job == one.c.job, runs.c.missed_last.is_not(None))  # as its index says
        .correlate(one)
    )
    asked: sa.Select[Any] = (
        sa.select(runs)
        .join(one, runs.c.job == one.c.job)
        .where(runs.c.missed_last.is_not(None), runs.c.missed_last == last.scalar_subquery())
    )
    return {row.job: row for row in connection.execute(asked)}


# --- problems of repositories and hosts ----------------------------------------------------------


def _list_holds(connection: sa.Connection, document: Document) -> list[Hold]:
    known = (None, HUB_JOB, *document.jobs)
    return [
        hold
        for hold in list_open(connection)
        if hold.repository in document.repositories and hold.job in known
    ]


def _of_hold(hold: Hold) -> StandingProblem:
    """Where retention stands still, and what that waits for."""
    return StandingProblem(
        kind=ProblemKind.HELD,
        job=None if hold.job == HUB_JOB else hold.job,
        repositories=(hold.repository,),
        action=Action.FORGET,
        since=hold.since,
        reason=Reason(code=hold.cause.value, message=hold.message),
        run=hold.run,
        hold=hold.id,
    )


def _each_cause_once(
    connection: sa.Connection, found: Sequence[StandingProblem], holds: Sequence[Hold]
) -> list[StandingProblem]:
    """The problems and the holds, one row for what has one cause.

    A failure says that it holds retention, too. A warning that says nothing else is told by the holds, which say what
    they wait for.
    """
    told: list[StandingProblem] = []
    said: set[str] = set()
    for problem in found:
        same = [hold for hold in holds if _is_about(hold, problem)]
        if problem.kind is ProblemKind.FAILURE and same:
            said |= {hold.id for hold in same}
            told.append(problem.model_copy(update={"hold": same[0].id}))
        elif problem.kind is not ProblemKind.WARNING or not _tell_all(connection, same, problem):
            told.append(problem)
    return [*told, *(_of_hold(hold) for hold in holds if hold.id not in said)]


def _is_about(hold: Hold, problem: StandingProblem) -> bool:
    here = hold.repository in problem.repositories and problem.job in (None, hold.job)
    return here and problem.reason is not None and is_shown_by(hold, problem.reason.code)


def _tell_all(connection: sa.Connection, holds: Sequence[Hold], problem: StandingProblem) -> bool:
    """Whether these holds tell all that a run warned of, in each of its repositories."""
    if {hold.repository for hold in holds} < set(problem.repositories):
        return False
    accounts = connection.execute(sa.select(steps.c.account).where(steps.c.run == problem.run)).scalars()
    codes = {warning.code for account in accounts for warning in read_account(account).warnings}
    return all(any(is_shown_by(hold, code) for hold in holds) for code in codes)


def _of_untested(connection: sa.Connection, document: Document) -> Iterator[StandingProblem]:
    """Repositories that were saved though no test of them succeeded, until one does."""
    for key, since, reason in list_untested(connection):
        if key in document.repositories:
            yield StandingProblem(kind=ProblemKind.UNTESTED, repositories=(key,), since=since, reason=reason)


def _of_repositories(connection: sa.Connection, keys: Sequence[str]) -> Iterator[StandingProblem]:
    """What the last run of each kind that keeps a repository in order came to."""
    told = [(key, action.value) for key in keys for action in UPKEEP]
    one = as_rows(connection, ("repository", "action"), told)
    ended = [Outcome.SUCCESS.value, Outcome.WARNING.value, Outcome.FAILURE.value]
    newest = (
        sa.select(runs.c.id)
        .where(runs.c.repository == one.c.repository, runs.c.action == one.c.action)
        .where(runs.c.kind == RunKind.MAINTENANCE.value, runs.c.outcome.in_(ended))
        .order_by(runs.c.created_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    last = sa.select(newest.label("id")).select_from(one).subquery()
    asked = sa.select(runs).join(last, runs.c.id == last.c.id)
    # what happened to one that was given up since says nothing of the one in its place
    asked = asked.where(is_since_anew(runs.c.ended_at, runs.c.repository))
    for row in connection.execute(asked.where(runs.c.outcome != Outcome.SUCCESS.value)):
        if row.reason_code in set(HoldCause) and row.outcome == Outcome.WARNING.value:
            continue  # the hold itself tells it, for as long as it holds
        reason = Reason(code=row.reason_code, message=row.reason_message) if row.reason_code else None
        yield StandingProblem(
            kind=ProblemKind(row.outcome),
            job=row.job,
            repositories=(row.repository,),
            host=row.host,
            action=row.action,
            since=row.ended_at,
            reason=reason,
            run=row.id,
        )


def _of_hosts(connection: sa.Connection, document: Document, hub: HubParts) -> Iterator[StandingProblem]:
    """Hosts that have work and whose agents are not there, those aside that may sleep."""
    seen = {row.host: row.seen_at for row in connection.execute(sa.select(agents.c.host, agents.c.seen_at))}
    wanted = {one.host for one in planned_of(document, hub.host)}
    for host in sorted(wanted):
        asleep = host in document.hosts and not document.hosts[host].always_on
        if not asleep and hub.fleet.find(host) is None:
            yield StandingProblem(kind=ProblemKind.OFFLINE, host=host, since=seen.get(host))


def _of_twins(hub: HubParts) -> Iterator[StandingProblem]:
    """Hosts as which a second agent dials, with a copy of the key of the one that is there."""
    for host, twin in sorted(hub.fleet.list_twins(utc_now()).items()):
        message = (
            f"a second machine, named {twin.hostname}, connects with its key and is refused: one is a copy "
            "of the other; on the copy, stop the agent, delete the folder agent in its state directory, and join it "
            "as a host of its own: highball agent --join"
        )
        reason = Reason(code="agent_twin", message=message)
        yield StandingProblem(kind=ProblemKind.TWIN, host=host, since=twin.since, reason=reason)
