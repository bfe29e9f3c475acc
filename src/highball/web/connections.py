"""Connections before anybody has proved anything: how long one may take to ask, and how many there may be.

What is asked, and by whom, is the guard's affair; here an address holds so many connections, a request's header
comes in time or its connection ends, and there are always files left for the hub's own work.
"""

from __future__ import annotations

import asyncio
import resource
from asyncio.transports import BaseTransport
from collections import Counter
from functools import lru_cache
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from highball.hub.auth.rate_limit import for_address

SECONDS_FOR_HEADER = 15.0
"""From the connection, or from the first byte of another request over it, to the end of the header."""

MOST_WITHOUT_REQUEST = 128
"""So many connections of an address may be waiting for their header."""

MOST_UNPROVED = 512
"""So many WebSockets of an address may be there without proof of an agent's key: a fleet comes back at once."""

SECONDS_TO_TAKE_IN = 120.0
"""For whoever asked something to take in the next piece of what is answered, however slow the line."""

SECONDS_TO_LEAVE = 10.0
"""After the last word, for whoever is there to take it in."""

LARGEST_UNPROVED = 32 * 1024
"""A message before that proof; what is larger is not even received."""

PROVED: Final = "highball.proved"
"""The extension of a WebSocket's scope that is called once whoever is there has proved a key."""

MOST_OF_ADDRESS = 4096
"""So many connections may an address have: all of a proxy's people and agents come from one."""

MOST_FILES = 65_536

OWN_FILES = 192
"""Open files that the hub needs for itself: its database, its threads, its programs."""


