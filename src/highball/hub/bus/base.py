"""The port by which the processes of one hub know of each other: news, tickets, limits, and who is connected.

Nothing of it is in the record, and all of it may be lost with its process: the truth is in the database. There is one
process as yet, and `in_process` is enough for it. Where several serve one database, another kind carries the same
between them. What holds for every kind stands here, and one suite of tests runs over all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pydantic import Field

from highball.model.fact import Fact


class News(Fact):
    """One thing that changed: a topic like `run`, `progress`, `object`, `host`, and what it is about."""

    topic: str
    key: str | None = None
    body: dict[str, Any] = Field(default_factory=dict)
    mark: str = ""


class Newsroom(Protocol):
    """Hands news to everybody who listens, at whichever process.

    What one process publishes is heard at each of them once, and in the order in which that process published it. Who
    listens too late, or too slowly, hears `lost` instead: some were told that are kept no more.
    """

    @property
    def mark(self) -> str:
        """Up to where news were told here: all that is told later is told to who listens here from this mark.

        One of another process, or of an earlier life of this one, counts as too late.
        """

    def publish(self, topic: str, key: str | None = None, **body: Any) -> None:
        """Tell everybody, soon; from any thread."""

    def find_last(self, topic: str) -> News | None:
        """What was last told of a topic, as far as this process knows; from any thread."""

    def listen(self, seconds: float, since: str = "") -> AsyncIterator[News | None]:
        """All that is told from now on, or from a mark; None whenever nothing was told for so many seconds.

        It ends once the bus is closed.
        """


class Tickets(Protocol):
    """Which process waits for what an agent hands over by a ticket. Each counts once, at whichever process it comes."""

    async def issue(self, ticket: str) -> None:
        """From when this returns, this process waits for who has that ticket."""

    async def redeem(self, ticket: str) -> str | None:
        """The name of the process that waits for it, once; None where none does, or it was redeemed or revoked."""

    def revoke(self, ticket: str) -> None:
        """This process waits for it no more; that is known soon. Does nothing where it was redeemed."""


@dataclass(frozen=True)
class Rate:
    """How often somebody may: so many times a second, and more at once after a quiet time."""

    each_second: float
    at_once: int


class RateLimits(Protocol):
    """How often somebody may, counted over all processes together."""

    async def admit(self, subject: str, rate: Rate) -> bool:
        """Count once for a subject; False where that is more often than its rate.

        A new subject may `at_once`. Of many subjects those are forgotten first that were counted longest ago.
        """


@dataclass(frozen=True)
class Present:
    """An agent that is connected to one of the processes."""

    host: str
    since: datetime
    has_reported: bool = False
    """Whether it has told which runs it holds."""
    at: str = ""
    """The name of the process that it is connected to."""


class Presence(Protocol):
    """The hosts whose agents are connected."""

    @property
    def here(self) -> Mapping[str, Present]:
        """Who is connected to any process, as far as this one knows, by the host; from any thread.

        What the own process said is in it at once, what others said soon. It does not change: ask again.
        """

    def enter(self, present: Present) -> None:
        """This host is connected to this process, from now on to no other; or more is known of it."""

    def leave(self, host: str) -> None:
        """This host is connected to this process no more. Where it is with another one by now, it stays there.

        When a process has gone, all that were connected to it have left.
        """


class Bus(Protocol):
    """All of it, as one process has it."""

    @property
    def name(self) -> str:
        """What this process is called among all, for this life of it."""

    @property
    def news(self) -> Newsroom:
        """What changed."""

    @property
    def tickets(self) -> Tickets:
        """Who waits for what is handed over."""

    @property
    def limits(self) -> RateLimits:
        """How often somebody may."""

    @property
    def presence(self) -> Presence:
        """Who is connected."""

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on news are handed out, in this loop."""

    def close(self) -> None:
        """Nothing more is told, and whoever listens is let go; to be called in that loop."""
