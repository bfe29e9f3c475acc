"""restore: bringing data back, on one machine and over a hub alike."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

from highball.cli import formatting, run_all
from highball.cli.console import Output
from highball.cli.context import Session
from highball.cli.lookup import choose_jobs, choose_repositories
from highball.cli.options import (
    InPlace,
    InRepository,
    JobArgument,
    OnlyPaths,
    OverwriteRule,
    PlanOnly,
    Target,
    Wait,
    WhichSnapshot,
    Yes,
    read_wait,
    whole_path,
)
from highball.cli.snapshot_choice import choose_to_restore
from highball.config.document import effective_job
from highball.errors import Misuse
from highball.model.run import Outcome, Run
from highball.model.snapshot import Snapshot
from highball.model.text import path_for_people
from highball.protocol.queries import RestorePlan

if TYPE_CHECKING:
    from highball.cli.operations import Operations

EXAMPLES_SHOWN = 10


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
    """Restore files, by default to a new folder; in place only after showing the plan.

    Over a hub, files are restored on the job's host.
    """
    session: Session = context.obj
    patience = read_wait(wait)
    if target is not None and in_place:
        raise Misuse("--target and --in-place exclude each other")
    if target is not None and not target.strip():
        raise Misuse(
            "--target is blank",
            hint="name a new folder, or omit --target for one in the current folder",
        )
    paths = [whole_path("--path", text) for text in path or []]
    place = session.place(looks=True)
    keys = _repositories_for(place, job, repository)
    place.make_ready(keys, begins_run=not dry_run)
    found = choose_to_restore(session.output, place.list_snapshots, keys, place.find_keys(job), snapshot)
    where = None if in_place else place.find_target(target, job, found)
    plan = place.plan_restore(found, job, paths, where, overwrite, counts=dry_run)
    if dry_run:
        _answer_plan(session.output, plan, found)
        return
    if plan.in_use:
        _show_plan(session.output, plan, found)
    if in_place and not _agreed(session.output, yes):
        session.output.note("Nothing was changed.")
        return
    done = run_all.carry_out(
        session,
        place,
        [(job, lambda: place.order_restore(found, job, plan, where, patience))],
        extra=lambda: {"target": None if where is None else os.fsdecode(where)},
    )
    if where is not None and session.output.for_people and _brought_back(done):
        session.output.line(f"  in {path_for_people(where)}")


def _repositories_for(place: Operations, job: str, repository: str | None) -> list[str]:
    choose_jobs(place.document, [job])
    if repository is not None:
        return choose_repositories(place.document, [repository])
    return list(effective_job(place.document, job).repositories)


def _brought_back(runs: list[Run]) -> bool:
    return any(run.outcome in (Outcome.SUCCESS, Outcome.WARNING) for run in runs)


def _agreed(output: Output, yes: bool) -> bool:
    if yes:
        return True
    if not output.interactive:
        raise Misuse(
            "a restore in place needs --yes when nobody can be asked",
            code="confirmation_required",
            hint="see the plan first with --dry-run",
        )
    return output.confirm("Restore in place as shown?")


def _answer_plan(output: Output, plan: RestorePlan, snapshot: Snapshot) -> None:
    if output.for_people:
        _show_plan(output, plan, snapshot)
    else:
        output.document(
            {"dry_run": True, "snapshot": snapshot.id, "repository": snapshot.repository, "plan": plan}
        )


# --- showing the plan ----------------------------------------------------------------------------


def _show_plan(output: Output, plan: RestorePlan, snapshot: Snapshot) -> None:
    where = "in place" if plan.in_place else f"into {path_for_people(plan.target or b'')}"
    output.note(
        f"Restore of {snapshot.id[:8]} ({formatting.moment(snapshot.time)}) from {snapshot.repository} {where}:",
        "bold",
    )
    for group, tone in _groups(plan):
        output.note(f"  {group}", tone)
    for sentence in plan.cannot_promise:
        output.note(f"  note: {sentence}", "yellow")


def _groups(plan: RestorePlan) -> list[tuple[str, str | None]]:
    """The plan as lines with their tones, for people: the counts, and some of the paths that would change."""
    groups = (
        ("new", plan.new, "green"),
        ("replaced", plan.replaced, "yellow"),
        ("exists as another kind of file", plan.other_kind, "yellow"),
        ("kept unchanged", plan.kept, None),
        ("unchanged", plan.unchanged, None),
    )
    lines: list[tuple[str, str | None]] = []
    for name, part, tone in groups:
        if part.entries:
            lines.append(
                (f"{formatting.number(part.entries):>9} {name} ({formatting.size(part.size_bytes)})", tone)
            )
        if part.entries and name not in {"new", "unchanged"}:
            lines += [
                (f"            {path_for_people(path)}", "dim") for path in part.examples[:EXAMPLES_SHOWN]
            ]
    if plan.other_kind_left:
        left = formatting.counted(
            plan.other_kind_left, "of these is left unchanged", "of these are left unchanged"
        )
        lines.append((f"          {left}", "yellow"))
    return lines or [("nothing to restore", None)]
