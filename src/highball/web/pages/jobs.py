"""The jobs: the list with what can be done to several, and a job's own page with all that is known of it."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from pydantic import AfterValidator
from starlette.concurrency import run_in_threadpool

from highball import humanize
from highball.actions import Verb, list_offered
from highball.config.document import effective_job, effective_retention
from highball.config.job import Job
from highball.errors import ConfigurationInvalid, HighballError, Misuse, Unknown
from highball.hub.agents.pending_queries import each_of
from highball.hub.audit import Actor
from highball.hub.hub import Hub
from highball.hub.operations.trials import JobTestAnswer
from highball.hub.runs.ingest import SetOf
from highball.hub.runs.queue import Placing, RunOrder
from highball.hub.runs.record import utc_now
from highball.hub.runs.recorded import RunFilter
from highball.hub.status.daily_outcomes import first_day
from highball.hub.status.overview import (
    JobFilter,
    JobOverview,
    StandingProblem,
    look_at,
    look_over,
)
from highball.model.run import (
    Action,
    Outcome,
    Run,
    RunKind,
    RunState,
    Step,
)
from highball.model.snapshot import FILES_SET
from highball.model.standing import Hold
from highball.retention import (
    Plan,
    Retention,
    rules,
)
from highball.schedule import jitter_of, next_times
from highball.web.authorize import Admin, Orders, Proves, Runs, Sees
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms import fields
from highball.web.forms import pause_length as pausing
from highball.web.forms.fields import InQuery, Text, needs_no_look, new_order_key
from highball.web.forms.job_options import told_of
from highball.web.pages.overview import JobRow, list_rows
from highball.web.ui import status_looks
from highball.web.ui.addresses import job_page
from highball.web.ui.status_looks import Look
from highball.web.ui.templating import (
    Pages,
    Said,
    go,
    link,
)

PAGE = 50
RECENT = 50
"""So many runs are looked at: the newest are shown, and what a run usually takes is their median."""
SHOWN = 8
IN_SHORT = 8
"""So many snapshots are explained on the job's own page; all of them on a page of their own."""

STATES = {
    "needs-you": "Needs attention",
    "healthy": "Protected",
    "late": "Late",
    "overdue": "Overdue",
    "failed": "Failed",
    "never": "No backup yet",
    "paused": "Paused",
    "unproved": "Never restore-tested",
}
"""What the list can be narrowed to, and its words."""

router = APIRouter(include_in_schema=False)


# --- the list ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stretch:
    """Where one is in a long list, with the ways on."""

    first: int
    last: int
    before: str | None
    after: str | None


