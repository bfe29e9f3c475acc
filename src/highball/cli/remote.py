"""The verbs over a hub: called as on one machine, answered as on one machine, carried out by the hub's agents.

What a hub cannot be asked yet is refused by name; nothing is quietly done elsewhere. No room of the hub or of the
agent is needed here.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from highball.cli import answers, carrying
from highball.cli.arguments import (
    AppliedFile,
    Approves,
    ComparedFile,
    ContentArgument,
    Earlier,
    FolderArgument,
    InPlace,
    InRepository,
    JobArgument,
    Jobs,
    KnownAs,
    Later,
    Limit,
    OnlyPaths,
    OnlyRunsOf,
    OnlyShows,
    OnlySnapshotsOf,
    OverwriteRule,
    PlanOnly,
    PlansChanges,
    ReadsAll,
    Rehearses,
    RemovesAll,
    Repositories,
    RunArgument,
    SnapshotArgument,
    Target,
    Wait,
    WhichSnapshot,
    Yes,
    read_wait,
    whole_path,
)
from highball.cli.choosing import choose_to_restore, find_named
from highball.cli.client import Hub
from highball.cli.following import await_end
from highball.cli.names import choose_jobs, choose_repositories
from highball.cli.rekeying import NewKey, OfKind, OldKey, Planned, agree, tell, what_changes
from highball.cli.session import Session
from highball.errors import Conflict, Failed, HighballError, Misuse, NotAllowed, Unknown
from highball.facts import RunState, Snapshot, path_for_people, path_to_text, time_for_people
from highball.keeping import Plan
from highball.protocol import Overwrite
from highball.spec.document import Document, effective_job
from highball.spec.reading import kind_of_file, read, read_file
from highball.spec.references import TABLE_OF
from highball.spec.writing import as_json

Order = dict[str, Any]

CANCEL_SECONDS = 60.0


# --- what is declared ----------------------------------------------------------------------------


def validate(context: typer.Context) -> None:
    """Check the configuration; a hub takes in none that is wrong."""
    session: Session = context.obj
    hub = session.reach()
    answers.show_valid(session.output, hub.document(), hub.url, {"file": None, "hub": hub.url})


def list_jobs(context: typer.Context) -> None:
    """Show the jobs: what goes where, and when."""
    session: Session = context.obj
    answers.show_jobs(session.output, session.reach().document())


def export(context: typer.Context) -> None:
    """Write everything that is declared as one YAML document; never a secret, only references."""
    session: Session = context.obj
    text = session.reach().read_configuration()
    if session.output.for_people:
        sys.stdout.write(text.decode())
    else:
        session.output.document(as_json(read(text, "yaml")))


def apply(
    context: typer.Context, file: AppliedFile, dry_run: PlansChanges = False, name: KnownAs = None
) -> None:
    """Let a hub say what this file says; what the file named before and no longer names is deleted."""
    session: Session = context.obj
    answers.show_changes(session.output, _apply(session.reach(), file, dry_run, name))


def _apply(hub: Hub, file: Path, dry_run: bool, name: str | None = None) -> list[dict[str, Any]]:
    text = read_file(file)
    where = name or f"{socket.gethostname()}:{file.absolute()}"
    return hub.apply(text, toml=kind_of_file(file) == "toml", file=where, dry_run=dry_run)


def rekey(
    context: typer.Context,
    kind: OfKind,
    old: OldKey,
    new: NewKey,
    yes: Yes = False,
    dry_run: PlansChanges = False,
) -> None:
    """Give a job, repository, host, profile or pin another key; snapshots and history stay with it."""
    session: Session = context.obj
    hub = session.reach()
    revision = hub.find_revision(TABLE_OF[kind], old)
    changes = what_changes(hub.document().tables, kind, old, new)
    try:
        agree(session, changes, yes=yes, dry_run=dry_run)
    except Planned:
        return
    hub.rekey(TABLE_OF[kind], old, new, revision)
    tell(session, changes)


# --- backups -------------------------------------------------------------------------------------


def run(
    context: typer.Context,
    jobs: Jobs = None,
    dry_run: Rehearses = False,
    wait: Wait = None,
) -> None:
    """Back up: all jobs, or those that are named."""
    session: Session = context.obj
    patience = _read_patience(wait)
    hub = session.reach()
    chosen = choose_jobs(hub.document(), jobs or [])
    if not chosen:
        session.output.note("No jobs are enabled; see: highball list")
    rehearsal: Order = {"dry_run": True} if dry_run else {}
    carrying.carry_out(
        session,
        hub,
        [(job, _orders({"task": "backup", "job": job} | rehearsal | patience)) for job in chosen],
        rehearse=dry_run,
        extra=lambda: rehearsal,
    )


def accept(context: typer.Context, run: RunArgument) -> None:
    """Say that a run's smaller size is right: it is the usual one from now on."""
    session: Session = context.obj
    whole, count = session.reach().accept(run)
    answers.show_accepted(session.output, whole, count)


