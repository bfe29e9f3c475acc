"""A hub in the hands of somebody who sends an agent what they like; the agent, its runs and its restic are real."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_sockets
from websockets.exceptions import ConnectionClosed

from highball.agent.connection import Link
from highball.agent.identity import Identity, Invitation
from highball.agent.private_file import write_privately
from highball.hub.agents.connected import Connection
from highball.hub.agents.fleet import Fleet
from highball.hub.audit import HUB
from highball.hub.bus.in_process import InProcessBus
from highball.hub.document.rename import UNCHANGED
from highball.hub.storage.database import open_database
from highball.protocol.wire import (
    Acknowledged,
    Answer,
    Body,
    Declined,
    Envelope,
    Events,
    RunHeld,
)

HOST = "laptop"
PATIENCE = 120.0
Table = dict[str, Any]
Through = Callable[[int], contextlib.AbstractAsyncContextManager[int]]


@dataclass
class Raw:
    """A message's body as somebody typed it, of no class."""

    type: str
    told: Table

    def model_dump(self, **_: Any) -> Table:
        return self.told


class Wire:
    """A socket as the hub's own side knows it."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        await self._socket.send(text)

    async def receive(self) -> str:
        try:
            return str(await self._socket.recv(decode=True))
        except ConnectionClosed:
            raise OSError("gone") from None

    async def close(self) -> None:
        await self._socket.close()


class StolenHub:
    """It greets its agent as every hub does; what it says afterwards is the test's."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        database, key = open_database(folder / "stolen.db"), Ed25519PrivateKey.generate()
        self.state = folder / "state"
        self.fleet = Fleet(database, key, lambda: UNCHANGED, InProcessBus(), self._note, lambda host: None)
        self.said: list[str] = []
        self.acknowledges = True
        """Whether it says that it has what a run told."""
        self._events: dict[str, list[Table]] = {}
        self._declined: dict[str, str] = {}
        self._heard = asyncio.Event()

    async def _note(self, connection: Connection, message: Envelope) -> None:
        match message.body:
            case RunHeld() as held:
                await connection.say(Acknowledged(run=held.assignment.run, seq=0))
            case Events() as told:
                self._events.setdefault(told.run, []).extend(told.events)
                if self.acknowledges:
                    await connection.say(Acknowledged(run=told.run, seq=told.events[-1]["seq"]))
            case Declined() as declined:
                self._declined[declined.run] = declined.code
        self._heard.set()

    @contextlib.asynccontextmanager
    async def with_agent(self, through: Through = contextlib.nullcontext) -> AsyncIterator[None]:
        """Serve, and have an agent join, by another port where somebody is between the two."""

        async def greet(socket: ServerConnection) -> None:
            await self.fleet.serve(Wire(socket))

        async with serve_sockets(greet, "127.0.0.1", 0) as server, contextlib.AsyncExitStack() as stack:
            port = await stack.enter_async_context(through(next(iter(server.sockets)).getsockname()[1]))
            Identity(self.state / "agent")
            token = self.fleet.invite(HOST, HUB, datetime.now(UTC))
            invitation = Invitation(hub=f"http://127.0.0.1:{port}", token=token)
            write_privately(self.state / "agent/invitation.json", invitation.model_dump_json().encode())
            for folder in ("runs", "locks"):
                (self.state / folder).mkdir(exist_ok=True)
            agent = asyncio.create_task(Link(self.state, self.said.append).keep())
            try:
                async with asyncio.timeout(PATIENCE):
                    while self.fleet.find(HOST) is None:
                        await asyncio.sleep(0.01)
                yield
            finally:
                agent.cancel()
                await asyncio.gather(agent, return_exceptions=True)

    @property
    def connection(self) -> Connection:
        """The line to the agent."""
        found = self.fleet.find(HOST)
        assert found is not None, self.said
        return found

    async def say(self, type: str, told: Table, id: str | None = None) -> None:
        """Send anything."""
        await self.connection.say(cast(Body, Raw(type, told)), id=id or uuid.uuid4().hex)

    async def ask(self, question: Table, **more: Any) -> Answer:
        """What the agent answers to this question, made of whatever the test likes."""
        id = uuid.uuid4().hex
        connection = self.connection
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        connection.waiting[id] = future
        await self.say("ask", {"question": question, "seconds": PATIENCE, **more}, id)
        async with asyncio.timeout(PATIENCE):
            return await future

    async def order(self, assignment: Table, **more: Any) -> tuple[str, str | None]:
        """Have the agent carry out this; its outcome, and the code of its reason. `declined` is an outcome here."""
        await self.say("assign", {"assignment": assignment, **more})
        run = assignment["run"]
        async with asyncio.timeout(PATIENCE):
            while (end := self._end_of(run)) is None:
                self._heard.clear()
                await self._heard.wait()
        return end

    def _end_of(self, run: str) -> tuple[str, str | None] | None:
        if run in self._declined:
            return "declined", self._declined[run]
        for event in self._events.get(run, []):
            if event["type"] == "run.ended":
                return event["outcome"], (event.get("reason") or {}).get("code")
        return None
