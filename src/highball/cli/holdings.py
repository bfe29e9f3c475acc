"""snapshots, ls, diff, dump: what the repositories hold."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from highball.agent.ask import Asked
from highball.cli import words
from highball.cli.configuration import show_plan
from highball.cli.machine import Machine
from highball.cli.output import Column, Output, safe, to_json
from highball.cli.session import Session
from highball.errors import Failed, HighballError, Misuse, Unknown
from highball.facts import Difference, Node, NodeKind, Snapshot, path_for_people
from highball.hub.runs import SetOf

JobArgument = Annotated[str | None, typer.Argument(metavar="[JOB]", help="Only snapshots of this job.")]
SnapshotArgument = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="A snapshot's id, or the start of it.")
]
RepositoryOption = Annotated[
    str | None, typer.Option("--repository", "-r", metavar="KEY", help="Look only in this repository.")
]

TYPE_BITS = {NodeKind.FILE: stat.S_IFREG, NodeKind.DIRECTORY: stat.S_IFDIR, NodeKind.SYMLINK: stat.S_IFLNK}


# --- snapshots -----------------------------------------------------------------------------------


def snapshots(context: typer.Context, job: JobArgument = None, repository: RepositoryOption = None) -> None:
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
            found += list_known(machine, key, job)
        except HighballError as error:
            failures.append(error)
            session.output.note(f"✗ {key}: {error.message}", "red")
    if failures and len(failures) == len(repositories):
        raise failures[0]
    session.exit_status = 1 if failures else 0
    found.sort(key=lambda snapshot: snapshot.time)
    if not session.output.for_people:
        session.output.document(found)
        return
    titles = ("SNAPSHOT", "TIME", "JOB", "HOST", "REPOSITORY", "SIZE", "PATHS")
    session.output.table(
        [Column(t, right=t == "SIZE", wraps=t == "PATHS", spare=t in {"HOST", "SIZE"}) for t in titles],
        [_as_row(snapshot) for snapshot in found],
        "There are no snapshots yet; make one with: highball run",
    )


def _as_row(snapshot: Snapshot) -> list[str]:
    return [
        snapshot.id[:8],
        words.moment(snapshot.time),
        snapshot.job or "–",
        snapshot.host,
        snapshot.repository,
        words.size(snapshot.size_bytes),
        ", ".join(path_for_people(path) for path in snapshot.paths),
    ]


def _repositories_for(machine: Machine, job: str | None, repository: str | None) -> list[str]:
    if repository is not None:
        return machine.choose_repositories([repository])
    if job is None:
        return list(machine.document.repositories)
    machine.choose_jobs([job])
    held = {of.repository for of in machine.record.list_sets(job=job)}
    merged = machine.job(job).repositories
    return [key for key in machine.document.repositories if key in held or key in merged]


def list_known(machine: Machine, repository: str, job: str | None) -> list[Snapshot]:
    """A repository's snapshots (of one job), with what the record knows of them."""
    tags = [f"hb:job={job}"] if job else []
    found = machine.ask(repository).list_snapshots(tags=tags)
    return [_as_known(snapshot, _governed_sizes(machine, repository)) for snapshot in found]


def _governed_sizes(machine: Machine, repository: str) -> dict[str, int | None]:
    sets: Iterable[SetOf] = machine.record.list_sets(repository=repository)
    return {known.id: known.size_bytes for of in sets for known in machine.record.list_governed(of)}


def _as_known(snapshot: Snapshot, governed: dict[str, int | None]) -> Snapshot:
    if snapshot.id not in governed:  # a tag alone proves nothing
        return snapshot.model_copy(update={"job": None, "run": None, "set": None, "governed": False})
    size = snapshot.size_bytes if snapshot.size_bytes is not None else governed[snapshot.id]
    return snapshot.model_copy(update={"governed": True, "size_bytes": size})


# --- finding one ---------------------------------------------------------------------------------


