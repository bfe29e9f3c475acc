"""verify, forget, prune, check, unlock, stats: keeping repositories in order, and proving it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import typer

from highball.agent.workplace import describe_lock
from highball.cli import answers, carrying
from highball.cli.arguments import (
    Approves,
    Jobs,
    OnlyShows,
    ReadsAll,
    RemovesAll,
    Repositories,
    Wait,
    Yes,
    read_wait,
)
from highball.cli.machine import Machine
from highball.cli.session import Session
from highball.errors import NotAllowed, RepositoryError, Unknown
from highball.hub.runs import SetOf, utc_now
from highball.hub.upkeep import demand_right_to_delete, next_slice, order_removal
from highball.keeping import Plan
from highball.protocol import (
    FILES_SET,
    Assignment,
    CheckTask,
    ForgetTask,
    PruneTask,
    StatsTask,
    Task,
    UnlockTask,
    VerifyTask,
)
from highball.spec.document import effective_job

# --- verify --------------------------------------------------------------------------------------


def verify(
    context: typer.Context,
    jobs: Jobs = None,
    read_data: ReadsAll = False,
    wait: Wait = None,
) -> None:
    """Prove that the newest snapshots can be restored: bring files back to scratch and compare them."""
    session: Session = context.obj
    patience = read_wait(wait)
    machine = session.open()
    chosen = machine.choose_jobs(jobs or [])
    sets = [
        SetOf(key, machine.host, job, FILES_SET) for job in chosen for key in machine.job(job).repositories
    ]
    machine.demand_secrets([of.repository for of in sets])
    machine.place.find_restic()
    machine.settle(begins_run=True)
    orders = [(f"{of.job} in {of.repository}", _verifies(machine, of, read_data, patience)) for of in sets]
    carrying.carry_out(session, machine, orders)


def _verifies(
    machine: Machine, of: SetOf, read_data: bool, wait: timedelta | None
) -> Callable[[], Assignment]:
    def order() -> Assignment:
        governed = machine.record.list_governed(of)
        if not governed:
            raise Unknown(
                f"{of.job} has no snapshot in {of.repository} yet",
                code="snapshot_unknown",
                hint=f"make one with: highball run {of.job}",
            )
        task = VerifyTask(repository=of.repository, snapshot_id=governed[0].id, all_data=read_data)
        return machine.orders.maintain(task, of.repository, utc_now(), job=of.job, wait=wait)

    return order


# --- forget --------------------------------------------------------------------------------------


def forget(
    context: typer.Context,
    jobs: Jobs = None,
    approve: Approves = None,
    dry_run: OnlyShows = False,
    wait: Wait = None,
) -> None:
    """Apply retention: remove the snapshots that no rule keeps."""
    session: Session = context.obj
    patience = read_wait(wait)
    machine = session.open()
    chosen = machine.choose_jobs(jobs or []) if jobs else list(machine.document.jobs)
    sets = [of for job in chosen for of in _sets_of(machine, job)]
    machine.demand_secrets([of.repository for of in sets])
    machine.place.find_restic()
    machine.settle(begins_run=not dry_run)
    if dry_run:
        answers.show_plans(session.output, [_plan(machine, of, approve) for of in sets])
        return
    if approve is not None:
        sets = [_approved(machine, sets, approve)]
    orders = [(f"{of.job} in {of.repository}", _forgets(machine, of, approve, patience)) for of in sets]
    carrying.carry_out(session, machine, orders)


def _approved(machine: Machine, sets: list[SetOf], plan: str) -> SetOf:
    """The set whose plan has this id now; raises Unknown: an approval is for one plan and no other."""
    found = next((of for of in sets if _plan(machine, of, plan).id == plan), None)
    if found is None:
        raise Unknown(
            f"no plan is {plan} now: it was never made, or the repository has changed since",
            code="plan_unknown",
            hint="see the plans with: highball forget --dry-run",
        )
    return found


def _sets_of(machine: Machine, job: str) -> list[SetOf]:
    """The job's own sets, and those that it left in repositories or under host keys it had before."""
    merged = effective_job(machine.document, job)
    own = [SetOf(repository, machine.host, job, FILES_SET) for repository in merged.repositories]
    known = [of for of in machine.record.list_sets(job=job) if of.repository in machine.document.repositories]
    return list(dict.fromkeys([*own, *known]))


