"""rekey, change-id: another key for what is declared, here and over a hub; its snapshots and its history go with it.

What changes is shown first. On one machine the file says the new key before the record does: the file has the
last word, and would bring the old key back otherwise.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from highball.cli import render
from highball.cli.context import Session
from highball.cli.options import PlansChanges, Yes
from highball.errors import Cancelled, Misuse


class Kind(StrEnum):
    """What has a key that may change."""

    HOST = "host"
    REPOSITORY = "repository"
    JOB = "job"
    PROFILE = "profile"
    PIN = "pin"


OfKind = Annotated[Kind, typer.Argument(help="The kind of object.", metavar="KIND")]
OldKey = Annotated[str, typer.Argument(help="Its present ID.", metavar="OLD")]
NewKey = Annotated[str, typer.Argument(help="Its new ID.", metavar="NEW")]


def rekey(
    context: typer.Context,
    kind: OfKind,
    old: OldKey,
    new: NewKey,
    yes: Yes = False,
    dry_run: PlansChanges = False,
) -> None:
    """Change the ID of a job, repository, profile, host or pin; its snapshots and history stay with it."""
    session: Session = context.obj

    def agree(changes: list[dict[str, Any]]) -> None:
        _agree(session, changes, yes=yes, dry_run=dry_run)

    try:
        changes = session.declared().rekey(kind, old, new, agree, dry_run=dry_run)
    except PlanShown:
        return
    _tell(session, changes)


class PlanShown(Exception):
    """Only what would change was asked for, and it was shown."""


def _agree(session: Session, changes: list[dict[str, Any]], *, yes: bool, dry_run: bool) -> None:
    """Show what changes, and ask. Raises PlanShown, Cancelled, and Misuse where nobody can be asked."""
    output = session.output
    if output.for_people or dry_run:
        render.show_changes(output, changes)
    if dry_run:
        raise PlanShown
    if yes:
        return
    if not output.interactive:
        raise Misuse("changing an ID needs --yes when nobody can be asked", code="confirmation_required")
    if not output.confirm(
        "Change the ID? The old one cannot be used again: it still identifies the snapshots."
    ):
        raise Cancelled("nothing was changed")


def _tell(session: Session, changes: list[dict[str, Any]]) -> None:
    """Say that it is done."""
    if session.output.for_people:
        first = changes[0]
        session.output.line(f"✓ the ID of {first['key']} is now {first['differences'][0]['after']}", "green")
    else:
        render.show_changes(session.output, changes)
