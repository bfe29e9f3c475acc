"""The verbs over a hub: called as on one machine, answered as on one machine, carried out by the hub's agents.

Verbs that ask only for what a machine and a hub both answer are not here but in rooms of their own (`holdings`,
`recovery`, `adopting`). No room of the hub or of the agent is needed here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import typer

from highball.cli import adopting, answers, carrying, holdings, recovery
from highball.cli.arguments import (
    AppliedFile,
    Approves,
    Jobs,
    Limit,
    OnlyRunsOf,
    OnlyShows,
    PlansChanges,
    ReadsAll,
    Rehearses,
    RemovesAll,
    Repositories,
    RunArgument,
    Schedules,
    ShowsSetup,
    Wait,
    Yes,
    check_schedules,
    read_wait,
)
from highball.cli.client import Hub
from highball.cli.following import await_end
from highball.cli.names import choose_jobs, choose_repositories
from highball.cli.session import Session
from highball.errors import Conflict, Failed, NotAllowed, Unknown
from highball.facts import RunState
from highball.keeping import Plan
from highball.spec.document import Document, effective_job
from highball.spec.reading import read
from highball.spec.writing import as_json

Order = dict[str, Any]

CANCEL_SECONDS = 60.0


# --- what is declared ----------------------------------------------------------------------------


def validate(context: typer.Context) -> None:
    """Check the configuration; a hub takes in none that is wrong."""
    session: Session = context.obj
    hub = session.reach()
    answers.show_valid(session.output, hub.document, hub.url, {"file": None, "hub": hub.url})


def list_jobs(context: typer.Context) -> None:
    """Show the jobs: what goes where, and when."""
    session: Session = context.obj
    answers.show_jobs(session.output, session.reach().document)


def export(context: typer.Context) -> None:
    """Write everything that is declared as one YAML document; never a secret, only references."""
    session: Session = context.obj
    text = session.reach().read_configuration()
    if session.output.for_people:
        sys.stdout.write(text.decode())
    else:
        session.output.document(as_json(read(text, "yaml")))


def apply(context: typer.Context, file: AppliedFile, dry_run: PlansChanges = False) -> None:
    """Let a hub's files say what this file says; what it no longer names of them is deleted."""
    session: Session = context.obj
    answers.show_changes(session.output, session.reach().apply(file, dry_run=dry_run))


def setup(
    context: typer.Context, schedule: Schedules = "none", dry_run: ShowsSetup = False, wait: Wait = None
) -> None:
    """Make the repositories, each from the machine that looks after it; what is there already stays as it is."""
    session: Session = context.obj
    check_schedules(schedule)
    patience = _read_patience(wait)
    hub = session.reach()
    if dry_run:
        answers.show_setup(session.output, hub.document, "hub", hub.url)
        return
    orders = [
        (key, _orders({"task": "init", "repository": key} | patience)) for key in hub.document.repositories
    ]
    carrying.carry_out(session, hub, orders, extra=lambda: {"hub": hub.url})


# --- backups -------------------------------------------------------------------------------------


def run(
    context: typer.Context,
    jobs: Jobs = None,
    dry_run: Rehearses = False,
    wait: Wait = None,
) -> None:
    """Back up: all jobs, or those that are named."""
    session: Session = context.obj
    patience = _read_patience(wait)
    hub = session.reach()
    chosen = choose_jobs(hub.document, jobs or [])
    if not chosen:
        session.output.note("No jobs are enabled; see: highball list")
    rehearsal: Order = {"dry_run": True} if dry_run else {}
    carrying.carry_out(
        session,
        hub,
        [(job, _orders({"task": "backup", "job": job} | rehearsal | patience)) for job in chosen],
        rehearse=dry_run,
        extra=lambda: rehearsal,
    )


def accept(context: typer.Context, run: RunArgument) -> None:
    """Say that a run's smaller size is right: it is the usual one from now on."""
    session: Session = context.obj
    whole, count = session.reach().accept(run)
    answers.show_accepted(session.output, whole, count)


