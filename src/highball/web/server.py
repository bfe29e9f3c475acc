"""The server under the app: which protocols it speaks, within which bounds, and what it logs of strangers."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from highball.protocol.wire import LARGEST_FRAME
from highball.web.connections import Connections, raise_file_limit
from highball.web.uvicorn_protocols import make_protocols

LARGEST_MESSAGE = 4 * LARGEST_FRAME
"""What an agent is told may be so large, and it tells that back when it is asked what it holds."""

LOGGERS = ("asyncio", "uvicorn.error", "highball.hub.agents.fleet")
"""Whose lines strangers can cause."""

EVERY_SECONDS = 60.0
MOST_ALIKE = 10


class Server(uvicorn.Server):
    """One that leaves signals to who runs it: its own handling ends the process before that one has said goodbye."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Not done here."""
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Until it is told to end."""
        with bounded_log():
            await super().serve(sockets)


def make_server(app: ASGIApp) -> Server:
    """The server of an app; from now on this process may open as many files as it may have."""
    http, ws = make_protocols(Connections(raise_file_limit()))
    return Server(
        uvicorn.Config(
            app,
            http=http,
            ws=ws,
            ws_max_size=LARGEST_MESSAGE,
            ws_ping_interval=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whose are believed, the guard knows
            timeout_graceful_shutdown=5,
        )
    )


@contextlib.contextmanager
def bounded_log() -> Iterator[None]:
    """While this lasts, nobody fills the log by doing the same thing over and over."""
    bounds = {name: _Bounded() for name in LOGGERS}
    for name, bound in bounds.items():
        logging.getLogger(name).addFilter(bound)
    try:
        yield
    finally:
        for name, bound in bounds.items():
            logging.getLogger(name).removeFilter(bound)


class _Bounded(logging.Filter):
    """Lets a line pass once a minute, and ten of a kind; how many were left out is said with the next."""

    def __init__(self) -> None:
        super().__init__()
        self._begun_at = 0.0
        self._told: set[str] = set()
        self._kinds: dict[str, int] = {}
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged."""
        if time.monotonic() - self._begun_at >= EVERY_SECONDS:
            self._begin_anew(record)
        kind, text = str(record.msg)[:200], record.getMessage()[:200]
        count = self._kinds[kind] = self._kinds.get(kind, 0) + 1
        if text in self._told or count > MOST_ALIKE:
            self._left_out += 1
            return False
        self._told.add(text)
        return True

    def _begin_anew(self, record: logging.LogRecord) -> None:
        if self._left_out:
            record.msg, record.args = (
                f"{record.getMessage()} ({self._left_out} lines like others were left out)",
                (),
            )
        self._begun_at, self._left_out = time.monotonic(), 0
        self._told, self._kinds = set(), {}
