"""status, runs, logs: how things stand and what happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from highball.agent.rundir import RunDirectory
from highball.cli import words
from highball.cli.backup import Jobs
from highball.cli.live import describe_step
from highball.cli.machine import Machine
from highball.cli.output import Cell, Column, Output, state
from highball.cli.session import Session
from highball.facts import (
    Event,
    Health,
    LogLine,
    Outcome,
    Run,
    RunEnded,
    RunStarted,
    StepEnded,
    StepStarted,
    Waiting,
    WarningSeen,
    path_for_people,
)
from highball.hub.runs import utc_now
from highball.hub.standing import Standing, list_standings


def status(context: typer.Context, jobs: Jobs = None) -> None:
    """Show how each job stands in each of its repositories."""
    session: Session = context.obj
    machine = session.open()
    chosen = machine.choose_jobs(jobs or []) if jobs else list(machine.document.jobs)
    machine.settle(begins_run=False)
    found = list_standings(machine.document, machine.record, machine.host, utc_now(), chosen)
    if not session.output.for_people:
        session.output.document(found)
        return
    columns = (
        "JOB",
        "REPOSITORY",
        "STATE",
        "LAST GOOD",
        "LAST RUN",
        "SNAPSHOTS",
        "SIZE",
        "CHECKED",
        "PROVED",
    )
    session.output.table(
        [
            Column(t, right=t in {"SNAPSHOTS", "SIZE"}, spare=t in {"SNAPSHOTS", "SIZE", "CHECKED"})
            for t in columns
        ],
        [_as_row(standing) for standing in found],
        "No jobs are declared yet; add one as [jobs.<key>] to the configuration.",
    )
    _tell_verdict(session.output, found)


def _as_row(standing: Standing) -> list[str | Cell]:
    now = utc_now()

    def ago(at: object) -> str:
        return words.age(int((now - at).total_seconds())) if at else "never"  # type: ignore[operator]

    return [
        standing.job,
        standing.repository,
        state(standing.state),
        words.age(standing.age_seconds) if standing.last_success_at else "never",
        state(standing.last_outcome, "none yet"),
        words.number(standing.snapshots),
        words.size(standing.size_bytes),
        ago(standing.last_check_at),
        ago(standing.last_restore_proof_at),
    ]


_VERDICTS = {
    Health.NEVER: "was never backed up without a warning",
    Health.OVERDUE: "is overdue",
    Health.FAILED: "failed the last time",
    Health.LATE: "is late",
}


def _tell_verdict(output: Output, found: list[Standing]) -> None:
    """The one sentence: is everything protected, and could it be restored?"""
    if not found:
        return
    bad = [standing for standing in found if standing.state is not Health.HEALTHY]
    unproved = [standing for standing in found if standing.last_restore_proof_at is None]
    output.line()
    for standing in bad:
        why = f": {standing.last_reason.message}" if standing.last_reason else ""
        fix = f"highball logs {standing.last_run}" if standing.last_run else f"highball run {standing.job}"
        verdict = _VERDICTS[standing.state] if standing.last_run else "was never backed up"
        output.line(f"{standing.job} in {standing.repository} {verdict}{why}", "red")
        output.line(f"  → {fix}", "dim")
    if not bad and not unproved:
        output.line("Everything is protected, and has been restored to prove it.", "green")
    elif not bad:
        names = ", ".join(dict.fromkeys(standing.job for standing in unproved))
        output.line(
            f"Everything is protected; never proved by a restore: {names} → highball verify", "yellow"
        )


def runs(
    context: typer.Context,
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="Only runs of this job.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many, newest first.", min=1)] = 50,
) -> None:
    """Show what ran, newest first."""
    session: Session = context.obj
    machine = session.open()
    machine.settle(begins_run=False)
    if job is not None:
        machine.choose_jobs([job])
    found = machine.record.list_runs(job=job, limit=limit)
    if not session.output.for_people:
        session.output.document(found)
        return
    session.output.table(
        [
            Column("RUN"),
            Column("STARTED"),
            Column("WHAT"),
            Column("OUTCOME"),
            Column("TOOK", right=True),
            Column("WHY", wraps=True),
        ],
        [_run_row(run) for run in found],
        "Nothing has run yet; start with: highball run",
    )


def _run_row(run: Run) -> list[str | Cell]:
    took = (run.ended_at - run.started_at).total_seconds() if run.ended_at and run.started_at else None
    what = " ".join(part for part in (run.action.value, run.job, run.repository) if part)
    return [
        run.id[:13],  # the time in milliseconds: as good as the whole
        words.moment(run.started_at or run.created_at),
        what,
        state(run.outcome, run.state.value),
        words.length(took),
        run.reason.message if run.reason else "",
    ]


def logs(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run, or the start of its id.")],
) -> None:
    """Show everything that happened in a run; while it goes on, what has happened so far."""
    session: Session = context.obj
    machine = session.open()
    machine.settle(begins_run=False)
    found = machine.record.find_run(run)
    events = list(_events_of(machine, found))
    if not session.output.for_people:
        session.output.document([event.model_dump(mode="json", exclude_none=True) for event in events])
        return
    for event in events:
        for text, tone in _describe(event):
            session.output.line(f"{words.moment(event.at)}  {text}", tone)


def _events_of(machine: Machine, run: Run) -> Iterator[Event]:
    """From the record, and while the run goes on the rest from its directory."""
    last = 0
    for event in machine.record.read_events(run.id):
        last = event.seq
        yield event
    yield from RunDirectory(machine.place.runs / run.id).read_events(after=last)


def _describe(event: Event) -> Iterator[tuple[str, str | None]]:
    match event:
        case RunStarted():
            yield f"run {event.run} begins (process {event.pid})", "bold"
        case StepStarted():
            running = event.running
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            yield (
                f"{running.action.value} {running.repository or running.title or ''}".rstrip() + again,
                "bold",
            )
        case LogLine():
            yield from ((f"  {line}", "dim") for line in event.text.splitlines() or [""])
        case Waiting():
            yield f"  {event.reason.message}", "yellow"
        case WarningSeen():
            yield f"  ! {event.warning.message}", "yellow"
        case StepEnded():
            outcome = event.done.outcome or Outcome.FAILURE
            yield f"  {state(outcome).text}: {describe_step(event.done)}", state(outcome).tone
            for warning in event.done.warnings:
                where = f"{path_for_people(warning.path)}: " if warning.path else ""
                yield f"    ! {where}{warning.message}", "yellow"
        case RunEnded():
            why = f": {event.reason.message}" if event.reason else ""
            yield f"{state(event.outcome).text}{why}", state(event.outcome).tone
        case _:
            return
