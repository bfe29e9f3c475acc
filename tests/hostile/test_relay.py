"""Whoever is between a hub and its agent on plain HTTP passes their words on, and can say none of their own."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_sockets
from websockets.exceptions import ConnectionClosed

from highball.agent.identity import Identity, Membership
from highball.errors import NotAllowed
from highball.protocol.handshake import (
    LONGEST_RECORD,
    AuthenticatedLine,
    Conversation,
    Exchange,
    Packer,
    Tampered,
    Unpacker,
)
from highball.protocol.queries import Browse
from highball.protocol.wire import Challenge, proof_text
from hostile.stolen_hub import PATIENCE, StolenHub

ASKED = {"asks": "browse", "path": "/"}
Meddle = Callable[[ClientConnection, ServerConnection, str], Awaitable[None]]


class Relay:
    """It passes the greeting on, and from then on does with what the hub says what it likes."""

    def __init__(self) -> None:
        self.meddle: Meddle | None = None
        self.heard: list[str] = []
        """What the agent said."""
        self.closed = asyncio.Event()
        """The agent has hung up since the relay began to meddle."""

    @contextlib.asynccontextmanager
    async def before(self, port: int) -> AsyncIterator[int]:
        """The port by which an agent reaches the hub through this relay."""

        async def serve(agent: ServerConnection) -> None:
            async with connect(f"ws://127.0.0.1:{port}/agent/v1/link", compression=None) as hub:
                passing = asyncio.create_task(self._pass_up(agent, hub))
                with contextlib.suppress(ConnectionClosed):
                    await self._pass_down(hub, agent)
                passing.cancel()
                await asyncio.gather(passing, return_exceptions=True)

        async with serve_sockets(serve, "127.0.0.1", 0, compression=None) as server:
            yield next(iter(server.sockets)).getsockname()[1]

    async def _pass_up(self, agent: ServerConnection, hub: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in agent:
                self.heard.append(str(text))
                await hub.send(text)
        if self.meddle is not None:
            self.closed.set()
        await hub.close()

    async def _pass_down(self, hub: ClientConnection, agent: ServerConnection) -> None:
        async for text in hub:
            if self.meddle is None:
                await agent.send(text)
            else:
                await self.meddle(hub, agent, str(text))


def made_up() -> str:
    """A question as the hub would spell it."""
    told = {"type": "ask", "id": uuid.uuid4().hex, "at": datetime.now(UTC).isoformat()}
    return json.dumps(told | {"body": {"question": ASKED, "seconds": 30}})


async def speak(_: ClientConnection, agent: ServerConnection, text: str) -> None:
    """Say something instead."""
    await agent.send(made_up())


async def speak_with_its_code(_: ClientConnection, agent: ServerConnection, text: str) -> None:
    """Say something with the code of what the hub said."""
    await agent.send(text[:64] + made_up())


async def change(_: ClientConnection, agent: ServerConnection, text: str) -> None:
    """Change one character of what the hub said."""
    await agent.send(text.replace('"browse"', '"Browse"'))


async def repeat(_: ClientConnection, agent: ServerConnection, text: str) -> None:
    """Say it twice."""
    await agent.send(text)
    await agent.send(text)


async def leave_out(hub: ClientConnection, agent: ServerConnection, text: str) -> None:
    """Keep one message back, and pass on the next."""
    await agent.send(str(await hub.recv()))


@pytest.mark.parametrize("meddle", [speak, speak_with_its_code, change, repeat, leave_out])
def test_an_agent_hangs_up_at_the_first_word_that_is_not_the_hubs(tmp_path: Path, meddle: Meddle) -> None:
    async def story() -> None:
        hub, relay = StolenHub(tmp_path), Relay()
        async with hub.with_agent(relay.before):
            assert (await hub.ask(ASKED)).error is None
            relay.meddle = meddle
            for _ in range(2):
                await hub.say("ask", {"question": Browse(path=b"/").model_dump(mode="json"), "seconds": 30})
            async with asyncio.timeout(PATIENCE):
                await relay.closed.wait()
            assert any("not of the other side" in said or "bears no code" in said for said in hub.said)

    asyncio.run(story())


def test_whoever_is_between_reads_what_is_said_and_the_invitation_too(tmp_path: Path) -> None:
    async def story() -> None:
        hub, relay = StolenHub(tmp_path), Relay()
        async with hub.with_agent(relay.before):
            assert (await hub.ask(ASKED)).error is None
        enrolled = next(json.loads(said) for said in relay.heard if '"enrol"' in said)
        assert len(enrolled["body"]["token"]) > 40
        assert any('"type":"answer"' in said and '"name"' in said for said in relay.heard), "after its code"

    asyncio.run(story())


def test_an_agent_speaks_to_no_hub_but_the_one_that_it_joined(tmp_path: Path) -> None:
    identity, own, other = Identity(tmp_path), Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    hub_key = own.public_key().public_bytes_raw()
    joined = Membership(hub="http://127.0.0.1:8765", host="laptop", hub_key=hub_key)
    challenge, nonce, share = Challenge(nonce=bytes(32), share=bytes(32)), bytes(32), bytes(32)
    said = proof_text("hub", "laptop", challenge, nonce, share)
    identity.demand_hub(joined, own.sign(said), challenge, nonce, share)
    for proof in (other.sign(said), own.sign(said + b"more"), bytes(64), b""):
        with pytest.raises(NotAllowed, match="is not the hub that this agent has joined"):
            identity.demand_hub(joined, proof, challenge, nonce, share)


def conversations() -> tuple[Conversation, Conversation]:
    """Both ends of one conversation."""
    hub, agent = Exchange(), Exchange()
    assert hub.agree(agent.share, b"said") == agent.agree(hub.share, b"said")
    keys = hub.agree(agent.share, b"said")
    return Conversation.of_hub(keys), Conversation.of_agent(keys)


def test_a_hub_believes_no_word_but_its_agents_in_their_order() -> None:
    for spoil in (
        lambda one, two: [one, one],
        lambda one, two: [two],
        lambda one, two: [one[:64] + "what the agent never said"],
        lambda one, two: [one[:-1]],
        lambda one, two: ["z" * 64 + one[64:]],
        lambda one, two: [""],
    ):
        hub, agent = conversations()
        said = spoil(agent.seal("first"), agent.seal("second"))
        with pytest.raises(Tampered):
            for text in said:
                hub.open(text)
    hub, agent = conversations()
    assert [hub.open(agent.seal(text)) for text in ("first", "second", "")] == ["first", "second", ""]
    with pytest.raises(Tampered):
        agent.open(agent.seal("an echo"))


class SlowSocket:
    """It takes in nothing until it may."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.begun, self.may = asyncio.Event(), asyncio.Event()

    async def send(self, text: str) -> None:
        self.begun.set()
        await self.may.wait()
        self.sent.append(text)

    async def receive(self) -> str:
        raise OSError

    async def close(self) -> None:
        """Nothing is open."""


