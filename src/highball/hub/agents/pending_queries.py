"""Questions to hosts that are under way: a few at a time for each host, equal ones put once, and none for nobody.

Who waits here holds no thread and no transaction, only a place in the loop. A question that nobody waits for any
more is given up. One that is put after agents told something new is never answered by a look from before that.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from highball.errors import Busy

AT_ONCE = 4
"""So many questions does a host work on at a time: each is a process of its own there, and most of them an engine's."""

MOST_WAITING = 32
"""So many more may wait for their turn."""

AGAIN_IN = timedelta(seconds=10)

_Found = TypeVar("_Found")


@dataclass
class _Question:
    """One that is put, and how many wait for its answer."""

    answering: asyncio.Task[Any]
    askers: int = 0


class Questions:
    """All that hosts are asked at this moment; lives in the loop's own thread."""

    def __init__(self) -> None:
        self._places: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
        self._open: Counter[str] = Counter()
        self._equal: dict[tuple[str, str], _Question] = {}

    async def ask(self, host: str, what: str, put: Callable[[], Awaitable[Any]], *, patient: bool) -> Any:
        """What `put` answers, or the equal question (`what`) of somebody else that is under way.

        Raises Busy where too many wait already, but not for who is patient.
        """
        question = self._equal.get((host, what))
        if question is None:
            if not patient and self._open[host] >= AT_ONCE + MOST_WAITING:
                raise _busy(host)
            question = self._begin(host, what, put)
        question.askers += 1
        try:
            return await asyncio.shield(question.answering)
        finally:
            question.askers -= 1
            if question.askers == 0:
                self._forget(host, what, question)
                question.answering.cancel()  # does nothing where it is answered

    def begin_anew(self) -> None:
        """From now on nobody is answered by a look that began before."""
        self._equal.clear()

    def _begin(self, host: str, what: str, put: Callable[[], Awaitable[Any]]) -> _Question:
        question = _Question(asyncio.create_task(self._put(host, put)))
        self._equal[host, what] = question
        self._open[host] += 1

        def end(answering: asyncio.Task[Any]) -> None:
            self._open[host] -= 1
            self._forget(host, what, question)
            if not answering.cancelled():
                answering.exception()  # who asked has heard of it, or has gone

        question.answering.add_done_callback(end)
        return question

    async def _put(self, host: str, put: Callable[[], Awaitable[Any]]) -> Any:
        async with self._places[host]:
            return await put()

    def _forget(self, host: str, what: str, question: _Question) -> None:
        if self._equal.get((host, what)) is question:
            del self._equal[host, what]


def _busy(host: str) -> Busy:
    return Busy(
        f"{host} is asked {MOST_WAITING + AT_ONCE} questions already",
        code="host_busy",
        hint="try again in a moment",
        wait_for=AGAIN_IN,
    )


async def each_of(waits: Iterable[Coroutine[Any, Any, _Found]]) -> list[_Found]:
    """What all of them come to, at the same time; where one fails, nobody goes on waiting for the others."""
    tasks = [asyncio.create_task(one) for one in waits]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