def cancel(context: typer.Context, run: RunArgument) -> None:
    """End a run politely, and say how it ended."""
    session: Session = context.obj
    hub = session.reach()
    found = hub.find_run(run)
    if found.state is RunState.DONE:
        raise Conflict(
            f"run {found.id} has ended already", code="run_ended", hint=f"see: highball logs {found.id}"
        )
    hub.cancel(found.id)
    session.output.note(f"Asked run {found.id} to end …")
    answers.show_ending(session.output, await_end(hub, found.id, CANCEL_SECONDS))


def status(context: typer.Context, jobs: Jobs = None) -> None:
    """Show how each job stands in each of its repositories."""
    session: Session = context.obj
    hub = session.reach()
    found = hub.list_standings()
    if jobs:
        chosen = choose_jobs(hub.document(), jobs)
        found = sorted((one for one in found if one.job in chosen), key=lambda one: chosen.index(one.job))
    answers.show_standings(session.output, found)


def runs(context: typer.Context, job: OnlyRunsOf = None, limit: Limit = 50) -> None:
    """Show what ran, newest first."""
    session: Session = context.obj
    hub = session.reach()
    if job is not None:
        choose_jobs(hub.document(), [job])
    answers.show_runs(session.output, hub.list_runs(job=job, limit=limit))


def logs(context: typer.Context, run: RunArgument) -> None:
    """Show everything that happened in a run; while it goes on, what has happened so far."""
    session: Session = context.obj
    hub = session.reach()
    answers.show_events(session.output, list(hub.read_events(hub.find_run(run).id)))


# --- what the repositories hold ------------------------------------------------------------------


def snapshots(context: typer.Context, job: OnlySnapshotsOf = None, repository: InRepository = None) -> None:
    """List the snapshots, other tools' among them (these have no job)."""
    session: Session = context.obj
    hub = session.reach()
    document = hub.document()
    repositories = _repositories_for(document, job, repository)
    found: list[Snapshot] = []
    failures: list[HighballError] = []
    for key in repositories:
        try:
            found += [one for one in hub.list_snapshots(key) if job is None or f"hb:job={job}" in one.tags]
        except HighballError as error:
            failures.append(error)
            session.output.note(f"✗ {key}: {error.message}", "red")
    if failures and len(failures) == len(repositories):
        raise failures[0]
    session.exit_status = 1 if failures else 0
    answers.show_snapshots(session.output, found)


def _repositories_for(document: Document, job: str | None, repository: str | None) -> list[str]:
    if repository is not None:
        return choose_repositories(document, [repository])
    if job is None:
        return list(document.repositories)
    choose_jobs(document, [job])
    return list(effective_job(document, job).repositories)


def list_nodes(
    context: typer.Context,
    snapshot: SnapshotArgument,
    path: FolderArgument = None,
    repository: InRepository = None,
) -> None:
    """List what a snapshot holds."""
    session: Session = context.obj
    folder = "/" if path is None else _as_text(whole_path("PATH", path))
    hub = session.reach()
    keys = choose_repositories(hub.document(), [repository] if repository else [])
    found = find_named(hub.list_snapshots, keys, snapshot)
    nodes = hub.list_folder(found.repository, found.id, folder)
    if path is not None and not nodes:  # restic lists a folder itself, even an empty one
        raise Failed(
            f"{path} is not in this snapshot", code="path_unknown", hint=f"see: highball ls {snapshot}"
        )
    with answers.Listing(session.output) as listing:
        for node in nodes:
            listing.add(node)


def _as_text(path: bytes) -> str:
    try:
        return path.decode()
    except UnicodeDecodeError:
        raise _not_over_hub("a path that is not UTF-8", "list the folder above it instead") from None


def diff(
    context: typer.Context,
    a: Earlier = None,
    b: Later = None,
    repository: InRepository = None,
    file: ComparedFile = None,
) -> None:
    """Show what applying a file would change; what differs between two snapshots is not told over a hub yet."""
    session: Session = context.obj
    if (file is None) == (a is None):
        raise Misuse("diff over a hub wants -f FILE", hint="highball diff -f FILE")
    if file is None:
        raise _not_over_hub("what differs between two snapshots", AT_HOME)
    answers.show_changes(session.output, _apply(session.reach(), file, True))


def dump(
    context: typer.Context,
    snapshot: SnapshotArgument,
    path: ContentArgument,
    repository: InRepository = None,
) -> None:
    """Write a file's content to standard output: not over a hub yet."""
    raise _not_over_hub("the content of files", "highball restore brings it back on the hub's machine")