@dataclass(frozen=True)
class JobList:
    """The jobs that are wanted, and what else can be wanted of them."""

    jobs: Sequence[JobRow]
    total: int
    matching: int
    wanted: Mapping[str, str]
    states: Sequence[tuple[str, str]]
    hosts: Sequence[tuple[str, str]]
    tags: Sequence[tuple[str, str]]
    stretch: Stretch
    pauses: Sequence[tuple[str, str]]
    rest: pausing.Rest
    every: bool
    """Whether all of them are ticked."""
    choose_all: str
    once: str
    repositories: bool
    """Whether any repository is declared."""

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves any out."""
        return any(self.wanted.values())


@router.get("/jobs")
def show_list(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    _: Sees,
    q: InQuery = "",
    state: InQuery = "",
    host: InQuery = "",
    tag: InQuery = "",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    every: InQuery = "",
) -> Response:
    wanted = JobFilter(q.strip(), state, host, tag)
    found = look_over(hub, pages.survey(), limit=PAGE, offset=(page - 1) * PAGE, wanted=wanted)
    document = hub.document()
    jobs = [effective_job(document, key) for key in document.jobs]
    narrowed = {"q": q, "state": state, "host": host, "tag": tag}
    shown = JobList(
        jobs=list_rows(found),
        total=found.verdict.jobs,
        matching=found.matching,
        wanted=narrowed,
        states=[("", "Any state"), *STATES.items()],
        hosts=fields.any_or("Any host", sorted({job.host or hub.host for job in jobs})),
        tags=fields.any_or("Any tag", sorted({tag for job in jobs for tag in job.tags})),
        stretch=_stretch(page, found.matching, narrowed),
        pauses=pausing.choices(),
        rest=pausing.find_rest(hub),
        every=bool(every),
        choose_all=link("/jobs", {**narrowed, "page": str(page), "every": "1"}),
        once=new_order_key(),
        repositories=bool(document.repositories),
    )
    # The rail counts what needs somebody among all jobs: that does not depend on what is shown of them.
    return pages.answer(request, "jobs", {"page": shown}, overview=found)


@router.post("/jobs")
def act_on_several(
    hub: TheHub,
    pages: ThePages,
    actor: Runs,
    job: Annotated[list[str] | None, Form(max_length=500)] = None,
    act: Text = "",
    pause: Text = "",
    day: Text = "",
    hour: Text = "",
    once: Text = "",
    to: Text = "/jobs",
) -> Response:
    chosen = list(dict.fromkeys(job or ()))
    if not chosen or (act not in _DONE and not pause):
        return go(to, said=Said("No job is selected.", "warn"))
    until = None
    if pause:
        act = "pause"
        try:
            until = pausing.end_of(pause, day, hour, utc_now(), pages.zone())
        except HighballError as error:
            return go(to, said=pausing.why_not(error))
    try:
        done = [key for key in chosen if _act(hub, act, key, actor, once, until)]
    except HighballError as error:
        return go(to, said=pausing.why_not(error) if act == "pause" else _not_done(error))
    left = len(chosen) - len(done)
    lasting = pausing.lasting(until, utc_now(), pages.zone()) if until else ""
    told = f"{humanize.counted(len(done), 'job')} {_DONE[act]}{lasting}."
    if left:
        told += f" {humanize.counted(left, *_LEFT[act])}, so there was nothing to do."
    return go(to, said=Said(told, "warn" if left else "ok"))


_DONE = {"run": "will run", "prove": "will be restore-tested", "pause": "paused", "resume": "resumed"}
_NO_SCHEDULE = ("job has no schedule", "jobs have no schedule")
_LEFT = {
    "run": ("job is already in the queue", "jobs are already in the queue"),
    "prove": ("job has no snapshot yet", "jobs have no snapshot yet"),
    "pause": _NO_SCHEDULE,
    "resume": _NO_SCHEDULE,
}


def _not_done(error: HighballError) -> Said:
    hint = f" {status_looks.sentence(error.hint)}" if error.hint else ""
    return Said(f"Not done: {error.message}.{hint}", "warn")


def _act(hub: Hub, act: str, key: str, actor: Actor, once: str, until: datetime | None) -> bool:
    """Do it to one of several; false where it waits to run already, cannot rest, or has no snapshot to test."""
    job = effective_job(hub.document(), key)
    if act == "run":
        order = RunOrder(task="backup", job=key)
        _, placing = hub.operations.place(order, actor, key=f"{once}:{key}" if once else None)
        return placing is not Placing.WAITING
    if act == "prove":
        there = [name for name in job.repositories if hub.record.list_sets(repository=name, job=key)]
        for name in there:
            order = RunOrder(task="verify", job=key, repository=name)
            hub.operations.place(order, actor, key=f"{once}:{key}:{name}" if once else None)
        return bool(there)
    try:
        if act == "pause":
            hub.operations.pause_job(key, until, actor)
        else:
            hub.operations.resume_job(key, actor)
    except Unknown:
        return False
    return True


def _stretch(page: int, matching: int, narrowed: Mapping[str, str]) -> Stretch:
    last = max(1, -(-matching // PAGE))

    def address(number: int) -> str:
        return link("/jobs", {**narrowed, "page": str(number)})

    return Stretch(
        first=min(matching, (page - 1) * PAGE + 1),
        last=min(matching, page * PAGE),
        before=address(page - 1) if page > 1 else None,
        after=address(page + 1) if page < last else None,
    )


# --- everything at once --------------------------------------------------------------------------


@router.post("/pauses")
def pause_all(
    hub: TheHub,
    pages: ThePages,
    actor: Runs,
    pause: Text = "",
    day: Text = "",
    hour: Text = "",
    maintenance: Text = "",
    to: Text = "/jobs",
) -> Response:
    now = utc_now()
    try:
        until = pausing.end_of(pause, day, hour, now, pages.zone())
        hub.operations.pause_all(until, actor, maintenance=bool(maintenance))
    except HighballError as error:
        return go(to, said=pausing.why_not(error))
    what = "All jobs and all maintenance are" if maintenance else "All jobs are"
    return go(to, said=Said(f"{what} paused{pausing.lasting(until, now, pages.zone())}."))


@router.post("/pauses/end")
def resume_all(hub: TheHub, actor: Runs, to: Text = "/jobs") -> Response:
    hub.operations.resume_all(actor)
    return go(to, said=Said("All schedules are active again."))


# --- a job's page --------------------------------------------------------------------------------


@router.get("/jobs/{key}")
def show(hub: TheHub, pages: ThePages, request: Request, key: str, _: Sees) -> Response:
    return pages.answer(request, "job", {"page": _page_of(hub, pages, key)})


@router.get("/jobs/{key}/keeping")
async def show_keeping(
    hub: TheHub, pages: ThePages, request: Request, key: str, _: Sees, short: bool = False
) -> Response:
    job = await run_in_threadpool(lambda: effective_job(hub.document(), key))
    found = await each_of(_kept(hub, key, name, job.sets, short=short) for name in job.repositories)
    kept = [one for of_repository in found for one in of_repository]
    shown = Keepings(key, job.title, kept, short)
    return await run_in_threadpool(pages.answer, request, "job-keeping", {"page": shown})


@router.get("/jobs/{key}/test")
async def show_test(hub: TheHub, pages: ThePages, request: Request, key: str, _: Runs) -> Response:
    job = effective_job(hub.document(), key)
    found: JobTestAnswer | None = None
    problem: HighballError | None = None
    try:
        found = await hub.operations.test_job(job, key)
    except HighballError as error:
        problem = error
    shown = JobTrial(key, job.title, job.host or hub.host, found, problem)
    return pages.answer(request, "job-test", {"page": shown})


@dataclass(frozen=True)
class JobPage:
    """A job: how it stands, what it did lately, what it is to do and when."""

    key: str
    job: Job
    found: JobOverview
    going: Run | None
    look: Look
    lede: str | None
    facts: Facts
    days: Sequence[DayTold]
    rows: Sequence[RunRow]
    retention: Sequence[tuple[str, str]]
    """What is kept, by repository."""
    rhythm: str
    zone_name: str
    next: Sequence[datetime]
    proofs: Sequence[Proof]
    holds: Sequence[Hold]
    file: str | None
    options: Sequence[tuple[str, str]]
    once: str
    offered: Sequence[Verb]
    pauses: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class JobTrial:
    """How a job's sources and repositories were found just now, or why nobody could look."""

    key: str
    title: str | None
    host: str
    found: JobTestAnswer | None
    problem: HighballError | None


