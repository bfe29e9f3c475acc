"""pause, resume: what runs by a hub's clock rests until a time, or until somebody says so; one machine has no clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, NoReturn

import typer

from highball.cli import render
from highball.cli.context import Session
from highball.cli.lookup import choose_jobs
from highball.cli.options import Jobs
from highball.errors import Misuse
from highball.model.text import time_to_text
from highball.schedule import duration_from_value

Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME|DURATION",
        help="When the pause ends, like 2030-01-31T06:00 or 8h; without it, on resume.",
    ),
]
WithMaintenance = Annotated[
    bool,
    typer.Option(
        "--maintenance", help="Also pause the scheduled maintenance of repositories and of the hub."
    ),
]
WhyPaused = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="The reason, shown with the pause.")
]


def pause(
    context: typer.Context,
    jobs: Jobs = None,
    until: Until = None,
    maintenance: WithMaintenance = False,
    reason: WhyPaused = None,
) -> None:
    """Pause the schedules of all jobs, or of the ones given."""
    session: Session = context.obj
    if session.hub is None:
        _speaks_to_a_hub("pause")
    if jobs and maintenance:
        raise Misuse("--maintenance pauses all jobs", hint="omit the jobs, or --maintenance")
    hub = session.reach()
    told = {"until": _read_until(until), "reason": reason}
    if not jobs:
        render.show_pauses(session.output, hub.pause_all(told | {"maintenance": maintenance}))
        return
    for job in choose_jobs(hub.document, jobs):
        hub.pause(job, told)
    render.show_pauses(session.output, hub.list_pauses())


def resume(context: typer.Context, jobs: Jobs = None) -> None:
    """End the pause of all schedules, or of the jobs given."""
    session: Session = context.obj
    if session.hub is None:
        _speaks_to_a_hub("resume")
    hub = session.reach()
    if not jobs:
        render.show_pauses(session.output, hub.resume_all())
        return
    for job in choose_jobs(hub.document, jobs):
        hub.resume(job)
    render.show_pauses(session.output, hub.list_pauses())


def _speaks_to_a_hub(verb: str) -> NoReturn:
    raise Misuse(
        f"{verb} needs a hub",
        hint="name it with --hub; on a single machine stop the scheduler that runs highball, like cron",
    )


def _read_until(text: str | None) -> str | None:
    """When a pause ends, in the zone of the person who asks; raises Misuse."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = datetime.now().astimezone() + _read_length(text)
    return time_to_text(at.astimezone())


def _read_length(text: str) -> timedelta:
    try:
        return duration_from_value(text)
    except ValueError:
        raise Misuse(
            f"--until: {text[:40]} is neither a time nor a duration",
            code="pause_unknown",
            hint="write it like 2030-01-31T06:00, 2030-01-31 or 8h",
        ) from None