def raise_file_limit() -> int:
    """Let this process open as many files as it may and could need, and tell how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


class Connections:
    """All connections of a hub, counted by their address."""

    def __init__(self, files: int) -> None:
        """`files` are how many files may be open."""
        self._most = max(files - OWN_FILES, files // 2)
        self._most_of_address = max(self._most // 2, 1)
        self._of = _Counted()
        self._waiting = _Counted()
        self._unproved = _Counted()
        self._all = 0

    def count(self, address: str) -> int:
        """How many an address has."""
        return self._of.count(address)

    def enter(self, address: str) -> bool:
        """Count another one; false where there are enough already."""
        most = min(MOST_OF_ADDRESS, self._most_of_address)
        if self._all >= self._most or self._of.count(address) >= most:
            return False
        self.keep(address)
        return True

    def keep(self, address: str) -> None:
        """Count one that is there in any case."""
        self._all += 1
        self._of.add(address)

    def leave(self, address: str) -> None:
        """One that was counted has ended."""
        self._all -= 1
        self._of.take_off(address)

    def wait(self, address: str) -> bool:
        """Another one waits for a header; false where too many do."""
        return self._waiting.add(address) <= MOST_WITHOUT_REQUEST

    def wait_no_more(self, address: str) -> None:
        """One that waited has its header, or has ended."""
        self._waiting.take_off(address)

    def await_proof(self, address: str) -> bool:
        """Another WebSocket has to prove a key; false where too many have to."""
        return self._unproved.add(address) <= MOST_UNPROVED

    def await_proof_no_more(self, address: str) -> None:
        """One has proved its key, or has ended."""
        self._unproved.take_off(address)


class _Counted:
    """How many there are of each address; whoever has an IPv6 network of 64 bits counts once for all of it."""

    def __init__(self) -> None:
        self._counter: Counter[str] = Counter()

    def count(self, address: str) -> int:
        return self._counter[_subject(address)]

    def add(self, address: str) -> int:
        self._counter[_subject(address)] += 1
        return self.count(address)

    def take_off(self, address: str) -> None:
        subject = _subject(address)
        self._counter[subject] -= 1
        if not self._counter[subject]:
            del self._counter[subject]


@lru_cache(MOST_OF_ADDRESS)
def _subject(address: str) -> str:
    return for_address(address)[0]


def make_protocols(connections: Connections) -> tuple[type[H11Protocol], type[WebSocketsSansIOProtocol]]:
    """What speaks on a connection that is one of these: HTTP, and WebSockets once it is agreed upon."""

    class Asking(H11Protocol):
        """uvicorn's own, which would wait for a header for ever, and for whoever takes in no answer."""

        _counted = False
        _deadline: asyncio.TimerHandle | None = None
        _patience: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._address = self.client[0] if self.client else ""
            self._counted = connections.enter(self._address)
            if self._counted:
                self._await_header()
            else:
                transport.abort()

        def data_received(self, data: bytes) -> None:
            if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
                self._await_header()
            super().data_received(data)

        def handle_events(self) -> None:
            before = self.cycle
            super().handle_events()
            if self.cycle is not before:
                self._have_header()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._be_patient(SECONDS_TO_TAKE_IN)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._be_patient(None)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.transport.is_closing():
                self._be_patient(SECONDS_TO_TAKE_IN)

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            self._be_patient(SECONDS_TO_TAKE_IN)

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._be_patient(None)
            self._have_header()
            self._leave()
            super().handle_websocket_upgrade(event)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._be_patient(None)
            self._have_header()
            self._leave()

        def _await_header(self) -> None:
            self._deadline = self.loop.call_later(SECONDS_FOR_HEADER, self.transport.abort)
            if not connections.wait(self._address):
                self.transport.abort()

        def _be_patient(self, seconds: float | None) -> None:
            """Hang up in so many seconds, or not at all, whatever was to be before."""
            if self._patience is not None:
                self._patience.cancel()
            aborting = self.transport.abort
            self._patience = None if seconds is None else self.loop.call_later(seconds, aborting)

        def _have_header(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
                connections.wait_no_more(self._address)

        def _leave(self) -> None:
            if self._counted:
                self._counted = False
                connections.leave(self._address)

    class Talking(WebSocketsSansIOProtocol):
        """uvicorn's own, counted; who has proved nothing says little, and who takes nothing in is held for nothing.

        uvicorn's answers each ping at once, whether its answers are read or not, and says good-bye only to who reads.
        """

        _is_proved = False
        _owed = b""
        """The answer to pings that came while nothing was taken in: the last one stands for all before it."""
        _leaving: asyncio.TimerHandle | None = None

        def connection_made(self, transport: BaseTransport) -> None:
            super().connection_made(transport)
            self._address = self.client[0] if self.client else ""
            connections.keep(self._address)
            self.conn.max_message_size = LARGEST_UNPROVED
            if not connections.await_proof(self._address):
                self.transport.abort()

        def handle_connect(self, event: Any) -> None:
            super().handle_connect(event)
            if hasattr(self, "scope"):
                self.scope["extensions"][PROVED] = self._prove  # type: ignore[assignment]

        def _prove(self) -> None:
            if not self._is_proved:
                self._is_proved = True
                self.conn.max_message_size = self.config.ws_max_size
                connections.await_proof_no_more(self._address)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._see_off()

        def handle_ping(self) -> None:
            if self.writable.is_set():
                super().handle_ping()
            else:
                self._owed = (self.conn.data_to_send() or [self._owed])[-1]

        def resume_writing(self) -> None:
            super().resume_writing()
            owed, self._owed = self._owed, b""
            if owed and not self.close_sent:
                self.transport.write(owed)

        async def send(self, message: Any) -> None:
            if message["type"] == "websocket.close" and not self.writable.is_set():
                self.transport.abort()  # a good-bye would wait for who takes nothing in
            await super().send(message)
            self._see_off()

        def _see_off(self) -> None:
            if self._leaving is None and (self.close_sent or self.transport.is_closing()):
                self._leaving = self.loop.call_later(SECONDS_TO_LEAVE, self.transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if self._leaving is not None:
                self._leaving.cancel()
            connections.leave(self._address)
            self._prove()

    return Asking, Talking
