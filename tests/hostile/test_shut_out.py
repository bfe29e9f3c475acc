"""A host whose agent is not trusted any more is shut out at once, and comes back by a new invitation alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.whole import Whole
from highball.errors import Misuse, Unknown
from highball.hub.backlog import RunOrder
from highball.hub.db import Database, open_database
from highball.protocol import Refusal, Welcome
from highball.spec.access import Role
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
            await hub.shut_out("evil", ME, datetime.now(UTC))
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
            await hub.shut_out("evil", ME, datetime.now(UTC))
            assert late.serving is not None
            await asyncio.wait_for(late.serving, 10)
            assert hub.fleet.find("evil") is None
            rogue.serving = asyncio.create_task(asyncio.sleep(0))

    asyncio.run(story())


def test_the_hubs_own_agent_and_one_that_is_not_there_are_not_shut_out(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, _):
            with pytest.raises(Misuse):
                await hub.shut_out("station", ME, datetime.now(UTC))
            with pytest.raises(Unknown):
                await hub.shut_out("vm", ME, datetime.now(UTC))

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
            assert "the passwords of its repositories" in asked
            await rogue.hang_up()
            done = await asyncio.to_thread(whole.client(Role.ADMIN).post, "/hosts/evil/shut-out")
            assert "is shut out" in done.text
            assert hub.fleet.list_enrolled() == []
            rogue.serving = asyncio.create_task(asyncio.sleep(0))

    asyncio.run(story())
