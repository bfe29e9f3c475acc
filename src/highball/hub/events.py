"""What changed, for whoever looks on: a page's stream, a program's, the hub's own rooms.

Every piece of news has a mark. Who noted the mark before looking at the record hears what came since, however long
it takes until they listen; only the latest news are kept for that. Whoever is too late, or too slow, is told that
something was lost; the truth is always in the record.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from typing import Any, Final

from pydantic import Field

from highball.facts import Fact

MOST_WAITING: Final = 1000
MOST_KEPT: Final = 1000


class News(Fact):
    """One thing that changed: a topic like `run`, `progress`, `object`, `host`, and what it is about."""

    topic: str
    key: str | None = None
    body: dict[str, Any] = Field(default_factory=dict)
    mark: str = ""


class Newsroom:
    """Hands news to everybody who listens; safe to call from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: set[asyncio.Queue[News | None]] = set()
        self._closed = False
        self._name = secrets.token_hex(4)
        self._told = 0
        self._kept: deque[News] = deque(maxlen=MOST_KEPT)
        self._last: dict[str, News] = {}

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on news are handed out, in this loop."""
        self._loop = loop

    @property
    def mark(self) -> str:
        """Up to where news were told: all that is told later is told to who listens from here."""
        return f"{self._name}-{self._told}"

    def publish(self, topic: str, key: str | None = None, **body: Any) -> None:
        """Tell everybody."""
        news = self._last[topic] = News(topic=topic, key=key, body=body)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell, news)

    def find_last(self, topic: str) -> News | None:
        """What was last told of a topic."""
        return self._last.get(topic)

    def close(self) -> None:
        """Nothing more is told, and whoever listens is let go; to be called in that loop."""
        self._closed = True
        self._hand_out(None)

    def _tell(self, news: News) -> None:
        self._told += 1
        marked = news.model_copy(update={"mark": self.mark})
        self._kept.append(marked)
        self._hand_out(marked)

    def _hand_out(self, news: News | None) -> None:
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
                if queue.qsize() < queue.maxsize - 1:
                    queue.put_nowait(self._lost())
            queue.put_nowait(news)

    def _lost(self) -> News:
        return News(topic="lost", mark=self.mark)

    def _since(self, mark: str) -> Sequence[News]:
        """What was told behind a mark, or that something is lost: it is too old, or of another hub's life."""
        name, _, number = mark.rpartition("-")
        oldest = self._told - len(self._kept)
        if name != self._name or not number.isdecimal() or int(number) < oldest:
            return [self._lost()]
        return list(islice(self._kept, int(number) - oldest, None))

    async def listen(self, seconds: float, since: str = "") -> AsyncIterator[News | None]:
        """All that is told from now on, or from a mark; None whenever nothing was told for so many seconds."""
        queue: asyncio.Queue[News | None] = asyncio.Queue(MOST_WAITING)
        self._listeners.add(queue)
        missed = self._since(since) if since else ()
        try:
            for news in missed:
                yield news
            while not self._closed:
                try:
                    async with asyncio.timeout(
                        seconds
                    ):  # wait_for would be a task more for everybody who listens
                        told = await queue.get()
                    if told is not None:
                        yield told
                except TimeoutError:
                    yield None
        finally:
            self._listeners.discard(queue)
