"""Runs: all of them, newest first; and one with its steps, how far it is, what it came to, and its log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from functools import cached_property
from typing import Annotated, TypeVar
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Query, Request, Response

from highball.config.document import effective_job
from highball.config.job import Job
from highball.errors import Conflict, Unknown
from highball.hub.hub import Hub
from highball.hub.runs.ingest import LONGEST_ID
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.record import utc_now
from highball.hub.runs.recorded import Made, RunFilter
from highball.model.run import (
    Action,
    Outcome,
    Progress,
    Run,
    RunKind,
    RunState,
)
from highball.model.standing import Hold
from highball.web.authorize import Orders, Runs, Sees
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import (
    InQuery,
    Question,
    any_or,
    ask,
    begin_of,
    new_order_key,
    plan_address,
)
from highball.web.ui import log_view, run_summary, status_looks
from highball.web.ui.addresses import repository_page
from highball.web.ui.log_view import LogPart
from highball.web.ui.run_summary import (
    Cautions,
    Comparison,
    Line,
)
from highball.web.ui.templating import (
    Said,
    block_wanted,
    go,
    link,
)
from highball.web.ui.titles import Names

ROWS = 50
MINUTE = timedelta(minutes=1)

router = APIRouter(include_in_schema=False)


# --- all of them ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunFilterForm:
    """What a list of runs is limited to, as the form says it: text, blank where anything will do."""

    job: str = ""
    repository: str = ""
    host: str = ""
    kind: str = ""
    state: str = ""
    since: str = ""
    until: str = ""

    def filter(self, zone: tzinfo) -> RunFilter:
        """The same for the record; `state` is a state or an outcome, the days are those of the pages' zone."""
        last = begin_of(self.until, zone, "until") if self.until else None
        return RunFilter(
            job=self.job or None,
            repository=self.repository or None,
            host=self.host or None,
            kind=_member(RunKind, self.kind),
            state=_member(RunState, self.state),
            outcome=_member(Outcome, self.state),
            since=begin_of(self.since, zone, "since") if self.since else None,
            until=last + timedelta(days=1) if last and last.year < 9999 else None,
        )

    def address(self, cursor: str = "") -> str:
        """The list as a link."""
        return link("/runs", {**vars(self), "cursor": cursor})

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves anything out."""
        return any(vars(self).values())


Member = TypeVar("Member", bound=StrEnum)


def _member(among: type[Member], text: str) -> Member | None:
    return next((one for one in among if one == text), None)


@dataclass(frozen=True)
class RunList:
    """The runs that are wanted, newest first, and what else can be wanted of them."""

    chosen: RunFilterForm
    rows: Sequence[Run]
    older: str | None
    is_first: bool
    kinds: Sequence[tuple[str, str]]
    states: Sequence[tuple[str, str | Sequence[tuple[str, str]]]]
    jobs: Sequence[tuple[str, str]]
    repositories: Sequence[tuple[str, str]]
    hosts: Sequence[tuple[str, str]]


@router.get("/runs")
def list_runs(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    _: Sees,
    job: InQuery = "",
    repository: InQuery = "",
    host: InQuery = "",
    kind: InQuery = "",
    state: InQuery = "",
    outcome: InQuery = "",
    since: InQuery = "",
    until: InQuery = "",
    cursor: Annotated[str, Query(max_length=LONGEST_ID)] = "",
) -> Response:
    chosen = RunFilterForm(job, repository, host, kind, state or outcome, since, until)
    found = hub.operations.list_runs(chosen.filter(pages.zone()), limit=ROWS + 1, after=cursor)
    document = hub.document()
    shown = RunList(
        chosen=chosen,
        rows=found[:ROWS],
        older=chosen.address(found[ROWS - 1].id) if len(found) > ROWS else None,
        is_first=not cursor,
        kinds=[("", "Any kind"), *((one.value, one.value.capitalize()) for one in RunKind)],
        states=[
            ("", "Any state"),
            ("Unfinished", [(one.value, look.word) for one, look in status_looks.STATES.items()]),
            ("Over", [(one.value, look.word) for one, look in status_looks.OUTCOMES.items()]),
        ],
        jobs=any_or("Any job", sorted({*document.jobs, *([job] if job else [])})),
        repositories=any_or(
            "Any repository", sorted({*document.repositories, *([repository] if repository else [])})
        ),
        hosts=any_or("Any host", sorted({hub.host, *document.hosts, *([host] if host else [])})),
    )
    return pages.answer(request, "runs", {"page": shown, "told": run_summary})


# --- one of them ---------------------------------------------------------------------------------


class RunDetails:
    """A run with all that its page tells; each part is looked up only where a block shows it."""

    def __init__(self, hub: Hub, run: Run, now: datetime) -> None:
        self._hub = hub
        self._now = now
        self.run = run

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self.run.state is RunState.DONE

    @property
    def at(self) -> datetime:
        """When it was, for its title."""
        return self.run.started_at or self.run.nominal_at or self.run.created_at

    @cached_property
    def progress(self) -> Progress | None:
        """How far it is."""
        return None if self.is_done else self._hub.progress.find(self.run.id)

    @property
    def left_until(self) -> datetime | None:
        """When it is done, if it goes on like this."""
        left = self.progress.seconds_left if self.progress else None
        return None if left is None else self._now + timedelta(seconds=left)

    @property
    def lede(self) -> str:
        """Where, why, and what it is at."""
        started = "started " if self.run.started_at else ""
        where = f"On {self.run.host}, {started}{run_summary.origin_of(self.run)}."
        going = [line.title for line in self.steps if line.current]
        return f"{where} Current step: {going[-1]}." if going else where

    @cached_property
    def steps(self) -> list[Line]:
        """What was done, and of a run that goes on what is to come."""
        return run_summary.lines_of(self.run, self._now, self._job, self.before)

    @property
    def steps_done(self) -> int:
        """How many of them are over."""
        return sum(step.outcome is not None for step in self.run.steps)

    @cached_property
    def _job(self) -> Job | None:
        document = self._hub.document()
        return effective_job(document, self.run.job) if self.run.job in document.jobs else None

    @cached_property
    def before(self) -> Run | None:
        """The run of the same job that this one is held against."""
        is_backup = self.run.kind is RunKind.BACKUP and self.run.job is not None and not self.run.dry_run
        return self._hub.record.find_before(self.run) if is_backup else None

    @cached_property
    def comparison(self) -> Comparison | None:
        """How it differs from that one."""
        if self.before is None or not any(step.outcome for step in self.run.steps):
            return None
        return run_summary.compare(self.run, self.before)

    @cached_property
    def cautions(self) -> Cautions:
        """What was missing or odd."""
        return run_summary.cautions_of(self.run)

    @cached_property
    def made(self) -> list[Made]:
        """The snapshots that it made."""
        return self._hub.record.list_made(self.run.id)

    @cached_property
    def holds(self) -> list[Hold]:
        """What stands still because of it."""
        return [hold for hold in self._hub.operations.list_holds() if hold.run == self.run.id]

    @cached_property
    def again(self) -> RunOrder | None:
        """The same once more, where that can be said; a restore is ordered on a page of its own."""
        return _order_again(self._hub, self.run)

    @property
    def plan_address(self) -> str | None:
        """Where it is shown what would go now, for a run that removes snapshots."""
        order = self.again
        removes = order is not None and order.verb.plans
        return plan_address(order.repository or "", order.job) if order and removes else None

    @property
    def repair_address(self) -> str | None:
        """Where a repair is explained, for a check that found damage."""
        bad = next(
            (step for step in self.run.steps if step.reason and step.reason.code == "repository_damaged"),
            None,
        )
        if bad is None or bad.repository not in self._hub.document().repositories:
            return None
        return f"{repository_page(bad.repository or '')}/repair"

    @cached_property
    def restore_address(self) -> str | None:
        """Where a restore is ordered like this one."""
        order = self._hub.backlog.find_order(self.run.id) if self.run.kind is RunKind.RESTORE else None
        if order is None or order.snapshot is None or order.repository is None:
            return None
        told = {"repository": order.repository, "snapshot": order.snapshot, "job": order.job or ""}
        return f"/restore?{urlencode(told)}"

    @cached_property
    def log(self) -> LogPart:
        """The end of its log."""
        return log_view.read_end(self._hub.record, self._hub.document(), self.run)

    def new_key(self) -> str:
        """What makes a second click of the same button the same order."""
        return new_order_key()


def _order_again(hub: Hub, run: Run) -> RunOrder | None:
    """What a run was to do, to be ordered once more; None where that needs more than a click, or is gone."""
    document = hub.document()
    order = hub.backlog.find_order(run.id) or _order_of_command(run)
    if order is None or order.task == "restore":
        return None
    gone = (order.job is not None and order.job not in document.jobs) or (
        order.repository is not None and order.repository not in document.repositories
    )
    return None if gone else order.model_copy(update={"plan": None, "shown": None})


def _order_of_command(run: Run) -> RunOrder | None:
    """The order that a command on the machine would have been."""
    if run.kind is RunKind.BACKUP and run.job is not None:
        return RunOrder(task="backup", job=run.job)
    tasks = (Action.FORGET, Action.PRUNE, Action.CHECK, Action.VERIFY, Action.UNLOCK, Action.STATS)
    if run.kind is RunKind.MAINTENANCE and run.action in tasks and run.repository is not None:
        return RunOrder.model_validate(
            {"task": run.action.value, "job": run.job, "repository": run.repository}
        )
    return None


@router.get("/runs/{id}")
def show_run(hub: TheHub, pages: ThePages, request: Request, _: Sees, id: str) -> Response:
    now = utc_now()
    account = RunDetails(hub, hub.operations.find_run(id), now)
    return pages.answer(
        request, "run", {"account": account, "run": account.run, "told": run_summary, "minute": MINUTE}
    )


# --- its log -------------------------------------------------------------------------------------


@router.get("/runs/{id}/log")
def show_log(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    _: Sees,
    id: str,
    after: Annotated[int, Query(ge=0)] = 0,
    find: InQuery = "",
) -> Response:
    account = RunDetails(hub, hub.operations.find_run(id), utc_now())
    part = log_view.read_on(hub.record, hub.document(), account.run, after, find)
    context = {
        "account": account,
        "run": account.run,
        "part": part,
        "find": find,
        "later": f"/runs/{account.run.id}/log?{urlencode({'after': part.last, 'find': find})}"
        if part.more
        else None,
        "is_first": after == 0,
        "grows": block_wanted(request) == "following" or not (part.more or find),
    }
    return pages.answer(request, "run-log", context)


@router.get("/runs/{id}/log/{seq}")
def show_line(hub: TheHub, pages: ThePages, request: Request, _: Sees, id: str, seq: int) -> Response:
    account = RunDetails(hub, hub.operations.find_run(id), utc_now())
    row = log_view.read_whole(hub.record, hub.document(), account.run, seq)
    if row is None:
        raise Unknown(f"this run has no line {seq}", code="line_unknown")
    return pages.answer(request, "run-line", {"account": account, "run": account.run, "row": row})


# --- what can be done ----------------------------------------------------------------------------


@router.get("/runs/{id}/cancel")
def ask_cancel(hub: TheHub, pages: ThePages, request: Request, _: Runs, id: str) -> Response:
    account = RunDetails(hub, hub.operations.find_run(id), utc_now())
    if account.is_done:
        return go(f"/runs/{account.run.id}")
    return ask(pages, request, _about_cancelling(account.run, pages.names()))


@router.post("/runs/{id}/cancel")
async def cancel(hub: TheHub, actor: Runs, id: str) -> Response:
    try:
        await hub.operations.cancel(id, actor)
    except Conflict:  # it ended between the look and the click
        return _back(id, Said("It had already ended.", "warn"))
    return _back(id, Said("Cancelling the run. Snapshots saved so far are kept."))


@router.post("/runs/{id}/again")
def run_again(
    hub: TheHub,
    pages: ThePages,
    actor: Orders,
    id: str,
    key: Annotated[str | None, Form(max_length=200, pattern="^[!-~]+$")] = None,
) -> Response:
    run = hub.operations.find_run(id)
    order = _order_again(hub, run)
    if order is None:
        return _back(
            run.id, Said("This run cannot be repeated: its job or repository no longer exists.", "warn")
        )
    if order.verb.plans:
        return go(plan_address(order.repository or "", order.job))
    return pages.to_run(*hub.operations.place(order, actor, key=key))


def _about_cancelling(run: Run, names: Names) -> Question:
    place = f"/runs/{run.id}"
    return Question(
        title=run_summary.question_of_cancelling(run, names),
        text=run_summary.cost_of_cancelling(run),
        action=f"{place}/cancel",
        verb="Cancel run",
        back=place,
        leave="Keep running",
    )


def _back(id: str, said: Said | None = None) -> Response:
    return go(f"/runs/{quote(id[:LONGEST_ID], safe='')}", said=said)