def test_who_gives_up_while_sending_takes_no_number_away_from_who_comes_next() -> None:
    async def story() -> None:
        hub, agent = conversations()
        socket = SlowSocket()
        for ours, theirs in ((agent, hub), (hub, agent)):
            line = AuthenticatedLine(socket, ours)
            leaving = asyncio.create_task(line.send("first"))
            await socket.begun.wait()
            leaving.cancel()
            socket.may.set()
            await line.send("second")
            assert [theirs.open(text) for text in socket.sent] == ["first", "second"]
            socket = SlowSocket()

    asyncio.run(story())


def test_keys_differ_where_anything_that_was_signed_differs() -> None:
    hub, agent = Exchange(), Exchange()
    assert hub.agree(agent.share, b"said") != hub.agree(agent.share, b"else")
    with pytest.raises(ValueError, match=r".*"):
        hub.agree(bytes(32), b"said")


def test_what_is_posted_by_a_ticket_is_the_agents_however_it_is_cut() -> None:
    hub, agent = conversations()
    assert hub.key_of("a ticket") == agent.key_of("a ticket") != agent.key_of("another")
    content = bytes(range(256)) * 1000
    packed = Packer(agent.key_of("a ticket")).pack(content)
    for size in (1, 35, 65_536, len(packed)):
        unpacker = Unpacker(hub.key_of("a ticket"))
        pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
        assert b"".join(unpacker.feed(piece) for piece in pieces) == content
    for spoilt in (
        packed[:-1] + b"x",
        packed[:40] + b"x" + packed[41:],
        packed[LONGEST_RECORD + 36 :],
        b"\xff" * 36,
        Packer(agent.key_of("another")).pack(content),
    ):
        with pytest.raises(Tampered):
            Unpacker(hub.key_of("a ticket")).feed(spoilt)
