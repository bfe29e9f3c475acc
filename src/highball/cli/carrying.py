"""Carrying out a row of runs for a command: one after the other, told as they go, answered at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer

from highball.cli import words
from highball.cli.live import Narrator
from highball.cli.machine import Machine, ends_politely
from highball.cli.output import MARKS, TONES, Form
from highball.cli.session import Session, exit_status_of, outcome_of
from highball.errors import Conflict, HighballError, Misuse, NotAllowed, RepositoryError, Unknown
from highball.facts import Outcome, Run
from highball.protocol import Assignment
from highball.timing import duration_from_value

Wait = Annotated[
    str | None,
    typer.Option(
        "--wait",
        metavar="DURATION",
        help="How long to wait for a busy repository (default 1h; 0s: not at all).",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


def read_wait(text: str | None) -> timedelta | None:
    """A duration from the command line; raises Misuse."""
    if text is None:
        return None
    try:
        return duration_from_value(text)
    except ValueError as error:
        raise Misuse(f"--wait: {text} is not a duration like 30s, 10m or 1h30m", hint=None) from error


def carry_out(
    session: Session,
    machine: Machine,
    orders: Iterable[tuple[str, Callable[[], Assignment]]],
    *,
    rehearse: bool = False,
    extra: Callable[[], dict[str, Any]] = dict,
    answers: bool = True,
) -> list[Run]:
    """Carry out the runs one after the other and answer with their accounts.

    What cannot be begun (a job that another process is running, a plan that stands still) is refused and the
    next is tried; if nothing was begun, the first refusal is raised.
    """
    narrator = Narrator(session.output)
    done: list[Run] = []
    refused: list[tuple[str, HighballError]] = []
    cut_short = False
    with ends_politely(machine.stop):
        for subject, order in orders:
            if machine.stop.requested and done:
                cut_short = True
                break
            try:
                do = machine.rehearse if rehearse else machine.carry_out
                done.append(do(order(), narrator))
            except (Conflict, NotAllowed, Unknown, RepositoryError) as error:
                refused.append((subject, error))
    if refused and not done:
        raise refused[0][1]
    session.exit_status = max_status(done, refused)
    if cut_short and session.exit_status == 0:  # a run that was done already keeps its own truth
        session.exit_status = 130
    if answers:
        answer(session, done, refused, extra())
    return done


def max_status(done: Sequence[Run], refused: Sequence[tuple[str, HighballError]]) -> int:
    """The worst run decides; a refusal beside runs is a warning, a repository that failed is a failure."""
    status = exit_status_of(done, refused=bool(refused))
    return 1 if any(error.exit_code == 1 for _, error in refused) else status


def answer(
    session: Session, runs: Sequence[Run], refused: Sequence[tuple[str, HighballError]], extra: dict[str, Any]
) -> None:
    """The run document for a program, a closing line for people."""
    output = session.output
    if output.form is Form.JSON:
        document: dict[str, Any] = {
            "outcome": outcome_of(session.exit_status, runs).value,
            "runs": list(runs),
        }
        if refused:
            document["refused"] = [
                {"subject": subject, "code": error.code, "message": error.message}
                for subject, error in refused
            ]
        output.document(document | extra)
    elif output.for_people:
        for subject, error in refused:
            output.note(f"✗ {subject}: {error.message}", "yellow")
        for run in runs:
            output.line(_closing_line(run), TONES[run.outcome or Outcome.FAILURE])


def _closing_line(run: Run) -> str:
    outcome = run.outcome or Outcome.FAILURE
    took = ""
    if run.started_at and run.ended_at:
        took = f" in {words.length((run.ended_at - run.started_at).total_seconds())}"
    subject = " ".join(part for part in (run.action.value, run.job, run.repository) if part)
    why = f": {run.reason.message}" if run.reason else ""
    return f"{MARKS[outcome]} {subject}: {outcome.value}{took}{why}"
