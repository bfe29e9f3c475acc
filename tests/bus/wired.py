"""A bus of two processes, as far as it can be seen: two ends, and between them nothing but lines over a socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from highball.hub.bus.base import News, Present, Rate
from highball.hub.bus.in_process import InProcessBus

Told = dict[str, Any]


class Wire:
    """Lines to the other end, and questions that it answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    def say(self, **told: Any) -> None:
        """Tell the other end."""
        self._writer.write(json.dumps(told).encode() + b"\n")

    async def ask(self, **told: Any) -> Any:
        """What the other end answers."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.say(number=number, **told)
        return await answer

    async def hear(self) -> AsyncIterator[Told]:
        """What the other end says by itself, until it has gone."""
        async for line in self._reader:
            told: Told = json.loads(line)
            if "answer" in told:
                self._waiting.pop(told["number"]).set_result(told["answer"])
            else:
                yield told

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class WiredNews:
    """What is published here is published there, too."""

    def __init__(self, own: InProcessBus, wire: Wire) -> None:
        self._own = own.news
        self._wire = wire
        self._loop = asyncio.get_running_loop()

    @property
    def mark(self) -> str:
        return self._own.mark

    def publish(self, topic: str, key: str | None = None, **body: Any) -> None:
        self._own.publish(topic, key, **body)
        told = {"topic": topic, "key": key, "body": body}
        self._loop.call_soon_threadsafe(lambda: self._wire.say(does="publish", **told))

    def find_last(self, topic: str) -> News | None:
        return self._own.find_last(topic)

    def listen(self, seconds: float, since: str = "") -> AsyncIterator[News | None]:
        return self._own.listen(seconds, since)


class WiredTickets:
    """Each end keeps its own, and asks the other for those that it does not know."""

    def __init__(self, own: InProcessBus, wire: Wire) -> None:
        self._own = own.tickets
        self._wire = wire

    async def issue(self, ticket: str) -> None:
        await self._own.issue(ticket)

    async def redeem(self, ticket: str) -> str | None:
        found = await self._own.redeem(ticket)
        if found is None:
            found = await self._wire.ask(does="redeem", ticket=ticket)
        return found

    def revoke(self, ticket: str) -> None:
        self._own.revoke(ticket)


class WiredLimits:
    """One of the ends counts for both."""

    def __init__(self, own: InProcessBus, wire: Wire, *, counts: bool) -> None:
        self._own = own.limits
        self._wire = wire
        self._counts = counts

    async def admit(self, subject: str, rate: Rate) -> bool:
        if self._counts:
            return await self._own.admit(subject, rate)
        told = {"subject": subject, "each_second": rate.each_second, "at_once": rate.at_once}
        return bool(await self._wire.ask(does="admit", **told))


class WiredPresence:
    """What this end said, and what the other told."""

    def __init__(self, name: str, wire: Wire) -> None:
        self._name = name
        self._wire = wire
        self.here: Mapping[str, Present] = {}

    def enter(self, present: Present) -> None:
        self.note(replace(present, at=self._name))
        told = {"host": present.host, "has_reported": present.has_reported, "at": self._name}
        self._wire.say(does="enter", since=present.since.isoformat(), **told)

    def leave(self, host: str) -> None:
        self.forget(host, self._name)
        self._wire.say(does="leave", host=host, at=self._name)

    def note(self, present: Present) -> None:
        self.here = {**self.here, present.host: present}

    def forget(self, host: str, at: str) -> None:
        self.here = {key: one for key, one in self.here.items() if (key, one.at) != (host, at)}

    def forget_all_but_own(self) -> None:
        self.here = {key: one for key, one in self.here.items() if one.at == self._name}


class WiredBus:
    """One end."""

    def __init__(self, wire: Wire, *, counts: bool) -> None:
        self._own = InProcessBus()
        self._wire = wire
        self.name = self._own.name
        self.news = WiredNews(self._own, wire)
        self.tickets = WiredTickets(self._own, wire)
        self.limits = WiredLimits(self._own, wire, counts=counts)
        self.presence = WiredPresence(self.name, wire)

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        self._own.open(loop)

    def close(self) -> None:
        self._own.close()

    async def serve(self) -> None:
        """Do what the other end says, until it has gone."""
        async for told in self._wire.hear():
            match told["does"]:
                case "publish":
                    self._own.news.publish(told["topic"], told["key"], **told["body"])
                case "redeem":
                    self._wire.say(
                        number=told["number"], answer=await self._own.tickets.redeem(told["ticket"])
                    )
                case "admit":
                    rate = Rate(told["each_second"], told["at_once"])
                    admitted = await self._own.limits.admit(told["subject"], rate)
                    self._wire.say(number=told["number"], answer=admitted)
                case "enter":
                    since = datetime.fromisoformat(told["since"])
                    about = Present(told["host"], since, has_reported=told["has_reported"], at=told["at"])
                    self.presence.note(about)
                case "leave":
                    self.presence.forget(told["host"], told["at"])
        self.presence.forget_all_but_own()

    async def vanish(self) -> None:
        """End as a process does that is killed."""
        await self._wire.close()


@contextlib.asynccontextmanager
async def wired_pair() -> AsyncIterator[tuple[WiredBus, WiredBus]]:
    """Both ends, each serving the other."""
    one, other = socket.socketpair()
    here = WiredBus(Wire(*await asyncio.open_connection(sock=one)), counts=True)
    there = WiredBus(Wire(*await asyncio.open_connection(sock=other)), counts=False)
    serving = [asyncio.create_task(end.serve()) for end in (here, there)]
    for end in (here, there):
        end.open(asyncio.get_running_loop())
    try:
        yield here, there
    finally:
        for end in (here, there):
            await end.vanish()
        await asyncio.gather(*serving, return_exceptions=True)
