"""validate, list, export, apply, setup: what is declared, and making what it needs; here and over a hub alike."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import typer

from highball.cli import render, run_all
from highball.cli.commands.anew import begin_anew, show_what_is_given_up
from highball.cli.context import EXIT_OF, Session
from highball.cli.lookup import choose_repositories
from highball.cli.operations import Operations
from highball.cli.options import (
    Anew,
    AppliedFile,
    KnownAs,
    PlansChanges,
    Schedules,
    ShowsSetup,
    Wait,
    Yes,
    check_schedules,
    read_wait,
)
from highball.config.dump import as_json
from highball.errors import ConfigurationInvalid
from highball.model.run import Outcome

USABLE = ("existing", "empty", "locked")
"""The states of a repository that backups may go to; a lock is waited for."""


def validate(context: typer.Context) -> None:
    """Check the configuration, without applying it. A hub never accepts an invalid one."""
    session: Session = context.obj
    declared = session.declared()
    document, problems = declared.document, declared.find_problems()
    if problems:
        raise ConfigurationInvalid(f"{declared.name} is not valid", problems=problems)
    render.show_valid(session.output, document, declared.name, declared.about)


def list_jobs(context: typer.Context) -> None:
    """List the jobs with their sources, repositories and schedules."""
    session: Session = context.obj
    render.show_jobs(session.output, session.declared().document)


def export(context: typer.Context) -> None:
    """Print the whole configuration as YAML; of secrets only the references."""
    session: Session = context.obj
    declared = session.declared()
    if session.output.for_people:
        sys.stdout.write(declared.read_yaml().decode())
    else:
        session.output.document(as_json(declared.read_tables()))


def apply(
    context: typer.Context, file: AppliedFile, dry_run: PlansChanges = False, name: KnownAs = None
) -> None:
    """Apply a configuration file to a hub; what the file declared before and no longer declares is deleted."""
    session: Session = context.obj
    render.show_changes(session.output, session.declared().apply(file, dry_run=dry_run, name=name))


def setup(
    context: typer.Context,
    schedule: Schedules = "none",
    dry_run: ShowsSetup = False,
    wait: Wait = None,
    anew: Anew = None,
    yes: Yes = False,
) -> None:
    """Create the state directory and the repositories; existing ones are left unchanged.

    Over a hub, each is created from the host that maintains it, and tested from every host that uses it.
    """
    session: Session = context.obj
    check_schedules(schedule)
    patience = read_wait(wait)
    declared = session.declared()
    if dry_run and anew is None:
        render.show_setup(session.output, declared.document, *declared.plan_setup())
        return
    document = declared.document
    keys = list(document.repositories) if anew is None else choose_repositories(document, [anew])
    place = session.place()
    place.make_ready(keys, begins_run=not dry_run, starts_engine=True)
    if dry_run:
        show_what_is_given_up(session, place, keys[0])
        return
    if anew is not None:
        begin_anew(session, place, anew, yes=yes)
    orders = [(key, partial(place.order, "init", key, patience)) for key in keys]
    run_all.carry_out(session, place, orders, extra=lambda: place.tell_set_up() | _reached(session, place))


def _reached(session: Session, place: Operations) -> dict[str, Any]:
    """Whether each host reaches the repositories that its jobs use; a warning where one does not."""
    reached = place.look_from_hosts()
    if reached is None:
        return {}
    render.show_reached(session.output, reached)
    if any(one["state"] not in USABLE for one in reached):
        session.exit_status = session.exit_status or EXIT_OF[Outcome.WARNING]
    return {"reached": reached}
