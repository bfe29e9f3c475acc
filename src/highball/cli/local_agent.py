"""The agent of the hub's own machine: started in a session of its own, and found again by its lock."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from highball.agent.host_policy import (
    MACHINE,
    WRITTEN_AT_FIRST,
    Commands,
    OwnMachine,
)
from highball.agent.identity import Identity, Invitation
from highball.agent.private_file import write_privately
from highball.agent.provenance import SavedHere
from highball.agent.run_directory import list_run_directories
from highball.process.file_lock import FileLock

ENDING_SECONDS = 10.0


class LocalAgent:
    """The agent that works on a state directory."""

    def __init__(self, state: Path, machine: OwnMachine, list_saved: Callable[[], list[str]] = list) -> None:
        self._state = state
        self._machine = machine
        self._list_saved = list_saved
        self._lock = FileLock(state / "agent.lock")
        self._begun: subprocess.Popen[bytes] | None = None

    def begin(self, hub: str, is_known: Callable[[bytes], bool], invite: Callable[[], str]) -> None:
        """Start it unless one is at work; invited where it does not belong to this hub yet, or that forgot its key."""
        identity = Identity(self._state / "agent")
        membership = identity.membership
        if membership is None or membership.hub != hub or not is_known(identity.public_key):
            invitation = Invitation(hub=hub, token=invite())
            write_privately(self._state / "agent" / "invitation.json", invitation.model_dump_json().encode())
        policy = self._state / "agent" / "policy.toml"
        if not policy.exists():  # this machine's own configuration file may have hooks
            write_privately(policy, WRITTEN_AT_FIRST.format(commands=Commands.FILE.value).encode())
        write_privately(self._state / MACHINE, self._machine.model_dump_json().encode())
        if self._lock.is_taken:
            return  # it dials by itself
        saved = SavedHere(self._state)
        if not saved.is_kept:  # the record of this machine knows of what was made before the agent was
            saved.add(self._list_saved())
        with open(self._state / "agent.log", "ab", opener=_privately) as log:
            self._begun = subprocess.Popen(
                [sys.executable, "-m", "highball.agent", os.fspath(self._state)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def list_going(self) -> list[str]:
        """The runs that go on."""
        directories = list_run_directories(self._state / "runs")
        return [directory.path.name for directory in directories if directory.lock.is_taken]

    def end(self) -> bool:
        """End it, if one is at work; says whether there was one."""
        pid = self._lock.holder() if self._lock.is_taken else None
        if pid is None and self._is_beginning:
            pid = self._begun.pid  # type: ignore[union-attr]
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + ENDING_SECONDS
        while (self._lock.is_taken or self._is_beginning) and time.monotonic() < deadline:
            time.sleep(0.05)
        return True

    @property
    def _is_beginning(self) -> bool:
        """Whether the process that was started here lives: it takes its lock a while later."""
        return self._begun is not None and self._begun.poll() is None


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
