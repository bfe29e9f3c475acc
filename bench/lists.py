"""How soon lists of a long record are answered over the API, and what the hub then holds.

Run as: .venv/bin/python bench/lists.py [--restic PATH] [--runs N]; with an empty database of PostgreSQL as
HIGHBALL_DATABASE=postgresql://user@host/name it is measured on that.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

from history import declared, fill
from measuring import Result, make_small_files, options, scratch
from serving import Served, mib

MOST_MS, ASKED, JOBS = 80, 200, 500


def main() -> None:
    """Measure and write down."""
    chosen = options(__doc__ or "", ("runs", 1_000_000, "how many runs the record holds in the end"))
    address = os.environ.get("HIGHBALL_DATABASE")
    kind = "PostgreSQL" if address else "SQLite"
    result = Result(f"lists-{kind.lower()}", f"Lists of a long record, on {kind}")
    with scratch() as folder:
        make_small_files(folder / "source", 10)
        environment = {"HIGHBALL_DATABASE": address} if address else {}
        served = Served(
            folder / "hub", folder / "source", chosen.restic, declared(JOBS, folder / "source"), **environment
        )
        with served.serving():
            result.add("the hub without runs", mib(served.hub_pid))
        filled, now = 0, datetime.now(UTC)
        for count in (chosen.runs // 10, chosen.runs):
            fill(address or folder / "hub" / "state" / "highball.db", JOBS, range(filled, count), now)
            filled = count
            with served.serving():
                _measure(result, served, count)
                result.add(f"the hub with {count:,} runs, after these lists", mib(served.hub_pid))
    result.write(chosen.restic)


def _measure(result: Result, served: Served, count: int) -> None:
    oldest = served.call("runs?limit=50")["next"]
    for what, address in (
        ("the newest 50", "runs?limit=50"),
        ("the next 50", f"runs?limit=50&cursor={oldest}"),
        ("the failures of a job", "runs?limit=50&job=job-7&outcome=failure"),
        ("the cancelled, of which there are none", "runs?limit=50&outcome=cancelled"),
        (f"how {JOBS} jobs stand", "status"),
    ):
        took = sorted(_milliseconds(served, address) for _ in range(ASKED))
        p95 = took[int(ASKED * 0.95)]
        result.add(
            f"{what}, of {count:,} runs", f"p95 {p95:.1f} ms", f"≤ {MOST_MS} ms", p95 <= MOST_MS, p95=p95
        )


def _milliseconds(served: Served, address: str) -> float:
    begun = time.monotonic()
    served.call(address)
    return (time.monotonic() - begun) * 1000


if __name__ == "__main__":
    main()
