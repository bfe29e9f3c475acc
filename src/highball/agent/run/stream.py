"""What a command of a job prints, on its way into a repository: started anew for each, and judged by how it ended."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from highball.errors import Failed, ProgramMissing
from highball.model.run import Printed, Reason
from highball.place.base import Place
from highball.place.priority import Priority
from highball.process.child import Command, Ended
from highball.process.feed import LONGEST_COMPLAINT_BYTES, Feed
from highball.schedule import duration_to_text
from highball.secret import SecretValue, mask
from highball.source.base import Stream

LAST_WORDS = 6
"""So many lines are told of what a command said at its end: pg_dump takes five to say that its server is gone."""

LONGEST_LINE = 500


@dataclass
class Printing:
    """One stream of a run: its environment, and what became of the command the last time that it was started."""

    declared: Stream
    environment: Mapping[str, str | SecretValue]
    log: Callable[[str, str], None]
    place: Place
    _feed: Feed | None = None
    _last_words: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_WORDS))

    def open(self) -> Feed:
        """The command, ready to be started for a reader."""
        self._last_words.clear()
        told = self.declared
        command = Command(
            argv=told.argv,
            environment=self.environment,
            directory=Path(os.fsdecode(told.directory)) if told.directory else None,
        )
        run = partial(self.place.run, priority=Priority.BACKUP)
        self._feed = Feed(run, command, self._hear, timeout=told.timeout)
        return self._feed

    def find_failure(self) -> Reason | None:
        """Why nothing was saved, where that is the command's own fault; None where it did its part."""
        feed = self._feed
        if feed is None or not feed.is_broken:
            return None
        if feed.error is not None:
            return self._failed(_why_not_started(feed.error))
        if feed.ended is None or feed.ended.stopped:  # its reader was over first
            return None
        return self._judge(feed.ended)

    @property
    def printed(self) -> Printed | None:
        """What it printed the last time, once the engine has all of it."""
        feed = self._feed
        return Printed(size_bytes=feed.size, sha256=feed.sha256) if feed and feed.is_whole else None

    def _judge(self, ended: Ended) -> Reason:
        if ended.timed_out and self.declared.timeout is not None:
            within = duration_to_text(self.declared.timeout)
            return self._failed(f"did not end within {within}, so it was killed")
        if ended.exit_status != 0:
            return self._failed(f"ended with exit status {ended.exit_status}")
        message = f"the command of {self.declared.name} printed nothing, so nothing was saved"
        return Reason(code="source_empty", message=message)

    def _failed(self, what: str) -> Reason:
        words = " / ".join(self._last_words)
        said = f": {words}" if words else ""
        message = f"the command of {self.declared.name} {what}, so nothing was saved{said}"
        return Reason(code="command_failed", message=message)

    def _hear(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace")
        if len(line) > LONGEST_COMPLAINT_BYTES:  # one that was cut may end in half a secret
            text = f"(a line of more than {LONGEST_COMPLAINT_BYTES >> 10} KiB is not kept)"
        if text.strip():
            self._last_words.append(mask(text.strip(), self._secrets, LONGEST_LINE))
        self.log("stderr", text)

    @property
    def _secrets(self) -> list[SecretValue]:
        return [value for value in self.environment.values() if isinstance(value, SecretValue)]


def _why_not_started(error: Failed | ProgramMissing) -> str:
    return f"could not be started ({error.message})"