def _page_of(hub: Hub, pages: Pages, key: str) -> JobPage:
    now, document = utc_now(), hub.document()
    job = effective_job(document, key)
    found, problems = look_at(hub, pages.survey(), key)
    declared = hub.operations.get_object("job", key)
    runs = hub.operations.list_runs(RunFilter(job=key, kind=RunKind.BACKUP), limit=RECENT)
    backups = [run for run in runs if not run.dry_run]
    going = next((run for run in backups if run.state is not RunState.DONE), None)
    zone = job.schedule.timezone or document.settings.timezone
    late = jitter_of(f"backup:{key}", found.host, job.schedule)
    return JobPage(
        key=key,
        job=job,
        found=found,
        going=going,
        look=status_looks.look_of_run(going) if going else status_looks.look_of_job(found),
        lede=_lede(problems, now) or _last_failure(backups),
        facts=_facts(found, backups, now),
        days=list(_days(hub, found, now)),
        rows=list(_rows(runs, _present(hub, runs))),
        retention=[(name, _policy(effective_retention(document, key, name))) for name in job.repositories],
        rhythm=humanize.rhythm(job.schedule.expression),
        zone_name=zone,
        next=[at + late for at in next_times(job.schedule, now, zone, 5)] if not found.paused else [],
        proofs=[_proof(hub, key, one.repository, now) for one in found.standings],
        holds=list({hold.id: hold for one in found.standings for hold in one.holds}.values()),
        file=fields.file_of(hub, declared),
        options=list(told_of(job)),
        once=new_order_key(),
        offered=list_offered("job"),
        pauses=pausing.choices(),
    )


