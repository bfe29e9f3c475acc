"""A hub that serves pages and many agents that are connected, are asked, and answer when the test says so."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from highball.config.document import build
from highball.config.roles import Token
from highball.hub.audit import HUB
from highball.hub.auth.users import kept_sound
from highball.hub.document.store import Documents
from highball.hub.hub import Hub
from highball.hub.runs.record import utc_now
from highball.hub.secrets.vault import open_vault
from highball.hub.storage.database import open_database
from highball.hub.storage.leader_lock import lease_on
from highball.model.event import RunEnded, RunStarted
from highball.model.role import Role
from highball.model.run import Outcome
from highball.protocol.wire import (
    Answer,
    Ask,
    Assign,
    Body,
    Events,
    Heartbeat,
    Inventory,
    StopAsking,
    Welcome,
    spell,
)
from highball.web.app import make_app
from highball.web.server import make_server
from hub.spoken import FakeAgent

PATIENCE = 30.0
Table = dict[str, Any]


class SlowAgent(FakeAgent):
    """It hears everything at once, and answers no question before it is told to."""

    def __init__(self, hub: Hub, host: str) -> None:
        super().__init__(hub, host)
        self.asked: dict[str, Ask] = {}
        """The questions that it has not answered, by their ids."""
        self.most_at_once = 0
        self.stopped: list[str] = []
        """What it was told to work on no more."""
        self.heard: list[Body] = []
        self.answers_at_once = False
        self.value: Any = []
        self._listening: asyncio.Task[None] | None = None

    async def join(self) -> None:
        welcome = await self.enrol(self.hub.fleet.invite(self.host, HUB, datetime.now(UTC)))
        assert isinstance(welcome.body, Welcome), welcome
        await self.say(Inventory(runs=()))
        self._listening = asyncio.create_task(self._listen())

    async def leave(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self.hang_up()

    async def _listen(self) -> None:
        while (text := await self.line.to_agent.get()) is not None:
            message = self.understand(text)
            match message.body:
                case Ask() as ask:
                    self.asked[message.id] = ask
                    self.most_at_once = max(self.most_at_once, len(self.asked))
                    if self.answers_at_once:
                        await self.answer()
                case StopAsking():
                    self.asked.pop(message.re or "", None)
                    self.stopped.append(message.re or "")
                case Assign() as assign:
                    self.heard.append(assign)
                    await self._carry_out(assign.assignment.run)
                case body:
                    self.heard.append(body)

    async def _carry_out(self, run: str) -> None:
        now = datetime.now(UTC)
        told = (
            RunStarted(seq=1, run=run, at=now, pid=1),
            RunEnded(seq=2, run=run, at=now, outcome=Outcome.SUCCESS),
        )
        await self.say(Events(run=run, events=tuple(event.model_dump(mode="json") for event in told)))

    async def answer(self) -> None:
        """Answer all that was asked until now."""
        for id in [*self.asked]:
            del self.asked[id]
            await self.tell_answer(id)

    async def tell_answer(self, id: str) -> None:
        await self.say_as_it_is(spell(Answer(value=self.value), re=id))

    async def beat(self) -> None:
        await self.say(Heartbeat())


class Clock:
    """The time as the hub's own clock tells it: the machine's, and what a test lets pass at once."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self._ahead

    def pass_by(self, time: timedelta) -> None:
        self._ahead += time


def declared(hosts: int) -> Table:
    """A host with a repository of its own each, which it maintains itself, and a job that comes every minute."""
    names = [f"host-{number}" for number in range(hosts)]
    spec = {"url": "/nowhere", "password": {"file": "/nowhere/key"}}
    return {
        "settings": {"host": names[0]},
        "hosts": {name: {} for name in names},
        "repositories": {
            f"of-{name}": {**spec, "maintained_by": name, "discard_schedule": "0 0 1 1 *"} for name in names
        },
        "jobs": {
            "often": {
                "schedule": "* * * * *",
                "repositories": [f"of-{names[0]}"],
                "sources": ["/home"],
                "host": names[0],
            },
            **{
                f"rare-{name}": {
                    "schedule": "manual",
                    "repositories": [f"of-{name}"],
                    "sources": ["/home"],
                    "host": name,
                }
                for name in names[1:]
            },
        },
    }


def make_hub(folder: Path, document: Table) -> Hub:
    """A hub on a database of its own."""
    database = open_database(folder / "highball.db")
    documents = Documents(database, kept_sound)
    documents.load(build(document), now=utc_now(), actor=HUB)
    vault = open_vault(database, folder / "hub.key")
    return Hub(database, documents, document["settings"]["host"], vault, folder, lease_on(None))


@contextlib.asynccontextmanager
async def served(hub: Hub) -> AsyncIterator[str]:
    """Where the hub answers, with its clock and queue at work."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = make_server(make_app(hub))
    serving_it = asyncio.create_task(server.serve([listening]))
    hub.begin(asyncio.get_running_loop())
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = server.force_exit = True
        hub.bus.close()
        await serving_it
        await hub.end()


@contextlib.asynccontextmanager
async def joined(hub: Hub, hosts: int) -> AsyncIterator[list[SlowAgent]]:
    """So many agents, connected."""
    agents = [SlowAgent(hub, f"host-{number}") for number in range(hosts)]
    for agent in agents:
        await agent.join()
    await until(lambda: len(hub.fleet.connected) == hosts)
    try:
        yield agents
    finally:
        for agent in agents:
            await agent.leave()


@contextlib.asynccontextmanager
async def asking(hub: Hub, url: str, role: str = "admin") -> AsyncIterator[httpx.AsyncClient]:
    """A program with a token, which waits as long as it takes and has as many lines as it likes."""
    _, value = hub.access.create_token(f"test-{role}", Token(role=Role(role)), HUB, utc_now())
    async with httpx.AsyncClient(
        base_url=url,
        headers={"authorization": f"Bearer {value.reveal().decode()}"},
        timeout=PATIENCE,
        trust_env=False,
        limits=httpx.Limits(max_connections=None),
    ) as client:
        yield client


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a fact."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.01)
