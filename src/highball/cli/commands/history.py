"""status, runs, logs: how things stand and what happened."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from highball.agent.run_directory import RunDirectory
from highball.cli import render
from highball.cli.context import Session, exit_status_of_standings
from highball.cli.local import Machine
from highball.cli.options import (
    Jobs,
    Limit,
    OnlyRunsOf,
    RunArgument,
    TellsByExit,
)
from highball.hub.runs.record import utc_now
from highball.hub.status.health import list_standings
from highball.model.event import Event
from highball.model.run import Run


def status(context: typer.Context, jobs: Jobs = None, exit_code: TellsByExit = False) -> None:
    """Show how each job stands in each of its repositories."""
    session: Session = context.obj
    machine = session.open(looks=True)
    chosen = machine.choose_jobs(jobs or []) if jobs else list(machine.document.jobs)
    machine.settle(begins_run=False)
    found = list_standings(machine.document, machine.database, machine.host, utc_now(), chosen)
    render.show_standings(session.output, found)
    if exit_code:
        session.exit_status = exit_status_of_standings(found)


def runs(context: typer.Context, job: OnlyRunsOf = None, limit: Limit = 50) -> None:
    """Show what ran, newest first."""
    session: Session = context.obj
    machine = session.open(looks=True)
    machine.settle(begins_run=False)
    if job is not None:
        machine.choose_jobs([job])
    render.show_runs(session.output, machine.record.list_runs(job=job, limit=limit))


def logs(context: typer.Context, run: RunArgument) -> None:
    """Show everything that happened in a run; while it goes on, what has happened so far."""
    session: Session = context.obj
    machine = session.open(looks=True)
    machine.settle(begins_run=False)
    found = machine.record.find_run(run)
    render.show_events(session.output, found, list(_events_of(machine, found)))


def _events_of(machine: Machine, run: Run) -> Iterator[Event]:
    """From the record, and while the run goes on the rest from its directory."""
    last = 0
    for event in machine.record.read_events(run.id):
        last = event.seq
        yield event
    yield from RunDirectory(machine.place.runs / run.id).read_events(after=last)
