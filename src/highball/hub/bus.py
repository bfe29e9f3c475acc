"""What changed, for whoever looks on: a page's stream, a program's, the hub's own rooms.

Every piece of news has a mark. Who noted the mark before looking at the record hears what came since, however long
it takes until they listen; only the latest news are kept for that. Whoever is too late, or too slow, is told that
something was lost; the truth is always in the record.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from pydantic import Field

from highball.model.fact import Fact

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
        self._waiting: set[asyncio.Future[None]] = set()
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
        self._wake()

    async def listen(self, seconds: float, since: str = "") -> AsyncIterator[News | None]:
        """All that is told from now on, or from a mark; None whenever nothing was told for so many seconds.

        Whoever listens holds a number, and no news of their own: a thousand listeners cost little, and who reads them
        too slowly is told that some are lost.
        """
        heard = self._number_of(since) if since else self._told
        while True:
            oldest = self._told - len(self._kept)
            if heard is None or heard < oldest:
                heard = self._told
                yield News(topic="lost", mark=self.mark)
            elif heard < self._told:
                heard += 1
                yield self._kept[heard - 1 - oldest]
            elif self._closed:
                return
            elif not await self._is_told_within(seconds):
                yield None

    def _tell(self, news: News) -> None:
        self._told += 1
        self._kept.append(news.model_copy(update={"mark": self.mark}))
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def _is_told_within(self, seconds: float) -> bool:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            async with asyncio.timeout(seconds):  # wait_for would be a task more for everybody who listens
                await waiting
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(waiting)
        return True

    def _number_of(self, mark: str) -> int | None:
        """The number of a mark; None where it is of another hub's life."""
        name, _, number = mark.rpartition("-")
        return int(number) if name == self._name and number.isdecimal() else None
