"""Runs the two programs of the demo: `highball`, as its user would, and bare restic beside it for the same work.

Both get an environment without settings of the person who looks (HIGHBALL_…, RESTIC_…), and files of their own.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OLDEST_RESTIC = (0, 14)


class Failure(Exception):
    """What did not hold, as a sentence."""


@dataclass(frozen=True)
class Ended:
    """One command that has ended well: what it printed, and how long it took."""

    output: str
    seconds: float

    @property
    def answer(self) -> Any:
        """Its one JSON document."""
        return json.loads(self.output)


@dataclass(frozen=True)
class Program:
    """A program with the environment and the folder it is run in."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path

    def run(self, *arguments: str, shows_progress: bool = False, shows_all: bool = False) -> Ended:
        """Run it to its end. Raises Failure where its exit status is not 0.

        Where it `shows_progress` it writes that to our own standard error, and where it `shows_all` its answer
        to our standard output too; anything else is kept.
        """
        sys.stdout.flush()
        started = time.monotonic()
        child = subprocess.Popen(
            [*self.argv, *arguments],
            env=dict(self.environment),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=None if shows_all else subprocess.PIPE,
            stderr=None if shows_progress or shows_all else subprocess.PIPE,
        )
        try:
            output, errors = child.communicate()
        except KeyboardInterrupt:  # Ctrl-C reached it as well: let it end politely
            child.communicate()
            raise
        if child.returncode != 0:
            command = shlex.join([Path(self.argv[0]).name, *arguments])
            told = "\n".join(text.decode(errors="replace").strip() for text in (output, errors) if text)
            raise Failure(f"`{command}` ended with status {child.returncode}{': ' + told if told else ''}")
        return Ended((output or b"").decode(errors="surrogateescape"), time.monotonic() - started)


def find_highball() -> tuple[str, ...]:
    """The program as it was installed beside this Python."""
    beside = Path(sys.executable).with_name("highball")
    return (str(beside),) if beside.exists() else (sys.executable, "-m", "highball")


def find_restic(checkout: Path) -> tuple[Path, str]:
    """The newest restic at hand, on PATH or put into the checkout by `scripts/setup`; with its version."""
    on_path = shutil.which("restic")
    parts = (checkout / ".cache" / "parts").glob("restic-*")
    candidates = [*([Path(on_path)] if on_path else []), *parts]
    found = {path: version for path in candidates if (version := _version_of(path))}
    newest = max(found, key=lambda path: _numbers(found[path]), default=None)
    if newest is not None and _numbers(found[newest]) >= OLDEST_RESTIC:
        return newest.resolve(), found[newest]
    raise Failure("no restic 0.14 or newer was found on PATH; on Debian: sudo apt-get install restic")


def clean_environment(**more: str) -> dict[str, str]:
    """Our own environment without what would steer Highball or restic, and with `more`."""
    steering = ("HIGHBALL_", "RESTIC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    return kept | more


def _numbers(text: Path | str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", Path(text).name))


def _version_of(program: Path) -> str | None:
    try:
        told = subprocess.run([program, "version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found: Sequence[str] = re.findall(r"^restic (\d+\.\d+\.\d+)", told.stdout)
    return found[0] if found else None
