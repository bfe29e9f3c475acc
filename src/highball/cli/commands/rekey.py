"""rekey: another key for what is declared, here and over a hub; its snapshots and its history go with it.

What changes is shown first. On one machine the file says the new key before the record does: the file has the
last word, and would bring the old key back otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from highball.cli import render
from highball.cli.context import Session
from highball.cli.options import PlansChanges, Yes
from highball.config.references import (
    ALONE,
    TABLE_OF,
    TABLES,
    place_of,
    with_new_key,
)
from highball.errors import Cancelled, HighballError, Misuse, Unknown

if TYPE_CHECKING:
    from highball.hub.document.store import Documents


class Kind(StrEnum):
    """What has a key that may change."""

    HOST = "host"
    REPOSITORY = "repository"
    JOB = "job"
    PROFILE = "profile"
    PIN = "pin"


OfKind = Annotated[Kind, typer.Argument(help="What it is.", metavar="KIND")]
OldKey = Annotated[str, typer.Argument(help="Its key until now.", metavar="OLD")]
NewKey = Annotated[str, typer.Argument(help="Its key from now on.", metavar="NEW")]


def rekey(
    context: typer.Context,
    kind: OfKind,
    old: OldKey,
    new: NewKey,
    yes: Yes = False,
    dry_run: PlansChanges = False,
) -> None:
    """Give a job, repository, host, profile or pin another key; snapshots and history stay with it."""
    from highball.cli.local import find_configuration, open_machine
    from highball.config.document import load
    from highball.hub.audit import COMMAND
    from highball.hub.document.rules import OWN_FILE
    from highball.hub.runs.record import utc_now

    session: Session = context.obj
    path = find_configuration(session.config)
    wanted = load(path).tables
    changed: list[dict[str, Any]] = []

    def give_key(documents: Documents) -> None:
        try:
            one = documents.get(kind, old)
        except Unknown as error:
            raise _too_late(error, kind, old, new) from None
        changed.extend(what_changes(documents.document().tables, kind, old, new))
        table = wanted.get(TABLE_OF[kind], {})
        if not dry_run and (old in table or new not in table):
            raise Misuse(
                f"{path} does not say {place_of(kind, new)} yet",
                code="key_not_in_file",
                hint=f"write {new} there wherever it says {old}, and call this again before anything else",
            )
        agree(session, changed, yes=yes, dry_run=dry_run)
        told: dict[str, Any] = {"expected": one.revision, "now": utc_now(), "actor": COMMAND}
        documents.rekey(kind, old, new, owner=OWN_FILE, **told)

    try:
        open_machine(session.config, before=give_key)
    except Planned:
        return
    tell(session, changed)


def _too_late(error: Unknown, kind: str, old: str, new: str) -> HighballError:
    """The file was read without the old key already: what is left to do."""
    if error.code != f"{kind}_deleted" or kind not in (Kind.REPOSITORY, Kind.JOB):
        return error
    repository = new if kind == Kind.REPOSITORY else "REPOSITORY"
    job = new if kind == Kind.JOB else "JOB"
    return Misuse(
        f"the {kind} {old} is deleted: {new} was read from the file as another one before it was rekeyed",
        code="rekeyed_too_late",
        hint=f"let {job} keep the snapshots that are there: highball adopt {repository} (then GROUP --job {job})",
    )


class Planned(Exception):
    """Only what would change was asked for, and it was shown."""


def what_changes(tables: Mapping[str, Any], kind: str, old: str, new: str) -> list[dict[str, Any]]:
    """The object with its new key, and each that names it."""
    key = {"at": "key", "before": old, "after": new}
    found = [{"kind": kind, "key": old, "what": "rekeyed", "differences": [key]}]
    declared = [(name, name, tables.get(name) or {}) for name in ALONE]
    declared += [
        (TABLES[table], key, spec) for table in TABLES for key, spec in tables.get(table, {}).items()
    ]
    for of, name, spec in declared:
        after = with_new_key(of, spec, (kind, old), new)
        differing = [
            {"at": field, "before": spec[field], "after": after[field]}
            for field in spec
            if after[field] != spec[field]
        ]
        if differing:
            found.append({"kind": of, "key": name, "what": "changed", "differences": differing})
    return found


def agree(session: Session, changes: list[dict[str, Any]], *, yes: bool, dry_run: bool) -> None:
    """Show what changes, and ask. Raises Planned, Cancelled, and Misuse where nobody can be asked."""
    output = session.output
    if output.for_people or dry_run:
        render.show_changes(output, changes)
    if dry_run:
        raise Planned
    if yes:
        return
    if not output.interactive:
        raise Misuse("rekey needs --yes where nobody can be asked", code="confirmation_required")
    if not output.confirm("Do it? The old key is not free afterwards: its snapshots are still known by it."):
        raise Cancelled("nothing was changed")


def tell(session: Session, changes: list[dict[str, Any]]) -> None:
    """Say that it is done."""
    if session.output.for_people:
        first = changes[0]
        session.output.line(f"✓ {first['key']} is {first['differences'][0]['after']} now", "green")
    else:
        render.show_changes(session.output, changes)