def _lede(problems: Sequence[StandingProblem], now: datetime) -> str | None:
    """What is wrong in a sentence, and what is still safe."""
    if not problems:
        return None
    first = problems[0]
    why = status_looks.sentence(first.reason.message) if first.reason else ""
    where = f"In {', '.join(first.repositories)}: " if first.reason and first.repositories else ""
    safe = ""
    if first.last_good_at is not None and why:
        there = f" in {first.last_good_in}" if first.last_good_in else ""
        safe = f"The last good backup is from {humanize.age(first.last_good_at, now)}{there}."
    return f"{where}{why} {safe}".strip() or None


def _last_failure(runs: Sequence[Run]) -> str | None:
    """Why the last run failed, where it came to no step that tells."""
    last = next((run for run in runs if run.state is RunState.DONE), None)
    if last is None or last.outcome is not Outcome.FAILURE or last.reason is None:
        return None
    return f"The last run failed: {status_looks.sentence(last.reason.message)}"


@dataclass(frozen=True)
class Facts:
    """The figures at the head of a job's page."""

    last_good: datetime | None
    good_in: str
    size: int | None
    new: int | None
    snapshots: str
    takes: float | None
    proved: datetime | None
    proof: Look


def _facts(job: JobOverview, runs: Sequence[Run], now: datetime) -> Facts:
    good = {one.repository: one.last_success_at for one in job.standings if one.last_success_at}
    newest = max(good.values(), default=None)
    there = [name for name, at in good.items() if newest and newest - at < timedelta(minutes=30)]
    every = len(there) == len(job.standings) > 1
    ended = [run for run in runs if run.outcome is Outcome.SUCCESS and run.started_at and run.ended_at]
    took = [
        (run.ended_at - run.started_at).total_seconds() for run in ended if run.ended_at and run.started_at
    ]
    proofs = [one.last_restore_proof_at for one in job.standings]
    proved = min((at for at in proofs if at), default=None) if proofs and all(proofs) else None
    return Facts(
        last_good=newest,
        good_in=("in both" if len(there) == 2 else f"in all {len(there)}") if every else ", ".join(there),
        size=max((one.size_bytes for one in job.standings if one.size_bytes is not None), default=None),
        new=_added(ended[0]) if ended else None,
        snapshots=" and ".join(humanize.number(one.snapshots) for one in job.standings),
        takes=statistics.median(took) if took else None,
        proved=proved,
        proof=status_looks.look_of_proof(proved, now),
    )


def _added(run: Run) -> int | None:
    """What a run added where it added most: several repositories hold the same."""
    return max((step.bytes_added for step in run.steps if step.bytes_added is not None), default=None)


@dataclass(frozen=True)
class DayTold:
    """A day of a job, and where its runs are."""

    address: str
    tone: str
    kind: str
    name: str
    told: str


def _days(hub: Hub, job: JobOverview, now: datetime) -> Iterator[DayTold]:
    zone = hub.document().settings.timezone
    from_day = first_day(now, zone)
    for day, tone, told in status_looks.days_of(from_day, job.strip):
        name = f"{day.day} {day:%B}"
        yield DayTold(
            address=f"/runs?{urlencode({'job': job.key, 'since': day.isoformat(), 'until': day.isoformat()})}",
            tone="bad" if tone == "missed" else tone,
            kind=tone,
            name=name,
            told=f"{name}: {told.removeprefix('with ')}",
        )


@dataclass(frozen=True)
class RunRow:
    """A run as a row of the page, or several alike as one."""

    run: Run
    look: Look
    word: str
    by: str
    snapshot: str | None
    restore_address: str | None
    """Where what it saved is looked into, while it is there."""
    added: int | None
    took: timedelta | None
    more: int = 0
    until: datetime | None = None


def _present(hub: Hub, runs: Sequence[Run]) -> set[str]:
    """Those of the snapshots that these runs saved that are still there."""
    return hub.record.list_present(
        [step.snapshot_id for run in runs for step in run.steps if step.snapshot_id]
    )


def _rows(runs: Sequence[Run], present: Collection[str]) -> Iterator[RunRow]:
    """The newest runs; of failures alike in a row the first three, and how many more."""
    left = SHOWN
    for _, alike in groupby(runs, key=_alike):
        group = list(alike)
        folds = group[0].outcome is Outcome.FAILURE and len(group) > 4
        shown = group[:3] if folds else group
        for run in shown[:left]:
            yield _row(run, present)
        left -= len(shown)
        if folds:
            rest = group[3:]
            yield RunRow(**{**vars(_row(rest[0], present)), "more": len(rest), "until": rest[-1].created_at})
            left -= 1
        if left <= 0:
            return


