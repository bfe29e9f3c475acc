"""What an agent hands over by a ticket, beside its connection: large answers, and contents piece by piece.

Whoever waits for it says how much it may be, and nothing of it is read beyond that.
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass

from highball.hub.agents.connected import Connection
from highball.protocol.wire import (
    Answer,
    Envelope,
    read,
)

LEAST_BYTES = 24
"""A large answer is of values that take so many bytes each or more; one of smaller ones is there to fill the memory."""


class Flow:
    """An answer that comes piece by piece: whoever reads it holds back whoever sends it."""

    AT_ONCE = 8

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(self.AT_ONCE)
        self._left = False

    async def put(self, piece: bytes | None) -> bool:
        """One more piece; None is the end. False where nobody reads any more."""
        if not self._left:
            await self._pieces.put(piece)
        return not self._left

    async def get(self) -> bytes | None:
        """The next piece, None at the end."""
        return await self._pieces.get()

    def leave(self) -> None:
        """Nobody reads any more: whoever waits to send learns of it."""
        self._left = True
        while not self._pieces.empty():
            self._pieces.get_nowait()


@dataclass(frozen=True)
class Bulk:
    """An answer that is larger than a frame, while it is handed over."""

    connection: Connection
    id: str
    largest: int
    """So many bytes it may have as text, and so no more as they come."""

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for it still."""
        return self.id in self.connection.waiting

    def refuse(self, why: str) -> None:
        """Tell whoever waits that it cannot be had."""
        future = self.connection.waiting.get(self.id)
        if future is not None and not future.done():
            told = {"code": "answer_too_large", "message": f"the answer of {self.connection.host} {why}"}
            future.set_result(Answer(error=told))


async def next_piece(flow: Flow, verdict: asyncio.Future[Answer]) -> bytes | None:
    """The next piece; None at the end, or where the agent says that none will come."""
    coming = asyncio.ensure_future(flow.get())
    try:
        await asyncio.wait((coming, verdict), return_when=asyncio.FIRST_COMPLETED)
        if not coming.done() and verdict.result().error is None:  # the last pieces come another way
            await coming
        return coming.result() if coming.done() else None
    finally:
        coming.cancel()


class TooLarge(ValueError):
    """An answer that nobody could have asked for."""


def unpack_answer(packed: bytes, largest: int) -> Envelope:
    """What was posted, within its bounds; raises ValueError, which is TooLarge beyond them."""
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(packed, largest + 1)
    except zlib.error:
        raise ValueError("the answer is not compressed") from None
    if len(text) > largest:
        raise TooLarge(f"is larger than {largest >> 20} MiB")
    if sum(text.count(mark) for mark in (b",", b"[", b"{")) > largest // LEAST_BYTES:
        raise TooLarge("holds more values than any answer to that question")
    return read(text)
