"""Puts what the scripts here wrote into `bench/results/` together as `bench/RESULTS.md`.

Run as: .venv/bin/python bench/report.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from measuring import CHECKOUT, RESULTS

ORDER = (
    "overhead-long",
    "overhead",
    "memory",
    "parsing",
    "startup",
    "serving",
    "waiting",
    "ticking",
    "lists-sqlite",
    "lists-postgresql",
    "pages",
    "house",
)

HEAD = """\
# Figures

Measured by the scripts in this folder; anyone can run them (`.venv/bin/python bench/overhead.py --restic PATH`).
Every figure is a ratio or a difference from one run, the programs in turn (A B A B), told as a median. The machine
was shared: the load stands beside each table, and where it is above the number of cores, times are longer than the
same work would take alone. All single values are in `results/`.
What `house.py` tells was counted, not measured: it is what the source was like that day.
"""


def main() -> None:
    """Write the report."""
    found = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
    order = [name for name in ORDER if name in found] + sorted(found.keys() - set(ORDER))
    parts = [HEAD, *("\n".join(_section(found[name])) for name in order)]
    (CHECKOUT / "bench" / "RESULTS.md").write_text("\n".join(parts))
    print(f"wrote bench/RESULTS.md from {len(order)} results")


def _section(result: dict[str, Any]) -> Iterator[str]:
    yield f"## {result['title']}"
    yield ""
    yield "| | measured | target | |"
    yield "|---|---|---|---|"
    for row in result["rows"]:
        verdict = {True: "✓", False: "✗", None: ""}[row["held"]]
        yield f"| {row['what']} | {row['figure']} | {row['target'] or ''} | {verdict} |"
    yield ""
    for note in result["notes"]:
        yield f"{note}  "
    yield _machine(result["machine"], result["measured_on"])
    yield ""


def _machine(facts: dict[str, Any], day: str) -> str:
    restic = f", restic {facts['restic']}" if "restic" in facts else ""
    return (
        f"*{facts['cores']} cores, {facts['memory_gib']} GiB, Linux {facts['kernel']}, Python {facts['python']}"
        f"{restic}; {day}, load {facts['load_at_end']} at the end.*"
    )


if __name__ == "__main__":
    main()
