"""snapshots, ls, diff, dump: what the repositories hold; on one machine and over a hub alike."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from highball.cli import render
from highball.cli.context import Session
from highball.cli.lookup import choose_jobs, choose_repositories
from highball.cli.options import (
    ComparedFile,
    ContentArgument,
    Earlier,
    FolderArgument,
    InRepository,
    Later,
    OnlySnapshotsOf,
    SnapshotArgument,
    whole_path,
)
from highball.cli.snapshot_choice import find_named, is_of
from highball.errors import Failed, HighballError, Misuse
from highball.model.snapshot import Snapshot

if TYPE_CHECKING:
    from highball.cli.operations import Operations

# --- snapshots -----------------------------------------------------------------------------------


def snapshots(context: typer.Context, job: OnlySnapshotsOf = None, repository: InRepository = None) -> None:
    """List the snapshots, including foreign ones (of other tools); these have no job."""
    session: Session = context.obj
    place = session.place(looks=True)
    repositories = _repositories_for(place, job, repository)
    place.make_ready(repositories)
    found: list[Snapshot] = []
    failures: list[HighballError] = []
    for key in repositories:
        try:
            found += [one for one in place.list_snapshots(key) if job is None or is_of(one, job)]
        except HighballError as error:
            failures.append(error)
            session.output.note(f"✗ {key}: {error.message}", "red")
    if failures and len(failures) == len(repositories):
        raise failures[0]
    session.exit_status = 1 if failures else 0
    render.show_snapshots(session.output, found)


def _repositories_for(place: Operations, job: str | None, repository: str | None) -> list[str]:
    if repository is not None or job is None:
        return choose_repositories(place.document, [repository] if repository else [])
    choose_jobs(place.document, [job])
    return place.list_repositories_of(job)


def find_snapshot(place: Operations, named: str, repository: str | None) -> Snapshot:
    """The snapshot with this id, or the only one whose id begins so."""
    keys = choose_repositories(place.document, [repository] if repository else [])
    place.make_ready(keys)
    return find_named(place.list_snapshots, keys, named)


# --- ls, diff, dump ------------------------------------------------------------------------------


def list_nodes(
    context: typer.Context,
    snapshot: SnapshotArgument,
    path: FolderArgument = None,
    repository: InRepository = None,
) -> None:
    """List the files of a snapshot."""
    session: Session = context.obj
    folder = None if path is None else whole_path("PATH", path)
    place = session.place(looks=True)
    found = find_snapshot(place, snapshot, repository)
    with render.Listing(session.output) as listing:
        place.each_node(found, folder, listing.add)
        if path is not None and listing.count == 0:  # an engine lists a folder itself, even an empty one
            raise Failed(
                f"{path} is not in this snapshot", code="path_unknown", hint=f"see: highball ls {snapshot}"
            )


def diff(
    context: typer.Context,
    a: Earlier = None,
    b: Later = None,
    repository: InRepository = None,
    file: ComparedFile = None,
) -> None:
    """Compare two snapshots: + added, - removed, M content, T type, U metadata."""
    session: Session = context.obj
    if file is not None and a is None:
        render.show_changes(session.output, session.place(looks=True).plan_changes(file))
        return
    if a is None or b is None or file is not None:
        raise Misuse("diff needs two snapshots, or -f FILE", hint="highball diff A B")
    place = session.place(looks=True)
    old = find_snapshot(place, a, repository)
    new = find_snapshot(place, b, old.repository)
    render.show_differences(session.output, place.compare(old, new))


def dump(
    context: typer.Context,
    snapshot: SnapshotArgument,
    path: ContentArgument,
    repository: InRepository = None,
) -> None:
    """Write a file's content to standard output; a folder as a tar archive."""
    session: Session = context.obj
    if not session.output.for_people:
        raise Misuse(
            "dump writes only the content, and has no other output format", hint="omit --json or --events"
        )
    wanted = whole_path("PATH", path)
    place = session.place(looks=True)
    place.dump(find_snapshot(place, snapshot, repository), wanted, _write)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
