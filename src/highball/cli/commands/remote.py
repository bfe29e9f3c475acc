"""The verbs over a hub: called as on one machine, answered as on one machine, carried out by the hub's agents.

Verbs that ask only for what a machine and a hub both answer are not here but in rooms of their own (`holdings`,
`recovery`, `upkeep`, `adopting`). No room of the hub or of the agent is needed here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from highball.cli import render, run_all
from highball.cli.commands import adopt, maintenance, pause, restore, snapshots
from highball.cli.commands import keys as changing_keys
from highball.cli.commands.anew import begin_anew, show_what_is_given_up
from highball.cli.commands.rekey import (
    NewKey,
    OfKind,
    OldKey,
    Planned,
    agree,
    tell,
    what_changes,
)
from highball.cli.context import (
    EXIT_OF,
    Session,
    exit_status_of_standings,
)
from highball.cli.follow import await_end
from highball.cli.lookup import (
    choose_jobs,
    choose_repositories,
    find_run_of,
)
from highball.cli.options import (
    Anew,
    AppliedFile,
    Cancellable,
    Jobs,
    KnownAs,
    Limit,
    OnlyRunsOf,
    PlansChanges,
    Rehearses,
    RunArgument,
    Schedules,
    ShowsSetup,
    TellsByExit,
    Wait,
    Yes,
    check_schedules,
    read_wait,
)
from highball.config.document import Document, effective_job
from highball.config.dump import as_json
from highball.config.load import read
from highball.config.references import TABLE_OF
from highball.errors import Conflict, Failed
from highball.model.run import Outcome, RunState

if TYPE_CHECKING:
    from highball.cli.hub_client import Hub

Order = dict[str, Any]

CANCEL_SECONDS = 60.0

USABLE = ("existing", "empty", "locked")
"""The states of a repository that backups may go to; a lock is waited for."""


# --- what is declared ----------------------------------------------------------------------------


def validate(context: typer.Context) -> None:
    """Check the configuration; a hub takes in none that is wrong."""
    session: Session = context.obj
    hub = session.reach()
    render.show_valid(session.output, hub.document, hub.url, {"file": None, "hub": hub.url})


def list_jobs(context: typer.Context) -> None:
    """Show the jobs: what goes where, and when."""
    session: Session = context.obj
    render.show_jobs(session.output, session.reach().document)


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
    render.show_changes(session.output, session.reach().apply(file, dry_run=dry_run, name=name))


def setup(
    context: typer.Context,
    schedule: Schedules = "none",
    dry_run: ShowsSetup = False,
    wait: Wait = None,
    anew: Anew = None,
    yes: Yes = False,
) -> None:
    """Make the repositories, each from the machine that looks after it, and look from all that use them.

    What is there already stays as it is.
    """
    session: Session = context.obj
    check_schedules(schedule)
    patience = _read_patience(wait)
    hub = session.reach()
    if dry_run and anew is None:
        render.show_setup(session.output, hub.document, "hub", hub.url)
        return
    keys = list(hub.document.repositories)
    if anew is not None:
        keys = choose_repositories(hub.document, [anew])
    if dry_run:
        show_what_is_given_up(session, hub, keys[0])
        return
    if anew is not None:
        begin_anew(session, hub, anew, yes=yes)
    orders = [(key, _orders({"task": "init", "repository": key} | patience)) for key in keys]
    run_all.carry_out(
        session, hub, orders, extra=lambda: {"hub": hub.url, "reached": _look_from_hosts(session, hub)}
    )


def _look_from_hosts(session: Session, hub: Hub) -> list[dict[str, Any]]:
    """How each repository is found from each host whose jobs use it, where that does not look after it itself."""
    found: dict[tuple[str | None, str], dict[str, Any]] = {}
    for key in hub.document.jobs:
        job = effective_job(hub.document, key)
        used = {name for name in job.repositories if not _looks_after(hub.document, job.host, name)}
        if used <= {name for host, name in found if host == job.host}:
            continue
        try:
            told = hub.test_job(key)
            found |= {(job.host, name): {"host": told["host"], **told["repositories"][name]} for name in used}
        except Failed as error:
            unknown = {"host": job.host, "state": error.code, "message": error.message}
            found |= {(job.host, name): unknown for name in used}
    reached = [{"repository": name, **told} for (_, name), told in found.items()]
    render.show_reached(session.output, reached)
    if any(one["state"] not in USABLE for one in reached):
        session.exit_status = session.exit_status or EXIT_OF[Outcome.WARNING]
    return reached


def _looks_after(document: Document, host: str | None, repository: str) -> bool:
    own = document.settings.host or ""
    return document.repositories[repository].maintainer(own) == (host or own)


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
    changes = what_changes(hub.document.tables, kind, old, new)
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
    chosen = choose_jobs(hub.document, jobs or [])
    if not chosen:
        session.output.note("No jobs are enabled; see: highball list")
    rehearsal: Order = {"dry_run": True} if dry_run else {}
    run_all.carry_out(
        session,
        hub,
        [(job, _orders({"task": "backup", "job": job} | rehearsal | patience)) for job in chosen],
        rehearse=dry_run,
        extra=lambda: rehearsal,
    )


def cancel(context: typer.Context, run: Cancellable) -> None:
    """End a run politely, and say how it ended."""
    session: Session = context.obj
    hub = session.reach()
    found = find_run_of(run, hub.document.jobs, hub)
    if found.state is RunState.DONE:
        raise Conflict(
            f"run {found.id} has ended already", code="run_ended", hint=f"see: highball logs {found.id}"
        )
    hub.cancel(found.id)
    session.output.note(f"Asked run {found.id} to end …")
    render.show_ending(session.output, await_end(hub, found.id, CANCEL_SECONDS))


def status(context: typer.Context, jobs: Jobs = None, exit_code: TellsByExit = False) -> None:
    """Show how each job stands in each of its repositories."""
    session: Session = context.obj
    hub = session.reach()
    found = hub.list_standings()
    if jobs:
        chosen = choose_jobs(hub.document, jobs)
        found = sorted((one for one in found if one.job in chosen), key=lambda one: chosen.index(one.job))
    render.show_standings(session.output, found)
    if exit_code:
        session.exit_status = exit_status_of_standings(found)


def runs(context: typer.Context, job: OnlyRunsOf = None, limit: Limit = 50) -> None:
    """Show what ran, newest first."""
    session: Session = context.obj
    hub = session.reach()
    if job is not None:
        choose_jobs(hub.document, [job])
    render.show_runs(session.output, hub.list_runs(job=job, limit=limit))


def logs(context: typer.Context, run: RunArgument) -> None:
    """Show everything that happened in a run; while it goes on, what has happened so far."""
    session: Session = context.obj
    hub = session.reach()
    found = hub.find_run(run)
    render.show_events(session.output, found, list(hub.read_events(found.id)))


# --- what they share -----------------------------------------------------------------------------


def _orders(order: Order) -> Callable[[], Order]:
    return lambda: order


def _read_patience(wait: str | None) -> Order:
    patience = read_wait(wait)
    return {} if patience is None else {"wait_seconds": patience.total_seconds()}


COMMANDS: dict[str, Callable[..., Any]] = {
    "validate": validate,
    "list": list_jobs,
    "export": export,
    "apply": apply,
    "setup": setup,
    "rekey": rekey,
    "run": run,
    "backup": run,
    "accept": maintenance.accept,
    "cancel": cancel,
    "status": status,
    "runs": runs,
    "logs": logs,
    "snapshots": snapshots.snapshots,
    "ls": snapshots.list_nodes,
    "diff": snapshots.diff,
    "dump": snapshots.dump,
    "verify": maintenance.verify,
    "restore": restore.restore,
    "forget": maintenance.forget,
    "prune": maintenance.prune,
    "check": maintenance.check,
    "unlock": maintenance.unlock,
    "stats": maintenance.stats,
    "adopt": adopt.adopt,
    "keys": changing_keys.keys,
    "pause": pause.pause,
    "resume": pause.resume,
}
"""All verbs that speak to a hub, by name."""
