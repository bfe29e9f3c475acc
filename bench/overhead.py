"""What Highball adds to a backup: `highball run` beside bare restic, and beside runrestic, A B A B.

Same flags (host, tags, list of paths, parent, compression), same priority, caches in the same state. The short
run is a tree that has not changed; the long one a first backup into fresh repositories, its tree as large as it
takes for bare restic to need a minute. runrestic is installed into .cache/bench.
Run as: .venv/bin/python bench/overhead.py [--restic PATH] [--pairs N] [--long-pairs N] [--long-seconds S]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from measuring import (
    CHECKOUT,
    POLITE,
    Bare,
    Result,
    Subject,
    Took,
    WithHighball,
    alternate,
    clean_environment,
    make_large_files,
    make_small_files,
    median_of_pairs,
    options,
    scratch,
    take,
    walls,
)

RUNRESTIC = "0.5.31"
SHORT_SECONDS, LONG_RATIO = 1.0, 1.02
SAMPLE_GIB = 1
MORE_THAN_NEEDED = 1.2

NOTES = (
    "Bare restic runs at the priority that Highball gives its backups (nice 5, ionice 2.4).",
    f"runrestic {RUNRESTIC} runs its action backup with the same source, at the same priority.",
)

COUNTING = """\
#!/bin/sh
echo "$*" >>"{log}"
exec "{restic}" "$@"
"""


def main() -> None:
    """Measure and write down."""
    chosen = options(
        __doc__ or "",
        ("files", 3000, "files of the short run's tree"),
        ("pairs", 7, "how often the short runs are measured; 0 leaves them out"),
        ("long-pairs", 3, "how often the long runs are measured; 0 leaves them out"),
        ("long-seconds", 60, "how long bare restic takes at least in the long run"),
    )
    with scratch() as folder:
        if chosen.pairs:
            result = Result("overhead", "Short runs beside bare restic and beside runrestic", notes=[*NOTES])
            _count_processes(result, folder / "count", chosen.restic)
            for name, files in (("tiny", 10), ("short", chosen.files)):
                _measure_short(result, folder / name, chosen.restic, files, chosen.pairs)
            result.write(chosen.restic)
        if chosen.long_pairs:
            result = Result("overhead-long", "A long run beside bare restic", notes=[*NOTES[:1]])
            _measure_long(result, folder / "long", chosen.restic, chosen.long_seconds, chosen.long_pairs)
            result.write(chosen.restic)


# --- processes -----------------------------------------------------------------------------------


def _count_processes(result: Result, folder: Path, restic: Path) -> None:
    make_small_files(folder / "source", 10)
    log, counting = folder / "log", folder / "restic"
    counting.write_text(COUNTING.format(log=log, restic=restic))
    counting.chmod(0o755)
    subject = WithHighball(folder / "subject", folder / "source", counting)
    for what in ("the first backup of a job", "every later backup"):
        log.write_text("")
        subject.back_up()
        started = log.read_text().splitlines()
        kinds = ", ".join(next((w for w in line.split() if not w.startswith("-")), "?") for line in started)
        more = len(started) - 1
        result.add(
            f"restic processes beyond the backup: {what}",
            f"{more} ({kinds})",
            "≤ 1",
            more <= 1,
            processes=more,
        )


# --- the short run -------------------------------------------------------------------------------


def _measure_short(result: Result, folder: Path, restic: Path, files: int, pairs: int) -> None:
    make_small_files(folder / "source", files)
    bare = Bare(folder / "bare", folder / "source", restic)
    highball = WithHighball(folder / "highball", folder / "source", restic)
    other = WithRunrestic(folder / "runrestic", folder / "source", restic)
    measured: tuple[Callable[[], Took], ...] = (bare.back_up, highball.back_up, other.back_up)
    alternate(2, *measured)  # twice: the first run has everything new, the second settles restic's cache
    alone, ours, others = alternate(pairs, *measured)
    more = median_of_pairs(ours, alone, lambda a, b: a - b)
    cpu = median_cpu(ours) - median_cpu(alone)
    result.add(
        f"{files:,} files, none changed: beyond bare restic",
        f"{more:+.2f} s ({_median(ours):.2f} s and {_median(alone):.2f} s; "
        f"min {_min(ours):.2f} and {_min(alone):.2f}); CPU {cpu:+.2f} s",
        f"≤ +{SHORT_SECONDS:.1f} s",
        more <= SHORT_SECONDS,
        highball=walls(ours),
        restic=walls(alone),
        cpu_beyond=round(cpu, 3),
    )
    beside = median_of_pairs(others, alone, lambda a, b: a - b)
    result.add(
        f"{files:,} files, none changed: runrestic beyond bare restic",
        f"{beside:+.2f} s ({_median(others):.2f} s; min {_min(others):.2f})",
        runrestic=walls(others),
        cpu_beyond=round(median_cpu(others) - median_cpu(alone), 3),
    )


def median_cpu(found: list[Took]) -> float:
    """The median of what the programs and their children computed."""
    return statistics.median(took.cpu for took in found)


def _median(found: list[Took]) -> float:
    return statistics.median(took.wall for took in found)


def _min(found: list[Took]) -> float:
    return min(took.wall for took in found)


class WithRunrestic(Subject):
    """The same backup by runrestic."""

    def __init__(self, folder: Path, source: Path, restic: Path) -> None:
        super().__init__(folder, source, restic)
        self._program = _installed_runrestic()
        (folder / "bin").mkdir()
        (folder / "bin" / "restic").symlink_to(restic)
        (folder / "runrestic.toml").write_text(
            f'name = "bench"\nrepositories = ["{folder}/repository"]\n'
            f'[environment]\nRESTIC_PASSWORD_FILE = "{folder}/password"\nRESTIC_CACHE_DIR = "{folder}/cache"\n'
            f'[backup]\nsources = ["--host", "bench", "--tag", "hb:job=job", "{source}"]\n'
            "[prune]\nkeep-last = 1000\n"
        )
        self.environment = clean_environment(PATH=f"{folder}/bin:{os.environ['PATH']}")
        self._call("init")

    def _call(self, action: str) -> Took:
        configuration = self.folder / "runrestic.toml"
        return take([*POLITE, self._program, "-c", configuration, action], self.environment)

    def back_up(self) -> Took:
        """One backup."""
        return self._call("backup")


def _installed_runrestic() -> Path:
    place = CHECKOUT / ".cache" / "bench" / "runrestic"
    program = place / "bin" / "runrestic"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--compile"]
        subprocess.run([*pip, f"runrestic=={RUNRESTIC}"], check=True, env=clean_environment())
    return program


# --- the long run --------------------------------------------------------------------------------


def _measure_long(result: Result, folder: Path, restic: Path, seconds: int, pairs: int) -> None:
    folder.mkdir()
    make_large_files(folder / "sample", SAMPLE_GIB)
    sample = _once(lambda: Bare(folder / "one", folder / "sample", restic)).wall
    gib = max(1, round(seconds * MORE_THAN_NEEDED / sample * SAMPLE_GIB))
    make_large_files(folder / "source", gib)
    alone, ours = alternate(
        pairs,
        lambda: _once(lambda: Bare(folder / "one", folder / "source", restic)),
        lambda: _once(lambda: WithHighball(folder / "one", folder / "source", restic)),
    )
    ratio = median_of_pairs(ours, alone, lambda a, b: a / b)
    of_minima = _min(ours) / _min(alone)
    of_cpu = median_cpu(ours) / median_cpu(alone)
    result.add(
        f"first backup of {gib} GiB: beside bare restic",
        f"× {ratio:.3f} ({_median(ours):.1f} s and {_median(alone):.1f} s; of the minima × {of_minima:.3f}); "
        f"of the CPU times × {of_cpu:.3f}",
        f"≤ × {LONG_RATIO}",
        ratio <= LONG_RATIO,
        highball=walls(ours),
        restic=walls(alone),
        ratio_of_minima=round(of_minima, 4),
        cpu_ratio=round(of_cpu, 4),
    )


def _once(make: Callable[[], Bare | WithHighball]) -> Took:
    subject = make()
    try:
        return subject.back_up()
    finally:
        subject.remove()


if __name__ == "__main__":
    main()
