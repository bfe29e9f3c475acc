"""init-config, validate, list, export, setup: what is declared, and making what it needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from highball.cli import render, run_all
from highball.cli.commands.anew import begin_anew, show_what_is_given_up
from highball.cli.context import Session
from highball.cli.local import (
    Machine,
    find_configuration,
    find_state,
)
from highball.cli.lookup import choose_repositories
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
from highball.config.document import find_obstacles, load
from highball.config.dump import as_json, as_yaml
from highball.config.misread import find_misread
from highball.errors import ConfigurationInvalid, Conflict, Misuse
from highball.schedule import check_timezone


def init_config(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Where to write it; without, to standard output.")
    ] = None,
) -> None:
    """Write a commented sample of a configuration: every field, its meaning and a value."""
    from highball.config.sample import sample

    session: Session = context.obj
    text = sample(_timezone_here())
    if file is None:
        sys.stdout.write(text)
        return
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(text)
    except FileExistsError:
        hint = "name another, or move it away"
        raise Conflict(
            f"{file} is there already, and is left as it is", code="file_exists", hint=hint
        ) from None
    if session.output.for_people:
        session.output.line(f"✓ wrote {file}", "green")
        session.output.line(f"  change it to your needs, then: highball -c {file} validate")
    else:
        session.output.document({"file": str(file)})


def _timezone_here() -> str:
    """The time zone of this machine; UTC where it names none."""
    _, _, name = str(Path("/etc/localtime").resolve()).partition("/zoneinfo/")
    try:
        return check_timezone(name)
    except ValueError:
        return "UTC"


def validate(context: typer.Context) -> None:
    """Check the configuration; nothing is applied."""
    session: Session = context.obj
    path = find_configuration(session.config)
    document = load(path)
    problems = [*find_misread(document.tables), *find_obstacles(document, list(document.repositories))]
    if problems:
        raise ConfigurationInvalid(f"{path} cannot be used as it is", problems=problems)
    render.show_valid(session.output, document, str(path), {"file": str(path)})


def list_jobs(context: typer.Context) -> None:
    """Show the jobs: what goes where, and when."""
    session: Session = context.obj
    render.show_jobs(session.output, load(find_configuration(session.config)))


def export(context: typer.Context) -> None:
    """Write everything that is declared as one YAML document; never a secret, only references."""
    session: Session = context.obj
    document = load(find_configuration(session.config))
    if session.output.for_people:
        sys.stdout.write(as_yaml(document.tables))
    else:
        session.output.document(as_json(document.tables))


def apply(
    context: typer.Context, file: AppliedFile, dry_run: PlansChanges = False, name: KnownAs = None
) -> None:
    """Let a hub's files say what this file says: it speaks to a hub alone."""
    raise Misuse(
        "apply speaks to a hub",
        hint="name it with --hub; on one machine every command reads the file that -c names",
    )


def setup(
    context: typer.Context,
    schedule: Schedules = "none",
    dry_run: ShowsSetup = False,
    wait: Wait = None,
    anew: Anew = None,
    yes: Yes = False,
) -> None:
    """Make the state directory and the repositories; what is there already stays as it is."""
    session: Session = context.obj
    check_schedules(schedule)
    path = find_configuration(session.config)
    document = load(path)
    if dry_run and anew is None:
        render.show_setup(session.output, document, "state", str(find_state(path, document)))
        return
    machine = session.open()
    keys = list(document.repositories) if anew is None else choose_repositories(document, [anew])
    machine.demand_secrets(keys)
    machine.place.find_restic()
    if dry_run:
        show_what_is_given_up(session, machine, keys[0])
        return
    machine.settle(begins_run=True)
    if anew is not None:
        begin_anew(session, machine, anew, yes=yes)
    run_all.carry_out(
        session,
        machine,
        [(key, _initialises(machine, key, wait)) for key in keys],
        extra=lambda: {"state": str(machine.state)},
    )


def _initialises(machine: Machine, key: str, wait: str | None) -> Any:
    patience = read_wait(wait)
    return lambda: machine.order("init", key, patience)
