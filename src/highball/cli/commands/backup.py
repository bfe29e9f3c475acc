"""run, cancel: backups, and their end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import typer

from highball.agent.run_directory import RunDirectory
from highball.cli import render, run_all
from highball.cli.context import Session
from highball.cli.local import Machine
from highball.cli.lookup import find_run_of
from highball.cli.options import (
    Cancellable,
    Jobs,
    Rehearses,
    Wait,
    read_wait,
)
from highball.config.document import (
    Document,
    effective_job,
    is_about,
    place_of,
)
from highball.config.misread import find_misread
from highball.config.repository import demand_right_to_delete
from highball.errors import Conflict
from highball.hub.retention.planner import list_discards_after
from highball.hub.runs.record import utc_now
from highball.model.run import Run, RunState
from highball.protocol.tasks import Assignment

CANCEL_SECONDS = 60.0


def run(
    context: typer.Context,
    jobs: Jobs = None,
    dry_run: Rehearses = False,
    wait: Wait = None,
) -> None:
    """Back up: all jobs, or those that are named."""
    session: Session = context.obj
    patience = read_wait(wait)
    machine = session.open()
    chosen = machine.choose_jobs(jobs or [])
    machine.demand_secrets(
        [key for job in chosen for key in effective_job(machine.document, job).repositories]
    )
    machine.place.find_restic()
    machine.settle(begins_run=not dry_run)
    if not chosen:
        session.output.note("No jobs are enabled; see: highball list")
    _tell_misread(session, machine.document, chosen)
    run_all.carry_out(
        session,
        machine,
        _list_orders(machine, chosen, patience, dry_run),
        rehearse=dry_run,
        extra=(lambda: {"dry_run": True}) if dry_run else dict,
    )


def _tell_misread(session: Session, document: Document, jobs: Sequence[str]) -> None:
    """What `validate` refuses and a run passes over: what was to be left out by it is saved."""
    others = [place_of("job", key) for key in document.jobs if key not in jobs]
    for found in find_misread(document.tables):
        if not is_about(found, others):
            session.output.note(f"! {found}", "yellow")


def _list_orders(
    machine: Machine, jobs: Sequence[str], wait: timedelta | None, dry_run: bool
) -> Iterator[tuple[str, Callable[[], Assignment]]]:
    """Each backup, and behind it the retention that is to be applied then: a run of its own in each repository."""
    for job in jobs:
        before = machine.find_latest(job)
        yield job, _backs_up(machine, job, wait, dry_run)
        done = machine.find_latest(job)
        if dry_run or done is None or done == before:
            continue
        for key in list_discards_after(machine.document, machine.record.find_run(done)):
            yield f"{job} in {key}", _discards(machine, job, key, wait)


def _discards(machine: Machine, job: str, key: str, wait: timedelta | None) -> Callable[[], Assignment]:
    def order() -> Assignment:
        demand_right_to_delete(key, machine.document.repositories[key])
        return machine.order_forget(key, job, machine.list_plans(key, job, None), None, wait)

    return order


def _backs_up(machine: Machine, job: str, wait: timedelta | None, dry_run: bool) -> Callable[[], Assignment]:
    # ordered only when its turn comes: what is expected in a repository depends on the runs before
    return lambda: machine.orders.back_up(job, utc_now(), wait=wait, dry_run=dry_run)


def cancel(context: typer.Context, run: Cancellable) -> None:
    """End a run politely, and say how it ended."""
    session: Session = context.obj
    machine = session.open()
    machine.settle(begins_run=False)
    found = find_run_of(run, machine.document.jobs, machine.record)
    if found.state is RunState.DONE:
        raise Conflict(
            f"run {found.id} has ended already", code="run_ended", hint=f"see: highball logs {found.id}"
        )
    RunDirectory(machine.place.runs / found.id).request_cancel()
    session.output.note(f"Asked run {found.id} to end …")
    render.show_ending(session.output, _await_end(machine, found.id))


def _await_end(machine: Machine, run: str) -> Run:
    deadline = time.monotonic() + CANCEL_SECONDS
    while True:
        found = machine.record.find_run(run)
        if found.state is RunState.DONE or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
