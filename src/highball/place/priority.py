"""How a child shares processor and disk with the rest of its machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path

from highball.process.child import Command


class Priority(Enum):
    """`(nice, ionice class, ionice level)`."""

    BACKUP = (5, "2", "4")
    MAINTENANCE = (10, "3", None)
    NORMAL = None


def prioritised(command: Command, priority: Priority, has: Callable[[str], bool]) -> Command:
    """The command, started with that priority as far as its machine has the programs for it."""
    if priority.value is None:
        return command
    nice, io_class, io_level = priority.value
    placed = command
    if has("ionice"):
        level = ["-n", io_level] if io_level else []
        placed = placed.prefixed("ionice", "-c", io_class, *level)
    if has("nice"):
        placed = placed.prefixed("nice", "-n", str(nice))
    return placed


def yield_session(priority: Priority) -> None:
    """Let all of our session give way to other sessions, where it is our own and the kernel groups processes by them.

    It shares out the processor among sessions first (sched(7), autogroup): what `nice` says of a process counts within
    its session alone.
    """
    if priority.value is not None and os.getsid(0) == os.getpid():
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(priority.value[0]))
