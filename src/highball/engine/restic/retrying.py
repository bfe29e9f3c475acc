"""One restic process as it tries: the lines that say why it failed, and when it is made to give up.

From 0.17 on restic tries for a quarter of an hour whatever fails, and a server that accepts and then is silent is
waited for even longer. So a repository has to answer within some time at first; one that has answered is left to
restic's own patience.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from highball.engine.restic import failures
from highball.process.child import Ended, Stop

LINES_KEPT = 50
LONGEST_LINE_KEPT = 64 * 1024

LONGEST_TRY_SECONDS = 90.0
"""A try of restic's that takes longer than this has reached the repository."""


@dataclass(frozen=True)
class FinishedProcess:
    """One restic process that has ended, with the last lines that were not JSON."""

    exit_status: int
    stopped: bool
    timed_out: bool
    log: tuple[str, ...]
    unanswered: bool = False
    """Given up, because the repository had not answered once in the time that it had for that."""

    @property
    def cut_short(self) -> bool:
        """Whether it could not tidy up: it died by a signal (130 is its own answer to SIGINT), or crashed."""
        return self.exit_status == failures.CRASHED or (self.exit_status > 128 and self.exit_status != 130)


@dataclass(frozen=True)
class FirstAnswer:
    """How long a repository may take until it answers for the first time, and who is told that it has not.

    `ask` asks it something small, for so long at most, and says whether anything answers.
    """

    within: timedelta
    ask: Callable[[timedelta], bool]
    waiting: Callable[[str, timedelta], None] = lambda why, left: None
    answered: Callable[[], None] = lambda: None


class Trying:
    """The lines of one restic process, and its end where it goes on trying what cannot pass, or for too long."""

    def __init__(self, stop: Stop, patience: timedelta | None, first: FirstAnswer | None = None) -> None:
        self.stop = Stop(lambda: stop.requested or self._given_up)
        self._asked = stop
        self._began = time.monotonic()
        self._deadline = self._began + patience.total_seconds() if patience else None
        self._log: deque[str] = deque(maxlen=LINES_KEPT)
        self._retrying = False
        self._in_vain = False
        self._first = first
        """None once the repository has answered."""
        self._unanswered = False
        self._next_try: float | None = None

    @property
    def _given_up(self) -> bool:
        if not self._in_vain:
            now = time.monotonic()
            late = self._deadline is not None and self._retrying and now > self._deadline
            self._in_vain = late or self._is_unanswered(now)
        return self._in_vain

    def _is_unanswered(self, now: float) -> bool:
        if self._first is None:
            return False
        within = self._first.within.total_seconds()
        if self._next_try is not None:  # between two tries it is known to have failed
            self._unanswered = self._began + within <= now < self._next_try
        elif now >= self._began + within / 2:  # it says nothing: it may be reading a large index
            self._first.waiting("it has said nothing yet", self._first.within / 2)
            self._unanswered = not self._first.ask(self._first.within / 2)
            if not self._unanswered:
                self._first.answered()
                self._first = None
        return self._unanswered

    def hear_answer(self) -> None:
        """Take note that the repository was reached: restic has a result to tell."""
        if self._first is not None:
            first, self._first = self._first, None
            if self._next_try is not None:
                first.answered()

    def hear(self, line: str) -> None:
        """Take a line; what restic says once we gave up says nothing of why."""
        if self._in_vain:
            return
        self._log.append(line[:LONGEST_LINE_KEPT])
        self._retrying = failures.is_retrying(line)
        self._in_vain = failures.is_in_vain(line)
        if self._retrying and self._first is not None:
            self._hear_failing(self._first, failures.next_try(line), failures.cause_of(line))

    def _hear_failing(self, first: FirstAnswer, pause: timedelta, cause: str) -> None:
        now = time.monotonic()
        if self._next_try is not None and now > self._next_try + LONGEST_TRY_SECONDS:
            self.hear_answer()
            return
        self._next_try = now + pause.total_seconds()
        left = self._began + first.within.total_seconds() - now
        if left <= 0:
            self._in_vain = self._unanswered = True
        else:
            first.waiting(cause, timedelta(seconds=left))

    def finished(self, ended: Ended) -> FinishedProcess:
        """How it ended: stopped only where somebody else asked for that."""
        stopped = ended.stopped and (self._asked.requested or not self._in_vain)
        unanswered = self._unanswered and not stopped
        return FinishedProcess(ended.exit_status, stopped, ended.timed_out, tuple(self._log), unanswered)