def find_snapshot(machine: Machine, named: str, repository: str | None) -> tuple[Asked, Snapshot]:
    """The snapshot with this id (or the only one whose id begins so), and the repository that holds it."""
    keys = machine.choose_repositories([repository] if repository else [])
    machine.demand_secrets(keys)
    found: list[tuple[Asked, Snapshot]] = []
    failures: list[HighballError] = []
    for key in keys:
        try:
            asked = machine.ask(key)
            matching = [s for s in asked.list_snapshots() if named and s.id.startswith(named.lower())]
            found += [(asked, snapshot) for snapshot in matching]
        except HighballError as error:
            failures.append(error)
    if len(found) == 1:
        return found[0]
    if not found and failures:
        raise failures[0]
    what = f"{len(found)} snapshots begin" if found else "no snapshot begins"
    raise Unknown(
        f"{what} with {named}",
        code="snapshot_unknown",
        hint="write more of its id, or name a --repository" if found else "see them with: highball snapshots",
    )


# --- ls, diff, dump ------------------------------------------------------------------------------


def list_nodes(
    context: typer.Context,
    snapshot: SnapshotArgument,
    path: Annotated[
        str | None, typer.Argument(metavar="[PATH]", help="Only what lies in this folder.")
    ] = None,
    repository: RepositoryOption = None,
) -> None:
    """List what a snapshot holds."""
    session: Session = context.obj
    folder = None if path is None else whole_path("PATH", path)
    machine = session.open()
    asked, found = find_snapshot(machine, snapshot, repository)
    with _Listing(session.output) as listing:
        asked.restic.each_node(found.id, listing.add, folder, recursive=False)
        if path is not None and listing.count == 0:  # restic lists a folder itself, even an empty one
            raise Failed(
                f"{path} is not in this snapshot", code="path_unknown", hint=f"see: highball ls {snapshot}"
            )


class _Listing:
    """Writes items as they come: lines for people, one JSON array for programs."""

    def __init__(self, output: Output, describe: Callable[[Node], str] | None = None) -> None:
        self._output = output
        self._describe = describe or describe_node
        self.count = 0

    def __enter__(self) -> _Listing:
        return self

    def add(self, node: Node) -> None:
        if self._output.for_people:
            sys.stdout.write(self._describe(node) + "\n")
        else:
            sys.stdout.write(("[" if self.count == 0 else ",") + to_json(node))
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._output.for_people:
            return
        if self.count:
            sys.stdout.write("]\n")
        elif error is None:
            sys.stdout.write("[]\n")
        if isinstance(error, HighballError) and self.count:
            # the document is closed already: the error can only be told beside it
            self._output.note(f"✗ {error.message}", "red")
            raise typer.Exit(error.exit_code)


def describe_node(node: Node) -> str:
    """`-rw-r--r--  1.2 KiB  2026-05-04 12:00:00  /etc/hosts`."""
    mode = stat.filemode(TYPE_BITS.get(node.kind, 0) | (node.mode or 0))
    size = words.size(node.size_bytes) if node.kind is NodeKind.FILE else ""
    doubt = "  (name not exact)" if node.inexact else ""
    return f"{mode}  {size:>10}  {words.moment(node.modified_at)}  {path_for_people(node.path)}{doubt}"


def diff(
    context: typer.Context,
    a: Annotated[str | None, typer.Argument(metavar="A", help="The earlier snapshot.")] = None,
    b: Annotated[str | None, typer.Argument(metavar="B", help="The later snapshot.")] = None,
    repository: RepositoryOption = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "-f", "--file", metavar="FILE", help="In place of snapshots: what this file would change."
        ),
    ] = None,
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
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file, or a folder (as a tar archive).")],
    repository: RepositoryOption = None,
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


def whole_path(what: str, text: str) -> bytes:
    """A literal absolute path from the command line, byte for byte; raises Misuse."""
    path = os.fsencode(text)
    if not path.startswith(b"/"):
        raise Misuse(
            f"{what}: {text} is not an absolute path", hint="write it as the snapshot lists it: highball ls"
        )
    return path.rstrip(b"/") or b"/"


__all__ = [
    "describe_node",
    "diff",
    "dump",
    "find_snapshot",
    "list_known",
    "list_nodes",
    "safe",
    "snapshots",
    "whole_path",
]
