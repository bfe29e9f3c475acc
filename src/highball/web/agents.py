"""The agents' door: one WebSocket per agent, and what is larger than a message by a one-use ticket."""

from __future__ import annotations

import contextlib

from fastapi import APIRouter, Request, Response, WebSocket
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from highball.hub.fleet import Fleet, Flow

LARGEST_BULK = 64 * 1024 * 1024


def make_router(fleet: Fleet) -> APIRouter:
    """The addresses that agents dial."""
    router = APIRouter(prefix="/agent/v1", include_in_schema=False)

    @router.websocket("/link")
    async def link(socket: WebSocket) -> None:
        await socket.accept()
        await fleet.serve(_Socket(socket))
        await _close(socket)

    @router.post("/bulk/{ticket}", status_code=204)
    async def bulk(ticket: str, request: Request) -> Response:
        flow = fleet.take_flow(ticket)
        if flow is not None:
            return Response(status_code=204 if await _let_flow(flow, request) else 410)
        packed = bytearray()
        async for piece in request.stream():
            packed += piece
            if len(packed) > LARGEST_BULK:
                return Response(status_code=413)
        try:
            await fleet.take_bulk(ticket, bytes(packed))
        except ValueError:
            return Response(status_code=400)
        return Response(status_code=204)

    return router


async def _let_flow(flow: Flow, request: Request) -> bool:
    """Pass an answer on as it comes; whether all of it was read."""
    try:
        async for piece in request.stream():
            if piece and not await flow.put(piece):
                return False
    except ClientDisconnect:  # it is cut short; why, the agent tells
        pass
    return await flow.put(None)


class _Socket:
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
