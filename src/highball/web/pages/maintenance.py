"""What keeps repositories and the hub in order, what it did, and the timetable of all that comes by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response

from highball.actions import ACTIONS
from highball.config.document import HUB_JOB, effective_cadences
from highball.errors import ConfigurationInvalid, HighballError, Misuse, Unknown
from highball.hub.disaster.self_backup import list_backups
from highball.hub.hub import Hub
from highball.hub.runs.pauses import Pause
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.record import utc_now
from highball.hub.runs.recorded import RunFilter
from highball.hub.runs.scheduler import Upcoming
from highball.hub.runs.subjects import (
    HUB_BACKUP,
    Planned,
    Subject,
    planned_of,
)
from highball.hub.status.repository_status import Done, list_last_done
from highball.model.run import Action, Run, RunKind
from highball.model.standing import Hold
from highball.schedule import Schedule
from highball.web.authorize import Orders, Runs, Sees
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms import pause_length as pausing
from highball.web.forms.fields import (
    Question,
    any_or,
    ask,
    new_order_key,
    plan_address,
)
from highball.web.ui import status_looks
from highball.web.ui.addresses import job_page, repository_page
from highball.web.ui.status_looks import Look
from highball.web.ui.templating import (
    Pages,
    Said,
    go,
)
from highball.web.ui.titles import Named, Names

SubjectText = Annotated[str, Form(max_length=140)]

LATEST = 25
COMING = 20
COPIES = 5

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class UpkeepPage:
    """What is done by itself to keep everything in order, what was done lately and what comes."""

    tasks: Sequence[Task]
    off: Sequence[str]
    """The repositories whose maintenance is switched off."""
    runs: Sequence[Run]
    coming: Sequence[tuple[str, Sequence[Upcoming]]]
    """By day."""
    job: str
    host: str
    jobs: Sequence[tuple[str, str]]
    hosts: Sequence[tuple[str, str]]
    copies: Sequence[Copy]
    zone_name: str | None
    order_key: str
    pauses: Sequence[tuple[str, str]]
    rest: pausing.Rest


@router.get("/maintenance")
def show(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    _: Sees,
    job: Annotated[str | None, Query(max_length=63)] = None,
    host: Annotated[str | None, Query(max_length=63)] = None,
) -> Response:
    now, document = utc_now(), hub.document()
    coming = hub.scheduler.upcoming(COMING, now, subject=f"backup:{job}" if job else None, host=host or None)
    shown = UpkeepPage(
        tasks=_tasks(hub, pages.names(), now),
        off=[key for key, one in document.repositories.items() if one.maintenance == "off"],
        runs=hub.operations.list_runs(RunFilter(kind=RunKind.MAINTENANCE), limit=LATEST),
        coming=_by_day(coming, pages, now),
        job=job or "",
        host=host or "",
        jobs=any_or("All jobs", document.jobs),
        hosts=any_or("All hosts", sorted({hub.host, *document.hosts})),
        copies=list_copies(hub)[:COPIES],
        zone_name=document.settings.timezone,
        order_key=new_order_key(),
        pauses=pausing.choices(),
        rest=pausing.find_rest(hub),
    )
    return pages.answer(request, "maintenance", {"page": shown})


@router.post("/maintenance/run")
def run(
    hub: TheHub, pages: ThePages, actor: Orders, subject: SubjectText, order_key: SubjectText = ""
) -> Response:
    about = Subject.of(_demand(hub, subject))
    if about.repository and ACTIONS[about.task].plans:
        return go(plan_address(about.repository))
    order = RunOrder.model_validate({name: value for name, value in vars(about).items() if value})
    return pages.to_run(
        *hub.operations.place(order, actor, key=f"{order_key}:{subject}" if order_key else None)
    )


@router.post("/maintenance/pause")
def pause(
    hub: TheHub,
    pages: ThePages,
    actor: Runs,
    subject: SubjectText,
    pause: SubjectText = pausing.UNTIL_RESUMED,
    day: SubjectText = "",
    hour: SubjectText = "",
) -> Response:
    now = utc_now()
    try:
        until = pausing.end_of(pause, day, hour, now, pages.zone())
        hub.operations.pause([_demand(hub, subject)], until, actor)
    except (ConfigurationInvalid, Misuse) as error:
        return go("/maintenance", said=pausing.why_not(error))
    lasting = pausing.lasting(until, now, pages.zone())
    return go("/maintenance", said=Said(f"{pages.names().subject(subject).name} is paused{lasting}."))


@router.post("/maintenance/resume")
def resume(hub: TheHub, pages: ThePages, actor: Runs, subject: SubjectText) -> Response:
    hub.operations.resume([_demand(hub, subject)], actor)
    return go("/maintenance", said=Said(f"{pages.names().subject(subject).name} is resumed."))


@router.get("/holds/{id}/accept")
def ask_to_accept(hub: TheHub, pages: ThePages, request: Request, _: Runs, id: str) -> Response:
    found = next((hold for hold in hub.operations.list_holds() if hold.id == id), None)
    if found is None:
        return go("/", said=Said("This hold has been lifted already."))
    return ask(pages, request, _about_hold(found))


@router.post("/holds/{id}/accept")
def accept(hub: TheHub, actor: Runs, id: str, why: Annotated[str, Form(max_length=500)] = "") -> Response:
    try:
        hold = hub.operations.accept_hold(id, actor, why.strip() or None)
    except HighballError as error:
        return go("/", said=Said(status_looks.sentence(error.message), "warn"))
    hub.bus.news.publish("object", hold.repository)
    return go(_page_of(hold), said=Said(f"Accepted: {hold.message}. Retention resumes."))


def _about_hold(hold: Hold) -> Question:
    told = status_looks.sentence(hold.message)
    text = f"{told} Retention is on hold until {hold.lifts}. Once you accept it, snapshots are removed again."
    return Question(
        title="Accept this and resume retention?",
        text=text,
        action=f"/holds/{hold.id}/accept",
        verb="Accept",
        back=_page_of(hold),
        why="Reason",
        leave="Keep on hold",
    )


def _page_of(hold: Hold) -> str:
    if hold.job is not None and hold.job != HUB_JOB:
        return job_page(hold.job)
    return repository_page(hold.repository)


# --- what is kept in order -----------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Something that keeps a repository, or the hub, in order: when it comes, and what it last came to."""

    subject: str
    named: Named
    when: str
    last: Done | None
    look: Look | None
    last_at: datetime | None
    next: Upcoming | None
    pause: Pause | None
    can_rest: bool = True
    """Whether it has times that a pause could pass over."""

    @property
    def shown_at(self) -> str | None:
        """Where it is shown what would go, for what removes snapshots: that is looked at before it begins."""
        about = Subject.of(self.subject)
        return plan_address(about.repository) if about.task == "discard" and about.repository else None


