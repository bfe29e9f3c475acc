"""Carrying out a row of runs for a command: one after the other, told as they go, answered at the end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from highball.cli import formatting
from highball.cli.console import MARKS, TONES, Form, Output
from highball.cli.context import (
    Session,
    exit_status_of,
    outcome_of,
)
from highball.cli.operations import Operations, Titled
from highball.cli.progress import Narrator
from highball.errors import Conflict, HighballError, Misuse, NotAllowed, RepositoryError, Unknown
from highball.model.run import Outcome, Run
from highball.process.child import Stop


def carry_out(
    session: Session,
    place: Operations,
    orders: Iterable[Titled],
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
    with ends_politely(place.stop):
        for subject, order in orders:
            if place.stop.requested and done:
                cut_short = True
                break
            try:
                do = place.rehearse if rehearse else place.carry_out
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
        took = f" in {formatting.length((run.ended_at - run.started_at).total_seconds())}"
    subject = " ".join(part for part in (run.action.value, run.job, run.repository) if part)
    why = f": {run.reason.message}" if run.reason else ""
    return f"{MARKS[outcome]} {subject}: {outcome.value}{took}{why}"


@contextlib.contextmanager
def ends_politely(stop: Stop) -> Iterator[None]:
    """While this lasts, Ctrl-C, SIGTERM and a hang-up ask the run to end instead of ending this process.

    What was ignored from the start (a hang-up under nohup) stays so.
    """
    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    numbers = [number for number in asked if signal.getsignal(number) is not signal.SIG_IGN]
    before = [signal.signal(number, lambda *_: stop.request()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def may_remove_all(output: Output, yes: bool) -> bool:
    """Whether every lock may go; raises Misuse where nobody can be asked."""
    if yes:
        return True
    if not output.interactive:
        raise Misuse("--remove-all needs --yes when nobody can be asked", code="confirmation_required")
    if output.confirm("Remove every lock? A backup or prune that is still running may be damaged."):
        return True
    output.note("Nothing was removed.")
    return False
