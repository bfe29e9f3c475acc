"""What changed, for whoever looks on: a page's stream, a program's, the hub's own rooms. Nothing here is kept.

Whoever is too slow loses the oldest news and is told so; the truth is always in the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from pydantic import Field

from highball.facts import Fact

MOST_WAITING = 1000


class News(Fact):
    """One thing that changed: a topic like `run`, `progress`, `object`, `host`, and what it is about."""

    topic: str
    key: str | None = None
    body: dict[str, Any] = Field(default_factory=dict)


class Newsroom:
    """Hands news to everybody who listens; safe to call from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: set[asyncio.Queue[News | None]] = set()
        self._closed = False

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on news are handed out, in this loop."""
        self._loop = loop

    def publish(self, topic: str, key: str | None = None, **body: Any) -> None:
        """Tell everybody."""
        news = News(topic=topic, key=key, body=body)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._hand_out, news)

    def close(self) -> None:
        """Nothing more is told, and whoever listens is let go; to be called in that loop."""
        self._closed = True
        self._hand_out(None)

    def _hand_out(self, news: News | None) -> None:
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
                lost = News(topic="lost")
                if queue.qsize() < queue.maxsize - 1:
                    queue.put_nowait(lost)
            queue.put_nowait(news)

    async def listen(self, seconds: float) -> AsyncIterator[News | None]:
        """All that is told from now on; None whenever nothing was told for so many seconds."""
        queue: asyncio.Queue[News | None] = asyncio.Queue(MOST_WAITING)
        self._listeners.add(queue)
        try:
            while not self._closed:
                try:
                    news = await asyncio.wait_for(queue.get(), seconds)
                    if news is not None:
                        yield news
                except TimeoutError:
                    yield None
        finally:
            self._listeners.discard(queue)
