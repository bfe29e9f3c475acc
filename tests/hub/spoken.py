"""An agent that speaks the wire by hand, and a hub that it speaks to: no network, no run, no restic."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from highball.config.document import build
from highball.hub.audit import HUB
from highball.hub.auth.users import kept_sound
from highball.hub.dispatch.assignments import Orders
from highball.hub.document.store import Documents
from highball.hub.hub import Hub
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.scopes import scope_of
from highball.hub.secrets.vault import open_vault
from highball.hub.storage.database import Database, new_run_id
from highball.hub.storage.leader_lock import lease_on
from highball.model.event import RunEnded
from highball.model.run import Outcome
from highball.protocol.handshake import Conversation, Exchange
from highball.protocol.wire import (
    Body,
    Challenge,
    Enrol,
    Enrolled,
    Envelope,
    Events,
    Hello,
    Unsupported,
    Welcome,
    proof_text,
    read,
    spell,
)


class Line:
    """Both ends of a connection, without a network."""

    def __init__(self) -> None:
        self.to_hub: asyncio.Queue[str | None] = asyncio.Queue()
        self.to_agent: asyncio.Queue[str | None] = asyncio.Queue()

    async def send(self, text: str) -> None:
        await self.to_agent.put(text)

    async def receive(self) -> str:
        text = await self.to_hub.get()
        if text is None:
            raise OSError("cut")
        return text

    async def close(self) -> None:
        await self.to_agent.put(None)
        await self.to_hub.put(None)


class FakeAgent:
    """An agent that says what a test wants."""

    def __init__(
        self, hub: Hub, host: str, key: Ed25519PrivateKey | None = None, facts: dict[str, str] | None = None
    ) -> None:
        self.hub, self.host, self.facts = hub, host, facts or {}
        self.key = key or Ed25519PrivateKey.generate()
        self.line = Line()
        self.conversation: Conversation | None = None
        """What comes of the greeting; before it nothing bears a code."""
        self.serving: asyncio.Task[None] | None = None

    async def dial(self) -> Challenge:
        self.conversation = None
        self.serving = asyncio.create_task(self.hub.fleet.serve(self.line))
        challenge = (await self.hear()).body
        assert isinstance(challenge, Challenge)
        return challenge

    async def say(self, body: Body, id: str | None = None) -> None:
        await self.say_as_it_is(spell(body, id=id))

    async def say_as_it_is(self, text: str) -> None:
        sealed = text if self.conversation is None else self.conversation.seal(text)
        await self.line.to_hub.put(sealed)

    async def hear(self) -> Envelope:
        text = await asyncio.wait_for(self.line.to_agent.get(), 10)
        assert text is not None, "the hub hung up"
        return self.understand(text)

    def understand(self, text: str) -> Envelope:
        return read(text if self.conversation is None else self.conversation.open(text))

    async def hears_nothing(self) -> bool:
        """Whether the hub has nothing to say: what it answers next is the answer to something else."""
        await self.say_as_it_is('{"type": "dance", "id": "1", "at": "2026-01-01T00:00:00Z", "body": {}}')
        return isinstance((await self.hear()).body, Unsupported)

    async def greet(self, challenge: Challenge, **more: Any) -> Envelope:
        self.nonce, self.exchange = secrets.token_bytes(32), Exchange()
        signed = proof_text("agent", self.host, challenge, self.nonce, self.exchange.share)
        told = {"host": self.host, "nonce": self.nonce, "share": self.exchange.share}
        told["proof"] = self.key.sign(signed)
        await self.say(Hello(**{**told, "program": "test", "facts": self.facts, **more}))
        answer = await self.hear()
        if isinstance(answer.body, Welcome):
            keys = self.exchange.agree(challenge.share, signed)
            self.conversation = Conversation.of_agent(keys)
        return answer

    async def enrol(self, token: str) -> Envelope:
        challenge = await self.dial()
        await self.say(Enrol(token=token, public_key=self.key.public_key().public_bytes_raw()))
        answer = await self.hear()
        return await self.greet(challenge) if isinstance(answer.body, Enrolled) else answer

    async def hang_up(self) -> None:
        await self.line.close()
        assert self.serving is not None
        await self.serving


DOCUMENT = {
    "settings": {"host": "station"},
    "repositories": {"nas": {"url": "/nowhere", "password": {"sealed": True}}},
    "jobs": {"docs": {"repositories": ["nas"], "sources": ["/home"]}},
}


def make_hub(folder: Path, database: Database) -> Hub:
    """A hub with a job, and nobody connected."""
    documents = Documents(database, kept_sound)
    documents.load(build(DOCUMENT), now=datetime.now(UTC), actor=HUB)
    vault = open_vault(database, folder / "hub.key")
    return Hub(database, documents, "station", vault, folder, lease_on(None))


@contextlib.asynccontextmanager
async def agents(hub: Hub, *hosts: str) -> AsyncIterator[list[FakeAgent]]:
    """Agents of these hosts, let in."""
    hub.bus.open(asyncio.get_running_loop())
    hub.dispatcher.open(asyncio.get_running_loop())
    found = []
    for host in hosts:
        agent = FakeAgent(hub, host)
        welcome = await agent.enrol(hub.fleet.invite(host, HUB, datetime.now(UTC)))
        assert isinstance(welcome.body, Welcome), welcome
        found.append(agent)
    yield found
    for agent in found:
        await agent.hang_up()


def order(hub: Hub) -> str:
    """A backup that was given to the station."""
    now = datetime.now(UTC)
    id = new_run_id(now, secrets.randbits(74))
    run, _ = hub.backlog.enqueue(RunOrder(task="backup", job="docs"), "station", now, id=id, actor=HUB)
    assert hub.backlog.mark_assigned(run.id, now)
    hub.record.note_scope(
        run.id, scope_of(Orders(hub.document(), hub.record, "station").back_up("docs", now, run=run.id))
    )
    return run.id


def ended(run: str) -> Events:
    """A run that ended well, as its agent tells it."""
    event = RunEnded(seq=1, run=run, at=datetime.now(UTC), outcome=Outcome.SUCCESS)
    return Events(run=run, events=(event.model_dump(mode="json"),))