# --- proving and bringing back -------------------------------------------------------------------


def verify(context: typer.Context, jobs: Jobs = None, read_data: ReadsAll = False, wait: Wait = None) -> None:
    """Prove that the newest snapshots can be restored: bring files back to scratch and compare them."""
    session: Session = context.obj
    patience = _read_patience(wait)
    hub = session.reach()
    document = hub.document()
    wanted: Order = {"task": "verify", "all_data": read_data} | patience
    orders = [
        (f"{job} in {key}", _orders(wanted | {"job": job, "repository": key}))
        for job in choose_jobs(document, jobs or [])
        for key in effective_job(document, job).repositories
    ]
    carrying.carry_out(session, hub, orders)


def restore(
    context: typer.Context,
    job: JobArgument,
    snapshot: WhichSnapshot = None,
    path: OnlyPaths = None,
    target: Target = None,
    in_place: InPlace = False,
    dry_run: PlanOnly = False,
    overwrite: OverwriteRule = None,
    repository: InRepository = None,
    yes: Yes = False,
    wait: Wait = None,
) -> None:
    """Bring files back on the machine that looks after the repository: into a folder there, or in place."""
    session: Session = context.obj
    patience = _read_patience(wait)
    place = _read_target(target, in_place)
    paths = [whole_path("--path", text) for text in path or []]
    if dry_run:
        raise _not_over_hub("the plan of a restore", "restore into an empty --target and look there")
    if in_place and not yes:
        raise Misuse(
            "a restore in place over a hub needs --yes: its plan is not shown here yet",
            code="confirmation_required",
            hint="restore into an empty --target first, and look there",
        )
    hub = session.reach()
    document = hub.document()
    choose_jobs(document, [job])
    keys = choose_repositories(document, [repository] if repository else [])
    if repository is None:
        keys = list(effective_job(document, job).repositories)
    found = choose_to_restore(session.output, hub.list_snapshots, keys, job, snapshot)
    wanted = paths or _exact_paths(found)
    rule = overwrite or (Overwrite.IF_CHANGED if place is None else Overwrite.NEVER)
    where = "in place" if place is None else f"into {path_for_people(place)}"
    session.output.note(
        f"Restoring {found.id[:8]} ({time_for_people(found.time)}) from {found.repository} {where}; "
        f"what is there already: overwrite {rule.value}. Its plan is not shown over a hub yet."
    )
    order: Order = {
        "task": "restore",
        "job": job,
        "repository": found.repository,
        "snapshot": found.id,
        "paths": [path_to_text(one) for one in wanted],
        "target": None if place is None else path_to_text(place),
        "overwrite": rule.value,
    }
    told = None if place is None else os.fsdecode(place)
    carrying.carry_out(session, hub, [(job, _orders(order | patience))], extra=lambda: {"target": told})


def _read_target(target: str | None, in_place: bool) -> bytes | None:
    if target is not None and in_place:
        raise Misuse("--target and --in-place exclude each other")
    if target is None and not in_place:
        raise Misuse(
            "over a hub, restore wants to know where to",
            code="target_missing",
            hint="name a folder of that machine with --target DIR, or say --in-place",
        )
    return None if target is None else whole_path("--target", target)


def _exact_paths(snapshot: Snapshot) -> list[bytes]:
    """All that a snapshot holds, where its listing names it exactly."""
    if any("\N{REPLACEMENT CHARACTER}".encode() in path for path in snapshot.paths):
        raise _not_over_hub("a snapshot whose paths are not UTF-8", "name its parts with --path")
    return list(snapshot.paths)


# --- keeping repositories in order ---------------------------------------------------------------


def forget(
    context: typer.Context,
    jobs: Jobs = None,
    approve: Approves = None,
    dry_run: OnlyShows = False,
    wait: Wait = None,
) -> None:
    """Apply retention: remove the snapshots that no rule keeps."""
    session: Session = context.obj
    patience = _read_patience(wait)
    hub = session.reach()
    document = hub.document()
    chosen = choose_jobs(document, jobs or []) if jobs else list(document.jobs)
    pairs = [(job, key) for job in chosen for key in effective_job(document, job).repositories]
    if dry_run:
        plans = [plan for job, key in pairs for plan in hub.list_plans(key, job, approve)]
        answers.show_plans(session.output, plans)
        return
    if approve is not None:
        pairs = [_approved(hub, pairs, approve)]
    orders = [(f"{job} in {key}", _forgets(hub, document, job, key, approve, patience)) for job, key in pairs]
    carrying.carry_out(session, hub, orders)


