"""snapshots, ls, diff, dump: what the repositories hold."""

from __future__ import annotations

import sys

import typer

from highball.agent.ask import Asked
from highball.cli import answers
from highball.cli.arguments import (
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
from highball.cli.choosing import find_named, is_of
from highball.cli.configuration import show_plan
from highball.cli.machine import Machine
from highball.cli.session import Session
from highball.errors import Failed, HighballError, Misuse
from highball.facts import Difference, Snapshot, path_for_people

# --- snapshots -----------------------------------------------------------------------------------


def snapshots(context: typer.Context, job: OnlySnapshotsOf = None, repository: InRepository = None) -> None:
    """List the snapshots, other tools' among them (these have no job)."""
    session: Session = context.obj
    machine = session.open()
    repositories = _repositories_for(machine, job, repository)
    machine.demand_secrets(repositories)
    machine.settle(begins_run=False)
    found: list[Snapshot] = []
    failures: list[HighballError] = []
    for key in repositories:
        try:
            found += [one for one in list_known(machine, key) if job is None or is_of(one, job)]
        except HighballError as error:
            failures.append(error)
            session.output.note(f"✗ {key}: {error.message}", "red")
    if failures and len(failures) == len(repositories):
        raise failures[0]
    session.exit_status = 1 if failures else 0
    answers.show_snapshots(session.output, found)


def _repositories_for(machine: Machine, job: str | None, repository: str | None) -> list[str]:
    if repository is not None:
        return machine.choose_repositories([repository])
    if job is None:
        return list(machine.document.repositories)
    machine.choose_jobs([job])
    held = {of.repository for of in machine.record.list_sets(job=job)}
    merged = machine.job(job).repositories
    return [key for key in machine.document.repositories if key in held or key in merged]


def list_known(machine: Machine, repository: str) -> list[Snapshot]:
    """A repository's snapshots, with what the record knows of them."""
    return machine.record.recognise(repository, machine.ask(repository).list_snapshots())


# --- finding one ---------------------------------------------------------------------------------


def find_snapshot(machine: Machine, named: str, repository: str | None) -> tuple[Asked, Snapshot]:
    """The snapshot with this id (or the only one whose id begins so), and the repository that holds it."""
    keys = machine.choose_repositories([repository] if repository else [])
    machine.demand_secrets(keys)
    found = find_named(lambda key: machine.ask(key).list_snapshots(), keys, named)
    return machine.ask(found.repository), found


# --- ls, diff, dump ------------------------------------------------------------------------------


def list_nodes(
    context: typer.Context,
    snapshot: SnapshotArgument,
    path: FolderArgument = None,
    repository: InRepository = None,
) -> None:
    """List what a snapshot holds."""
    session: Session = context.obj
    folder = None if path is None else whole_path("PATH", path)
    machine = session.open()
    asked, found = find_snapshot(machine, snapshot, repository)
    with answers.Listing(session.output) as listing:
        asked.restic.each_node(found.id, listing.add, folder, recursive=False)
        if path is not None and listing.count == 0:  # restic lists a folder itself, even an empty one
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
    """Show what differs between two snapshots: + added, - removed, M content, T kind, U metadata."""
    session: Session = context.obj
    if file is not None and a is None:
        show_plan(session, file)
        return
    if a is None or b is None or file is not None:
        raise Misuse("diff wants two snapshots, or -f FILE", hint="highball diff A B")
    machine = session.open()
    asked, old = find_snapshot(machine, a, repository)
    _, new = find_snapshot(machine, b, asked.key)
    found: list[Difference] = []
    asked.restic.compare(old.id, new.id, found.append)
    if not session.output.for_people:
        session.output.document(found)
        return
    tones = {"+": "green", "-": "red"}
    for difference in found:
        line = f"{difference.modifier:<2} {path_for_people(difference.path)}"
        session.output.line(line, tones.get(difference.modifier, "yellow"))
    if not found:
        session.output.line("Nothing differs.", "dim")


def dump(
    context: typer.Context,
    snapshot: SnapshotArgument,
    path: ContentArgument,
    repository: InRepository = None,
) -> None:
    """Write a file's content, or a folder as a tar archive, to standard output."""
    session: Session = context.obj
    if not session.output.for_people:
        raise Misuse(
            "dump writes the content itself, so it has no other form", hint="leave --json or --events away"
        )
    wanted = whole_path("PATH", path)
    machine = session.open()
    asked, found = find_snapshot(machine, snapshot, repository)
    asked.dump(found.id, wanted, _write)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
