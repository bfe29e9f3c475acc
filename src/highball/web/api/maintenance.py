"""Maintenance as jobs and runs: views of what each repository's maintenance and the hub's own are, nothing stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from highball.actions import ACTIONS
from highball.config.document import effective_job
from highball.errors import ConfigurationInvalid, Misuse, Problem, Unknown
from highball.hub.agents.pending_queries import each_of
from highball.hub.operations.port import HubOperations
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.recorded import RunFilter
from highball.hub.runs.scheduler import Upcoming
from highball.hub.runs.subjects import (
    Planned,
    Subject,
)
from highball.model.fact import Fact
from highball.model.run import (
    Action,
    Outcome,
    Run,
    RunKind,
    RunState,
    Step,
)
from highball.model.standing import Hold
from highball.model.text import UtcTime
from highball.retention import Plan
from highball.web.authorize import Discards, Runs, Sees
from highball.web.dependencies import TheOperations
from highball.web.disconnect import while_asked
from highball.web.error_responses import ASKED_IN_VAIN

NIGHTLY, BY_HAND = "retention_cleanup_nightly", "retention_cleanup_manual"


class MaintenanceJob(Fact):
    """Something that keeps a repository, or the hub, in order; `id` and `key` are the same."""

    id: str
    key: str
    job_type: str
    name: str
    cron: str | None
    timezone: str | None = None
    enabled: bool
    visible_in_ui: bool
    repository: str | None = None
    next_run_at: UtcTime | None = None
    config: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it


class Pair(Fact):
    """What retention did for one job in one repository."""

    job: str | None
    repository: str | None
    deleted: int
    kept: int
    failed: bool
    message: str | None = None


class MaintenanceResult(Fact):
    """The sum of a maintenance run."""

    processed: int
    deleted: int
    kept: int
    failed: int
    bytes_freed: int | None = None
    pairs: tuple[Pair, ...] = ()


class MaintenanceRun(Fact):
    """One run of maintenance; `status` is queued, running, success, warning, failed, cancelled, skipped or missed."""

    id: str
    maintenance_job: str
    status: str
    message: str | None
    result: MaintenanceResult
    started_at: UtcTime | None
    finished_at: UtcTime | None
    run: Run


class Chosen(BaseModel):
    """Which pair retention is wanted for, by their keys; neither is every one."""

    model_config = ConfigDict(extra="forbid")

    job_id: str | None = None
    repository_id: str | None = None


class Confirmed(Chosen):
    """The same, and that somebody means it."""

    confirmed: bool = False


class Begun(Fact):
    """The runs that were queued."""

    maintenance_job: Literal["retention_cleanup_manual"] = "retention_cleanup_manual"
    runs: tuple[MaintenanceRun, ...]


class Word(BaseModel):
    """A person's word that something odd is right."""

    model_config = ConfigDict(extra="forbid")

    reason: str | None = Field(None, max_length=500, description="why; stands in the audit")


def reason_of(word: Word | None) -> str | None:
    """What was said, if anything was."""
    return word.reason if word else None


class Accepted(Fact):
    """What goes on from now on, and how many guards that were."""

    accepted: int
    holds: tuple[Hold, ...]

    @classmethod
    def of(cls, lifted: Sequence[Hold]) -> Accepted:
        """The answer to a word."""
        return cls(accepted=len(lifted), holds=tuple(lifted))


router = APIRouter(prefix="/api/v1", tags=["maintenance"])


@router.get("/maintenance/jobs")
def list_jobs(operations: TheOperations, _: Sees, visible_in_ui: bool = True) -> list[MaintenanceJob]:
    """What keeps repositories and the hub in order: what pages show, or what they do not."""
    return [job for job in _jobs(operations) if job.visible_in_ui == visible_in_ui]


@router.get("/maintenance/jobs/{id}")
def show_job(operations: TheOperations, id: str, _: Sees) -> MaintenanceJob:
    """One of them."""
    found = next((job for job in _jobs(operations) if job.id == id), None)
    if found is None:
        raise Unknown(f"there is no maintenance job {id}", code="maintenance_job_unknown")
    return found


