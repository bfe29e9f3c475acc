"""A connected agent, and what is said to it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from highball.errors import Failed
from highball.protocol.handshake import AuthenticatedLine
from highball.protocol.wire import (
    Answer,
    Body,
    Envelope,
    Hello,
    RunsWanted,
    StopAsking,
    spell,
)

SAYING_SECONDS = 30.0
MOST_IN_MAILBOX = 32

ALIVE_SECONDS = 5.0
"""So long the agent that is here may take to answer, before another process with its key takes its place."""


@dataclass
class Connection:
    """A connected agent."""

    host: str
    socket: AuthenticatedLine
    hello: Hello
    since: datetime
    skew: timedelta
    reported: bool = False
    """Whether the agent has told which runs it holds."""
    waiting: dict[str, asyncio.Future[Answer]] = field(default_factory=dict)
    wanted: set[str] = field(default_factory=set)
    """The runs that it was asked to tell once more."""
    public_key: str = ""
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever it says anything."""
    mailbox: asyncio.Queue[Envelope | None] = field(default_factory=lambda: asyncio.Queue(MOST_IN_MAILBOX))
    """What it told that is not taken in yet; None is the end."""
    is_behind: bool = False
    """Something that it told could not be written down: it tells all of that again over another connection."""

    async def say(self, body: Body, *, id: str | None = None, re: str | None = None) -> None:
        """Send a message; raises OSError, also where the other end takes in nothing."""
        async with asyncio.timeout(SAYING_SECONDS):
            await self.socket.send(spell(body, id=id, re=re))


async def stop_asking(connection: Connection, id: str) -> None:
    """Say that nobody waits for an answer any more."""
    with contextlib.suppress(OSError):
        await connection.say(StopAsking(), re=id)


def not_connected(host: str) -> Failed:
    """The error where an agent is not there."""
    return Failed(
        f"the agent of {host} is not connected",
        code="host_offline",
        hint="is it running, and can it reach this hub?",
    )


async def is_alive(connection: Connection) -> bool:
    """Whether the other end of a connection is alive."""
    connection.heard.clear()
    try:
        async with asyncio.timeout(ALIVE_SECONDS):
            await connection.say(RunsWanted(runs={}))  # every agent answers that with what it holds
            await connection.heard.wait()
    except (OSError, TimeoutError):
        return False
    return True
