"""The agents' door: one WebSocket per agent, and what is larger than a message by a one-use ticket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response, WebSocket
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from highball.hub.agents.transfers import Bulk, Flow
from highball.protocol.handshake import Tampered, Unpacker
from highball.web.connections import PROVED
from highball.web.dependencies import TheFleet

SECONDS_FOR_BULK = 600.0
SECONDS_OF_SILENCE = 60.0
SECONDS_OF_SILENCE_IN_A_FLOW = 15 * 60.0
"""Who sends a content may be silent while an engine looks for the next piece of it."""


router = APIRouter(prefix="/agent/v1", include_in_schema=False)


@router.websocket("/link")
async def link(fleet: TheFleet, socket: WebSocket) -> None:
    """The line of an agent, as long as it lasts."""
    await socket.accept()
    await fleet.serve(_AgentSocket(socket), proved=socket.scope.get("extensions", {}).get(PROVED))
    await _close(socket)


@router.post("/bulk/{ticket}", status_code=204)
async def bulk(fleet: TheFleet, ticket: str, request: Request) -> Response:
    """What is larger than a message, from whoever was given the ticket."""
    awaited = await fleet.redeem(ticket)
    if awaited is None:
        return _refusal(404)
    unpacker = awaited.connection.socket.unpacker(ticket)
    if isinstance(awaited, Flow):
        return Response(status_code=204) if await _let_flow(awaited, request, unpacker) else _refusal(410)
    try:
        async with asyncio.timeout(SECONDS_FOR_BULK):
            packed = await _collect(request, awaited, unpacker)
        if packed is None:
            return _refusal(413)
        await fleet.take_bulk(awaited, packed)
    except TimeoutError:
        return _refusal(408)
    except ValueError:
        return _refusal(400)
    return Response(status_code=204)


def _refusal(status: int) -> Response:
    """No more of the body is read than was read until now."""
    return Response(status_code=status, headers={"Connection": "close"})


async def _collect(request: Request, answer: Bulk, unpacker: Unpacker) -> bytes | None:
    """The whole body; None where it is too large, or nobody waits for it any more.

    Raises TimeoutError, ClientDisconnect and Tampered.
    """
    packed = bytearray()
    async for piece in _pieces(request, SECONDS_OF_SILENCE):
        packed += unpacker.feed(piece)
        if len(packed) > answer.largest:
            answer.refuse(f"is larger than {answer.largest >> 20} MiB")
            return None
        if not answer.awaited:
            return None
    return bytes(packed)


async def _pieces(request: Request, silence: float) -> AsyncIterator[bytes]:
    """The body as it comes; raises TimeoutError where nothing comes for so many seconds."""
    body = request.stream()
    while True:
        async with asyncio.timeout(silence):
            piece = await anext(body, None)
        if piece is None:
            return
        yield piece


async def _let_flow(flow: Flow, request: Request, unpacker: Unpacker) -> bool:
    """Pass an answer on as it comes; whether all of it was read."""
    try:
        async for piece in _pieces(request, SECONDS_OF_SILENCE_IN_A_FLOW):
            if (data := unpacker.feed(piece)) and not await flow.put(data):
                return False
    except (ClientDisconnect, TimeoutError, Tampered):  # it is cut short; why, the agent tells
        pass
    return await flow.put(None)


class _AgentSocket:
    """A WebSocket whose end is an OSError."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        """Send one message; raises OSError."""
        try:
            await self._socket.send_text(text)
        except (WebSocketDisconnect, RuntimeError) as error:
            raise OSError("the agent is gone") from error

    async def receive(self) -> str:
        """The next message; raises OSError."""
        try:
            return await self._socket.receive_text()
        except (WebSocketDisconnect, RuntimeError, KeyError) as error:
            raise OSError("the agent is gone") from error

    async def close(self) -> None:
        """End it."""
        await _close(self._socket)


async def _close(socket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it is closed
        await socket.close()