def _forgets(
    machine: Machine, of: SetOf, approve: str | None, wait: timedelta | None
) -> Callable[[], Assignment]:
    def order() -> Assignment:
        repository = machine.document.repositories[of.repository]
        if repository.maintenance == "off":
            raise NotAllowed(
                f"maintenance of {of.repository} is off: nothing is ever removed there",
                code="maintenance_off",
            )
        demand_right_to_delete(of.repository, repository)
        plan = _plan(machine, of, approve)
        if plan.held is not None:
            raise NotAllowed(
                f"retention of {of.job} in {of.repository} stands still: {plan.held.message}",
                code=plan.held.code,
                hint=f"see it with: highball forget --dry-run {of.job}",
            )
        task = ForgetTask(repository=of.repository, removals=(order_removal(plan),))
        return machine.orders.maintain(task, of.repository, utc_now(), job=of.job, wait=wait)

    return order


def _plan(machine: Machine, of: SetOf, approve: str | None) -> Plan:
    asked = machine.ask(of.repository)
    asked.compare_identity()
    return machine.retainer.plan(of, asked, utc_now(), approve)


# --- prune, check, unlock, stats -----------------------------------------------------------------


def prune(context: typer.Context, repositories: Repositories = None, wait: Wait = None) -> None:
    """Remove data that no snapshot needs any more."""

    def order(machine: Machine, key: str) -> Task:
        demand_right_to_delete(key, machine.document.repositories[key])
        return PruneTask(repository=key)

    _maintain(context, repositories, wait, order)


def check(context: typer.Context, repositories: Repositories = None, wait: Wait = None) -> None:
    """Check the structure, and read the next slice of the data, so that in time all of it is read."""

    def order(machine: Machine, key: str) -> Task:
        return CheckTask(
            repository=key, slice=next_slice(machine.record, key, machine.document.repositories[key])
        )

    _maintain(context, repositories, wait, order)


def unlock(
    context: typer.Context,
    repositories: Repositories = None,
    remove_all: RemovesAll = False,
    yes: Yes = False,
) -> None:
    """Show the locks with their owners, and remove those that restic calls stale."""
    session: Session = context.obj
    machine = session.open()
    chosen = machine.choose_repositories(repositories or [])
    machine.demand_secrets(chosen)
    for key in chosen:
        try:
            locks = machine.ask(key).list_locks()
        except RepositoryError as error:  # its run tells; the other repositories are looked at all the same
            session.output.note(f"{key}: {error.message}", "yellow")
            continue
        for lock in locks:
            session.output.note(f"{key}: {describe_lock(lock)}")
        if not locks:
            session.output.note(f"{key}: no locks")
    if remove_all and not carrying.may_remove_all(session.output, yes):
        return
    _maintain(
        context, chosen, None, lambda _, key: UnlockTask(repository=key, remove_all=remove_all), machine
    )


def _maintain(
    context: typer.Context,
    named: list[str] | None,
    wait: str | None,
    order: Callable[[Machine, str], Task],
    opened: Machine | None = None,
) -> None:
    session: Session = context.obj
    patience = read_wait(wait)
    machine = opened or session.open()
    chosen = machine.choose_repositories(named or [])
    machine.demand_secrets(chosen)
    machine.place.find_restic()
    machine.settle(begins_run=True)

    def orders(key: str) -> Callable[[], Assignment]:
        return lambda: machine.orders.maintain(order(machine, key), key, utc_now(), wait=patience)

    carrying.carry_out(session, machine, [(key, orders(key)) for key in chosen])


def stats(context: typer.Context, repositories: Repositories = None, wait: Wait = None) -> None:
    """Measure what each repository stores."""
    session: Session = context.obj
    patience = read_wait(wait)
    machine = session.open()
    chosen = machine.choose_repositories(repositories or [])
    machine.demand_secrets(chosen)
    machine.settle(begins_run=True)

    def measures(key: str) -> Callable[[], Assignment]:
        return lambda: machine.orders.maintain(StatsTask(repository=key), key, utc_now(), wait=patience)

    done = carrying.carry_out(session, machine, [(key, measures(key)) for key in chosen], answers=False)
    answers.show_sizes(session.output, done)
