"""Following a run that a hub has queued, to its end: what happens is told as it happens, Ctrl-C ends it politely.

The hub's record is the truth and is asked again and again; its news only say when to ask, and how far a step is.
A hub that goes away meanwhile is waited for: the run goes on without it.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

import httpx

from highball.cli.progress import Narrator
from highball.errors import Cancelled, Conflict, Failed
from highball.model.event import Event
from highball.model.run import (
    Progress,
    Run,
    RunState,
)
from highball.process.child import Stop

LOOK_AGAIN = 2.0
"""Seconds after which a run is asked for though no news came."""

WAITED_FOR = 60.0
"""Seconds for which a hub that went away is waited for."""

STILL_THERE = httpx.Timeout(60.0, connect=10.0)
"""The hub says something every 15 seconds; a line that is silent for so long is dead."""

News = tuple[str, dict[str, Any]]


class Followed(Protocol):
    """What a hub must answer for its runs to be followed."""

    http: httpx.Client
    stop: Stopping

    def find_run(self, id_or_start: str) -> Run:
        """The run as it is now."""

    def read_events(self, run: str, *, after: int = 0) -> Iterator[Event]:
        """What happened behind a number."""

    def cancel(self, run: str) -> None:
        """Ask it to end."""


class Stopping(Stop):
    """Ctrl-C: the first asks the run to end, one more ends the waiting."""

    def __init__(self) -> None:
        super().__init__()
        self._presses = 0

    def request(self) -> None:
        """Somebody presses it."""
        self._presses += 1
        super().request()

    @property
    def insisted(self) -> bool:
        """Whether somebody did so more than once."""
        return self._presses > 1


def follow(hub: Followed, run: Run, narrator: Narrator, *, is_ours: bool = True) -> Run:
    """The run once it has ended; raises Cancelled where nobody waits for that, Failed where the hub is gone.

    One that was somebody else's order is not ended by Ctrl-C.
    """
    following = _Following(hub, run, narrator, is_ours)
    with _Listening(hub.http) as news:
        while not following.look():
            following.await_news(news)
    narrator.end(following.run)
    return following.run


class _Following:
    """One run on its way."""

    def __init__(self, hub: Followed, run: Run, narrator: Narrator, is_ours: bool) -> None:
        self.run = run
        self._is_ours = is_ours
        self._hub = hub
        self._narrator = narrator
        self._told = 0
        self._asked_to_end = False
        self._lost_at: float | None = None

    def look(self) -> bool:
        """Tell what is new; whether the run has ended."""
        try:
            self._end_if_wanted()
            self._read()
        except Failed as error:
            self._endure(error)
            return False
        self._lost_at = None
        return self.run.state is RunState.DONE

    def _read(self) -> None:
        found = self._hub.find_run(self.run.id)
        for event in self._hub.read_events(found.id, after=self._told):
            self._told = event.seq
            self._narrator.event(event)
        if found.state is RunState.QUEUED and found.reason is not None:
            self._narrator.waiting(found.reason.message)
        self.run = found

    def _endure(self, error: Failed) -> None:
        if error.code != "hub_unreachable":
            raise error
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            self._narrator.remark("  … the hub does not answer; the run continues")
        elif time.monotonic() - self._lost_at > WAITED_FOR:
            raise Failed(error.message, code=error.code, hint=self._hint("the run continues")) from None

    def _end_if_wanted(self) -> None:
        stop = self._hub.stop
        if stop.requested and not self._is_ours:
            way = f"it was started before; cancel it with: highball cancel {self.run.id}"
            raise Cancelled(f"run {self.run.id} continues", hint=way)
        if stop.requested and not self._asked_to_end:
            self._narrator.remark(
                f"Cancelling run {self.run.id} …; press Ctrl-C again to stop waiting for it"
            )
            with contextlib.suppress(Conflict):  # it has ended by itself
                self._hub.cancel(self.run.id)
            self._asked_to_end = True

    def await_news(self, news: queue.Queue[News]) -> None:
        """Wait until there may be something new, or somebody presses Ctrl-C."""
        until = time.monotonic() + LOOK_AGAIN
        while time.monotonic() < until:
            if self._hub.stop.insisted:
                raise Cancelled(
                    f"run {self.run.id} has not ended yet", hint=self._hint("it is being cancelled")
                )
            if self._hub.stop.requested and not self._asked_to_end:
                return
            try:
                topic, told = news.get(timeout=0.2)
            except queue.Empty:
                continue
            if told.get("key") != self.run.id:
                continue
            if topic != "progress":
                return
            self._narrator.progress(Progress.model_validate(told))

    def _hint(self, what: str) -> str:
        return f"{what}; see: highball logs {self.run.id}"


class _Listening:
    """The hub's news, gathered beside the program while this lasts; without them everything is only slower."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._news: queue.Queue[News] = queue.Queue()
        self._ended = threading.Event()

    def __enter__(self) -> queue.Queue[News]:
        threading.Thread(target=self._listen, daemon=True).start()
        return self._news

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                with self._http.stream("GET", "stream", timeout=STILL_THERE) as answer:
                    self._gather(answer)
            except (httpx.HTTPError, RuntimeError, ValueError):
                pass
            self._ended.wait(1)

    def _gather(self, answer: httpx.Response) -> None:
        topic = ""
        for line in answer.iter_lines() if answer.is_success else ():
            if self._ended.is_set():
                return
            if line.startswith("event: "):
                topic = line.removeprefix("event: ")
            elif line.startswith("data: "):
                self._news.put((topic, json.loads(line.removeprefix("data: "))))
