"""News: who looks on hears what changed, of what is now, and is told where something was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from unittest import mock

from api.whole import NOW, Whole
from highball.hub.agents.connected import Connection
from highball.hub.bus.base import News, Newsroom
from highball.hub.bus.in_process import MOST_KEPT, LocalNewsroom
from highball.model.event import RunStarted, StepStarted
from highball.model.run import (
    Action,
    Progress,
    Step,
)
from highball.protocol.wire import (
    Body,
    Envelope,
    Events,
    ProgressSeen,
)
from record.stories import Story, run_id


def test_whoever_listens_too_late_is_told_that_something_is_lost() -> None:
    async def hear(newsroom: Newsroom, since: str) -> News | None:
        async for news in newsroom.listen(5, since):
            return news
        return None

    async def tell() -> None:
        newsroom = LocalNewsroom("here")
        newsroom.open(asyncio.get_running_loop())
        early = newsroom.mark
        newsroom.publish("run", "0")
        await asyncio.sleep(0)
        second = newsroom.mark
        for number in range(1, MOST_KEPT + 1):
            newsroom.publish("run", str(number))
        await asyncio.sleep(0)
        late, kept = await hear(newsroom, early), await hear(newsroom, second)
        assert late is not None and kept is not None
        assert (late.topic, late.mark) == ("lost", newsroom.mark)
        assert (kept.topic, kept.key) == ("run", "1")

    asyncio.run(tell())


def test_whoever_reads_too_slowly_is_told_that_something_is_lost_and_hears_on() -> None:
    async def tell() -> None:
        newsroom = LocalNewsroom("here")
        newsroom.open(asyncio.get_running_loop())
        listening = newsroom.listen(5, newsroom.mark)
        newsroom.publish("run", "first")
        assert await key_of_next(listening) == "first"
        for number in range(MOST_KEPT + 1):
            newsroom.publish("run", str(number))
        await asyncio.sleep(0)
        lost = await anext(listening)
        assert lost is not None and (lost.topic, lost.mark) == ("lost", newsroom.mark)
        newsroom.publish("run", "after that")
        assert await key_of_next(listening) == "after that"
        newsroom.publish("run", "last")
        await asyncio.sleep(0)
        newsroom.close()
        assert await key_of_next(listening) == "last"
        assert await anext(listening, None) is None, "and nobody waits for more"

    asyncio.run(tell())


async def key_of_next(listening: AsyncIterator[News | None]) -> str | None:
    """What the next news are about."""
    news = await anext(listening)
    return news.key if news is not None else None


def test_how_far_one_step_was_is_not_told_of_the_next(whole: Whole) -> None:
    hub, run = whole.hub, run_id(71)
    story = Story(71).tell(RunStarted, pid=1)
    story.tell(StepStarted, step=1, running=Step(number=1, action=Action.BACKUP, repository="nas"))
    story.into(whole.hub.record)
    agent = mock.AsyncMock(spec=Connection, host="here")

    def hear(body: Body) -> None:
        message = Envelope(type=body.type, id="1", re=None, at=NOW, body=body)
        asyncio.run(hub.reports.take(agent, message))

    hear(ProgressSeen(run=run, progress=Progress(percent=100)))
    assert hub.progress.find(run) is not None
    second = story.tell(StepStarted, step=2, running=Step(number=2, action=Action.BACKUP, repository="far"))
    hear(Events(run=run, events=(second.events[-1].model_dump(mode="json"),)))
    assert hub.progress.find(run) is None
