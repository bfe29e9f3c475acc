"""The wire between hub and agent: who is let in, who is not, and what one host may know of another's runs."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from highball.hub.agents import connected
from highball.hub.agents.fleet import TWIN_KNOWN_FOR
from highball.hub.audit import HUB
from highball.hub.status.overview import ProblemKind, survey
from highball.hub.storage.database import (
    Database,
    new_run_id,
    open_database,
)
from highball.hub.storage.schema import audit, enrolments
from highball.model.run import Outcome, RunState
from highball.protocol.wire import (
    Acknowledged,
    Assign,
    Enrol,
    Enrolled,
    Events,
    Inventory,
    Refusal,
    RunsWanted,
    SecretsWanted,
    Welcome,
    proof_text,
    read,
)
from hub.spoken import FakeAgent, agents, ended, make_hub, order


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """The hub's."""
    return open_database(tmp_path / "highball.db")


def test_an_agent_is_let_in_once_it_proved_itself_and_so_did_the_hub(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        hub = make_hub(tmp_path, database)
        agent = FakeAgent(hub, "station")
        challenge = await agent.dial()
        token = hub.fleet.invite("station", HUB, datetime.now(UTC))
        await agent.say(Enrol(token=token, public_key=agent.key.public_key().public_bytes_raw()))
        enrolled = (await agent.hear()).body
        assert isinstance(enrolled, Enrolled)
        welcome = (await agent.greet(challenge)).body
        assert isinstance(welcome, Welcome)
        Ed25519PublicKey.from_public_bytes(enrolled.hub_key).verify(
            welcome.proof, proof_text("hub", "station", challenge, agent.nonce, agent.exchange.share)
        )
        assert hub.fleet.find("station") is not None
        assert hub.fleet.connected == set(), "until it told what it holds"
        await agent.say(Inventory(runs=()))
        assert await agent.hears_nothing()
        assert hub.fleet.connected == {"station"}
        await agent.hang_up()
        assert hub.fleet.find("station") is None

    asyncio.run(story())


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"host": "nobody"}, "agent_unknown"),
        ({"proof": bytes(64)}, "agent_unknown"),
        ({"versions": (3, 4)}, "protocol_unknown"),
        ({"host": "a\nline: \x1b[2J" + "x" * 1000}, "agent_unknown"),
    ],
)
def test_who_is_not_let_in(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture, more: dict[str, Any], code: str
) -> None:
    async def story() -> None:
        hub = make_hub(tmp_path, database)
        async with agents(hub, "station") as [agent]:
            other = FakeAgent(hub, "station", agent.key)
            refusal = (await other.greet(await other.dial(), **more)).body
            assert isinstance(refusal, Refusal)
            assert refusal.code == code
            stranger = FakeAgent(hub, "station")
            refusal = (await stranger.greet(await stranger.dial())).body
            assert isinstance(refusal, Refusal), "another key"
        told = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
        assert len(told) == 2, "the hub's log tells of each"
        assert all(line.isprintable() and len(line) < 400 for line in told)

    asyncio.run(story())


def test_an_invitation_is_good_once_and_for_an_hour(tmp_path: Path, database: Database) -> None:
    async def story() -> None:
        hub = make_hub(tmp_path, database)
        now = datetime.now(UTC)
        token = hub.fleet.invite("station", HUB, now)
        first, second = FakeAgent(hub, "station"), FakeAgent(hub, "station")
        assert isinstance((await first.enrol(token)).body, Welcome)
        late = hub.fleet.invite("station", HUB, now - timedelta(hours=2))
        for used in (token, late, "made up"):
            refusal = (await FakeAgent(hub, "station").enrol(used)).body
            assert isinstance(refusal, Refusal)
            assert (refusal.code, "make another" in str(refusal.hint)) == ("invitation_invalid", True)
        assert isinstance((await second.enrol(hub.fleet.invite("station", HUB, now))).body, Welcome)
        again = FakeAgent(hub, "station", first.key)
        refusal = (await again.greet(await again.dial())).body
        assert isinstance(refusal, Refusal), "another took its place"
        with database.read() as connection:
            assert token not in str(connection.execute(sa.select(enrolments)).all())
        await second.hang_up()

    asyncio.run(story())


