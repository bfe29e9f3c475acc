"""What a tick of the scheduler costs: 10,000 schedules of which none is due, and 10,000 due in the same second.

Run as: .venv/bin/python bench/ticking.py [--schedules N]
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from highball.hub.runs.scheduler import Scheduler
from highball.hub.runs.subjects import Planned
from highball.hub.storage.database import Database, open_database
from highball.hub.storage.schema import runs
from highball.model.run import Action
from highball.schedule import Schedule
from measuring import Result, options

MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)
THREE = MIDNIGHT + timedelta(hours=3)
IDLE_MS, DUE_SECONDS = 20, 5


def main() -> None:
    """Measure and write down."""
    chosen = options(
        __doc__ or "",
        ("schedules", 10_000, "how many schedules there are"),
        ("times", 5, "how often each is measured"),
        ("ticks", 100, "how many ticks without work, each time"),
    )
    count = chosen.schedules
    result = Result("ticking", "The scheduler's tick")
    idle, due, doubled = [], [], 0
    for _ in range(chosen.times):
        with tempfile.TemporaryDirectory() as folder:
            database = open_database(Path(folder) / "highball.db")
            scheduler = Scheduler(database)
            scheduler.reconcile(_plans(count), MIDNIGHT)
            ticks = [_seconds(lambda s=scheduler: s.tick(MIDNIGHT, HOSTS)) for _ in range(chosen.ticks)]  # type: ignore[misc]
            idle.append(statistics.median(ticks) * 1000)
            due.append(_seconds(lambda s=scheduler: s.tick(THREE, HOSTS)))  # type: ignore[misc]
            scheduler.tick(THREE, HOSTS)
            doubled += abs(_count(database) - count)
    result.add(
        f"a tick, {count:,} schedules, none due",
        f"{statistics.median(idle):.1f} ms (least {min(idle):.1f})",
        f"≤ {IDLE_MS} ms",
        statistics.median(idle) <= IDLE_MS,
        milliseconds=[round(value, 2) for value in idle],
    )
    result.add(
        f"{count:,} due in the same second, all queued",
        f"{statistics.median(due):.2f} s (least {min(due):.2f}); {doubled} lost or doubled",
        f"≤ {DUE_SECONDS} s, none lost or doubled",
        statistics.median(due) <= DUE_SECONDS and not doubled,
        seconds=[round(value, 3) for value in due],
    )
    result.notes.append("SQLite on disk, every commit synced.")
    result.write(None)


HOSTS = {f"host{number}" for number in range(500)}


def _plans(count: int) -> list[Planned]:
    """Backups that are due at three, of 500 hosts, in thousands of different schedules."""
    return [
        Planned(
            f"backup:job{number}",
            Action.BACKUP,
            f"host{number % len(HOSTS)}",
            Schedule(cron=f"0 3 1,{2 + number % 27},{2 + number // 27 % 27} * *"),
            ("UTC", "Africa/Abidjan", "Africa/Accra", "Atlantic/Reykjavik")[number % 4],
        )
        for number in range(count)
    ]


def _count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(runs)).scalar_one())


def _seconds(call: Callable[[], object]) -> float:
    gc.collect()
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
