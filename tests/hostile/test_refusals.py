"""What was refused of an agent is told to people and to programs: how much, and why the last of it was."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.whole import Whole
from highball.hub.audit import HUB
from highball.hub.storage.database import open_database
from highball.model.role import Role
from highball.protocol.wire import SecretsWanted, Welcome
from hostile.rogue import attacked, refused
from hub.spoken import FakeAgent

RUN = "0b8e7d4e-0000-4000-8000-000000000001"
ODD = "<script>alert(1)</script>\x1b[2J"


def test_pages_and_programs_are_told_of_the_host_whose_agent_says_what_it_may_not(tmp_path: Path) -> None:
    async def story() -> None:
        database = open_database(tmp_path / "highball.db")
        async with attacked(tmp_path, database) as (hub, rogue):
            viewer = Whole(hub).let_in().client(Role.VIEWER)
            quiet = (await asyncio.to_thread(viewer.get, "/api/v1/agents")).json()
            assert {one["key"]: one["refused"] for one in quiet} == {"evil": None, "station": None}
            assert "refused" not in (await asyncio.to_thread(viewer.get, "/hosts")).text

            await rogue.say_and_hear(SecretsWanted(run=RUN), SecretsWanted(run=RUN))

            told = (await asyncio.to_thread(viewer.get, "/api/v1/agents")).json()
            (evil, station) = sorted(told, key=lambda one: str(one["key"]))
            assert station["refused"] is None
            assert evil["refused"]["count"] == 2
            assert evil["refused"]["why"] == "it speaks of a run that nobody here knows"
            page = (await asyncio.to_thread(viewer.get, "/hosts")).text
            assert "2 messages of evil refused" in page
            assert "it speaks of a run that nobody here knows" in page
            assert "invite the host again and let it rejoin" in page

    asyncio.run(story())


def test_what_it_chose_to_say_is_text_on_the_page_and_one_short_line_now_and_then_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        database = open_database(tmp_path / "highball.db")
        async with attacked(tmp_path, database) as (hub, _):
            for _ in range(20):
                hub.fleet.refusals.add("evil", ODD + "x" * 1000, datetime.now(UTC))
            page = await asyncio.to_thread(Whole(hub).let_in().client(Role.VIEWER).get, "/hosts")
            assert "20 messages of evil refused" in page.text
            assert "&lt;script&gt;" in page.text
            assert ODD[:8] + "alert" not in page.text
        lines = [one.getMessage() for one in caplog.records if "are refused by now" in one.getMessage()]
        assert len(lines) == 5
        assert all(line.isprintable() and len(line) < 400 for line in lines)

    caplog.set_level(logging.WARNING)
    asyncio.run(story())


def test_the_count_begins_anew_with_another_agent_of_that_host(tmp_path: Path) -> None:
    async def story() -> None:
        database = open_database(tmp_path / "highball.db")
        async with attacked(tmp_path, database) as (hub, rogue):
            await rogue.say_and_hear(SecretsWanted(run=RUN))
            assert refused(hub)[0] == 1
            new = FakeAgent(hub, "evil")
            welcome = await new.enrol(hub.fleet.invite("evil", HUB, datetime.now(UTC)))
            assert isinstance(welcome.body, Welcome)
            assert refused(hub) == (0, "")
            former = FakeAgent(hub, "evil", rogue.key)
            assert (await former.greet(await former.dial())).type != "welcome", (
                "whoever has the key before is out"
            )
            await new.hang_up()

    asyncio.run(story())
