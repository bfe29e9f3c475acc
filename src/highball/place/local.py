"""Where a child runs, and with how much courtesy towards the rest of the machine.

Today a child runs here. Over SSH and inside a container are places of the same kind: each takes a Command and
gives back the Command that carries it there.
"""

from __future__ import annotations

import shutil
from enum import Enum
from functools import cache

from highball.process.child import Command


class Priority(Enum):
    """How a child shares processor and disk: `(nice, ionice class, ionice level)`."""

    BACKUP = (5, "2", "4")
    MAINTENANCE = (10, "3", None)
    NORMAL = None


class Here:
    """This machine."""

    def place(self, command: Command, priority: Priority) -> Command:
        """The command, started with that priority where the machine has the programs for it."""
        if priority.value is None:
            return command
        nice, io_class, io_level = priority.value
        placed = command
        if _has("ionice"):
            level = ["-n", io_level] if io_level else []
            placed = placed.prefixed("ionice", "-c", io_class, *level)
        if _has("nice"):
            placed = placed.prefixed("nice", "-n", str(nice))
        return placed


@cache
def _has(program: str) -> bool:
    return shutil.which(program) is not None
