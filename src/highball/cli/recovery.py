"""verify, restore: proving that data can be brought back, and bringing it back."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Annotated

import typer

from highball.agent.ask import Asked
from highball.agent.restore import RestorePlan, plan_restore
from highball.cli import carrying, words
from highball.cli.backup import Jobs
from highball.cli.holdings import RepositoryOption, list_known, whole_path
from highball.cli.machine import Machine
from highball.cli.output import Output
from highball.cli.session import Session
from highball.errors import HighballError, Misuse, Unknown
from highball.facts import Snapshot, path_for_people
from highball.hub.runs import SetOf, utc_now
from highball.protocol import FILES_SET, Assignment, Overwrite, RestoreTask, VerifyTask

SHOWN_TO_CHOOSE = 20
EXAMPLES_SHOWN = 10


# --- verify --------------------------------------------------------------------------------------


def verify(
    context: typer.Context,
    jobs: Jobs = None,
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Restore and compare the whole snapshot, not only a sample.")
    ] = False,
    wait: carrying.Wait = None,
) -> None:
    """Prove that the newest snapshots can be restored: bring files back to scratch and compare them."""
    session: Session = context.obj
    patience = carrying.read_wait(wait)
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
    job: Annotated[str, typer.Argument(metavar="JOB", help="Whose data.")],
    snapshot: Annotated[
        str | None,
        typer.Option(
            "--snapshot",
            "-s",
            metavar="ID|latest|DATE",
            help="Which snapshot; a date means the newest until then.",
        ),
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(
            "--path",
            "-p",
            metavar="P",
            help="Only this file or folder, as a literal absolute path; may be repeated.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target", "-t", metavar="DIR", help="Where to; by default a new directory below this one."
        ),
    ] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Back to where it came from.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    overwrite: Annotated[
        Overwrite | None, typer.Option("--overwrite", help="What to do with files that are there already.")
    ] = None,
    repository: RepositoryOption = None,
    yes: carrying.Yes = False,
    wait: carrying.Wait = None,
) -> None:
    """Bring files back, by default into a new directory; in place only after the plan was shown."""
    session: Session = context.obj
    patience = carrying.read_wait(wait)
    if target is not None and in_place:
        raise Misuse("--target and --in-place exclude each other")
    paths = [whole_path("--path", text) for text in path or []]
    machine = session.open()
    machine.choose_jobs([job])
    asked, found = _choose(session.output, machine, job, snapshot, repository)
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


# --- choosing a snapshot -------------------------------------------------------------------------


def _choose(
    output: Output, machine: Machine, job: str, named: str | None, repository: str | None
) -> tuple[Asked, Snapshot]:
    """The snapshot to restore, from the first of the job's repositories that answers and has it."""
    keys = machine.choose_repositories([repository]) if repository else list(machine.job(job).repositories)
    machine.demand_secrets(keys)
    failures: list[HighballError] = []
    for key in keys:
        try:
            found = list_known(machine, key, None)
            chosen = _pick(output, machine, job, found, named)
            return machine.ask(key), chosen
        except HighballError as error:
            failures.append(error)
            if len(keys) > 1:
                output.note(f"{key}: {error.message}", "yellow")
    raise failures[0]


def _pick(
    output: Output, machine: Machine, job: str, found: Sequence[Snapshot], named: str | None
) -> Snapshot:
    # unknown snapshots may carry our tags: "latest" and dates mean those that our runs made
    ours = sorted((s for s in found if s.governed and s.job == job), key=lambda s: s.time, reverse=True)
    if named is None and output.interactive and len(ours) > 1:
        return _ask_which(output, ours)
    if named in (None, "latest"):
        return _first(ours, f"{job} has no snapshot here yet")
    until = _read_date(named or "")
    if until is not None:
        return _first([s for s in ours if s.time <= until], f"{job} has no snapshot here as old as {named}")
    matching = [s for s in found if s.id.startswith((named or "").lower())]
    if len(matching) > 1:
        raise Unknown(
            f"{len(matching)} snapshots begin with {named}",
            code="snapshot_unknown",
            hint="write more of its id",
        )
    return _first(matching, f"no snapshot begins with {named}")


def _first(found: Sequence[Snapshot], otherwise: str) -> Snapshot:
    if not found:
        raise Unknown(otherwise, code="snapshot_unknown", hint="see them with: highball snapshots")
    return found[0]


def _ask_which(output: Output, ours: Sequence[Snapshot]) -> Snapshot:
    shown = ours[:SHOWN_TO_CHOOSE]
    output.note("Which snapshot? Enter takes the newest.")
    number = output.choose(
        "Snapshot", [f"{words.moment(s.time)}  {s.id[:8]}  {words.size(s.size_bytes)}" for s in shown]
    )
    return shown[number or 0]


def _read_date(text: str) -> datetime | None:
    """A time, or the end of a day, in the zone of the person who asks; None where the text is no date."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if text.isdigit():  # eight digits may as well be the start of an id; ids are what people copy
        return None
    if len(text) == len("2026-05-04"):
        at = datetime.combine(at.date(), time.max)
    return at.astimezone()


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
