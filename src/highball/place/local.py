"""local: this machine itself."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import ClassVar

from highball.place.base import DeclaredPlace, Place
from highball.place.local_files import LocalFiles
from highball.place.priority import Priority, prioritised
from highball.process import child
from highball.process.child import (
    RESTIC_MANNERS,
    Command,
    Ended,
    Feeding,
    Manners,
    OnData,
    Stop,
)


class LocalMachine(DeclaredPlace):
    """This machine; there is nothing to declare."""

    name: ClassVar[str] = "local"

    def open(self) -> Place:
        """This machine."""
        return LOCAL


class LocalPlace:
    """This machine, its own file system and processes."""

    key = ""

    @property
    def hostname(self) -> str:
        """The name of this machine."""
        return socket.gethostname()

    def files(self) -> LocalFiles:
        """Its files."""
        return LocalFiles()

    def find_program(self, name: str) -> str | None:
        """The first on our own PATH."""
        return shutil.which(name)

    def environment(self) -> Mapping[str, str]:
        """Our own."""
        return os.environ

    def cache(self, ours: Path) -> Path:
        """The folder itself."""
        return ours

    def scratch(self, ours: Path) -> Path:
        """The folder itself."""
        return ours

    def run(
        self,
        command: Command,
        on_data: OnData,
        *,
        priority: Priority = Priority.NORMAL,
        stop: Stop | None = None,
        timeout: timedelta | None = None,
        manners: Manners = RESTIC_MANNERS,
        on_start: Callable[[int], None] = lambda pid: None,
        feed: Feeding | None = None,
    ) -> Ended:
        """Run it as a child of ours."""
        return child.run(
            prioritised(command, priority, _has),
            on_data,
            stop=stop,
            timeout=timeout,
            manners=manners,
            on_start=on_start,
            feed=feed,
        )

    def end_marked(self, marker: str) -> list[int]:
        """By the marker in their environment."""
        return child.end_marked(marker)

    def is_alive(self, pid: int) -> bool:
        """Whether a process with this id exists on this machine."""
        return child.is_alive(pid)

    def await_reaped(self, pid: int) -> None:
        """An orphan's name goes when the machine's first process looks."""
        child.await_reaped(pid)


@cache
def _has(program: str) -> bool:
    return shutil.which(program) is not None


LOCAL = LocalPlace()
