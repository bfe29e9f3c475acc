"""What every measurement here needs: folders of its own, programs timed, results written down.

A figure is a ratio or a difference measured side by side in one run, A B A B, and told as a median with its
minimum; the machine is described without names. Nothing here judges: rows hold their target beside the figure.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS = CHECKOUT / "bench" / "results"
HIGHBALL = str(Path(sys.executable).with_name("highball"))
POLITE = ("nice", "-n", "5", "ionice", "-c", "2", "-n", "4")
"""The priority that Highball gives a backup: bare restic gets the same, or a busy machine would be measured."""

JOB, REPOSITORY, HOST = "job", "repo", "bench"
TAGS = f"hb:job={JOB},hb:set=files,hb:run=bench"


# --- results -------------------------------------------------------------------------------------


@dataclass
class Row:
    """One figure; `target` and `held` are None where none was set."""

    what: str
    figure: str
    target: str | None = None
    held: bool | None = None
    details: dict[str, float | int | str | list[float]] = field(default_factory=dict)


@dataclass
class Result:
    """What one script found."""

    name: str
    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        what: str,
        figure: str,
        target: str | None = None,
        held: bool | None = None,
        **details: float | int | str | list[float],
    ) -> None:
        """One more row, told at once: some take minutes."""
        self.rows.append(Row(what, figure, target, held, dict(details)))
        verdict = "" if held is None else ("   ✓" if held else "   ✗")
        aim = "" if target is None else f"   (target {target})"
        print(f"{what:<52} {figure}{aim}{verdict}", flush=True)

    def write(self, restic: Path | None) -> None:
        """Write `bench/results/<name>.json`."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        found = {"measured_on": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine(restic), **asdict(self)}
        (RESULTS / f"{self.name}.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def machine(restic: Path | None) -> dict[str, str | int | float]:
    """The machine, without names; its load says whether others were at work on it."""
    memory = int(re.findall(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[0])
    facts: dict[str, str | int | float] = {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 1024**2),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "load_at_end": round(os.getloadavg()[0], 1),
    }
    return facts if restic is None else facts | {"restic": restic_version(restic)}


def options(description: str, *more: tuple[str, int, str]) -> argparse.Namespace:
    """The options of a script: `--restic`, and whole numbers with a default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--restic", type=Path, help="the restic to measure with (default: on PATH, or .cache/parts)"
    )
    for name, default, text in more:
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default {default})")
    found = parser.parse_args()
    found.restic = (found.restic or _find_restic()).resolve()
    # as scripts/setup leaves it: without bytecode every start would compile what was edited since
    compileall.compile_dir(CHECKOUT / "src", quiet=2)
    return found


def _find_restic() -> Path:
    on_path = shutil.which("restic")
    parts = sorted((CHECKOUT / ".cache" / "parts").glob("restic-*"))
    if on_path is None and not parts:
        sys.exit("no restic was found; name one with --restic")
    return Path(on_path) if on_path else parts[-1]


def restic_version(restic: Path) -> str:
    """`0.18.0`."""
    told = subprocess.run([restic, "version"], capture_output=True, text=True, check=True).stdout
    return told.split()[1]


# --- timing --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Took:
    """How long one command took; `cpu` is its own and its children's."""

    wall: float
    cpu: float


def take(argv: Sequence[str | Path], environment: dict[str, str], output: Path | None = None) -> Took:
    """Run a command that has to succeed, its outputs into files; how long it took."""
    with tempfile.TemporaryFile() as errors, open(output or os.devnull, "wb") as target:
        started = time.monotonic()
        child = subprocess.Popen(
            argv, env=environment, stdin=subprocess.DEVNULL, stdout=target, stderr=errors
        )
        _, status, used = os.wait4(child.pid, 0)
        wall = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            errors.seek(0)
            sys.exit(f"{' '.join(map(str, argv))} failed: {errors.read().decode(errors='replace')}")
    return Took(wall, used.ru_utime + used.ru_stime)


def alternate(times: int, *measured: Callable[[], Took]) -> list[list[Took]]:
    """Each of them in turn, again and again, so that what else the machine does falls on all alike."""
    found: list[list[Took]] = [[] for _ in measured]
    for _ in range(times):
        for position, measure in enumerate(measured):
            found[position].append(measure())
    return found


def walls(found: list[Took]) -> list[float]:
    """The wall times, rounded for keeping."""
    return [round(took.wall, 3) for took in found]


def median_of_pairs(a: list[Took], b: list[Took], combine: Callable[[float, float], float]) -> float:
    """The median over neighbouring measurements: of their ratios, or their differences."""
    return statistics.median(combine(x.wall, y.wall) for x, y in zip(a, b, strict=True))


# --- things to measure with ----------------------------------------------------------------------


def clean_environment(**more: str) -> dict[str, str]:
    """Our own environment without what would steer the measured programs, and with `more`."""
    steering = ("HIGHBALL_", "RESTIC_", "PYTHON")
    return {n: v for n, v in os.environ.items() if not n.startswith(steering)} | more


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="highball-bench-") as folder:
        yield Path(folder).resolve()


