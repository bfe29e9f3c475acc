"""Runs as they go on: a live line on a terminal, plain lines in a pipe, events for a program."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from highball.cli import formatting
from highball.cli.console import MARKS, TONES, Form, Output, safe
from highball.model.event import (
    Event,
    LogLine,
    StepEnded,
    StepStarted,
    Waiting,
    WarningSeen,
)
from highball.model.run import (
    Action,
    Outcome,
    Progress,
    Run,
    Step,
)
from highball.model.text import path_for_people
from highball.protocol.tasks import Assignment

if TYPE_CHECKING:
    from rich.live import Live

PLAIN_EVERY_SECONDS = 10.0
LIVE_EVERY_SECONDS = 0.2
WARNINGS_SHOWN = 5


class Narrator:
    """Tells one person (or program) what happens in runs."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._live: Live | None = None
        self._run = ""
        self._step: Step | None = None
        self._told_at = 0.0
        self._waiting: str | None = None
        self._on_terminal = sys.stderr.isatty() and output.form is not Form.EVENTS

    # --- what a Watcher is told ---
    # A closed terminal or pipe must not end a backup: what nobody hears any more is not said.

    def begin(self, assignment: Assignment) -> None:
        """A run is about to start."""
        subject = assignment.job or next(iter(assignment.repositories), "")
        self.announce(assignment.run, assignment.task.type, subject)

    def announce(self, run: str, action: str, subject: str) -> None:
        """A run is about to start, here or elsewhere."""
        with contextlib.suppress(OSError):
            self._begin(run, action, subject)

    def waiting(self, why: str) -> None:
        """A run has not begun yet, and why."""
        with contextlib.suppress(OSError):
            self._tell_waiting(why)

    def remark(self, text: str) -> None:
        """Something to know that is no event of the run."""
        with contextlib.suppress(OSError):
            self._tell(text, "yellow")

    def event(self, event: Event) -> None:
        """Something happened."""
        with contextlib.suppress(OSError):
            self._event(event)

    def progress(self, progress: Progress) -> None:
        """How far the current step is."""
        with contextlib.suppress(OSError):
            self._progress(progress)

    def end(self, run: Run) -> None:
        """A run is over."""
        with contextlib.suppress(OSError):
            self._clear()

    # --- how it is told ---

    def _begin(self, run: str, action: str, subject: str) -> None:
        self._run = run
        self._tell(f"{action} {subject}  (run {run})", "bold")

    def _event(self, event: Event) -> None:
        if self._output.form is Form.EVENTS:
            sys.stdout.write(event.model_dump_json(exclude_none=True) + "\n")
            sys.stdout.flush()
            return
        match event:
            case StepStarted():
                self._step, self._waiting, self._told_at = event.running, None, time.monotonic()
            case Waiting():
                self._tell_waiting(event.reason.message)
            case WarningSeen():
                self._tell(f"  ! {event.warning.message}", "yellow")
            case LogLine() if self._wants_log(event):
                self._tell(f"  {event.text}", "dim")
            case StepEnded():
                self._end_step(event.done)

    def _progress(self, progress: Progress) -> None:
        if self._output.form is Form.EVENTS:
            sys.stdout.write(progress.model_dump_json(exclude_none=True) + "\n")
            sys.stdout.flush()
        elif self._on_terminal:
            self._show_live(progress)
        elif time.monotonic() - self._told_at >= PLAIN_EVERY_SECONDS:
            self._told_at = time.monotonic()
            self._tell(f"  {describe_progress(progress)}")

    def _wants_log(self, event: LogLine) -> bool:
        if self._output.verbose:
            return True
        in_hook = self._step is not None and self._step.action is Action.HOOK
        return in_hook or (
            event.stream == "stderr" and self._step is not None and self._step.action is Action.CHECK
        )

    def _tell(self, text: str, tone: str | None = None) -> None:
        self._clear()
        self._output.note(text, tone)

    def _tell_waiting(self, message: str) -> None:
        if message != self._waiting:
            self._waiting = message
            self._tell(f"  … {message}", "yellow")

    def _end_step(self, step: Step) -> None:
        outcome = step.outcome or Outcome.FAILURE
        self._tell(f"  {MARKS[outcome]} {describe_step(step)}", TONES[outcome])
        for warning in step.warnings[:WARNINGS_SHOWN]:
            where = (
                f"{path_for_people(warning.path)}: "
                if warning.path and warning.code == "file_unreadable"
                else ""
            )
            self._tell(f"      {where}{warning.message}", "yellow")
        if len(step.warnings) > WARNINGS_SHOWN:
            self._tell(f"      … and {_count_left(step):,} more; see: highball logs {self._run}", "yellow")
        self._step = None

    def _show_live(self, progress: Progress) -> None:
        from rich.live import Live
        from rich.text import Text

        if time.monotonic() - self._told_at < LIVE_EVERY_SECONDS and self._live is not None:
            return
        self._told_at = time.monotonic()
        console = self._output.console("stderr")
        if self._live is None:
            self._live = Live(console=console, auto_refresh=False, transient=True)
            self._live.start()
        described = describe_progress(progress)
        width = max(8, min(30, console.width - len(described) - 5))
        done = round((progress.percent or 0) / 100 * width)
        lines = [f"  {'█' * done}{'░' * (width - done)} {described}"]
        if progress.current is not None:
            lines.append(f"  {path_for_people(progress.current)}")
        text = Text(
            "\n".join(safe_line(line, console.width) for line in lines), no_wrap=True, overflow="ellipsis"
        )
        self._live.update(text, refresh=True)

    def _clear(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _count_left(step: Step) -> int:
    return sum(warning.count for warning in step.warnings[WARNINGS_SHOWN:])


def safe_line(text: str, width: int) -> str:
    """A line that fits and cannot steer the terminal."""
    shown = safe(text)
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"


def describe_progress(progress: Progress) -> str:
    """`42 %  1,200 of 3,000 files  1.1 GiB of 2.6 GiB  90 MiB/s  17 s left`."""
    parts = [f"{progress.percent or 0:3.0f} %"]
    if progress.files_total:
        parts.append(
            f"{formatting.number(progress.files_done)} of {formatting.number(progress.files_total)} files"
        )
    if progress.bytes_total:
        parts.append(f"{formatting.size(progress.bytes_done)} of {formatting.size(progress.bytes_total)}")
    if progress.bytes_per_second:
        parts.append(f"{formatting.size(int(progress.bytes_per_second))}/s")
    if progress.seconds_left:
        parts.append(f"{formatting.length(progress.seconds_left)} left")
    return "  ".join(parts)


def describe_step(step: Step) -> str:
    """What a step did, in one line."""
    what = f"{step.action.value} {step.repository or step.title or ''}".strip()
    facts = "; ".join(_facts_of(step))
    reason = f": {step.reason.message}" if step.reason else ""
    if step.reason and step.warnings and step.reason.code == step.warnings[0].code:
        reason = ""
    took = ""
    if step.started_at and step.ended_at:
        took = f"  ({formatting.length((step.ended_at - step.started_at).total_seconds())})"
    return f"{what}{reason}{f' — {facts}' if facts else ''}{took}"


def _facts_of(step: Step) -> Iterable[str]:
    if step.attempts > 1:
        yield f"{step.attempts} attempts"
    if step.files_new is not None:
        yield f"{step.files_new:,} new, {step.files_changed or 0:,} changed, {step.files_unmodified or 0:,} unmodified"
        yield f"{formatting.size(step.bytes_processed)} read, {formatting.size(step.bytes_added)} added"
    if step.snapshot_id is not None:
        yield f"snapshot {step.snapshot_id[:8]}"
    if step.snapshots_removed is not None:
        yield f"{len(step.snapshots_removed)} removed, {step.snapshots_kept} kept"
    if step.slice is not None:
        yield f"slice {step.slice} of the data read"
    if step.files_compared is not None:
        compared = formatting.sample(step.files_compared, step.files_held)
        yield f"{compared} compared ({formatting.size(step.bytes_compared)})"
    if step.files_restored is not None:
        restored = formatting.counted(step.files_restored, "entry", "entries")
        yield f"{restored} restored ({formatting.size(step.bytes_restored)})"
    if step.bytes_freed is not None:
        yield f"{formatting.size(step.bytes_freed)} freed"
    if step.bytes_stored is not None:
        yield f"{formatting.size(step.bytes_stored)} stored"
    if step.locks_removed is not None:
        yield f"{formatting.counted(step.locks_removed, 'lock')} removed"
