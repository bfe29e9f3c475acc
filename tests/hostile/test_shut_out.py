"""A host whose agent is not trusted any more is shut out at once, and comes back by a new invitation alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect

from api.whole import Whole
from highball.errors import Misuse, Unknown
from highball.hub.hub import Hub
from highball.hub.runs.queue import RunOrder
from highball.hub.storage.database import Database, open_database
from highball.model.role import Role
from highball.protocol.wire import (
    Challenge,
    Envelope,
    Refusal,
    Welcome,
)
from hostile import slow_fleet
from hostile.pings import ping_and_read_nothing, watch_talks
from hostile.rogue import ME, attacked, give
from hub.spoken import FakeAgent


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """The hub's."""
    return open_database(tmp_path / "highball.db")


def test_whoever_is_shut_out_is_hung_up_on_and_let_in_by_no_key_and_no_invitation_of_before(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            give(hub, RunOrder(task="backup", job="own"), "evil")
            kept = hub.fleet.invite("evil", ME, datetime.now(UTC))
            await hub.operations.shut_out("evil", ME, datetime.now(UTC))
            assert await rogue.hear_or_lose() is None
            assert rogue.serving is not None
            await rogue.serving
            assert hub.fleet.find("evil") is None
            again = FakeAgent(hub, "evil", rogue.key)
            refusal = (await again.greet(await again.dial())).body
            assert isinstance(refusal, Refusal)
            assert refusal.code == "agent_unknown"
            by_invitation = (await FakeAgent(hub, "evil", rogue.key).enrol(kept)).body
            assert isinstance(by_invitation, Refusal)
            assert by_invitation.code == "invitation_invalid"

            rebuilt = FakeAgent(hub, "evil")
            welcome = await rebuilt.enrol(hub.fleet.invite("evil", ME, datetime.now(UTC)))
            assert isinstance(welcome.body, Welcome)
            await rebuilt.hang_up()

    asyncio.run(story())


def test_who_is_shut_out_while_it_greets_is_not_let_in(tmp_path: Path, database: Database) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            late = FakeAgent(hub, "evil", rogue.key, facts={"hostname": "same"})
            await late.greet(await late.dial())
            await hub.operations.shut_out("evil", ME, datetime.now(UTC))
            assert late.serving is not None
            await asyncio.wait_for(late.serving, 10)
            assert hub.fleet.find("evil") is None
            rogue.serving = asyncio.create_task(asyncio.sleep(0))

    asyncio.run(story())


class FarAgent(FakeAgent):
    """One that speaks over the network."""

    def __init__(self, hub: Hub, host: str, wire: ClientConnection) -> None:
        super().__init__(hub, host)
        self.wire = wire

    async def dial(self) -> Challenge:
        challenge = (await self.hear()).body
        assert isinstance(challenge, Challenge)
        return challenge

    async def say_as_it_is(self, text: str) -> None:
        await self.wire.send(text if self.conversation is None else self.conversation.seal(text))

    async def hear(self) -> Envelope:
        return self.understand(str(await self.wire.recv()))


def test_who_takes_nothing_in_is_shut_out_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks = watch_talks(monkeypatch)

    async def story() -> None:
        hub = slow_fleet.make_hub(tmp_path, slow_fleet.declared(2))
        async with slow_fleet.served(hub) as url:
            address = f"{url.replace('http', 'ws', 1)}/agent/v1/link"
            async with connect(address, compression=None, proxy=None) as wire:
                rogue = FarAgent(hub, "host-1", wire)
                await rogue.enrol(hub.fleet.invite("host-1", ME, datetime.now(UTC)))
                await slow_fleet.until(lambda: hub.fleet.find("host-1") is not None)
                await ping_and_read_nothing(wire, talks[0])
                await asyncio.wait_for(
                    hub.operations.shut_out("host-1", ME, datetime.now(UTC)), slow_fleet.PATIENCE
                )
                await slow_fleet.until(lambda: hub.fleet.find("host-1") is None)
                await slow_fleet.until(lambda: talks[0].disconnected)
                wire.transport.abort()

    asyncio.run(story())


def test_the_hubs_own_agent_and_one_that_is_not_there_are_not_shut_out(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, _):
            with pytest.raises(Misuse):
                await hub.operations.shut_out("station", ME, datetime.now(UTC))
            with pytest.raises(Unknown):
                await hub.operations.shut_out("vm", ME, datetime.now(UTC))

    asyncio.run(story())


def test_the_page_of_hosts_offers_it_where_an_agent_is_and_asks_first(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            whole = Whole(hub).let_in()
            page = (await asyncio.to_thread(whole.client(Role.ADMIN).get, "/hosts")).text
            assert "/hosts/evil/shut-out" in page
            assert "/hosts/vm/shut-out" not in page
            assert (
                "/hosts/evil/shut-out"
                not in (await asyncio.to_thread(whole.client(Role.OPERATOR).get, "/hosts")).text
            )
            asked = (await asyncio.to_thread(whole.client(Role.ADMIN).get, "/hosts/evil/shut-out")).text
            assert "repository passwords" in asked
            await rogue.hang_up()
            done = await asyncio.to_thread(whole.client(Role.ADMIN).post, "/hosts/evil/shut-out")
            assert "is shut out" in done.text
            assert hub.fleet.list_enrolled() == []
            rogue.serving = asyncio.create_task(asyncio.sleep(0))

    asyncio.run(story())
