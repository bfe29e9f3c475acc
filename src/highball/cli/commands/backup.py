"""run, cancel: backups, and their end; on one machine and over a hub alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import typer

from highball.cli import render, run_all
from highball.cli.context import Session
from highball.cli.lookup import await_end, choose_jobs, find_run_of
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
from highball.errors import Conflict
from highball.model.run import RunState

CANCEL_SECONDS = 60.0


def run(
    context: typer.Context,
    jobs: Jobs = None,
    dry_run: Rehearses = False,
    wait: Wait = None,
) -> None:
    """Back up all jobs, or the ones given."""
    session: Session = context.obj
    patience = read_wait(wait)
    place = session.place()
    chosen = choose_jobs(place.document, jobs or [])
    used = [key for job in chosen for key in effective_job(place.document, job).repositories]
    place.make_ready(used, begins_run=not dry_run, starts_engine=True)
    if not chosen:
        session.output.note("No jobs are enabled; see: highball list")
    _tell_misread(session, place.document, chosen)
    run_all.carry_out(
        session,
        place,
        place.each_backup(chosen, patience, dry_run=dry_run),
        rehearse=dry_run,
        extra=(lambda: {"dry_run": True}) if dry_run else dict,
    )


def back_up_hub(context: typer.Context) -> None:
    """Order a hub backup: a copy of its database, with the sealed vault, where the hub keeps its copies."""
    session: Session = context.obj
    place = session.place()
    run_all.carry_out(session, place, [("hub", partial(place.order, "hub-backup", "hub"))])


def _tell_misread(session: Session, document: Document, jobs: Sequence[str]) -> None:
    """What `validate` refuses and a run passes over: what was to be left out by it is saved."""
    others = [place_of("job", key) for key in document.jobs if key not in jobs]
    for found in find_misread(document.tables):
        if not is_about(found, others):
            session.output.note(f"! {found}", "yellow")


def cancel(context: typer.Context, run: Cancellable) -> None:
    """Cancel a run, wait until it has ended, and show its outcome."""
    session: Session = context.obj
    place = session.place()
    place.make_ready([])
    found = find_run_of(run, place.document.jobs, place)
    if found.state is RunState.DONE:
        raise Conflict(
            f"run {found.id} has ended already", code="run_ended", hint=f"see: highball logs {found.id}"
        )
    place.cancel(found.id)
    session.output.note(f"Cancelling run {found.id} …")
    render.show_ending(session.output, await_end(place, found.id, CANCEL_SECONDS))
