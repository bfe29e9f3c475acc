"""The run directory: one run's assignment, lock and events, on disk before anything is started.

It is the truth of a run while the run goes on and after its process vanished. Whoever holds the lock is the
run's own process; a free lock on a run that has not ended says that the process is gone. Nothing here
interprets events, and no secret is ever written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from highball.errors import Conflict, StateUnusable
from highball.model.event import (
    Event,
    LogLine,
    RunEnded,
)
from highball.model.event_lines import read_line
from highball.model.run import Progress
from highball.process.file_lock import FileLock
from highball.protocol.bounded_fields import check_run
from highball.protocol.tasks import Assignment

LONGEST_TEXT = 64 * 1024

LEAST_ROOM = 16 * 1024
"""Bytes that the account of a run's end needs at most, as a rule."""


class RunDirectory:
    """One run on disk: `assignment.json`, `lock`, `events.ndjson`, and `cancel` once somebody asks for the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / "lock")
        self._events: int | None = None
        self._next_seq = 1
        self.unwritten = 0
        """Log lines that a full disk swallowed."""

    @classmethod
    def create(cls, runs: Path, assignment: Assignment) -> RunDirectory:
        """Make the directory of a new run, locked, its assignment safely on disk."""
        directory = cls(runs / assignment.run)
        try:
            directory.path.mkdir(parents=True, mode=0o700)
        except OSError as error:  # what lies there may be another process's run
            raise _unusable(runs, error) from None
        try:
            directory.take()
            _write_safely(
                directory.path / "assignment.json", assignment.model_dump_json(exclude_none=True).encode()
            )
            _sync_directory(runs)
        except OSError as error:
            shutil.rmtree(directory.path, ignore_errors=True)
            raise _unusable(runs, error) from None
        return directory

    # --- the lock ---

    def take(self) -> None:
        """Become the process of this run; raises Conflict when another one is."""
        if not self._lock.take():
            raise Conflict(f"run {self.path.name} is being carried out by process {self._lock.holder()}")

    def take_if_free(self) -> bool:
        """Become its process if nobody is: true says that the former one is gone."""
        return self._lock.take()

    @property
    def lock(self) -> FileLock:
        """Who holds it is the run's process."""
        return self._lock

    def release(self) -> None:
        """Stop being the process of this run."""
        if self._events is not None:
            os.close(self._events)
            self._events = None
        self._lock.release()

    # --- what it says ---

    @property
    def assignment(self) -> Assignment:
        """What was to be done; raises ValueError where the file does not say."""
        return Assignment.model_validate_json((self.path / "assignment.json").read_bytes())

    def read_events(self, after: int = 0) -> Iterator[Event]:
        """The events with a number above `after`; a line that was cut short by a crash ends the reading."""
        try:
            opened = (self.path / "events.ndjson").open("rb")
        except FileNotFoundError:
            return
        with opened:
            for _, seq, event in _read(opened, self.path.name):
                if event is not None and seq > after:
                    yield event

    @property
    def ended(self) -> bool:
        """Whether the run's last event is there."""
        return any(isinstance(event, RunEnded) for event in self.read_events())

    def resume(self) -> None:
        """Get ready to append behind what is there, a line cut short taken off first."""
        good = 0
        with (self.path / "events.ndjson").open("a+b") as opened:
            opened.seek(0)
            for line, seq, _ in _read(opened, self.path.name):
                good += len(line)
                self._next_seq = seq + 1
            opened.truncate(good)

    # --- telling ---

    def append(self, make: type[Any], *, safely: bool = False, **facts: Any) -> Event | None:
        """Number an event, add run and time, write it down; `safely` waits until it is on disk.

        A log line that a full disk refuses is counted and dropped (None); any other event raises StateUnusable.
        """
        event: Event = make(seq=self._next_seq, run=self.path.name, at=datetime.now(UTC), **facts)
        text = event.model_dump_json(exclude_none=True).encode() + b"\n"
        try:
            self._write(text, safely=safely)
        except OSError as error:
            if isinstance(event, LogLine):
                self.unwritten += 1
                return None
            raise _unusable(self.path, error) from None
        self._next_seq += 1
        return event

    def _write(self, text: bytes, *, safely: bool) -> None:
        if self._events is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._events = os.open(self.path / "events.ndjson", flags, 0o600)
        start = os.lseek(self._events, 0, os.SEEK_END)
        try:
            _write_all(self._events, text)
            if safely:
                os.fsync(self._events)
        except OSError:
            os.ftruncate(self._events, start)  # half a line would end every later reading
            raise

    @property
    def has_room(self) -> bool:
        """Whether something can be written here at all."""
        beside = self.path / "room"
        try:
            beside.write_bytes(bytes(LEAST_ROOM))
        except OSError:
            return False
        finally:
            beside.unlink(missing_ok=True)
        return True

    # --- how far it is ---

    def tell_progress(self, progress: Progress) -> None:
        """Show how far the run is to whoever looks; what a full disk refuses is not shown."""
        with contextlib.suppress(OSError):
            beside = self.path / "progress.new"
            beside.write_text(progress.model_dump_json(exclude_none=True))
            beside.replace(self.path / "progress.json")

    def forget_progress(self) -> None:
        """From now on nothing is known of how far the run is."""
        with contextlib.suppress(OSError):
            (self.path / "progress.json").unlink(missing_ok=True)

    # --- what would be left behind ---

    def note_litter(self, path: bytes) -> None:
        """Write down a directory that somebody has to remove, should this process vanish."""
        self._note("litter", [path])

    def list_litter(self) -> list[bytes]:
        """The directories that were written down."""
        return self._noted("litter")

    def note_made(self, folders: Sequence[bytes]) -> None:
        """Write down directories that are about to be made, and that nobody wants while they are empty."""
        self._note("made", folders)

    def list_made(self) -> list[bytes]:
        """The directories that were to be made."""
        return self._noted("made")

    def _note(self, name: str, paths: Sequence[bytes]) -> None:
        _write_safely(self.path / name, b"".join(known + b"\0" for known in [*self._noted(name), *paths]))

    def _noted(self, name: str) -> list[bytes]:
        try:
            return [path for path in (self.path / name).read_bytes().split(b"\0") if path]
        except FileNotFoundError:
            return []

    # --- the end ---

    def request_cancel(self) -> None:
        """Ask the run's process to end; it looks at every tick."""
        (self.path / "cancel").touch()

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody asked for the end."""
        return (self.path / "cancel").exists()

    def remove(self) -> None:
        """Forget the directory: the record has all of it."""
        self.release()
        shutil.rmtree(self.path, ignore_errors=True)


def list_run_directories(runs: Path) -> list[RunDirectory]:
    """All run directories, oldest first (their names are UUIDv7); what bears no run's name is none."""
    try:
        names = sorted(entry.name for entry in runs.iterdir() if _is_run(entry))
    except FileNotFoundError:
        return []
    return [RunDirectory(runs / name) for name in names]


def _is_run(path: Path) -> bool:
    try:
        check_run(path.name)
    except ValueError:
        return False
    return (path / "assignment.json").exists()


def _read(opened: Iterable[bytes], run: str) -> Iterator[tuple[bytes, int, Event | None]]:
    """Each line with its number and event: None where a newer program wrote a kind that is not known here.

    A line that was cut short ends the reading.
    """
    for line in opened:
        found = read_line(line, run) if line.endswith(b"\n") else None
        if found is None:
            return
        yield line, *found


def _write_all(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]


def _write_safely(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError) -> StateUnusable:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return StateUnusable(
        f"{path} cannot be written: {error.strerror}",
        code="state_full" if full else "state_unusable",
        hint="make room on its disk" if full else "check who owns it, or name another with HIGHBALL_STATE",
    )