class Subject:
    """A repository with what each program needs to back a source up into it; made anew by `make`."""

    def __init__(self, folder: Path, source: Path, restic: Path) -> None:
        self.folder = folder
        self.source = source
        self.restic = restic
        folder.mkdir()
        (folder / "password").write_text("bench\n")
        (folder / "password").chmod(0o600)
        (folder / "files").write_bytes(os.fsencode(source) + b"\0")

    def remove(self) -> None:
        """Remove the repository and what knows of it."""
        shutil.rmtree(self.folder)


class Bare(Subject):
    """restic alone, with the flags and the priority that Highball gives it."""

    def __init__(self, folder: Path, source: Path, restic: Path) -> None:
        super().__init__(folder, source, restic)
        self.environment = clean_environment(
            RESTIC_REPOSITORY=str(folder / "repository"),
            RESTIC_PASSWORD_FILE=str(folder / "password"),
            RESTIC_CACHE_DIR=str(folder / "cache"),
            RESTIC_PROGRESS_FPS="2",
        )
        self.parent: str | None = None
        take([restic, "init", "--repository-version", "2"], self.environment)

    def back_up(self) -> Took:
        """One backup, on top of the one before."""
        argv: list[str | Path] = [*POLITE, self.restic, "--json", "backup", "--host", HOST, "--tag", TAGS]
        argv += ["--files-from-raw", self.folder / "files"]
        argv += [f"--parent={self.parent}"] if self.parent else []
        answer = self.folder / "answer"
        took = take([*argv, "--compression=auto"], self.environment, answer)
        with open(answer, "rb") as lines:
            summary = json.loads(list(lines)[-1])
        self.parent = summary["snapshot_id"]
        return took


class WithHighball(Subject):
    """The same by `highball run`."""

    def __init__(self, folder: Path, source: Path, restic: Path) -> None:
        super().__init__(folder, source, restic)
        (folder / "highball.toml").write_text(
            f'[settings]\nhost = "{HOST}"\nstate = "{folder}/state"\nrestic = "{restic}"\n'
            f'[repositories.{REPOSITORY}]\nurl = "{folder}/repository"\n'
            f'password = {{ file = "{folder}/password" }}\n'
            f'[jobs.{JOB}]\nrepositories = ["{REPOSITORY}"]\nsources = ["{source}"]\n'
        )
        self.environment = clean_environment(HIGHBALL_CONFIG=str(folder / "highball.toml"))
        self.call("setup", "--schedule", "none")

    def call(self, *arguments: str) -> Took:
        """One command."""
        return take([HIGHBALL, *arguments], self.environment)

    def back_up(self) -> Took:
        """One backup."""
        return self.call("run", JOB)


def make_large_files(folder: Path, gib: int) -> None:
    """Files of 16 MiB, each half of what cannot be compressed and half of what can."""
    folder.mkdir()
    for number in range(gib * 64):
        with open(folder / f"{number:05}", "wb") as file:
            file.write(os.urandom(8 << 20))
            file.write(
                (b"%08d a line of text that compresses well; %d\n" % (number, number)) * (8 << 20 >> 6)
            )


def make_small_files(folder: Path, count: int, size: int = 4096) -> None:
    """Many small files, a hundred to a folder."""
    for number in range(count):
        place = folder / f"{number // 100:04}"
        if number % 100 == 0:
            place.mkdir(parents=True)
        (place / f"{number:06}").write_bytes(os.urandom(size))
