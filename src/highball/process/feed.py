"""What one program prints as the standard input of another, which sees the end of it only where all went well.

A pipe says the same when a program is done and when it died. Here the reader holds the writing end of its own input,
so that nobody's death ends it, ours included: it ends by our word alone, given when the program has ended well. Else
the reader is asked to stop, and gets its end only once it has said that it does.
"""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from queue import SimpleQueue
from typing import Protocol

from highball.errors import Failed, ProgramMissing
from highball.process.child import (
    HOOK_MANNERS,
    TICK_SECONDS,
    Command,
    Ended,
    Manners,
    OnData,
    Stop,
    Stream,
    by_lines,
)

FEED_MANNERS = replace(HOOK_MANNERS, reads_to_end=True)

LONGEST_COMPLAINT_BYTES = 64 * 1024
"""Of a line that is longer, one byte more is handed on: who hears it sees that it was cut."""

LINES_WAITING = 10_000
"""Of what the program complains, so many lines are kept until they are taken; it may complain faster than that."""


class RunsChild(Protocol):
    """How the command is run to its end, as `process.child.run` does."""

    def __call__(
        self,
        command: Command,
        on_data: OnData,
        *,
        stop: Stop | None,
        timeout: timedelta | None,
        manners: Manners,
    ) -> Ended: ...


class Feed:
    """A command whose output another child reads. It is started once the reader is ready for it: `begin`.

    All of it is called in one thread; what the command complains of is handed to `on_complaint` in that thread.
    """

    def __init__(
        self,
        run: RunsChild,
        command: Command,
        on_complaint: Callable[[bytes], None],
        *,
        timeout: timedelta | None = None,
    ) -> None:
        self._run = run
        self._command = command
        self._on_complaint = on_complaint
        self._timeout = timeout
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._complaints: SimpleQueue[bytes] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._reader_is_over = False
        self.ended: Ended | None = None
        """How the command ended; None where it was not started, could not be, or had to be given up."""
        self.size = 0
        """How many bytes the reader was given."""
        self._digest = hashlib.sha256()
        self.error: Failed | ProgramMissing | None = None
        """Why the command could not be started."""
        self.is_whole = False
        """Whether the reader was given all of it, and its end."""
        self.is_broken = False
        """Whether the command is over and the reader will never have all of it: it has to be stopped."""

    # --- for whoever starts the reader ---

    @property
    def reading(self) -> int:
        """The reader's standard input."""
        return self._theirs.fileno()

    @property
    def held(self) -> int:
        """What the reader inherits besides: as long as it lives nobody's death ends its input."""
        return self._ours.fileno()

    def hand_over(self) -> None:
        """The reader was started, and the end that it reads is its own."""
        self._theirs.close()

    def tick(self) -> None:
        """Hand on what the command complained of meanwhile."""
        while not self._complaints.empty():
            self._on_complaint(self._complaints.get())

    def end(self) -> None:
        """The reader is over: so is the command."""
        self._reader_is_over = True
        if self._thread is not None:
            self._thread.join()
        self._ours.close()
        self._theirs.close()
        self.tick()

    @property
    def sha256(self) -> str:
        """The hash of what the reader was given, once it is whole."""
        return self._digest.hexdigest()

    # --- for whoever knows the reader ---

    def begin(self) -> None:
        """Start the command, unless it was: the reader is ready for it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="feed", daemon=True)
            self._thread.start()

    def let_go(self) -> None:
        """The reader has said that it stops, and would read on for ever: its input ends."""
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_WR)

    # --- in a thread of its own ---

    def _work(self) -> None:
        on_error, finish = by_lines(lambda stream, line: self._complain(line), LONGEST_COMPLAINT_BYTES + 1)

        def on_data(stream: Stream, data: bytes) -> None:
            if stream == "stderr":
                on_error(stream, data)
            else:
                self._send(data)

        try:
            self.ended = self._run(
                self._command,
                on_data,
                stop=Stop(lambda: self._reader_is_over),
                timeout=self._timeout,
                manners=FEED_MANNERS,
            )
        except _NobodyReadsError:
            pass
        except (ProgramMissing, Failed) as error:
            self.error = error
        finally:
            finish()
            self._settle()

    def _settle(self) -> None:
        ended = self.ended
        well = ended is not None and ended.exit_status == 0 and not (ended.stopped or ended.timed_out)
        if well and self.size:  # a dump that holds nothing is none
            self.is_whole = True
            self.let_go()
        else:
            self.is_broken = True

    def _complain(self, line: bytes) -> None:
        if self._complaints.qsize() < LINES_WAITING:
            self._complaints.put(line)

    def _send(self, data: bytes) -> None:
        self._digest.update(data)
        left = memoryview(data)
        looking = select.poll()
        looking.register(self._ours, select.POLLOUT)
        while left:
            if self._reader_is_over:
                raise _NobodyReadsError
            looking.poll(TICK_SECONDS * 1000)
            try:
                sent = self._ours.send(left)
            except BlockingIOError:
                continue
            except OSError:
                raise _NobodyReadsError from None
            self.size += sent
            left = left[sent:]


class _NobodyReadsError(Exception):
    """The reader is over before the command."""