def _alike(run: Run) -> tuple[str, ...]:
    if run.outcome is not Outcome.FAILURE:
        return (run.id,)
    return ("failure", *(step.repository or "" for step in run.steps if step.outcome is Outcome.FAILURE))


def _row(run: Run, present: Collection[str]) -> RunRow:
    look = status_looks.look_of_run(run)
    failed = [step.repository for step in run.steps if step.outcome is Outcome.FAILURE and step.repository]
    word = f"{look.word} on {', '.join(failed)}" if failed and run.outcome is Outcome.FAILURE else look.word
    saved = [step for step in run.steps if step.snapshot_id]
    there = next((step for step in saved if step.snapshot_id in present), None)
    shown = there or next(iter(saved), None)
    ended = run.ended_at is not None and run.started_at is not None
    return RunRow(
        run=run,
        look=look,
        word=word,
        by=_by(run),
        snapshot=shown.snapshot_id[:8] if shown and shown.snapshot_id else None,
        restore_address=link(
            "/restore",
            {"job": run.job or "", "repository": there.repository or "", "snapshot": there.snapshot_id or ""},
        )
        if there
        else None,
        added=_added(run),
        took=run.ended_at - run.started_at if ended and run.ended_at and run.started_at else None,
    )


def _by(run: Run) -> str:
    attempts = max((step.attempts for step in run.steps), default=1)
    if attempts > 1:
        return f"attempt {attempts}"
    if run.missed_count:
        return humanize.counted(run.missed_count, "time")
    if run.origin == "schedule":
        return "by schedule"
    return f"by {run.actor}" if run.actor else "from the command line"


# --- restore test --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proof:
    """The last restore test of a job in a repository."""

    repository: str
    look: Look
    at: datetime | None
    step: Step | None
    run: str | None


def _proof(hub: Hub, key: str, repository: str, now: datetime) -> Proof:
    last = hub.record.find_last(Action.VERIFY, repository, job=key)
    good = last is not None and last.outcome is Outcome.SUCCESS
    look = status_looks.look_of_proof(last.ended_at if last and good else None, now)
    if last is not None and not good:
        look = Look("bad", "shield-x", "Failed")
    return Proof(
        repository=repository,
        look=look,
        at=last.ended_at if last else None,
        step=last.account if last else None,
        run=last.run if last else None,
    )


# --- why each snapshot stays ---------------------------------------------------------------------


@dataclass(frozen=True)
class SnapshotRow:
    """A snapshot with its fate."""

    id: str
    time: datetime
    size: int | None
    keep: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class JobRetention:
    """What stays and goes of a job in a repository, as its host tells it now."""

    repository: str
    policy: str
    error: HighballError | None = None
    plan: Plan | None = None
    rows: tuple[SnapshotRow, ...] = ()
    goes_at: datetime | None = None
    total: int = 0
    set: str = FILES_SET

    @property
    def about(self) -> str | None:
        """The stream that it is about; None of the job's folders and files."""
        return None if self.set == FILES_SET else self.set


@dataclass(frozen=True)
class Keepings:
    """What stays and goes of a job everywhere; `short` shows the newest, and the next to go."""

    key: str
    title: str | None
    kept: Sequence[JobRetention]
    short: bool


async def _kept(
    hub: Hub, key: str, repository: str, sets: Sequence[str], *, short: bool
) -> list[JobRetention]:
    """What is kept of each set of a job in a repository, or why nobody knows."""
    try:
        plans = await hub.operations.list_plans(repository, key)
    except HighballError as error:
        return [
            JobRetention(repository, await run_in_threadpool(_policy_of, hub, key, repository), error=error)
        ]
    return await run_in_threadpool(
        lambda: [_explain(hub, key, repository, set, plans, short=short) for set in sets]
    )


def _policy_of(hub: Hub, key: str, repository: str) -> str:
    return _policy(effective_retention(hub.document(), key, repository))


