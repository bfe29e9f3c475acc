"""A hub below a path of a proxy: within, every address is as if it lay at the top; here they are told apart.

Requests come in with the path or without it, as proxies differ in whether they take it away. What goes out names it:
where pages lead to, what they load, where an answer sends the browser, and for which paths a cookie is.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ROOT = "highball.root"
"""Where in a request's scope the path stands."""

_ADDRESS = re.compile(
    rb'(\s(?:href|action|formaction|src|hx-get|hx-post|hx-put|hx-delete|data-stream|data-news)=")/(?!/)'
)
"""An attribute of a page of ours that holds an address of ours: text cannot look so, its quotes are escaped."""


class SubPath:
    """The outermost middleware of a hub that lies below a path."""

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take the path from a request, and put it before the addresses in its answer."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        inner = {**scope, "path": self._without(scope["path"]), ROOT: self._root}
        if scope.get("raw_path"):
            inner["raw_path"] = self._without(scope["raw_path"].decode("latin-1")).encode("latin-1")
        if scope["type"] == "websocket":
            await self._app(inner, receive, send)
            return
        await self._app(inner, receive, _PageAnswer(self._root, send).send)

    def _without(self, path: str) -> str:
        if path == self._root:
            return "/"
        return path.removeprefix(self._root) if path.startswith(f"{self._root}/") else path


class _PageAnswer:
    """One answer on its way out; a page is held back until it is whole, for its addresses make it longer."""

    def __init__(self, root: str, send: Send) -> None:
        self._root = root
        self._send = send
        self._begun: Message | None = None
        self._page = b""

    async def send(self, message: Message) -> None:
        """Pass on a piece of it."""
        if message["type"] == "http.response.start":
            self._place_headers(message)
            if Headers(raw=message["headers"]).get("content-type", "").startswith("text/html"):
                self._begun = message
                return
        elif message["type"] == "http.response.body" and self._begun is not None:
            self._page += message.get("body", b"")
            if message.get("more_body", False):
                return
            page = _ADDRESS.sub(rb"\1" + self._root.encode() + rb"/", self._page)
            begun, self._begun = self._begun, None
            headers = MutableHeaders(raw=begun["headers"])
            if "content-length" in headers and (self._page or headers["content-length"] == "0"):
                headers["content-length"] = str(len(page))
            await self._send(begun)
            await self._send({"type": "http.response.body", "body": page})
            return
        await self._send(message)

    def _place_headers(self, message: Message) -> None:
        placed = []
        for name, value in message["headers"]:
            if name.lower() == b"location" and value.startswith(b"/") and not value.startswith(b"//"):
                value = self._root.encode() + value  # noqa: PLW2901 - it is the same header
            elif name.lower() == b"set-cookie":
                value = re.sub(rb"(?i)(;\s*path=)/", rb"\1" + self._root.encode() + rb"/", value)  # noqa: PLW2901
            placed.append((name, value))
        message["headers"] = placed
