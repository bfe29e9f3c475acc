"""How long `highball` takes to begin: CPU and wall time of commands that do almost nothing.

Run as: .venv/bin/python bench/startup.py [--restic PATH] [--times N]
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from measuring import HIGHBALL, Result, Took, WithHighball, alternate, options, scratch, take

VERSION_CPU_MS = 150


def main() -> None:
    """Measure and write down."""
    chosen = options(__doc__ or "", ("times", 15, "how often each command is run"))
    result = Result("startup", "Startup")
    with scratch() as folder:
        source = folder / "source"
        source.mkdir()
        (source / "file").write_text("a file")
        subject = WithHighball(folder / "subject", source, chosen.restic)
        subject.back_up()
        commands = (("--version",), ("--help",), ("status",))
        found = alternate(chosen.times, *(_measures(subject, command) for command in commands))
    for command, times in zip(commands, found, strict=True):
        _add(result, " ".join(command), times)
    result.write(chosen.restic)


def _measures(subject: WithHighball, command: tuple[str, ...]) -> Callable[[], Took]:
    return lambda: take([Path(HIGHBALL), *command], subject.environment)


def _add(result: Result, command: str, times: list[Took]) -> None:
    cpu = [took.cpu * 1000 for took in times]
    wall = [took.wall * 1000 for took in times]
    figure = (
        f"{statistics.median(cpu):.0f} ms CPU (min {min(cpu):.0f}), "
        f"{statistics.median(wall):.0f} ms wall (min {min(wall):.0f})"
    )
    has_target = command == "--version"
    result.add(
        f"highball {command}",
        figure,
        f"< {VERSION_CPU_MS} ms CPU" if has_target else None,
        statistics.median(cpu) < VERSION_CPU_MS if has_target else None,
        cpu_ms=[round(value, 1) for value in cpu],
        wall_ms=[round(value, 1) for value in wall],
    )


if __name__ == "__main__":
    main()
