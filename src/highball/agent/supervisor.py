"""The runs of an agent: each in a process of its own, and what their directories say handed on as it is written.

A run's process holds the lock of its directory from its first moment, since it inherits it. It needs nobody: an
agent that starts anew finds the directories, reads on, and settles those whose process vanished.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from highball.agent.run_archive import RunArchive
from highball.agent.run_directory import RunDirectory, list_run_directories
from highball.model.event import RunEnded
from highball.model.run import (
    Outcome,
    Progress,
    Reason,
)
from highball.protocol.tasks import Assignment
from highball.protocol.wire import LARGEST_FRAME

MOST_AT_ONCE = LARGEST_FRAME * 3 // 4
"""Bytes of events in one message."""

MOST_STARTS = 4
"""How often a run's process is started (to begin, then to settle) before its account is ended without it."""


class Carrier:
    """One run directory: its process as far as it is our child, and how much of its events was handed on."""

    def __init__(self, state: Path, directory: RunDirectory) -> None:
        self._state = state
        self.directory = directory
        self.run = directory.path.name
        self.acknowledged = 0
        self.starts = 0
        self.wanting = False
        """Whether the hub was asked for what starting it needs."""
        self.ready = True
        """Whether it is known what the hub has, so that the rest can be told."""
        self._child: subprocess.Popen[bytes] | None = None
        self._offset = 0
        self._sent = 0
        self._progress_at = 0

    @property
    def alive(self) -> bool:
        """Whether some process carries out this run, our child or one of an agent before us."""
        if self._child is not None and self._child.poll() is None:
            return True
        return self.directory.lock.is_taken

    def start(self, secrets: Mapping[str, bytes]) -> None:
        """Start the run's own process (or the one that settles it); raises OSError. Harmless while one is alive."""
        self.wanting = False
        if self._child is not None and self._child.poll() is None:
            return
        if not self.directory.take_if_free():
            return
        self.starts += 1
        try:
            self._child = self._spawn(self.directory.lock.descriptor or -1)
        finally:
            self.directory.release()
        told = {place: base64.b64encode(value).decode() for place, value in secrets.items()}
        assert self._child.stdin is not None
        try:
            with self._child.stdin as opened:
                opened.write(json.dumps(told).encode())
        except BrokenPipeError:  # it is gone already: the next look finds its lock free
            pass

    def _spawn(self, lock: int) -> subprocess.Popen[bytes]:
        with (self.directory.path / "stderr").open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "highball.agent.run", self._state, self.run, str(lock)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=[lock],
                start_new_session=True,
            )

    def give_up(self) -> None:
        """End the account of a run whose process never lives long enough to do so; says what it said last."""
        if not self.directory.take_if_free():
            return
        try:
            self.directory.resume()
            message = f"its process could not be kept alive: {self._last_words()}"
            reason = Reason(code="process_fails", message=message)
            self.directory.append(RunEnded, safely=True, outcome=Outcome.FAILURE, reason=reason)
        finally:
            self.directory.release()

    def _last_words(self) -> str:
        try:
            lines = (self.directory.path / "stderr").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:300] if lines else "it said nothing"

    # --- handing on ---

    def hold_back(self) -> None:
        """A new greeting: tell nothing until the hub said what it has."""
        self.ready = False

    def note_acknowledged(self, seq: int) -> None:
        """The hub has everything up to here; after a greeting that is where telling goes on."""
        if not self.ready:
            self._sent, self._offset, self.ready = seq, 0, True
            self._progress_at = 0
        self.acknowledged = seq

    def read_on(self) -> list[dict[str, Any]]:
        """The next events that were not handed on yet, as they were written; at most a message full."""
        found: list[dict[str, Any]] = []
        size = 0
        try:
            opened = (self.directory.path / "events.ndjson").open("rb")
        except FileNotFoundError:
            return []
        with opened:
            opened.seek(self._offset)
            for line in opened:
                if not line.endswith(b"\n") or (found and size + len(line) > MOST_AT_ONCE):
                    break
                event = _read(line)
                if event is None:  # a crash cut it short: whoever settles the run goes on from here
                    break
                self._offset += len(line)
                if event["seq"] > self._sent:
                    found.append(event)
                    size += len(line)
        if found:
            self._sent = found[-1]["seq"]
        return found

    def read_progress(self) -> Progress | None:
        """How far the run is, if that is news."""
        path = self.directory.path / "progress.json"
        try:
            changed = path.stat().st_mtime_ns
            if changed == self._progress_at:
                return None
            self._progress_at = changed
            return Progress.model_validate_json(path.read_bytes())
        except (OSError, ValueError):
            return None

    @property
    def last_seq(self) -> int:
        """The number of the newest event on disk."""
        return max((event.seq for event in self.directory.read_events()), default=0)

    @property
    def finished(self) -> bool:
        """Whether the run has ended, its process has gone, and the hub has all of it."""
        return not self.alive and self.directory.ended and self.acknowledged >= self.last_seq


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("seq"), int) else None


class Carriers:
    """All runs that this agent has on its disk."""

    def __init__(self, state: Path, kept: RunArchive) -> None:
        self._state = state
        self._runs = state / "runs"
        self._kept = kept
        self._carriers: dict[str, Carrier] = {}
        for directory in list_run_directories(self._runs):
            self._carriers[directory.path.name] = Carrier(state, directory)

    def __iter__(self) -> Any:
        return iter(list(self._carriers.values()))

    def find(self, run: str) -> Carrier | None:
        """The run's directory, if it is here."""
        return self._carriers.get(run)

    def take(self, assignment: Assignment) -> Carrier:
        """Put a new run on disk; one that is here already is the same run. Raises StateUnusable."""
        known = self._carriers.get(assignment.run) or self.bring_back(assignment.run)
        if known is not None:
            return known
        directory = RunDirectory.create(self._runs, assignment)
        directory.release()
        carrier = self._carriers[assignment.run] = Carrier(self._state, directory)
        return carrier

    def put_by(self, carrier: Carrier) -> None:
        """Tell no more of a run that the hub has all of."""
        self._kept.add(carrier.directory, carrier.last_seq)
        self._carriers.pop(carrier.run, None)

    def drop(self, carrier: Carrier) -> bool:
        """Have no part in a run that was never begun; false where somebody is at it."""
        if not carrier.directory.take_if_free():
            return False
        carrier.directory.remove()
        self._carriers.pop(carrier.run, None)
        return True

    def bring_back(self, run: str) -> Carrier | None:
        """A run that was put by, to be told of once more."""
        directory = self._kept.bring_back(run, self._runs)
        if directory is None:
            return None
        carrier = self._carriers[run] = Carrier(self._state, directory)
        carrier.hold_back()
        return carrier