def test_whoever_used_an_invitation_is_answered_again_and_nobody_else(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        hub = make_hub(tmp_path, database)
        token = hub.fleet.invite("station", HUB, datetime.now(UTC))
        unheard = FakeAgent(hub, "station")
        await unheard.dial()
        await unheard.say(Enrol(token=token, public_key=unheard.key.public_key().public_bytes_raw()))
        assert isinstance((await unheard.hear()).body, Enrolled)
        await unheard.hang_up()
        with database.write() as connection:  # its machine was off for a day
            connection.execute(enrolments.update().values(expires_at=datetime.now(UTC) - timedelta(days=1)))
        other = FakeAgent(hub, "station")
        assert isinstance((await other.enrol(token)).body, Refusal)
        again = FakeAgent(hub, "station", unheard.key)
        assert isinstance((await again.enrol(token)).body, Welcome)
        with database.read() as connection:
            asked = sa.select(sa.func.count()).where(audit.c.action == "enrolled")
            assert connection.execute(asked).scalar() == 1
        await again.hang_up()

    asyncio.run(story())


def test_a_newer_connection_takes_the_place_of_the_older(tmp_path: Path, database: Database) -> None:
    async def story() -> None:
        hub = make_hub(tmp_path, database)
        async with agents(hub, "station") as [agent]:
            newer = FakeAgent(hub, "station", agent.key)
            assert isinstance((await newer.greet(await newer.dial())).body, Welcome)
            assert await agent.line.to_agent.get() is None, "the older one is ended"
            await newer.say(Inventory(runs=()))
            assert await newer.hears_nothing()
            assert hub.fleet.connected == {"station"}
            await newer.hang_up()

    asyncio.run(story())


def test_a_second_agent_with_the_same_key_is_kept_out_and_told_as_long_as_the_first_answers(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        hub = make_hub(tmp_path, database)
        run = order(hub)
        async with agents(hub) as _:
            first = FakeAgent(hub, "station", facts={"hostname": "old", "process": "one"})
            await first.enrol(hub.fleet.invite("station", HUB, datetime.now(UTC)))
            copy = FakeAgent(hub, "station", first.key, facts={"hostname": "new\n", "process": "two"})
            answer = asyncio.create_task(copy.greet(await copy.dial()))
            assert isinstance((await first.hear()).body, RunsWanted), "the first is asked whether it is alive"
            await first.say(Inventory(runs=(run,)))
            refusal = (await answer).body
            assert isinstance(refusal, Refusal) and refusal.code == "agent_twin" and "old" in refusal.message
            assert hub.record.find_run(run).outcome is None, "what the copy lacks is not gone"
            [told] = [one for one in survey(hub, datetime.now(UTC)).problems if one.kind is ProblemKind.TWIN]
            assert told.host == "station" and told.reason is not None and r"new\n," in told.reason.message
            assert hub.fleet.list_twins(datetime.now(UTC) + TWIN_KNOWN_FOR) == {}

            monkeypatch.setattr(connected, "ALIVE_SECONDS", 0.01)  # the first says nothing more
            later = FakeAgent(hub, "station", first.key, facts={"hostname": "new", "process": "two"})
            assert isinstance((await later.greet(await later.dial())).body, Welcome)
            assert hub.fleet.list_twins(datetime.now(UTC)) == {}
            await later.hang_up()

    asyncio.run(story())


def test_an_agent_that_begins_again_and_one_that_joined_anew_take_the_place_of_the_older(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        hub = make_hub(tmp_path, database)
        async with agents(hub) as _:
            first = FakeAgent(hub, "station", facts={"process": "one"})
            await first.enrol(hub.fleet.invite("station", HUB, datetime.now(UTC)))
            again = FakeAgent(hub, "station", first.key, facts={"process": "one"})
            assert isinstance((await again.greet(await again.dial())).body, Welcome)
            moved = FakeAgent(hub, "station", facts={"process": "two"})
            welcome = await moved.enrol(hub.fleet.invite("station", HUB, datetime.now(UTC)))
            assert isinstance(welcome.body, Welcome)
            assert hub.fleet.list_twins(datetime.now(UTC)) == {}
            await moved.hang_up()

    asyncio.run(story())


def test_a_connection_that_falls_silent_is_given_up_and_the_agent_comes_back(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        hub = make_hub(tmp_path, database)
        assert hub.fleet.offline_after == timedelta(seconds=90)
        async with agents(hub, "station") as [agent]:
            await agent.say(Inventory(runs=()))
            assert await agent.hears_nothing()
            hub.fleet.offline_after = timedelta(seconds=0.01)
            half_open = FakeAgent(hub, "station", agent.key)
            assert isinstance((await half_open.greet(await half_open.dial())).body, Welcome)
            news = asyncio.ensure_future(anext(hub.bus.news.listen(10)))
            assert half_open.serving is not None
            await asyncio.wait_for(half_open.serving, 10)
            told = await news
            assert told is not None and (told.topic, told.key) == ("host", "station")
            assert hub.fleet.find("station") is None
            assert hub.fleet.connected == set()
            hub.fleet.offline_after = timedelta(seconds=90)
            back = FakeAgent(hub, "station", agent.key)
            assert isinstance((await back.greet(await back.dial())).body, Welcome)
            await back.say(Inventory(runs=()))
            assert await back.hears_nothing()
            assert hub.fleet.connected == {"station"}
            await back.hang_up()

    asyncio.run(story())


def test_a_host_neither_tells_nor_learns_anything_of_anothers_runs(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        hub = make_hub(tmp_path, database)
        now = datetime.now(UTC)
        hub.vault.seal(hub.vault.find_place("nas", "password"), _secret("canary"), HUB, now)
        run = order(hub)
        async with agents(hub, "station", "thief") as [own, thief]:
            await thief.say(SecretsWanted(run=run))
            await thief.say(ended(run))
            await thief.say(Inventory(runs=(run,)))
            assert await thief.hears_nothing()
            assert hub.record.find_run(run).state is not RunState.DONE
            await own.say(SecretsWanted(run=run))
            assert b"canary" in next(iter((await own.hear()).body.secrets.values()))
            await own.say(ended(run))
            told = (await own.hear()).body
            assert isinstance(told, Acknowledged)
            assert (told.run, told.seq) == (run, 1)
            assert hub.record.find_run(run).outcome is Outcome.SUCCESS

    asyncio.run(story())


def test_what_the_record_lacks_is_asked_for_once_before_anything_is_called_gone(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        hub = make_hub(tmp_path, database)
        run = order(hub)
        async with agents(hub, "station") as [agent]:
            here = Inventory(runs=(), kept={run: 1, new_run_id(datetime.now(UTC), 9): 5})
            await agent.say(here)
            wanted = (await agent.hear()).body
            assert isinstance(wanted, RunsWanted)
            assert wanted.runs == dict.fromkeys(here.kept, 0)
            assert hub.fleet.connected == set(), "what it ran is not known yet"
            await agent.say(ended(run))
            assert isinstance((await agent.hear()).body, Acknowledged)
            await agent.say(here)
            assert await agent.hears_nothing(), "what cannot be brought back is not asked for again"
            assert hub.fleet.connected == {"station"}
            assert hub.record.find_run(run).outcome is Outcome.SUCCESS
            assert hub.backlog.list_unassigned() == []

    asyncio.run(story())


def test_a_run_that_never_arrived_is_given_again_and_one_that_is_gone_is_ended(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        hub = make_hub(tmp_path, database)
        lost, begun = order(hub), None
        async with agents(hub, "station") as [agent]:
            await agent.say(Inventory(runs=()))
            assert await agent.hears_nothing()
            [waiting] = hub.backlog.list_unassigned()
            assert waiting.id == lost
            assert hub.backlog.mark_assigned(lost, datetime.now(UTC))
            begun = {"type": "run.started", "seq": 1, "run": lost, "at": "2026-01-01T00:00:00Z", "pid": 1}
            await agent.say(Events(run=lost, events=(begun,)))
            assert isinstance((await agent.hear()).body, Acknowledged)
            await agent.say(Inventory(runs=()))
            assert await agent.hears_nothing()
            done = hub.record.find_run(lost)
            assert (done.outcome, done.reason and done.reason.code) == (Outcome.FAILURE, "interrupted")

    asyncio.run(story())


def test_what_an_agent_says_without_sense_harms_neither_its_run_nor_the_hub(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        hub = make_hub(tmp_path, database)
        run, later = order(hub), order(hub)
        step = {"number": 1, "action": "backup", "repository": "nas", "job": "docs", "set": "files"}
        said: tuple[dict[str, Any], ...] = (
            {"type": "run.started", "seq": 1, "pid": 10**30},
            {"type": "step.started", "seq": 2, "step": 1, "running": step},
            {"type": "step.ended", "seq": 3, "step": 1, "done": {**step, "bytes_added": -(10**30)}},
            {"type": "moon.phase", "seq": 4},
            {"type": "run.ended", "seq": 5, "run": later, "outcome": "success"},
            {"type": "run.ended", "seq": "six", "outcome": "success"},
            {"type": "log", "seq": 10**30, "stream": "stdout", "text": ""},
            {"seq": None},
        )
        told = tuple({"run": run, "at": "2026-01-01T00:00:00Z", **one} for one in said)
        async with agents(hub, "station") as [agent]:
            for body in (Events(run=run, events=told), Events(run=run, events=told[-2:])):
                await agent.say(body)
                answer = (await agent.hear()).body
                assert isinstance(answer, Acknowledged)
                assert (answer.run, answer.seq) == (run, 5)
            done = hub.record.find_run(run)
            assert (done.outcome, done.reason and done.reason.code) == (Outcome.FAILURE, "event_set_aside")
            assert hub.record.find_run(later).state is not RunState.DONE, "it spoke of another run"
            await agent.say(ended(later))
            assert isinstance((await agent.hear()).body, Acknowledged)
            assert hub.record.find_run(later).outcome is Outcome.SUCCESS
        assert [found.id for found in hub.record.list_runs()] == [later, run]

    asyncio.run(story())


def test_what_is_no_message_ends_the_connection_and_nothing_else() -> None:
    for text in ("", "[]", "{}", "null", '{"type": 1}', "[" * 100_000, '{"type": "events", "id": "1"}'):
        with pytest.raises(ValueError):
            read(text)
    unknown = read('{"type": "dance", "id": "1", "at": "2026-01-01T00:00:00Z", "body": {"x": 1}}')
    assert unknown.body is None
    assert Assign.type == "assign"


def _secret(text: str) -> Any:
    from highball.secret import SecretValue

    return SecretValue(text.encode())
