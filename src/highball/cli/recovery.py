"""verify, restore: proving that data can be brought back, and bringing it back."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import typer

from highball.agent.restore import RestorePlan, plan_restore
from highball.cli import carrying, words
from highball.cli.arguments import (
    InPlace,
    InRepository,
    JobArgument,
    Jobs,
    OnlyPaths,
    OverwriteRule,
    PlanOnly,
    ReadsAll,
    Target,
    Wait,
    WhichSnapshot,
    Yes,
    read_wait,
    whole_path,
)
from highball.cli.choosing import choose_to_restore
from highball.cli.holdings import list_known
from highball.cli.machine import Machine
from highball.cli.output import Output
from highball.cli.session import Session
from highball.errors import Misuse, Unknown
from highball.facts import Snapshot, path_for_people
from highball.hub.runs import SetOf, utc_now
from highball.protocol import FILES_SET, Assignment, Overwrite, RestoreTask, VerifyTask

EXAMPLES_SHOWN = 10


# --- verify --------------------------------------------------------------------------------------


def verify(
    context: typer.Context,
    jobs: Jobs = None,
    read_data: ReadsAll = False,
    wait: Wait = None,
) -> None:
    """Prove that the newest snapshots can be restored: bring files back to scratch and compare them."""
    session: Session = context.obj
    patience = read_wait(wait)
    machine = session.open()
    chosen = machine.choose_jobs(jobs or [])
    sets = [
        SetOf(key, machine.host, job, FILES_SET) for job in chosen for key in machine.job(job).repositories
    ]
    machine.demand_secrets([of.repository for of in sets])
    machine.place.find_restic()
    machine.settle(begins_run=True)
    orders = [(f"{of.job} in {of.repository}", _verifies(machine, of, read_data, patience)) for of in sets]
    carrying.carry_out(session, machine, orders)


def _verifies(
    machine: Machine, of: SetOf, read_data: bool, wait: timedelta | None
) -> Callable[[], Assignment]:
    def order() -> Assignment:
        governed = machine.record.list_governed(of)
        if not governed:
            raise Unknown(
                f"{of.job} has no snapshot in {of.repository} yet",
                code="snapshot_unknown",
                hint=f"make one with: highball run {of.job}",
            )
        task = VerifyTask(repository=of.repository, snapshot_id=governed[0].id, all_data=read_data)
        return machine.orders.maintain(task, of.repository, utc_now(), job=of.job, wait=wait)

    return order


# --- restore -------------------------------------------------------------------------------------


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
    """Bring files back, by default into a new directory; in place only after the plan was shown."""
    session: Session = context.obj
    patience = read_wait(wait)
    if target is not None and in_place:
        raise Misuse("--target and --in-place exclude each other")
    paths = [whole_path("--path", text) for text in path or []]
    machine = session.open()
    machine.choose_jobs([job])
    keys = machine.choose_repositories([repository]) if repository else list(machine.job(job).repositories)
    machine.demand_secrets(keys)
    found = choose_to_restore(session.output, lambda key: list_known(machine, key), keys, job, snapshot)
    asked = machine.ask(found.repository)
    machine.settle(begins_run=not dry_run)
    place = None if in_place else _new_target(target, job, found)
    rule = overwrite or _usual_rule(place)
    wanted = tuple(paths) or tuple(asked.restic.exact_paths(found))
    if _must_show(place, dry_run):
        plan = plan_restore(asked.restic, found.id, wanted, place, rule)
        if dry_run:
            _answer_plan(session.output, plan, found)
            return
        _show_plan(session.output, plan, found)
        if in_place and not _agreed(session.output, yes):
            session.output.note("Nothing was changed.")
            return
    task = RestoreTask(repository=asked.key, snapshot_id=found.id, paths=wanted, target=place, overwrite=rule)
    carrying.carry_out(
        session,
        machine,
        [(job, lambda: machine.orders.bring_back(task, asked.key, utc_now(), job=job, wait=patience))],
        extra=lambda: {"target": None if place is None else os.fsdecode(place)},
    )
    if place is not None and session.output.for_people and Path(os.fsdecode(place)).is_dir():
        session.output.line(f"  in {path_for_people(place)}")


def _new_target(named: str | None, job: str, snapshot: Snapshot) -> bytes:
    if named is not None:
        return os.path.abspath(os.fsencode(named))
    first = Path.cwd() / f"restore-{job}-{snapshot.id[:8]}"
    candidates = [first, *(first.with_name(f"{first.name}-{n}") for n in range(2, 1000))]
    return os.fsencode(next(candidate for candidate in candidates if not candidate.exists()))


def _usual_rule(place: bytes | None) -> Overwrite:
    if place is None:
        return Overwrite.IF_CHANGED
    return Overwrite.NEVER if _holds_something(place) else Overwrite.ALWAYS


def _must_show(place: bytes | None, dry_run: bool) -> bool:
    return dry_run or place is None or _holds_something(place)


def _holds_something(place: bytes) -> bool:
    try:
        return bool(os.listdir(place))
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise Misuse(f"--target: {path_for_people(place)} is not a directory") from None


def _agreed(output: Output, yes: bool) -> bool:
    if yes:
        return True
    if not output.interactive:
        raise Misuse(
            "a restore in place needs --yes where nobody can be asked",
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
        f"Restore of {snapshot.id[:8]} ({words.moment(snapshot.time)}) from {snapshot.repository} {where}:",
        "bold",
    )
    for group, tone in plan_groups(plan):
        output.note(f"  {group}", tone)
    for sentence in plan.cannot_promise:
        output.note(f"  note: {sentence}", "yellow")


def plan_groups(plan: RestorePlan) -> list[tuple[str, str | None]]:
    """The plan as lines with their tones, for people: the counts, and some of the paths that would change."""
    groups = (
        ("new", plan.new, "green"),
        ("replaced", plan.replaced, "yellow"),
        ("there as another kind of file", plan.other_kind, "yellow"),
        ("kept as they are", plan.kept, None),
        ("unchanged", plan.unchanged, None),
    )
    lines: list[tuple[str, str | None]] = []
    for name, part, tone in groups:
        if part.entries:
            lines.append((f"{words.number(part.entries):>9} {name} ({words.size(part.size_bytes)})", tone))
        if part.entries and name not in {"new", "unchanged"}:
            lines += [
                (f"            {path_for_people(path)}", "dim") for path in part.examples[:EXAMPLES_SHOWN]
            ]
    if plan.other_kind_left:
        left = words.counted(plan.other_kind_left, "of these stays as it is", "of these stay as they are")
        lines.append((f"          {left}", "yellow"))
    return lines or [("nothing to restore", None)]