@router.get("/maintenance/runs")
def list_runs(
    operations: TheOperations, _: Sees, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> list[MaintenanceRun]:
    """The latest runs of maintenance, newest first."""
    chosen = RunFilter(kind=RunKind.MAINTENANCE)
    return [_as_maintenance(run) for run in operations.list_runs(chosen, limit=limit)]


@router.get("/maintenance/runs/{id}")
def show_run(operations: TheOperations, id: str, _: Sees) -> MaintenanceRun:
    """One of them."""
    run = operations.find_run(id)
    if run.kind is not RunKind.MAINTENANCE:
        raise Unknown(f"run {id} is no maintenance", code="run_unknown")
    return _as_maintenance(run)


@router.post("/settings/retention/preview", responses=ASKED_IN_VAIN)
async def preview(operations: TheOperations, request: Request, chosen: Chosen, _: Sees) -> list[Plan]:
    """What would go, and why each snapshot stays."""
    pairs = await run_in_threadpool(_pairs, operations, chosen)
    waits = each_of(operations.list_plans(repository, job) for repository, job in pairs)
    return [plan for plans in await while_asked(request, waits) for plan in plans]


@router.post("/settings/retention/run", status_code=202)
def run_retention(operations: TheOperations, wanted: Confirmed, actor: Discards) -> Begun:
    """Apply retention now: for every repository, or for one pair."""
    pairs = _pairs(operations, wanted)
    if not wanted.confirmed:
        raise Misuse("this removes snapshots: it has to be confirmed", code="not_confirmed")
    orders = [RunOrder(task="discard", repository=repository, job=job) for repository, job in pairs]
    runs = [operations.place(order, actor)[0] for order in orders]
    return Begun(runs=tuple(_as_maintenance(run, by_hand=True) for run in runs))


@router.get("/holds")
def list_holds(operations: TheOperations, _: Sees, repository: str | None = None) -> list[Hold]:
    """What makes retention stand still, the oldest first."""
    return operations.list_holds(repository)


@router.post("/holds/{id}/accept")
def accept(operations: TheOperations, id: str, actor: Runs, word: Word | None = None) -> Accepted:
    """Say that it is right: retention goes on."""
    return Accepted.of([operations.accept_hold(id, actor, reason_of(word))])


@router.post("/repositories/{key}/accept")
def accept_all(operations: TheOperations, key: str, actor: Runs, word: Word | None = None) -> Accepted:
    """Say so of all that waits for a person in a repository."""
    return Accepted.of(operations.accept_repository(key, actor, reason_of(word)))


def _pairs(operations: HubOperations, chosen: Chosen) -> list[tuple[str, str | None]]:
    document = operations.document()
    if (chosen.job_id is None) != (chosen.repository_id is None):
        lacking = "repository_id" if chosen.repository_id is None else "job_id"
        problem = Problem(f"body.{lacking}", "is missing", "name both, or neither")
        raise ConfigurationInvalid("job and repository belong together", problems=[problem])
    if chosen.job_id is None or chosen.repository_id is None:
        kept = [key for key, repository in document.repositories.items() if repository.maintenance != "off"]
        return [(key, None) for key in kept]
    if chosen.repository_id not in effective_job(document, chosen.job_id).repositories:
        raise Unknown(
            f"{chosen.job_id} does not back up to {chosen.repository_id}", code="repository_unknown"
        )
    return [(chosen.repository_id, chosen.job_id)]


# --- views ---------------------------------------------------------------------------------------


def _jobs(operations: HubOperations) -> list[MaintenanceJob]:
    document = operations.document()
    planned = [one for one in operations.list_planned() if not one.subject.startswith("backup:")]
    auto = [key for key, found in document.repositories.items() if found.maintenance == "auto"]
    nightly = operations.next_of_each([f"discard:{key}" for key in auto])
    coming = operations.next_of_each([one.subject for one in planned])
    return [
        *(_job(one, coming.get(one.subject)) for one in planned),
        MaintenanceJob(
            id=NIGHTLY,
            key=NIGHTLY,
            job_type="retention_cleanup",
            name="Remove what retention does not keep, every night",
            cron="0 3 * * *",
            timezone=document.settings.timezone,
            enabled=bool(auto),
            visible_in_ui=True,
            next_run_at=min((one.at for one in nightly.values()), default=None),
            config={"repositories": auto},
        ),
        MaintenanceJob(
            id=BY_HAND,
            key=BY_HAND,
            job_type="retention_cleanup",
            name="Remove what retention does not keep, when told to",
            cron=None,
            enabled=True,
            visible_in_ui=False,
        ),
    ]


def _job(planned: Planned, coming: Upcoming | None) -> MaintenanceJob:
    about = Subject.of(planned.subject)
    verb = ACTIONS.get(about.task)
    whose = f"{about.job} in {about.repository}" if about.job else about.repository or "hub"
    return MaintenanceJob(
        id=planned.subject,
        key=planned.subject,
        job_type=about.task.replace("-", "_"),
        name=(verb.words.duty if verb else f"{about.task} {{}}").format(whose),
        cron=planned.schedule.expression,
        timezone=planned.schedule.timezone or planned.timezone,
        enabled=True,
        visible_in_ui=True,
        repository=about.repository,
        next_run_at=coming.at if coming else None,
    )


def _as_maintenance(run: Run, *, by_hand: bool = False) -> MaintenanceRun:
    discards = run.action is Action.FORGET
    task = "discard" if discards else "hub-backup" if run.action is Action.BACKUP else run.action.value
    by_hand = discards and (by_hand or run.origin == "manual")
    subject = BY_HAND if by_hand else f"{task}:{run.repository or 'hub'}"
    return MaintenanceRun(
        id=run.id,
        maintenance_job=subject,
        status=_status(run),
        message=run.reason.message if run.reason else None,
        result=_result(run),
        started_at=run.started_at,
        finished_at=run.ended_at,
        run=run,
    )


def _status(run: Run) -> str:
    if run.state is not RunState.DONE or run.outcome is None:
        return run.state.value
    return "failed" if run.outcome is Outcome.FAILURE else run.outcome.value


def _result(run: Run) -> MaintenanceResult:
    pairs = tuple(_pair(step) for step in run.steps if step.action is Action.FORGET)
    freed = [step.bytes_freed for step in run.steps if step.bytes_freed is not None]
    return MaintenanceResult(
        processed=len(pairs),
        deleted=sum(pair.deleted for pair in pairs),
        kept=sum(pair.kept for pair in pairs),
        failed=sum(pair.failed for pair in pairs),
        bytes_freed=sum(freed) if freed else None,
        pairs=pairs,
    )


def _pair(step: Step) -> Pair:
    return Pair(
        job=step.job,
        repository=step.repository,
        deleted=len(step.snapshots_removed or ()),
        kept=step.snapshots_kept or 0,
        failed=step.outcome is Outcome.FAILURE,
        message=step.reason.message if step.reason else None,
    )