def cancel(context: typer.Context, run: RunArgument) -> None:
    """End a run politely, and say how it ended."""
    session: Session = context.obj
    hub = session.reach()
    found = hub.find_run(run)
    if found.state is RunState.DONE:
        raise Conflict(
            f"run {found.id} has ended already", code="run_ended", hint=f"see: highball logs {found.id}"
        )
    hub.cancel(found.id)
    session.output.note(f"Asked run {found.id} to end …")
    answers.show_ending(session.output, await_end(hub, found.id, CANCEL_SECONDS))


def status(context: typer.Context, jobs: Jobs = None) -> None:
    """Show how each job stands in each of its repositories."""
    session: Session = context.obj
    hub = session.reach()
    found = hub.list_standings()
    if jobs:
        chosen = choose_jobs(hub.document, jobs)
        found = sorted((one for one in found if one.job in chosen), key=lambda one: chosen.index(one.job))
    answers.show_standings(session.output, found)


def runs(context: typer.Context, job: OnlyRunsOf = None, limit: Limit = 50) -> None:
    """Show what ran, newest first."""
    session: Session = context.obj
    hub = session.reach()
    if job is not None:
        choose_jobs(hub.document, [job])
    answers.show_runs(session.output, hub.list_runs(job=job, limit=limit))


def logs(context: typer.Context, run: RunArgument) -> None:
    """Show everything that happened in a run; while it goes on, what has happened so far."""
    session: Session = context.obj
    hub = session.reach()
    answers.show_events(session.output, list(hub.read_events(hub.find_run(run).id)))


# --- proving --------------------------------------------------------------------------------------


def verify(context: typer.Context, jobs: Jobs = None, read_data: ReadsAll = False, wait: Wait = None) -> None:
    """Prove that the newest snapshots can be restored: bring files back to scratch and compare them."""
    session: Session = context.obj
    patience = _read_patience(wait)
    hub = session.reach()
    document = hub.document
    wanted: Order = {"task": "verify", "all_data": read_data} | patience
    orders = [
        (f"{job} in {key}", _orders(wanted | {"job": job, "repository": key}))
        for job in choose_jobs(document, jobs or [])
        for key in effective_job(document, job).repositories
    ]
    carrying.carry_out(session, hub, orders)


# --- keeping repositories in order ---------------------------------------------------------------


def forget(
    context: typer.Context,
    jobs: Jobs = None,
    approve: Approves = None,
    dry_run: OnlyShows = False,
    wait: Wait = None,
) -> None:
    """Apply retention: remove the snapshots that no rule keeps."""
    session: Session = context.obj
    patience = _read_patience(wait)
    hub = session.reach()
    document = hub.document
    chosen = choose_jobs(document, jobs or []) if jobs else list(document.jobs)
    pairs = [(job, key) for job in chosen for key in effective_job(document, job).repositories]
    if dry_run:
        plans = [plan for job, key in pairs for plan in hub.list_plans(key, job, approve)]
        answers.show_plans(session.output, plans)
        return
    if approve is not None:
        pairs = [_approved(hub, pairs, approve)]
    orders = [(f"{job} in {key}", _forgets(hub, document, job, key, approve, patience)) for job, key in pairs]
    carrying.carry_out(session, hub, orders)


def _approved(hub: Hub, pairs: list[tuple[str, str]], plan: str) -> tuple[str, str]:
    """The pair whose plan has this id now; raises Unknown: an approval is for one plan and no other."""
    for job, key in pairs:
        if any(found.id == plan for found in hub.list_plans(key, job, plan)):
            return job, key
    raise Unknown(
        f"no plan is {plan} now: it was never made, or the repository has changed since",
        code="plan_unknown",
        hint="see the plans with: highball forget --dry-run",
    )


def _forgets(
    hub: Hub, document: Document, job: str, key: str, approve: str | None, patience: Order
) -> Callable[[], Order]:
    def order() -> Order:
        if document.repositories[key].maintenance == "off":
            raise NotAllowed(
                f"maintenance of {key} is off: nothing is ever removed there", code="maintenance_off"
            )
        _demand_moving(hub.list_plans(key, job, approve))
        return {"task": "forget", "job": job, "repository": key, "plan": approve} | patience

    return order


