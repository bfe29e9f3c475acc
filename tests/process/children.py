"""Small children to run: Python programs given as text, with what they printed gathered."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from highball.process.child import (
    Command,
    Ended,
    Stop,
    run,
)

PYTHON = (sys.executable, "-SIBc")
"""A Python that looks at nothing of its environment and starts in a few hundredths of a second."""

WITHIN = 120.0
"""Seconds in which a fact has to come true; a busy machine is slow, a broken program never gets there."""


@dataclass
class Heard:
    """What a child printed, as it came."""

    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)

    def __call__(self, stream: str, data: bytes) -> None:
        (self.out if stream == "stdout" else self.err).extend(data)


def python(code: str, *argv: str, **told: Any) -> Command:
    """The command that runs this program."""
    return Command(argv=(*PYTHON, code, *argv), **told)


def outcome_of(command: Command, **how: Any) -> tuple[Ended, Heard]:
    """Run it to its end."""
    heard = Heard()
    return run(command, heard, **how), heard


def stop_once(is_so: Callable[[], bool]) -> Stop:
    """A request to stop as soon as something is so."""
    return Stop(is_so)


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for a fact; raises AssertionError when it does not come true."""
    until = time.monotonic() + WITHIN
    while not is_so():
        assert time.monotonic() < until, f"never came true: {what}"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether a process has ended: nothing of it is left, or only its status for a parent to read."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def seconds(number: float) -> timedelta:
    """So many seconds."""
    return timedelta(seconds=number)


def environment() -> dict[str, str]:
    """Enough to find programs."""
    return {"PATH": os.environ.get("PATH", os.defpath)}
