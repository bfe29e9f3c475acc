"""status, runs, logs: how things stand and what happened; on one machine and over a hub alike."""

from __future__ import annotations

import typer

from highball.cli import render
from highball.cli.context import Session, exit_status_of_standings
from highball.cli.lookup import choose_jobs
from highball.cli.options import (
    Jobs,
    Limit,
    OnlyRunsOf,
    RunArgument,
    TellsByExit,
)


def status(context: typer.Context, jobs: Jobs = None, exit_code: TellsByExit = False) -> None:
    """Show the state of each job in each of its repositories."""
    session: Session = context.obj
    place = session.place(looks=True)
    chosen = choose_jobs(place.document, jobs) if jobs else None
    place.make_ready([])
    found = place.list_standings(chosen)
    render.show_standings(session.output, found)
    if exit_code:
        session.exit_status = exit_status_of_standings(found)


def runs(context: typer.Context, job: OnlyRunsOf = None, limit: Limit = 50) -> None:
    """List the runs, newest first."""
    session: Session = context.obj
    place = session.place(looks=True)
    place.make_ready([])
    if job is not None:
        choose_jobs(place.document, [job])
    render.show_runs(session.output, place.list_runs(job=job, limit=limit))


def logs(context: typer.Context, run: RunArgument) -> None:
    """Show the log of a run, also while it is running."""
    session: Session = context.obj
    place = session.place(looks=True)
    place.make_ready([])
    found = place.find_run(run)
    render.show_events(session.output, found, list(place.read_events(found.id)))
