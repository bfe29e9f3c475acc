"""run, cancel: backups, and their end."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import typer

from highball.agent.rundir import RunDirectory
from highball.cli import answers, carrying
from highball.cli.arguments import Jobs, Rehearses, RunArgument, Wait, read_wait
from highball.cli.machine import Machine
from highball.cli.session import Session
from highball.errors import Conflict
from highball.facts import Run, RunState
from highball.hub.runs import utc_now
from highball.protocol import Assignment
from highball.spec.document import effective_job

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
    carrying.carry_out(
        session,
        machine,
        [(job, _backs_up(machine, job, patience, dry_run)) for job in chosen],
        rehearse=dry_run,
        extra=(lambda: {"dry_run": True}) if dry_run else dict,
    )


def _backs_up(machine: Machine, job: str, wait: timedelta | None, dry_run: bool) -> Callable[[], Assignment]:
    # ordered only when its turn comes: what is expected in a repository depends on the runs before
    return lambda: machine.orders.back_up(job, utc_now(), wait=wait, dry_run=dry_run)


def cancel(context: typer.Context, run: RunArgument) -> None:
    """End a run politely, and say how it ended."""
    session: Session = context.obj
    machine = session.open()
    machine.settle(begins_run=False)
    found = machine.record.find_run(run)
    if found.state is RunState.DONE:
        raise Conflict(
            f"run {found.id} has ended already", code="run_ended", hint=f"see: highball logs {found.id}"
        )
    RunDirectory(machine.place.runs / found.id).request_cancel()
    session.output.note(f"Asked run {found.id} to end …")
    answers.show_ending(session.output, _await_end(machine, found.id))


def _await_end(machine: Machine, run: str) -> Run:
    deadline = time.monotonic() + CANCEL_SECONDS
    while True:
        found = machine.record.find_run(run)
        if found.state is RunState.DONE or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
