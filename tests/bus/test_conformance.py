"""What the port of the bus promises, at every kind: one process, and two that have nothing but a socket in common."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

import pytest

from bus.wired import WiredBus, wired_pair
from highball.hub.bus.base import Bus, News, Present, Rate
from highball.hub.bus.in_process import MOST_KEPT, MOST_SUBJECTS, InProcessBus, LocalLimits

Pair = tuple[Bus, Bus]
Kind = Callable[[], AbstractAsyncContextManager[Pair]]

NOW = datetime(2026, 7, 1, tzinfo=UTC)
WEB1 = Present("web1", NOW)


@contextlib.asynccontextmanager
async def one_process() -> AsyncIterator[Pair]:
    """A bus of one process, which is its own other."""
    bus = InProcessBus()
    bus.open(asyncio.get_running_loop())
    yield bus, bus


@pytest.fixture(params=[one_process, wired_pair], ids=["in process", "over a socket"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Makes the same bus as two processes have it."""
    made: Kind = request.param
    return made


def play(kind: Kind, story: Callable[[Bus, Bus], Awaitable[None]]) -> None:
    """Tell a story of two processes."""

    async def tell() -> None:
        async with kind() as (here, there):
            await story(here, there)

    asyncio.run(tell())


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is known that is known soon."""
    while not is_so():
        await asyncio.sleep(0)


async def hear(listening: AsyncIterator[News | None], count: int) -> list[tuple[str, str | None]]:
    """The topics of so many news, and what they are about."""
    found: list[tuple[str, str | None]] = []
    while len(found) < count:
        if (news := await anext(listening)) is not None:
            found.append((news.topic, news.key))
    return found


def test_news_are_heard_at_every_process_once_and_in_their_order(kind: Kind) -> None:
    async def story(here: Bus, there: Bus) -> None:
        listening = [end.news.listen(60, end.news.mark) for end in (here, there)]
        for number in range(5):
            here.news.publish("run", str(number), seq=number)
        await asyncio.to_thread(here.news.publish, "object")
        for heard in listening:
            assert await hear(heard, 6) == [*(("run", str(number)) for number in range(5)), ("object", None)]
        there.news.publish("host", "web1")
        for heard in listening:
            assert await hear(heard, 1) == [("host", "web1")]
        for end in (here, there):
            last = end.news.find_last("run")
            assert last is not None and (last.key, last.body) == ("4", {"seq": 4})

    play(kind, story)


def test_whoever_comes_with_a_mark_of_another_process_hears_that_something_is_lost(kind: Kind) -> None:
    async def story(here: Bus, there: Bus) -> None:
        marks = {"gone-7", "nonsense", *({here.news.mark} if here is not there else ())}
        for mark in marks:
            assert await hear(there.news.listen(60, mark), 1) == [("lost", None)]

    play(kind, story)


def test_whoever_reads_too_slowly_hears_that_something_is_lost_wherever_it_was_published(kind: Kind) -> None:
    async def story(here: Bus, there: Bus) -> None:
        slow = there.news.listen(60, there.news.mark)
        for number in range(MOST_KEPT + 1):
            here.news.publish("run", str(number))
        await until(lambda: (last := there.news.find_last("run")) is not None and last.key == str(MOST_KEPT))
        await asyncio.sleep(0)
        assert await hear(slow, 1) == [("lost", None)]

    play(kind, story)


def test_whoever_listens_is_let_go_when_the_bus_is_closed(kind: Kind) -> None:
    async def story(here: Bus, there: Bus) -> None:
        there.news.publish("run", "last")
        listening = there.news.listen(60, there.news.mark)
        waiting = asyncio.ensure_future(anext(listening))
        await waiting
        there.close()
        assert await anext(listening, None) is None

    play(kind, story)


def test_a_ticket_counts_once_at_whichever_process_it_comes(kind: Kind) -> None:
    async def story(here: Bus, there: Bus) -> None:
        for number, end in enumerate((here, there)):
            ticket = f"ticket-{number}"
            await here.tickets.issue(ticket)
            assert await end.tickets.redeem(ticket) == here.name
            assert [await one.tickets.redeem(ticket) for one in (here, there)] == [None, None]
        await there.tickets.issue("wanted")
        found = await asyncio.gather(*(end.tickets.redeem("wanted") for end in (here, there) for _ in "12"))
        assert sorted(map(str, found)) == sorted([there.name, "None", "None", "None"])

    play(kind, story)


def test_a_ticket_for_which_nobody_waits_counts_nowhere(kind: Kind) -> None:
    async def story(here: Bus, there: Bus) -> None:
        await here.tickets.issue("given up")
        here.tickets.revoke("given up")
        here.tickets.revoke("never known")
        for ticket in ("given up", "never known"):
            assert [await end.tickets.redeem(ticket) for end in (there, here)] == [None, None]

    play(kind, story)


def test_it_is_counted_over_all_processes_how_often_somebody_may(kind: Kind) -> None:
    async def story(here: Bus, there: Bus) -> None:
        rate = Rate(each_second=0, at_once=3)
        ends = (here, there, there, here, there)
        assert [await end.limits.admit("a", rate) for end in ends] == [True, True, True, False, False]
        assert await there.limits.admit("b", rate), "each for itself"

    play(kind, story)


def test_as_time_goes_by_one_may_again_and_what_is_remembered_is_bounded() -> None:
    now = [1000.0]
    limits, rate = LocalLimits(lambda: now[0]), Rate(each_second=2, at_once=3)

    async def story() -> None:
        assert [await limits.admit("a", rate) for _ in range(4)] == [True, True, True, False]
        now[0] += 1
        assert [await limits.admit("a", rate) for _ in range(3)] == [True, True, False]
        for number in range(MOST_SUBJECTS + 10):
            await limits.admit(str(number), rate)
        assert len(limits) == MOST_SUBJECTS

    asyncio.run(story())


def test_who_is_connected_is_known_at_every_process_and_to_which(kind: Kind) -> None:
    async def story(here: Bus, there: Bus) -> None:
        here.presence.enter(WEB1)
        assert here.presence.here["web1"].at == here.name, "the own process knows it at once"
        await until(lambda: "web1" in there.presence.here)
        assert not there.presence.here["web1"].has_reported
        here.presence.enter(Present("web1", NOW, has_reported=True))
        await until(lambda: there.presence.here["web1"].has_reported)
        assert there.presence.here["web1"] == Present("web1", NOW, has_reported=True, at=here.name)
        before = there.presence.here
        here.presence.leave("web1")
        await until(lambda: "web1" not in there.presence.here)
        assert "web1" not in here.presence.here and "web1" in before, "what was read does not change"
        there.presence.leave("nobody")

    play(kind, story)


def test_a_host_that_has_moved_to_another_process_stays_there_when_the_first_one_notes_it_gone(
    kind: Kind,
) -> None:
    async def story(here: Bus, there: Bus) -> None:
        if here is there:
            return
        here.presence.enter(WEB1)
        await until(lambda: "web1" in there.presence.here)
        there.presence.enter(WEB1)
        await until(lambda: here.presence.here["web1"].at == there.name)
        here.presence.leave("web1")
        here.news.publish("told after that")
        await until(lambda: there.news.find_last("told after that") is not None)
        assert {end.presence.here["web1"].at for end in (here, there)} == {there.name}

    play(kind, story)


def test_when_a_process_has_gone_all_that_were_connected_to_it_have_left(kind: Kind) -> None:
    async def story(here: Bus, there: Bus) -> None:
        if not isinstance(there, WiredBus):
            return
        here.presence.enter(Present("db1", NOW))
        there.presence.enter(WEB1)
        await until(lambda: "web1" in here.presence.here)
        await there.vanish()
        await until(lambda: "web1" not in here.presence.here)
        assert "db1" in here.presence.here

    play(kind, story)