def _upkeep(hub: Hub) -> list[Planned]:
    """All that is no backup; retention that only comes after each backup has no time of its own."""
    document = hub.document()
    planned = [one for one in planned_of(document, hub.host) if not one.subject.startswith("backup:")]
    timed = {one.subject for one in planned}
    follows = [
        Planned(f"discard:{key}", Action.FORGET, repository.maintainer(hub.host), Schedule())
        for key, repository in document.repositories.items()
        if effective_cadences(document, key).after_backup and f"discard:{key}" not in timed
    ]
    return [*follows, *planned]


def _demand(hub: Hub, subject: str) -> str:
    if subject not in {one.subject for one in _upkeep(hub)}:
        raise Unknown("there is no maintenance task with this name", code="maintenance_job_unknown")
    return subject


def _tasks(hub: Hub, names: Names, now: datetime) -> list[Task]:
    planned = _upkeep(hub)
    coming = hub.operations.next_of_each([one.subject for one in planned])
    pauses = {pause.subject: pause for pause in hub.operations.list_pauses()}
    held = list_last_done(hub)
    expired = hub.record.find_last(Action.HISTORY, None)
    if expired is not None:
        held["hub"] = {Action.HISTORY: Done(run=expired.run, step=expired.account)}
    for one in planned:  # of restore tests, each job's own
        about = Subject.of(one.subject)
        tested = hub.record.find_last(Action.VERIFY, about.repository, job=about.job) if about.job else None
        if tested is not None:
            held[one.subject] = {Action.VERIFY: Done(run=tested.run, step=tested.account)}
    copies = list_copies(hub)
    return [
        _task(
            *(one, names, held, copies[0].made_at if copies else None),
            *(coming.get(one.subject), pauses.get(one.subject), _when(hub, one)),
        )
        for one in planned
    ]


def _task(
    planned: Planned,
    names: Names,
    held: dict[str, dict[Action, Done]],
    copied_at: datetime | None,
    coming: Upcoming | None,
    pause: Pause | None,
    when: str,
) -> Task:
    about = Subject.of(planned.subject)
    place = planned.subject if about.job else about.repository or "hub"
    last = held.get(place, {}).get(planned.action)
    outcome = last.step.outcome if last else None
    look = status_looks.OUTCOMES[outcome] if outcome else None
    if planned.subject == HUB_BACKUP and copied_at:
        look = Look("ok", "circle-check", "Success")
    at = last.step.ended_at if last else copied_at if planned.subject == HUB_BACKUP else None
    named, can_rest = names.subject(planned.subject), planned.schedule.expression is not None
    return Task(planned.subject, named, when, last, look, at, coming, pause, can_rest)


def _when(hub: Hub, planned: Planned) -> str:
    about, told = Subject.of(planned.subject), status_looks.when(planned.schedule, begins=True)
    after = (
        about.task == "discard" and effective_cadences(hub.document(), about.repository or "").after_backup
    )
    if not after:
        return told
    return "After each backup" if planned.schedule.expression is None else f"{told}, and after each backup"


# --- the hub's own copies ------------------------------------------------------------------------


@dataclass(frozen=True)
class Copy:
    """A copy of the hub's database, as its file tells without being read through."""

    name: str
    made_at: datetime
    size_bytes: int


def list_copies(hub: Hub) -> list[Copy]:
    """The copies of the hub's database, the newest first."""
    return [_copy_of(path) for path in list_backups(hub.state)]


def _copy_of(path: Path) -> Copy:
    """Its name says when it was begun; of one that was named by hand, its file says when it was written."""
    told = path.stat()
    try:
        made_at = datetime.strptime(path.name, "hub-%Y%m%dT%H%M%SZ.jsonl.gz").replace(tzinfo=UTC)
    except ValueError:
        made_at = datetime.fromtimestamp(told.st_mtime, UTC)
    return Copy(path.name, made_at, told.st_size)


# --- the timetable -------------------------------------------------------------------------------


def _by_day(coming: Sequence[Upcoming], pages: Pages, now: datetime) -> list[tuple[str, list[Upcoming]]]:
    zone = pages.zone()
    today = now.astimezone(zone).date()
    days = groupby(coming, key=lambda one: one.due_at.astimezone(zone).date())
    return [(_day(day, today), list(ones)) for day, ones in days]


def _day(day: date, today: date) -> str:
    if day == today:
        return "Today"
    if day == today + timedelta(days=1):
        return "Tomorrow"
    return f"{day:%A} {day.day} {day:%B}"
