"""A long record to measure with: daily runs of many jobs, each with its step, and the snapshots of the newest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from highball.hub.storage.database import new_run_id, open_database
from highball.hub.storage.schema import (
    runs,
    snapshots,
    steps,
)
from measuring import HOST, REPOSITORY

AT_ONCE = 5000
KEPT = 20
"""So many snapshots of each job are there."""


def declared(jobs: int, source: Path) -> str:
    """The jobs as a configuration file says them."""
    return "".join(
        f'[jobs.job-{number}]\nschedule = "{number % 60} {number % 24} * * *"\n'
        f'repositories = ["{REPOSITORY}"]\nsources = ["{source}"]\n'
        for number in range(jobs)
    )


def fill(where: Path | str, jobs: int, numbers: range, now: datetime | None = None) -> None:
    """Write runs into a database, by their numbers: 0 ended at `now`, and each is so much older that every job ran
    once a day."""
    now = now or datetime.now(UTC)
    database = open_database(where)
    every = timedelta(days=1) / jobs
    for start in range(numbers.start, numbers.stop, AT_ONCE):
        told = [
            _run(number, jobs, now - number * every)
            for number in range(start, min(start + AT_ONCE, numbers.stop))
        ]
        with database.write() as connection:
            connection.execute(runs.insert(), [run for run, _, _ in told])
            connection.execute(steps.insert(), [step for _, step, _ in told])
            if start < jobs * KEPT:
                connection.execute(snapshots.insert(), [snapshot for _, _, snapshot in told])
    database.close()


def _run(number: int, jobs: int, at: datetime) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    id, job = new_run_id(at, number), f"job-{number % jobs}"
    outcome = "failure" if (number + number // jobs) % 20 == 0 else "success"  # each job now and then
    run: dict[str, Any] = {
        "id": id,
        "kind": "backup",
        "action": "backup",
        "job": job,
        "host": HOST,
        "state": "done",
    }
    run |= {"outcome": outcome, "created_at": at, "started_at": at, "ended_at": at, "last_seq": 0}
    account: dict[str, Any] = {
        "number": 1,
        "action": "backup",
        "repository": REPOSITORY,
        "job": job,
        "outcome": outcome,
    }
    step: dict[str, Any] = {"run": id, "number": 1, "action": "backup", "repository": REPOSITORY, "job": job}
    step |= {"outcome": outcome, "ended_at": at, "account": account}
    snapshot: dict[str, Any] = {
        "repository": REPOSITORY,
        "id": f"{number:064x}",
        "host": HOST,
        "job": job,
        "set": "files",
    }
    snapshot |= {"run": id, "time": at, "size_bytes": 10_000, "shrank": False}
    return run, step, snapshot