def _explain(
    hub: Hub, key: str, repository: str, set: str, plans: Sequence[Plan], *, short: bool
) -> JobRetention:
    policy = _policy_of(hub, key, repository)
    plan = next((plan for plan in plans if plan.set == set), None)
    if plan is None:
        return JobRetention(repository, policy, set=set)
    of = SetOf(repository, plan.host, key, plan.set)
    sizes = {one.id: one.size_bytes for one in hub.record.list_governed(of)}
    verdicts = sorted((*plan.keep, *plan.remove), key=lambda one: one.time, reverse=True)
    rows = [
        SnapshotRow(one.id, one.time, sizes.get(one.id), one.keep, tuple(why.message for why in one.reasons))
        for one in verdicts
    ]
    shown = _in_short(rows) if short else rows
    coming = hub.scheduler.next_of(f"discard:{repository}", utc_now())
    goes_at = coming.due_at if coming else None
    return JobRetention(repository, policy, None, plan, tuple(shown), goes_at, len(rows), set)


def _in_short(rows: Sequence[SnapshotRow]) -> list[SnapshotRow]:
    """The newest, and the next to go: what goes is more telling than what stays long."""
    going = [row for row in rows if not row.keep][:3]
    return [*[row for row in rows if row.keep][: IN_SHORT - len(going)], *going]


def _policy(retention: Retention) -> str:
    """`last 7, daily 30`."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in rules(retention).items())


# --- orders --------------------------------------------------------------------------------------


@router.post("/jobs/{key}/run")
def run(
    hub: TheHub,
    pages: ThePages,
    key: str,
    actor: Orders,
    task: Annotated[str, AfterValidator(partial(needs_no_look, "job")), Form()] = "backup",
    once: Text = "",
    dry: Text = "",
) -> Response:
    order = RunOrder(task=task, job=key, dry_run=bool(dry))
    return pages.to_run(*hub.operations.place(order, actor, key=f"{once}:{task}:{dry}" if once else None))


@router.post("/jobs/{key}/prove")
def prove(
    hub: TheHub,
    pages: ThePages,
    key: str,
    actor: Proves,
    repository: Annotated[str, Form(min_length=1, max_length=63)],
    once: Text = "",
) -> Response:
    order = RunOrder(task="verify", job=key, repository=repository)
    return pages.to_run(*hub.operations.place(order, actor, key=f"{once}:{repository}" if once else None))


@router.post("/jobs/{key}/pause")
def pause_it(
    hub: TheHub,
    pages: ThePages,
    key: str,
    actor: Runs,
    pause: Text = pausing.UNTIL_RESUMED,
    day: Text = "",
    hour: Text = "",
) -> Response:
    try:
        until = pausing.end_of(pause, day, hour, utc_now(), pages.zone())
        hub.operations.pause_job(key, until, actor)
    except (ConfigurationInvalid, Misuse) as error:
        return go(job_page(key), said=pausing.why_not(error))
    lasting = pausing.lasting(until, utc_now(), pages.zone())
    return go(job_page(key), said=Said(f"{key} is paused{lasting}."))


@router.post("/jobs/{key}/resume")
def resume(hub: TheHub, key: str, actor: Runs) -> Response:
    hub.operations.resume_job(key, actor)
    return go(job_page(key), said=Said(f"The schedule of {key} is active again."))


# --- the end of a job ----------------------------------------------------------------------------


@router.get("/jobs/{key}/delete")
def ask(hub: TheHub, pages: ThePages, request: Request, key: str, _: Admin) -> Response:
    declared = hub.operations.get_object("job", key)
    found, _problems = look_at(hub, pages.survey(), key)
    kept = {one.repository: one.snapshots for one in found.standings if one.snapshots}
    return fields.ask(pages, request, _about_deletion(key, declared.revision, kept))


@router.post("/jobs/{key}/delete")
def delete(hub: TheHub, key: str, actor: Admin, revision: Annotated[int, Form(ge=0)] = 0) -> Response:
    hub.operations.delete_object("job", key, actor, expected=revision)
    return go("/jobs", said=Said(f"{key} is deleted. Its snapshots are kept.", undo="/deleted"))


def _about_deletion(key: str, revision: int, kept: Mapping[str, int]) -> fields.Question:
    stays = ", ".join(f"{humanize.counted(number, 'snapshot')} in {name}" for name, number in kept.items())
    return fields.Question(
        title=f"Delete the job {key}?",
        text="It makes no more backups. You can restore it later under Settings, Deleted."
        + (f" Its snapshots are kept: {stays}." if stays else ""),
        action=f"{job_page(key)}/delete",
        verb=f"Delete {key}",
        back=job_page(key),
        hidden=(("revision", str(revision)),),
    )
