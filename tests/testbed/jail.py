"""A second place, for tests alone: another root and another process namespace, entered by nsenter.

Its root holds the system's programs and nothing else of this machine, so that a look at this machine's own files in
the place of those finds something else, or nothing; its processes have other numbers, and another host name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from highball.errors import Failed, ProgramMissing
from highball.place import kinds
from highball.place.base import DeclaredPlace
from highball.place.local_files import LocalFiles
from highball.place.priority import Priority, prioritised
from highball.process import child
from highball.process.child import RESTIC_MANNERS, Command, Ended, Feeding, Manners, OnData, Stop

HOSTNAME = "jail"
PATH = "/opt/bin:/usr/bin:/bin"
TIMEOUT = timedelta(seconds=10)


class DeclaredJail(DeclaredPlace):
    """The jail of which this is a process."""

    name: ClassVar[str] = "jail"

    keeper: int

    def open(self) -> Jail:
        return Jail(self.keeper)


@dataclass(frozen=True)
class Jail:
    """The root and the processes of a keeper, its first process."""

    keeper: int

    @property
    def key(self) -> str:
        return f"jail {self.keeper}"

    hostname: ClassVar[str] = HOSTNAME

    def files(self) -> LocalFiles:
        return LocalFiles(os.open(f"/proc/{self.keeper}/root", os.O_PATH | os.O_DIRECTORY))

    def find_program(self, name: str) -> str | None:
        candidates = [name] if name.startswith("/") else [f"{folder}/{name}" for folder in PATH.split(":")]
        with self.files() as files:
            found = (path for path in candidates if files.look(os.fsencode(path)) is not None)
            return next(found, None)

    def environment(self) -> Mapping[str, str]:
        return {"PATH": PATH, "HOME": "/root"}

    def cache(self, ours: Path) -> Path:
        return Path("/var/cache/highball")

    def scratch(self, ours: Path) -> Path:
        return Path("/var/tmp") / ours.name

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
        self._demand(command)
        return child.run(
            self._carried(prioritised(command, priority, lambda program: True)),
            on_data,
            stop=stop,
            timeout=timeout,
            manners=manners,
            on_start=lambda carrier: on_start(_await_inner(carrier)),
            feed=feed,
            signals=_SIGNALS,
        )

    def _demand(self, command: Command) -> None:
        if command.directory is not None:
            with self.files() as files:
                if files.look(os.fsencode(command.directory)) is None:
                    raise Failed(
                        f"the working directory {command.directory} does not exist", code="no_directory"
                    )
        program = os.fsdecode(command.argv[0])  # type: ignore[arg-type]
        if self.find_program(program) is None:
            raise ProgramMissing(f"the program {program} is not installed")

    def _carried(self, command: Command) -> Command:
        enter = ("nsenter", f"--target={self.keeper}", "--mount", "--uts", "--pid", "--root")
        there = (*enter, f"--wdns={command.directory or '/'}", "--", "setpriv", "--pdeathsig", "INT", "--")
        carried = command.prefixed(*there)
        return Command(carried.argv, command.environment, command.files, command.lasting_files)

    def end_marked(self, marker: str) -> list[int]:
        found = self._find_marked(marker)
        numbers = [_inner(pid) for pid in found]
        end = time.monotonic() + TIMEOUT.total_seconds()
        left = found
        for pid in left:
            _send(pid, signal.SIGINT)
        while left and time.monotonic() < end:
            time.sleep(0.02)
            left = self._find_marked(marker)
        for pid in left:
            _send(pid, signal.SIGKILL)
        return numbers

    def _find_marked(self, marker: str) -> list[int]:
        ours = os.readlink(f"/proc/{self.keeper}/ns/pid")
        return [pid for pid in child.find_marked(marker) if _namespace_of(pid) == ours]

    def is_alive(self, pid: int) -> bool:
        with self.files() as files:
            return files.status(b"/proc/%d" % pid) is not None

    def await_reaped(self, pid: int) -> None:
        pass


class _Signals:
    """What nsenter carries is the child of nsenter."""

    def send(self, carrier: int, number: int, *, whole_group: bool) -> None:
        below = _children_of(carrier)
        while below:
            for pid in below:
                _send(pid, number)
            below = [one for pid in below for one in _children_of(pid)] if whole_group else []


_SIGNALS = _Signals()


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _children_of(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _namespace_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")
    return ""


def _inner(pid: int) -> int:
    """The number that a process has in its own namespace."""
    with contextlib.suppress(OSError, StopIteration):
        line = next(
            one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("NSpid")
        )
        return int(line.split()[-1])
    return 0


def _await_inner(carrier: int) -> int:
    while not (below := _children_of(carrier)) and child.is_alive(carrier) and not _is_over(carrier):
        time.sleep(0.002)
    return _inner(below[0]) if below else 0


def _is_over(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


MADE = """
set -e
mount --make-rprivate /
cd "$1"
mkdir -p usr proc dev etc opt/bin root tmp var/tmp var/cache
chmod 1777 tmp var/tmp
for name in bin lib lib64 sbin; do
    [ -e "/$name" ] || continue
    if [ -L "/$name" ]; then
        ln -s "usr/$name" "$name"
    else
        mkdir "$name"
        mount --bind "/$name" "$name"
    fi
done
mount --rbind /usr usr
mount --rbind /dev dev
mount -t proc proc proc
hostname "$2"
exec chroot . /bin/sh -c 'echo ready; exec sleep infinity'
"""


@contextmanager
def jailed(root: Path, *programs: Path) -> Iterator[DeclaredJail]:
    """A jail with this root, in which these programs are installed, for as long as somebody needs it."""
    (root / "opt" / "bin").mkdir(parents=True)
    for program in programs:
        shutil.copy(program, root / "opt" / "bin" / "restic")
    apart = ("unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child")
    with subprocess.Popen([*apart, "sh", "-c", MADE, "sh", root, HOSTNAME], stdout=subprocess.PIPE) as made:
        try:
            assert made.stdout is not None
            assert made.stdout.readline() == b"ready\n"
            (keeper,) = _children_of(made.pid)
            yield DeclaredJail(keeper=keeper)
        finally:
            made.kill()


def register() -> None:
    """Let this process know the second place."""
    if DeclaredJail not in kinds.KINDS:
        kinds.KINDS = (*kinds.KINDS, DeclaredJail)


def forget() -> None:
    """Let this process know it no more."""
    kinds.KINDS = tuple(kind for kind in kinds.KINDS if kind is not DeclaredJail)
