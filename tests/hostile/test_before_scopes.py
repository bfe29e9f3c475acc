"""Runs that were under way while the hub was upgraded: their rows say what was ordered, and bound what is believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from highball.hub.dispatch.assignments import Orders
from highball.hub.hub import Hub
from highball.hub.runs.queue import RunOrder
from highball.hub.storage.database import Database, open_database
from highball.hub.storage.dialects import WRITING, open_engine
from highball.hub.storage.schema import (
    agents,
    repositories,
    runs,
)
from highball.hub.storage.upgrade import migrate
from highball.model.run import RunState
from highball.model.standing import Health
from highball.protocol.tasks import Assignment, CheckTask
from highball.protocol.wire import (
    Inventory,
    RunHeld,
    Secrets,
    SecretsWanted,
)
from hostile.rogue import NAS_ID, Rogue, attacked, backup_of, give, make_hub, refused, states

BEFORE = "0010"
"""The last schema in which no row says what its run covers."""


@pytest.fixture(params=["sqlite", "postgresql"])
def older_place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A database as the program before made it, on each of the two in turn."""
    on_a_server = request.param == "postgresql"
    place: Path | str = request.getfixturevalue("empty_postgres") if on_a_server else tmp_path / "older.db"
    engine = open_engine(place)
    with engine.execution_options(**WRITING).begin() as connection:
        migrate(connection, BEFORE)
    engine.dispose()
    return place


class Upgraded:
    """A database that held runs before its schema knew scopes, opened by the program of today."""

    def __init__(self, folder: Path, place: Path | str) -> None:
        self._folder, self._place = folder, place
        self._today = open_database(folder / "today.db")
        (folder / "before").mkdir()
        self._hub = make_hub(folder / "before", self._today)

    def order(self, order: RunOrder) -> str:
        """A run that the program before had given to the host `evil`."""
        return give(self._hub, order, "evil")

    def open(self) -> Database:
        """Write down there what was ordered and who may connect, and upgrade."""
        engine = open_engine(self._place)
        told = {"host": "vm", "public_key": "0" * 64, "enrolled_at": datetime.now(UTC), "facts": {}}
        with self._today.read() as read:
            ordered = [row._asdict() for row in read.execute(sa.select(runs))]
        with engine.execution_options(**WRITING).begin() as connection:
            for table, rows in ((runs, ordered), (agents, [told])):
                names = {one["name"] for one in sa.inspect(connection).get_columns(table.name)}
                assert not {"scope", "refused"} & names
                older = sa.table(table.name, *(sa.column(c.name, c.type) for c in table.c if c.name in names))
                kept = [{name: row[name] for name in names & row.keys()} for row in rows]
                connection.execute(older.insert(), kept)
        engine.dispose()
        self._today.close()
        database = open_database(self._place)
        with database.write() as connection:
            connection.execute(repositories.insert().values(key="shared", identity=NAS_ID))
        return database

    @asynccontextmanager
    async def attacked(self, database: Database) -> AsyncIterator[tuple[Hub, Rogue]]:
        """The hub of today, and an agent that is let in."""
        async with attacked(self._folder, database) as (hub, rogue):
            yield hub, rogue
        database.close()


@pytest.fixture
def upgraded(tmp_path: Path, older_place: Path | str) -> Upgraded:
    return Upgraded(tmp_path, older_place)


def own_of(hub: Hub, run: str, **odd: Any) -> Assignment:
    """What the program before had given for a backup: it bears no signature."""
    given = Orders(hub.document(), hub.record, "evil").back_up("own", datetime.now(UTC), run=run)
    return given.model_copy(update=odd)


def test_what_was_under_way_is_taken_in_as_it_was_ordered(upgraded: Upgraded) -> None:
    run = upgraded.order(RunOrder(task="backup", job="own"))

    async def story() -> None:
        async with upgraded.attacked(upgraded.open()) as (hub, agent):
            held = RunHeld(assignment=own_of(hub, run), last_seq=0)
            await agent.say_and_hear(held, Inventory(runs=(run,)))
            (answered,) = await agent.say_and_hear(SecretsWanted(run=run))
            assert isinstance(answered.body, Secrets)
            assert list(answered.body.secrets.values()) == [b"canary of shared:password"]
            saved = backup_of("own", "shared", "e" * 64)
            await agent.tell(
                run, {"type": "run.started", "pid": 1}, saved, {"type": "run.ended", "outcome": "success"}
            )
            assert hub.record.find_run(run).state is RunState.DONE
            assert states(hub)["own", "shared"] is Health.HEALTHY
            assert hub.fleet.refusals.list_them() == {}, "nothing of agents that were there before either"
            hub.fleet.refusals.add("vm", "a lie", datetime.now(UTC))
            assert refused(hub, "vm") == (1, "a lie")

    asyncio.run(story())


def test_what_an_agent_tells_of_it_before_it_says_what_it_holds_is_refused(upgraded: Upgraded) -> None:
    run = upgraded.order(RunOrder(task="backup", job="own"))

    async def story() -> None:
        async with upgraded.attacked(upgraded.open()) as (hub, rogue):
            await rogue.tell(run, {"type": "run.ended", "outcome": "success"})
            assert hub.record.find_run(run).state is RunState.QUEUED
            assert refused(hub) == (1, "it speaks of a run that was never given to it")

    asyncio.run(story())


@pytest.mark.parametrize("lie", ["repositories", "job", "task"])
def test_whatever_it_says_that_it_was_given_its_row_is_the_bound(upgraded: Upgraded, lie: str) -> None:
    run = upgraded.order(RunOrder(task="backup", job="own"))

    async def story() -> None:
        async with upgraded.attacked(upgraded.open()) as (hub, rogue):
            others = Orders(hub.document(), hub.record, "vm").back_up("docs", datetime.now(UTC))
            lies: dict[str, dict[str, Any]] = {
                "repositories": {"repositories": others.repositories},
                "job": {"job": "docs", "task": others.task, "repositories": others.repositories},
                "task": {"task": CheckTask(repository="nas")},
            }
            await rogue.say_and_hear(RunHeld(assignment=own_of(hub, run, **lies[lie]), last_seq=0))
            (answered,) = await rogue.say_and_hear(SecretsWanted(run=run))
            given: Sequence[bytes] = list(answered.body.secrets.values())
            assert given in ([], [b"canary of shared:password"]), "what its own order gives, or nothing"
            before = states(hub)
            await rogue.tell(
                run, backup_of("docs", "nas", "e" * 64), {"type": "run.ended", "outcome": "success"}
            )
            assert states(hub) == before
            assert refused(hub)[0] == 1

    asyncio.run(story())