def _approved(hub: Hub, pairs: list[tuple[str, str]], plan: str) -> tuple[str, str]:
    """The pair whose plan has this id now; raises Unknown: an approval is for one plan and no other."""
    for job, key in pairs:
        if any(found.id == plan for found in hub.list_plans(key, job, plan)):
            return job, key
    raise Unknown(
        f"no plan is {plan} now: it was never made, or the repository has changed since",
        code="plan_unknown",
        hint="see the plans with: highball forget --dry-run",
    )


def _forgets(
    hub: Hub, document: Document, job: str, key: str, approve: str | None, patience: Order
) -> Callable[[], Order]:
    def order() -> Order:
        if document.repositories[key].maintenance == "off":
            raise NotAllowed(
                f"maintenance of {key} is off: nothing is ever removed there", code="maintenance_off"
            )
        _demand_moving(hub.list_plans(key, job, approve))
        return {"task": "forget", "job": job, "repository": key, "plan": approve} | patience

    return order


def _demand_moving(plans: list[Plan]) -> None:
    """Raise NotAllowed where every plan stands still."""
    held = [(plan, plan.held) for plan in plans if plan.held is not None]
    if held and len(held) == len(plans):
        plan, why = held[0]
        raise NotAllowed(
            f"retention of {plan.job} in {plan.repository} stands still: {why.message}",
            code=why.code,
            hint=f"see it with: highball forget --dry-run {plan.job}",
        )


def prune(context: typer.Context, repositories: Repositories = None, wait: Wait = None) -> None:
    """Remove data that no snapshot needs any more."""
    _maintain(context, repositories, wait, {"task": "prune"})


def check(context: typer.Context, repositories: Repositories = None, wait: Wait = None) -> None:
    """Check the structure, and read the next slice of the data, so that in time all of it is read."""
    _maintain(context, repositories, wait, {"task": "check"})


def stats(context: typer.Context, repositories: Repositories = None, wait: Wait = None) -> None:
    """Measure what each repository stores."""
    session: Session = context.obj
    hub = session.reach()
    patience = _read_patience(wait)
    chosen = choose_repositories(hub.document(), repositories or [])
    orders = [(key, _orders({"task": "stats", "repository": key} | patience)) for key in chosen]
    answers.show_sizes(session.output, carrying.carry_out(session, hub, orders, answers=False))


def unlock(
    context: typer.Context,
    repositories: Repositories = None,
    remove_all: RemovesAll = False,
    yes: Yes = False,
) -> None:
    """Show the locks with their owners, and remove those that restic calls stale."""
    session: Session = context.obj
    hub = session.reach()
    chosen = choose_repositories(hub.document(), repositories or [])
    for key in chosen:
        _show_locks(session, hub, key)
    if remove_all and not carrying.may_remove_all(session.output, yes):
        return
    orders = [
        (key, _orders({"task": "unlock", "repository": key, "remove_all": remove_all})) for key in chosen
    ]
    carrying.carry_out(session, hub, orders)


def _show_locks(session: Session, hub: Hub, key: str) -> None:
    from highball.agent.workplace import describe_lock

    try:
        locks = hub.list_locks(key)
    except Failed as error:  # its run tells; the other repositories are looked at all the same
        session.output.note(f"{key}: {error.message}", "yellow")
        return
    for lock in locks:
        session.output.note(f"{key}: {describe_lock(lock)}")
    if not locks:
        session.output.note(f"{key}: no locks")


def _maintain(context: typer.Context, named: list[str] | None, wait: str | None, wanted: Order) -> None:
    session: Session = context.obj
    patience = _read_patience(wait)
    hub = session.reach()
    chosen = choose_repositories(hub.document(), named or [])
    orders = [(key, _orders(wanted | {"repository": key} | patience)) for key in chosen]
    carrying.carry_out(session, hub, orders)


# --- what they share -----------------------------------------------------------------------------


def _orders(order: Order) -> Callable[[], Order]:
    return lambda: order


def _read_patience(wait: str | None) -> Order:
    patience = read_wait(wait)
    return {} if patience is None else {"wait_seconds": patience.total_seconds()}


AT_HOME = "ask for it on the hub's own machine"


def _not_over_hub(what: str, hint: str) -> NotAllowed:
    return NotAllowed(f"{what} cannot be had over a hub yet", code="not_over_hub", hint=hint)


COMMANDS: dict[str, Callable[..., Any]] = {
    "validate": validate,
    "list": list_jobs,
    "export": export,
    "apply": apply,
    "rekey": rekey,
    "run": run,
    "backup": run,
    "accept": accept,
    "cancel": cancel,
    "status": status,
    "runs": runs,
    "logs": logs,
    "snapshots": snapshots,
    "ls": list_nodes,
    "diff": diff,
    "dump": dump,
    "verify": verify,
    "restore": restore,
    "forget": forget,
    "prune": prune,
    "check": check,
    "unlock": unlock,
    "stats": stats,
}
"""All verbs that speak to a hub, by name."""
