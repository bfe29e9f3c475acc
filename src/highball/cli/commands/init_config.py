"""init-config: a commented sample of a configuration, to begin with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from highball.cli.context import Session
from highball.errors import Conflict
from highball.schedule import check_timezone


def init_config(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The file to write; by default standard output.")
    ] = None,
) -> None:
    """Write a commented sample configuration: every field with its meaning and a value."""
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
        hint = "choose another name, or move it away"
        raise Conflict(f"{file} exists already, and was not changed", code="file_exists", hint=hint) from None
    if session.output.for_people:
        session.output.line(f"✓ wrote {file}", "green")
        session.output.line(f"  edit it, then: highball -c {file} validate")
    else:
        session.output.document({"file": str(file)})


def _timezone_here() -> str:
    """The time zone of this machine; UTC where it names none."""
    _, _, name = str(Path("/etc/localtime").resolve()).partition("/zoneinfo/")
    try:
        return check_timezone(name)
    except ValueError:
        return "UTC"
