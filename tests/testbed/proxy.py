"""A reverse proxy of a home server: it shows a program below a path, over HTTP and WebSockets, and says who asked."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator

import httpx
import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from testbed import serving

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
CLIENT = "203.0.113.77"
"""From where it says that people ask."""

_BETWEEN_TWO = {"connection", "transfer-encoding", "keep-alive", "x-forwarded-for", "x-forwarded-proto"}


class Proxy:
    """It serves `/name` of its own with what lies behind; `strips` is whether it takes the name away."""

    def __init__(self, behind: str, name: str, *, strips: bool = True) -> None:
        self.port = serving.free_port()
        self.url = f"http://127.0.0.1:{self.port}/{name}"
        self._behind = behind + ("" if strips else f"/{name}")
        self._client = httpx.AsyncClient(timeout=None, trust_env=False)
        app = Starlette(
            routes=[
                WebSocketRoute(f"/{name}/{{rest:path}}", self._link),
                Route(f"/{name}/{{rest:path}}", self._pass_on, methods=METHODS),
            ]
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                app, port=self.port, log_level="error", ws="websockets-sansio", server_header=False
            )
        )

    async def _pass_on(self, request: Request) -> Response:
        kept = {name: value for name, value in request.headers.items() if name not in _BETWEEN_TWO}
        told = {"x-forwarded-for": CLIENT, "x-forwarded-proto": "https"}
        path = request.url.path.partition("/")[2].partition("/")[2]
        address = f"{self._behind}/{path}" + (f"?{request.url.query}" if request.url.query else "")
        asked = self._client.build_request(
            request.method, address, headers={**kept, **told}, content=request.stream()
        )
        answer = await self._client.send(asked, stream=True)
        response = StreamingResponse(
            answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose)
        )
        response.raw_headers = [
            (name, value) for name, value in answer.headers.raw if name.decode().lower() not in _BETWEEN_TWO
        ]
        return response

    async def _link(self, socket: WebSocket) -> None:
        await socket.accept()
        address = f"ws{self._behind.removeprefix('http')}/{socket.path_params['rest']}"
        async with websockets.connect(address, proxy=None, max_size=None) as behind:

            async def forth() -> None:
                with contextlib.suppress(WebSocketDisconnect):
                    while True:
                        await behind.send(await socket.receive_text())

            going = asyncio.create_task(forth())
            try:
                async for text in _texts(behind):
                    await socket.send_text(text)
            finally:
                going.cancel()

    def run(self) -> None:
        """Until it is told to end."""
        asyncio.run(self._server.serve())

    @property
    def has_begun(self) -> bool:
        """Whether it answers."""
        return self._server.started

    def end(self) -> None:
        """Soon, whatever is open."""
        self._server.should_exit = self._server.force_exit = True


async def _texts(behind: websockets.ClientConnection) -> AsyncIterator[str]:
    async for text in behind:
        yield text if isinstance(text, str) else text.decode()


@contextlib.contextmanager
def proxied(behind: str, name: str, *, strips: bool = True) -> Iterator[Proxy]:
    """A proxy that runs beside the tests."""
    proxy = Proxy(behind, name, strips=strips)
    thread = threading.Thread(target=proxy.run, daemon=True)
    thread.start()
    while not proxy.has_begun and thread.is_alive():
        thread.join(0.02)
    try:
        yield proxy
    finally:
        proxy.end()
        thread.join(20)
