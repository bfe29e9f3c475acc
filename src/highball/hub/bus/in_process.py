"""The bus of a hub of one process: all of it lies in memory."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from highball.hub.bus.base import News, Present, Rate

MOST_KEPT: Final = 1000
MOST_SUBJECTS: Final = 10_000


class InProcessBus:
    """What the hub's rooms share."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(4)
        self.news = LocalNewsroom(self.name)
        self.tickets = LocalTickets(self.name)
        self.limits = LocalLimits()
        self.presence = LocalPresence(self.name)

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on news are handed out, in this loop."""
        self.news.open(loop)

    def close(self) -> None:
        """Whoever listens is let go."""
        self.news.close()


class LocalNewsroom:
    """News, the latest of which are kept: who noted a mark before looking at the record hears what came since."""

    def __init__(self, name: str) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False
        self._name = name
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


class LocalTickets:
    """The tickets that this process gave."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._issued: set[str] = set()

    async def issue(self, ticket: str) -> None:
        """Wait for who has it."""
        self._issued.add(ticket)

    async def redeem(self, ticket: str) -> str | None:
        """This process, once, where it waits for it."""
        if ticket not in self._issued:
            return None
        self._issued.discard(ticket)
        return self._name

    def revoke(self, ticket: str) -> None:
        """Wait for it no more."""
        self._issued.discard(ticket)


class LocalLimits:
    """For each subject, how often it may now and when that was."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many subjects are remembered."""
        return len(self._left)

    async def admit(self, subject: str, rate: Rate) -> bool:
        """Count once."""
        now = self._clock()
        left, at = self._left.pop(subject, (float(rate.at_once), now))
        left = min(float(rate.at_once), left + (now - at) * rate.each_second)
        admitted = left >= 1
        self._left[subject] = (left - admitted, now)
        if len(self._left) > MOST_SUBJECTS:
            self._left.popitem(last=False)  # the one that was counted longest ago
        return admitted


class LocalPresence:
    """Who is connected to this process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.here: Mapping[str, Present] = {}
        """Another one after each change, so that it may be read in any thread."""

    def enter(self, present: Present) -> None:
        """It is connected here."""
        self.here = {**self.here, present.host: replace(present, at=self._name)}

    def leave(self, host: str) -> None:
        """It is connected no more."""
        self.here = {key: present for key, present in self.here.items() if key != host}
