"""What pages cost with 500 jobs and 100,000 runs: how soon they are answered, how large they are, when they are seen.

Run as: .venv/bin/python bench/paging.py [--restic PATH] [--jobs N] [--runs N] [--asked N]
"""

from __future__ import annotations

import gzip
import os
import statistics
import time
import urllib.request
from pathlib import Path

from history import declared, fill
from measuring import REPOSITORY, Result, make_small_files, options, scratch
from serving import Served

SECONDS_TO_PAINT, MOST_MS, MOST_KB = 1.0, 120, 200

PAGES = (
    "/",
    "/jobs",
    "/jobs/job-7",
    "/jobs/job-7/edit",
    "/jobs/new",
    "/runs",
    "/runs?outcome=failure",
    "/repositories",
    f"/repositories/{REPOSITORY}",
    f"/repositories/{REPOSITORY}/edit",
    "/repositories/new",
    "/hosts",
    "/maintenance",
    "/activity",
    "/settings",
    "/settings/appearance",
    "/settings/general",
    "/settings/hub",
    "/settings/users",
    "/settings/tokens",
    "/configuration",
    "/profiles",
    "/deleted",
    "/history/job/job-7",
    "/restore",
    "/restore?job=job-7",
)


def main() -> None:
    """Measure and write down."""
    chosen = options(
        __doc__ or "",
        ("jobs", 500, "how many jobs are declared"),
        ("runs", 100_000, "how many runs the record holds"),
        ("asked", 100, "how often each page is asked for"),
    )
    result = Result("pages", f"Pages, with {chosen.jobs:,} jobs and {chosen.runs:,} runs")
    with scratch() as folder:
        make_small_files(folder / "source", 10)
        served = Served(
            folder / "hub", folder / "source", chosen.restic, declared(chosen.jobs, folder / "source")
        )
        with served.serving():
            pass
        fill(folder / "hub" / "state" / "highball.db", chosen.jobs, range(chosen.runs))
        with served.serving():
            time.sleep(5)  # what was missed since the day before is recorded first
            for address in (*PAGES, f"/runs/{served.call('runs?limit=1')['items'][0]['id']}"):
                _measure(result, served, address, chosen.asked)
            _measure_paint(result, served)
    result.write(chosen.restic)


def _measure(result: Result, served: Served, address: str, asked: int) -> None:
    took, body, spent = [], b"", _seconds_of(served.hub_pid)
    for _ in range(asked):
        begun = time.monotonic()
        body = urllib.request.urlopen(served.page(address), timeout=60).read()
        took.append((time.monotonic() - begun) * 1000)
    cpu = (_seconds_of(served.hub_pid) - spent) * 1000 / asked
    p95, size = sorted(took)[int(asked * 0.95)], len(body) / 1000
    name = "/runs/…" if address.startswith("/runs/") else address
    result.add(
        f"{name}",
        f"p95 {p95:.0f} ms (CPU {cpu:.0f} ms), {size:.0f} KB ({len(gzip.compress(body)) / 1000:.0f} KB packed)",
        f"≤ {MOST_MS} ms, ≤ {MOST_KB} KB",
        p95 <= MOST_MS and size <= MOST_KB,
        p95=p95,
        median=statistics.median(took),
        cpu=cpu,
        kilobytes=size,
    )


def _seconds_of(pid: int) -> float:
    """The CPU time that a process has used: it is the same on a machine that others use as well."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure_paint(result: Result, served: Served) -> None:
    """When the overview is first seen in Chromium, with nothing kept from before."""
    from playwright.sync_api import sync_playwright

    took = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-background-networking"]
        )
        for _ in range(5):
            context = browser.new_context(extra_http_headers={"authorization": served.authorization})
            page = context.new_page()
            page.goto(f"{served.url}/", wait_until="load")
            took.append(
                page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000
            )
            context.close()
        browser.close()
    seconds = statistics.median(took)
    result.add(
        "the overview is seen in Chromium",
        f"after {seconds:.2f} s",
        f"< {SECONDS_TO_PAINT} s",
        seconds < SECONDS_TO_PAINT,
    )


if __name__ == "__main__":
    main()
