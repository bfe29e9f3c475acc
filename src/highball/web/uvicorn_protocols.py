"""What speaks on a connection: uvicorn's two protocols, each bounded in how long it waits for who is there.

A request's header comes in time or its connection ends, who takes in no answer is hung up on, and who has proved no
key says little. How many connections there may be is counted in `connections`.
"""

from __future__ import annotations

import asyncio
from asyncio.transports import BaseTransport
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from highball.web.connections import PROVED, Connections

SECONDS_FOR_HEADER = 15.0
"""From the connection, or from the first byte of another request over it, to the end of the header."""

SECONDS_TO_TAKE_IN = 120.0
"""For whoever asked something to take in the next piece of what is answered, however slow the line."""

SECONDS_TO_LEAVE = 10.0
"""After the last word, for whoever is there to take it in."""

LARGEST_UNPROVED = 32 * 1024
"""A message before that proof; what is larger is not even received."""


def make_protocols(connections: Connections) -> tuple[type[Asking], type[Talking]]:
    """What speaks on a connection that is one of these: HTTP, and WebSockets once it is agreed upon."""

    class AskingOfThese(Asking):
        _held = connections

    class TalkingOfThese(Talking):
        _held = connections

    return AskingOfThese, TalkingOfThese


class Asking(H11Protocol):
    """uvicorn's own, which would wait for a header for ever, and for whoever takes in no answer."""

    _held: ClassVar[Connections]
    """All connections that there are, this one among them."""
    _counted = False
    _deadline: asyncio.TimerHandle | None = None
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        self._counted = self._held.enter(self._address)
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
        if not self._held.wait(self._address):
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
            self._held.wait_no_more(self._address)

    def _leave(self) -> None:
        if self._counted:
            self._counted = False
            self._held.leave(self._address)


class Talking(WebSocketsSansIOProtocol):
    """uvicorn's own, counted; who has proved nothing says little, and who takes nothing in is held for nothing.

    uvicorn's answers each ping at once, whether its answers are read or not, and says good-bye only to who reads.
    """

    _held: ClassVar[Connections]
    """All connections that there are, this one among them."""
    _is_proved = False
    _owed = b""
    """The answer to pings that came while nothing was taken in: the last one stands for all before it."""
    _leaving: asyncio.TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        self._held.keep(self._address)
        self.conn.max_message_size = LARGEST_UNPROVED
        if not self._held.await_proof(self._address):
            self.transport.abort()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["extensions"][PROVED] = self._prove  # type: ignore[assignment]

    def _prove(self) -> None:
        if not self._is_proved:
            self._is_proved = True
            self.conn.max_message_size = self.config.ws_max_size
            self._held.await_proof_no_more(self._address)

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
        self._held.leave(self._address)
        self._prove()
