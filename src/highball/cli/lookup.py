"""Names that people type, held against those that are known."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from highball.config.document import Document
from highball.errors import Problem, Unknown
from highball.model.run import Run, RunState


def choose_jobs(document: Document, named: Sequence[str]) -> list[str]:
    """The jobs that were named; none named means all that are enabled. Raises Unknown."""
    demand_known("job", named, document.jobs)
    return list(dict.fromkeys(named)) or [key for key, job in document.jobs.items() if job.enabled]


def choose_repositories(document: Document, named: Sequence[str]) -> list[str]:
    """The repositories that were named; none named means all. Raises Unknown."""
    demand_known("repository", named, document.repositories)
    return list(dict.fromkeys(named)) or list(document.repositories)


def demand_known(what: str, named: Sequence[str], known: Iterable[str]) -> None:
    """Raise Unknown with each name that is not known, and the nearest one that is."""
    names = list(known)
    problems = [
        Problem(name, f"there is no {what} {name}", _nearest(name, names))
        for name in named
        if name not in names
    ]
    if problems:
        raise Unknown(
            problems[0].message,
            code=f"{what}_unknown",
            hint=problems[0].hint or "see them with: highball list",
            problems=problems,
        )


class Runs(Protocol):
    """Where runs are looked up: in the record of this machine, or at a hub."""

    def find_run(self, id_or_start: str, /) -> Run:
        """The run with this id, or the only one whose id begins so; raises Unknown."""

    def list_runs(self, *, job: str | None, limit: int) -> list[Run]:
        """The latest runs, newest first."""


def find_run_of(named: str, jobs: Iterable[str], runs: Runs) -> Run:
    """The run that was named, or the one that goes on of the job that was; raises Unknown."""
    if named not in jobs:
        return runs.find_run(named)
    latest = runs.list_runs(job=named, limit=5)
    going = next((run for run in latest if run.state is not RunState.DONE), None)
    if going is None:
        raise Unknown(
            f"no run of {named} is in progress", code="run_unknown", hint="see them with: highball runs"
        )
    return going


def await_end(runs: Runs, run: str, seconds: float) -> Run:
    """The run once it has ended, or as it is after so many seconds."""
    until = time.monotonic() + seconds
    while True:
        found = runs.find_run(run)
        if found.state is RunState.DONE or time.monotonic() > until:
            return found
        time.sleep(0.2)


def _nearest(name: str, known: Sequence[str]) -> str | None:
    found = difflib.get_close_matches(name, known, 1)
    return f"did you mean {found[0]}?" if found else None
