"""setup --anew: a repository that is lost is given up, and another begun under its key; here and over a hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from highball.cli import formatting
from highball.cli.context import Session
from highball.errors import Cancelled, Misuse

if TYPE_CHECKING:
    from highball.cli.console import Output
    from highball.cli.operations import Operations
    from highball.model.snapshot import Loss


def begin_anew(session: Session, place: Operations, repository: str, *, yes: bool) -> None:
    """Show what is given up, ask, and forget it. Raises Conflict where nothing is lost, Misuse and Cancelled."""
    output, loss = session.output, place.tell_loss(repository)
    _show_loss(output, loss)
    if not yes:
        if not output.interactive:
            raise Misuse("--anew needs --yes when nobody can be asked", code="confirmation_required")
        if not output.confirm(f"Give up {repository}, and create a new repository in its place?"):
            raise Cancelled("nothing was changed")
    place.give_up(repository, loss)


def show_what_is_given_up(session: Session, place: Operations, repository: str) -> None:
    """What `--anew` would give up; nothing is changed. Raises Conflict where nothing is lost."""
    output, loss = session.output, place.tell_loss(repository)
    if not output.for_people:
        output.document({"dry_run": True, "gives_up": loss})
        return
    _show_loss(output, loss)
    output.note("Nothing was changed.")


def _show_loss(output: Output, loss: Loss) -> None:
    repository = loss.repository
    identity = (
        f" (id {loss.identity[:10]}, first seen {formatting.moment(loss.met_at)})" if loss.identity else ""
    )
    output.note(f"{repository}{identity} will be given up, and recorded as lost with everything in it:")
    newest = f", the newest of {formatting.moment(loss.newest_at)}" if loss.newest_at else ""
    output.note(f"  {formatting.counted(loss.snapshots, 'snapshot')}{newest}")
    if loss.bytes_stored is not None:
        output.note(f"  {formatting.size(loss.bytes_stored)} stored")
    if loss.last_run is not None:
        output.note(f"  last run: {loss.last_run}")
