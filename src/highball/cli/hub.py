"""hub backup, restore-backup, rebuild: looking after the database of the hub, or of this machine's state.

These open no machine: they have to work where the database is damaged, and change nothing that is declared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from highball.agent.rundir import list_run_directories
from highball.cli import carrying, words
from highball.cli.machine import find_configuration, find_database, find_state
from highball.cli.output import Output
from highball.cli.session import Session
from highball.errors import Conflict, Misuse, StateUnusable
from highball.facts import time_to_text
from highball.hub.db import open_database
from highball.hub.runs import utc_now
from highball.spec.document import Document, load

if TYPE_CHECKING:
    from highball.hub.recovery import Manifest


@dataclass(frozen=True)
class Place:
    """Where a configuration's state and database lie."""

    configuration: Path
    document: Document
    state: Path

    @property
    def database(self) -> Path | str:
        """The database: a file, or an address."""
        return find_database(self.state)


def find_place(session: Session) -> Place:
    """The place of this call's configuration; raises ConfigurationInvalid."""
    path = find_configuration(session.config)
    document = load(path)
    return Place(path, document, find_state(path, document))


# --- backups of the hub --------------------------------------------------------------------------


def back_up(context: typer.Context) -> None:
    """Copy the hub's database, sealed vault and all, into its state directory; the last 7 copies are kept."""
    from highball.hub import recovery

    session: Session = context.obj
    place = find_place(session)
    _make_folder(place.state)
    database = open_database(place.database)
    path = recovery.back_up(database, place.state, utc_now())
    database.close()
    size = path.stat().st_size
    if session.output.for_people:
        session.output.line(f"✓ {path} ({words.size(size)})", "green")
    else:
        session.output.document({"backup": str(path), "size_bytes": size})


def _make_folder(state: Path) -> None:
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StateUnusable(f"the state directory {state} cannot be used: {error.strerror}") from None


def restore_backup(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Which copy; by default the newest.")
    ] = None,
    yes: carrying.Yes = False,
) -> None:
    """Put a copy in the place of the hub's database; the former one is moved aside."""
    from highball.hub import recovery

    session: Session = context.obj
    place = find_place(session)
    _make_folder(place.state)
    path = (file or recovery.get_newest_backup(place.state)).absolute()
    manifest = recovery.examine(path)
    _demand_nothing_runs(place.state)
    if not _agreed(session.output, path, manifest, yes):
        session.output.note("Nothing was changed.")
        return
    restored = recovery.restore_backup(path, place.database, utc_now())
    if not session.output.for_people:
        rows = restored.manifest.rows
        made = time_to_text(manifest.made_at)
        session.output.document(
            {"restored": str(path), "made_at": made, "rows": rows, "aside": restored.aside}
        )
        return
    session.output.line(f"✓ the database is as it was {words.moment(manifest.made_at)}", "green")
    if restored.aside:
        session.output.line(f"  the former one lies in {restored.aside}")


def _agreed(output: Output, path: Path, manifest: Manifest, yes: bool) -> bool:
    runs = words.counted(manifest.rows.get("runs", 0), "run")
    output.note(f"{path.name}: made {words.moment(manifest.made_at)} by Highball {manifest.program}, {runs}.")
    output.note("What was recorded since then will not be in it.")
    if yes:
        return True
    if not output.interactive:
        raise Misuse(
            "putting a backup in the database's place needs --yes where nobody can be asked",
            code="confirmation_required",
        )
    return output.confirm("Move the present database aside and put this one in its place?")


def _demand_nothing_runs(state: Path) -> None:
    """Raise Conflict while a run goes on, which would write its end into the database moved aside."""
    for directory in list_run_directories(state / "runs"):
        if not directory.take_if_free():
            raise Conflict(
                f"run {directory.path.name} is going on",
                code="run_going_on",
                hint="wait for its end, or cancel it",
            )
        directory.release()


# --- without a backup ----------------------------------------------------------------------------


def rebuild(context: typer.Context) -> None:
    """Find again, without a backup, what the repositories know of the jobs."""
    raise Misuse("not yet")
