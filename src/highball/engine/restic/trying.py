"""One restic process as it tries: the lines that say why it failed, and when it is made to give up."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from datetime import timedelta

from highball.engine.restic import messages
from highball.process import Ended, Stop

LINES_KEPT = 50
LONGEST_LINE_KEPT = 64 * 1024


@dataclass(frozen=True)
class Finished:
    """One restic process that has ended, with the last lines that were not JSON."""

    exit_status: int
    stopped: bool
    timed_out: bool
    log: tuple[str, ...]

    @property
    def cut_short(self) -> bool:
        """Whether it could not tidy up: it died by a signal (130 is its own answer to SIGINT), or crashed."""
        return self.exit_status == messages.CRASHED or (self.exit_status > 128 and self.exit_status != 130)


class Trying:
    """The lines of one restic process, and its end where it goes on trying what cannot pass, or for too long."""

    def __init__(self, stop: Stop, patience: timedelta | None) -> None:
        self.stop = Stop(lambda: stop.requested or self._given_up)
        self._asked = stop
        self._deadline = time.monotonic() + patience.total_seconds() if patience else None
        self._log: deque[str] = deque(maxlen=LINES_KEPT)
        self._retrying = False
        self._in_vain = False

    @property
    def _given_up(self) -> bool:
        late = self._deadline is not None and self._retrying and time.monotonic() > self._deadline
        self._in_vain = self._in_vain or late
        return self._in_vain

    def hear(self, line: str) -> None:
        """Take a line; what restic says once we gave up says nothing of why."""
        if self._in_vain:
            return
        self._log.append(line[:LONGEST_LINE_KEPT])
        self._retrying = messages.is_retrying(line)
        self._in_vain = messages.is_in_vain(line)

    def finished(self, ended: Ended) -> Finished:
        """How it ended: stopped only where somebody else asked for that."""
        stopped = ended.stopped and (self._asked.requested or not self._in_vain)
        return Finished(ended.exit_status, stopped, ended.timed_out, tuple(self._log))
