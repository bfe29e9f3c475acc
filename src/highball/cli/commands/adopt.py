"""adopt: snapshots that no known run made, and whose retention is to govern them; here and over a hub alike."""

from __future__ import annotations

import typer

from highball.cli import render
from highball.cli.console import Output
from highball.cli.context import Session
from highball.cli.lookup import choose_repositories, demand_known
from highball.cli.options import (
    GroupArgument,
    OfJob,
    PlansAdoption,
    Releases,
    RepositoryArgument,
    Yes,
)
from highball.errors import Misuse, Unknown
from highball.model.snapshot import ForeignGroup


def adopt(
    context: typer.Context,
    repository: RepositoryArgument,
    group: GroupArgument = None,
    job: OfJob = None,
    release: Releases = False,
    dry_run: PlansAdoption = False,
    yes: Yes = False,
) -> None:
    """List foreign snapshots (of other tools), and apply a job's retention to them. Adopting removes nothing."""
    session: Session = context.obj
    place = session.place()
    [key] = choose_repositories(place.document, [repository])
    if group is None:
        if job is not None or release:
            raise Misuse("adopt needs the group", hint=f"see the groups with: highball adopt {key}")
        render.show_groups(session.output, place.list_foreign(key))
        return
    if release == (job is not None):
        raise Misuse("adopt needs --job or --release", hint=f"highball adopt {key} {group} --job JOB")
    found = _find(place.list_foreign(key), group, adopted=release)
    if job is None:
        _tell(session.output, place.release(key, found.id), "is foreign again; nothing was removed")
        return
    demand_known("job", [job], place.document.jobs)
    plans = place.preview_adoption(key, found.id, job)
    if dry_run or session.output.for_people:
        render.show_plans(session.output, plans)
    if dry_run:
        return
    if not _agreed(session.output, found, job, yes):
        session.output.note("Nothing was changed.")
        return
    _tell(
        session.output,
        place.adopt(key, found.id, job),
        f"is adopted: the retention of {job} applies to it from now on",
    )


def _find(groups: list[ForeignGroup], named: str, *, adopted: bool) -> ForeignGroup:
    """The group with this id, or the only one whose id begins so; raises Unknown."""
    there = [one for one in groups if (one.job is not None) == adopted and one.id.startswith(named.lower())]
    if len({one.id for one in there}) != 1:
        what = "adopted group" if adopted else "foreign group"
        begins = f"more than one {what} starts" if there else f"no {what} starts"
        raise Unknown(
            f"{begins} with {named}", code="group_unknown", hint="see them with: highball adopt REPOSITORY"
        )
    return there[0]


def _agreed(output: Output, group: ForeignGroup, job: str, yes: bool) -> bool:
    if yes:
        return True
    if not output.interactive:
        raise Misuse(
            "adopting needs --yes when nobody can be asked",
            code="confirmation_required",
            hint="--dry-run shows first what the job's retention would do",
        )
    return output.confirm(f"Apply the retention of {job} to these {group.snapshots} snapshots?")


def _tell(output: Output, group: ForeignGroup, what: str) -> None:
    if output.for_people:
        output.line(f"✓ group {group.id} of {group.repository} {what}", "green")
    else:
        output.document(group)
