"""verify, forget, accept, unlock, stats, and what only a repository is needed for; here and over a hub alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer

from highball.actions import Verb
from highball.cli import formatting, run_all
from highball.cli import render as answers
from highball.cli.commands.snapshots import find_snapshot
from highball.cli.console import Output
from highball.cli.context import Session
from highball.cli.lookup import choose_jobs, choose_repositories
from highball.cli.options import (
    Acceptable,
    Approves,
    InRepository,
    Jobs,
    OneSnapshot,
    OnlyShows,
    ReadsAll,
    RemovesAll,
    Repositories,
    Wait,
    Why,
    Yes,
    read_wait,
)
from highball.config.document import effective_job
from highball.config.pin import names_snapshot
from highball.config.repository import demand_maintained
from highball.errors import Failed, HighballError, Misuse, NotAllowed, RepositoryError
from highball.model.run import Run
from highball.model.standing import NOT_BY_A_PERSON, HoldCause
from highball.retention import Plan, plan_unknown

if TYPE_CHECKING:
    from highball.cli.operations import Operations

Shown = dict[tuple[str, str], list[Plan]]
"""The plans that somebody was shown, by job and repository."""

Orders = list[tuple[str, Callable[[], Any]]]

# --- verify --------------------------------------------------------------------------------------


def verify(context: typer.Context, jobs: Jobs = None, read_data: ReadsAll = False, wait: Wait = None) -> None:
    """Run a restore test of the newest snapshots: restore files to a temporary folder and compare them."""
    session: Session = context.obj
    patience = read_wait(wait)
    place = session.place(looks=True)
    document = place.document
    chosen = choose_jobs(document, jobs or [])
    pairs = [(job, key) for job in chosen for key in effective_job(document, job).repositories]
    place.make_ready([key for _, key in pairs], begins_run=True)

    def verifies(job: str, key: str) -> Callable[[], Any]:
        return lambda: place.order("verify", key, patience, job=job, all_data=read_data)

    _carry_out(session, place, [(f"{job} in {key}", verifies(job, key)) for job, key in pairs])


# --- forget --------------------------------------------------------------------------------------


def forget(
    context: typer.Context,
    jobs: Jobs = None,
    approve: Approves = None,
    snapshot: OneSnapshot = None,
    repository: InRepository = None,
    dry_run: OnlyShows = False,
    yes: Yes = False,
    wait: Wait = None,
) -> None:
    """Apply retention and remove the snapshots that no rule keeps; on a terminal the plan is shown first."""
    session: Session = context.obj
    patience = read_wait(wait)
    if snapshot is not None:
        if jobs or approve or dry_run:
            raise Misuse("--snapshot cannot be combined with JOB, --approve or --dry-run")
        _forget_one(session, snapshot, repository, patience, yes=yes)
        return
    if repository is not None:
        raise Misuse("--repository needs --snapshot", hint="to limit it, name jobs")
    place = session.place(looks=dry_run)
    chosen = choose_jobs(place.document, jobs) if jobs else list(place.document.jobs)
    pairs = [(job, key) for job in chosen for key in place.list_repositories_of(job)]
    place.make_ready([key for _, key in pairs], begins_run=not dry_run)
    if dry_run:
        plans = [plan for job, key in pairs for plan in place.list_plans(key, job, approve)]
        answers.show_plans(session.output, plans)
        return
    if approve is not None:
        pairs = [_approved(place, pairs, approve)]
    shown: Shown = {}
    if session.output.interactive and not (yes or approve):
        shown = _list_plans_of(place, pairs)
        if not _may_remove(session.output, [plan for plans in shown.values() for plan in plans]):
            return
    orders = [
        (f"{job} in {key}", _forgets(place, job, key, approve, patience, shown.get((job, key))))
        for job, key in pairs
    ]
    _carry_out(session, place, orders)


def _forget_one(
    session: Session, snapshot: str, repository: str | None, wait: timedelta | None, *, yes: bool
) -> None:
    """Remove one snapshot; raises Misuse where what is named is none, or nobody can be asked."""
    if not names_snapshot(snapshot):
        raise Misuse(
            f"{snapshot or 'nothing'} is not a snapshot ID",
            code="snapshot_invalid",
            hint="it is 8 to 64 digits and letters a to f; see them with: highball snapshots",
        )
    place = session.place()
    found = find_snapshot(place, snapshot, repository)
    key = found.repository
    demand_maintained(key, place.document.repositories[key])
    if not yes:
        if not session.output.interactive:
            raise Misuse("--snapshot needs --yes when nobody can be asked", code="confirmation_required")
        told = f"{found.id[:8]} of {found.job or found.host}, {formatting.moment(found.time)},"
        if not session.output.confirm(f"Remove {told} from {key} for good?"):
            session.output.note("Nothing was removed.")
            return
    _carry_out(
        session, place, [(f"{found.id[:8]} in {key}", lambda: place.order_forget_one(key, found.id, wait))]
    )


def _list_plans_of(place: Operations, pairs: list[tuple[str, str]]) -> Shown:
    """The plans of each pair; one that cannot be planned is left to its run, which tells why."""
    shown: Shown = {}
    for job, key in pairs:
        with contextlib.suppress(HighballError):
            shown[job, key] = place.list_plans(key, job, None)
    return shown


def _may_remove(output: Output, plans: list[Plan]) -> bool:
    """Whether the plans may be carried out, which somebody has seen before."""
    going = sum(len(plan.remove) for plan in plans if plan.held is None)
    if not going:
        return True
    answers.show_plans(output, plans)
    what = "this snapshot" if going == 1 else f"these {going} snapshots"
    if output.confirm(f"Remove {what} for good?"):
        return True
    output.note("Nothing was removed.")
    return False


def _approved(place: Operations, pairs: list[tuple[str, str]], plan: str) -> tuple[str, str]:
    """The pair whose plan has this id now; raises Unknown: an approval is for one plan and no other."""
    for job, key in pairs:
        if any(found.id == plan for found in place.list_plans(key, job, plan)):
            return job, key
    raise plan_unknown(plan)


def _forgets(
    place: Operations,
    job: str,
    key: str,
    approve: str | None,
    wait: timedelta | None,
    shown: list[Plan] | None,
) -> Callable[[], Any]:
    def order() -> Any:
        demand_maintained(key, place.document.repositories[key])
        plans = place.list_plans(key, job, approve) if shown is None else shown
        ordered = place.order_forget(key, job, plans, approve, wait)
        _demand_moving(plans)
        return ordered

    return order


def _demand_moving(plans: list[Plan]) -> None:
    """Raise NotAllowed where every plan stands still."""
    held = [(plan, plan.held) for plan in plans if plan.held is not None]
    if held and len(held) == len(plans):
        plan, why = held[0]
        raise NotAllowed(
            f"retention of {plan.job} in {plan.repository} is on hold: {why.message}",
            code=why.code,
            hint=_what_to_do(plan, why.code),
        )


def _what_to_do(plan: Plan, code: str) -> str:
    look = f"see it with: highball forget --dry-run {plan.job}"
    if code in set(HoldCause) - set(NOT_BY_A_PERSON):
        return f"{look}; if that is right: highball accept {plan.repository}"
    return look


def accept(context: typer.Context, target: Acceptable, reason: Why = None) -> None:
    """Accept what put retention on hold, so that it continues. The reason is kept in the audit log."""
    session: Session = context.obj
    place = session.place()
    place.make_ready([])
    answers.show_accepted(session.output, target, place.accept(target, reason))


# --- what is done to a repository -----------------------------------------------------------------


def command_of(verb: Verb) -> Callable[..., None]:
    """The command of a verb that needs no more than a repository, from its row of the table of actions."""

    def command(context: typer.Context, repositories: Repositories = None, wait: Wait = None) -> None:
        _maintain(context, repositories, wait, verb.name)

    command.__doc__ = verb.words.help
    return command


def stats(context: typer.Context, repositories: Repositories = None, wait: Wait = None) -> None:
    """Measure how much each repository stores."""
    done = _maintain(context, repositories, wait, "stats", answers=False)
    session: Session = context.obj
    answers.show_sizes(session.output, done)


def _maintain(
    context: typer.Context,
    named: list[str] | None,
    wait: str | None,
    task: str,
    *,
    answers: bool = True,
) -> list[Run]:
    session: Session = context.obj
    patience = read_wait(wait)
    place = session.place()
    chosen = choose_repositories(place.document, named or [])
    place.make_ready(chosen, begins_run=True)
    orders = [(key, _does(place, task, key, patience)) for key in chosen]
    return _carry_out(session, place, orders, answers=answers)


def _does(place: Operations, task: str, key: str, wait: timedelta | None, **more: Any) -> Callable[[], Any]:
    return lambda: place.order(task, key, wait, **more)


def unlock(
    context: typer.Context,
    repositories: Repositories = None,
    remove_all: RemovesAll = False,
    yes: Yes = False,
) -> None:
    """Show the locks with their owners, and remove the stale ones."""
    session: Session = context.obj
    place = session.place()
    chosen = choose_repositories(place.document, repositories or [])
    place.make_ready(chosen, begins_run=True)
    for key in chosen:
        _show_locks(session.output, place, key)
    if remove_all and not run_all.may_remove_all(session.output, yes):
        return
    orders = [(key, _does(place, "unlock", key, None, remove_all=remove_all)) for key in chosen]
    _carry_out(session, place, orders)


def _show_locks(output: Output, place: Operations, key: str) -> None:
    from highball.agent.state_dir import describe_lock

    try:
        locks = place.list_locks(key)
    except (
        Failed,
        RepositoryError,
    ) as error:  # its run tells; the other repositories are looked at all the same
        output.note(f"{key}: {error.message}", "yellow")
        return
    for lock in locks:
        output.note(f"{key}: {describe_lock(lock)}")
    if not locks:
        output.note(f"{key}: no locks")


def _carry_out(session: Session, place: Operations, orders: Orders, *, answers: bool = True) -> list[Run]:
    return run_all.carry_out(session, place, orders, answers=answers)