def _demand_moving(plans: list[Plan]) -> None:
    """Raise NotAllowed where every plan stands still."""
    held = [(plan, plan.held) for plan in plans if plan.held is not None]
    if held and len(held) == len(plans):
        plan, why = held[0]
        raise NotAllowed(
            f"retention of {plan.job} in {plan.repository} stands still: {why.message}",
            code=why.code,
            hint=f"see it with: highball forget --dry-run {plan.job}",
        )


def prune(context: typer.Context, repositories: Repositories = None, wait: Wait = None) -> None:
    """Remove data that no snapshot needs any more."""
    _maintain(context, repositories, wait, {"task": "prune"})


def check(context: typer.Context, repositories: Repositories = None, wait: Wait = None) -> None:
    """Check the structure, and read the next slice of the data, so that in time all of it is read."""
    _maintain(context, repositories, wait, {"task": "check"})


def stats(context: typer.Context, repositories: Repositories = None, wait: Wait = None) -> None:
    """Measure what each repository stores."""
    session: Session = context.obj
    hub = session.reach()
    patience = _read_patience(wait)
    chosen = choose_repositories(hub.document, repositories or [])
    orders = [(key, _orders({"task": "stats", "repository": key} | patience)) for key in chosen]
    answers.show_sizes(session.output, carrying.carry_out(session, hub, orders, answers=False))


def unlock(
    context: typer.Context,
    repositories: Repositories = None,
    remove_all: RemovesAll = False,
    yes: Yes = False,
) -> None:
    """Show the locks with their owners, and remove those that restic calls stale."""
    session: Session = context.obj
    hub = session.reach()
    chosen = choose_repositories(hub.document, repositories or [])
    for key in chosen:
        _show_locks(session, hub, key)
    if remove_all and not carrying.may_remove_all(session.output, yes):
        return
    orders = [
        (key, _orders({"task": "unlock", "repository": key, "remove_all": remove_all})) for key in chosen
    ]
    carrying.carry_out(session, hub, orders)


def _show_locks(session: Session, hub: Hub, key: str) -> None:
    from highball.agent.workplace import describe_lock

    try:
        locks = hub.list_locks(key)
    except Failed as error:  # its run tells; the other repositories are looked at all the same
        session.output.note(f"{key}: {error.message}", "yellow")
        return
    for lock in locks:
        session.output.note(f"{key}: {describe_lock(lock)}")
    if not locks:
        session.output.note(f"{key}: no locks")


def _maintain(context: typer.Context, named: list[str] | None, wait: str | None, wanted: Order) -> None:
    session: Session = context.obj
    patience = _read_patience(wait)
    hub = session.reach()
    chosen = choose_repositories(hub.document, named or [])
    orders = [(key, _orders(wanted | {"repository": key} | patience)) for key in chosen]
    carrying.carry_out(session, hub, orders)


# --- what they share -----------------------------------------------------------------------------


def _orders(order: Order) -> Callable[[], Order]:
    return lambda: order


def _read_patience(wait: str | None) -> Order:
    patience = read_wait(wait)
    return {} if patience is None else {"wait_seconds": patience.total_seconds()}


COMMANDS: dict[str, Callable[..., Any]] = {
    "validate": validate,
    "list": list_jobs,
    "export": export,
    "apply": apply,
    "setup": setup,
    "run": run,
    "backup": run,
    "accept": accept,
    "cancel": cancel,
    "status": status,
    "runs": runs,
    "logs": logs,
    "snapshots": holdings.snapshots,
    "ls": holdings.list_nodes,
    "diff": holdings.diff,
    "dump": holdings.dump,
    "verify": verify,
    "restore": recovery.restore,
    "forget": forget,
    "prune": prune,
    "check": check,
    "unlock": unlock,
    "stats": stats,
    "adopt": adopting.adopt,
}
"""All verbs that speak to a hub, by name."""
