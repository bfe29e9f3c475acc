"""Whoever pings a hub without end and takes in none of its answers, and the hub's end of that connection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from highball.web import server
from highball.web.connections import Connections
from highball.web.uvicorn_protocols import make_protocols
from hostile.slow_fleet import PATIENCE

PINGS = (b"\x89\xfd" + bytes(4) + b"x" * 125) * 32_000
"""Some four megabytes."""


def watch_talks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The hub's ends of all WebSockets to come, which say how much they held at most for the other end."""
    talks: list[Any] = []

    def watched(connections: Connections) -> tuple[type, type]:
        asking, talking = make_protocols(connections)

        class Watched(talking):  # type: ignore[misc, valid-type]
            most_held = 0

            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                talks.append(self)

            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                self.most_held = max(self.most_held, self.transport.get_write_buffer_size())

        return asking, Watched

    monkeypatch.setattr(server, "make_protocols", watched)
    return talks


async def ping_and_read_nothing(line: ClientConnection, talk: Any) -> None:
    """Until what the hub says is taken in no more."""
    line.transport.pause_reading()
    async with asyncio.timeout(PATIENCE):
        while talk.writable.is_set():
            line.transport.write(PINGS[:131_000])
            await asyncio.sleep(0)
