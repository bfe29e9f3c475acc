"""An agent in the hands of somebody who tells a hub what they like: it is believed only about what it was ordered."""

from __future__ import annotations

import asyncio
import logging
import uuid
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from highball.errors import HighballError
from highball.hub.agents.transfers import Bulk
from highball.hub.dispatch import claims
from highball.hub.dispatch.assignments import Orders
from highball.hub.hub import Hub
from highball.hub.runs import log_volume
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.scopes import scope_of
from highball.hub.storage.database import (
    Database,
    new_run_id,
    open_database,
)
from highball.hub.storage.schema import repositories, snapshots
from highball.model.run import Outcome, RunState
from highball.model.standing import Health
from highball.protocol.queries import (
    Browse,
    Flowing,
    Question,
)
from highball.protocol.tasks import (
    Assignment,
    CheckTask,
    ForgetTask,
)
from highball.protocol.wire import (
    Acknowledged,
    CancelRun,
    Inventory,
    RunHeld,
    Secrets,
    SecretsWanted,
)
from highball.schedule import fire_id
from hostile import lies
from hostile.rogue import (
    DOCUMENT,
    ME,
    NAS_ID,
    Rogue,
    Stage,
    attacked,
    backup_of,
    give,
    look_at,
    make_hub,
    refused,
    save,
    states,
)
from hub.spoken import FakeAgent


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """The hub's."""
    return open_database(tmp_path / "highball.db")


# --- what it asks for ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("maintenance", {"task": {"type": "forget", "repository": "vault", "removals": ()}}),
        ("maintenance", {"task": {"type": "check", "repository": "nas"}}),
        ("maintenance", {"task": {"type": "prune", "repository": "shared"}}),
        ("backup", {"job": "crown", "task": {"type": "backup", "job": DOCUMENT["jobs"]["crown"]}}),
        ("backup", {"job": "own", "task": {"type": "backup", "job": DOCUMENT["jobs"]["own"]}}),
    ],
)
def test_a_run_that_nobody_ordered_opens_no_secret(
    tmp_path: Path, database: Database, kind: str, told: dict[str, Any]
) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            held = rogue.claim(kind, **told)
            known, answered = await rogue.say_and_hear(held, SecretsWanted(run=held.assignment.run))
            assert isinstance(known.body, Acknowledged)
            assert isinstance(answered.body, Secrets)
            assert answered.body.secrets == {}
            found = hub.record.find_run(held.assignment.run)
            assert (found.origin, found.job, found.repository) == ("agent", None, None)

    asyncio.run(story())


def test_secrets_come_again_of_what_was_ordered_until_it_is_over(tmp_path: Path, database: Database) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            run = give(hub, RunOrder(task="backup", job="own"), "evil")
            (answered,) = await rogue.say_and_hear(SecretsWanted(run=run))
            assert list(answered.body.secrets.values()) == [b"canary of shared:password"]
            await rogue.tell(run, {"type": "run.ended", "outcome": "success"})
            (answered,) = await rogue.say_and_hear(SecretsWanted(run=run))
            assert answered.body.secrets == {}
            assert refused(hub) == (0, "")

    asyncio.run(story())


# --- what it tells -------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False])
def test_the_lights_of_others_are_not_its_to_set(tmp_path: Path, database: Database, ordered: bool) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            failed = give(hub, RunOrder(task="backup", job="docs"), "vm")
            before, stood = look_at(database), states(hub)
            if ordered:
                run = give(hub, RunOrder(task="backup", job="own"), "evil")
            else:
                held = rogue.claim(job="own", task={"type": "check", "repository": "shared"})
                run = held.assignment.run
                await rogue.say_and_hear(held)
            await rogue.tell(
                run,
                backup_of("docs", "nas", "b" * 64, host="vm"),
                backup_of("docs", "nas", "b" * 64, host="vm") | {"run": failed},
                backup_of("docs", "shared", "b" * 64),
                backup_of("own", "shared", "b" * 64, action="verify"),
                backup_of("own", "shared", "b" * 64, action="check"),
                {"type": "run.ended", "outcome": "success"},
            )
            assert look_at(database) == before
            count, why = refused(hub)
            assert count >= 4
            assert "its run" in why
            found = hub.record.find_run(run)
            assert (found.state, found.outcome is Outcome.SUCCESS) == (RunState.DONE, not ordered)
            assert {pair: state for pair, state in states(hub).items() if pair[0] != "own"} == {
                pair: state for pair, state in stood.items() if pair[0] != "own"
            }
            assert states(hub)["own", "shared"] in (Health.NEVER, Health.FAILED)

    asyncio.run(story())


def test_what_nobody_ordered_sets_no_light_and_is_governed_by_nobody(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            before = look_at(database)
            held = rogue.claim("backup", job="own", task={"type": "backup", "job": DOCUMENT["jobs"]["own"]})
            run = held.assignment.run
            await rogue.say_and_hear(held)
            await rogue.tell(
                run,
                {"type": "stats", "repository": "shared", "repository_id": "f" * 64, "bytes_stored": 1},
                backup_of("own", "shared", "b" * 64),
                {"type": "run.ended", "outcome": "success"},
            )
            assert look_at(database) == before
            assert hub.record.list_sets() == []
            assert states(hub)["own", "shared"] is Health.NEVER
            assert hub.record.find_run(run).outcome is Outcome.SUCCESS, "its word is in the list of runs"
            assert len(list(hub.record.read_events(run))) == 3

    asyncio.run(story())


def test_which_repository_a_key_means_is_not_its_to_change(tmp_path: Path, database: Database) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            with database.write() as connection:
                for key in ("nas", "shared"):
                    connection.execute(repositories.insert().values(key=key, identity=NAS_ID))
            run = give(hub, RunOrder(task="backup", job="own"), "evil")
            before = look_at(database)
            await rogue.tell(
                run,
                {"type": "stats", "repository": "nas", "repository_id": "f" * 64},
                {"type": "stats", "repository": "nas", "snapshots": 0, "bytes_stored": 0},
                {"type": "stats", "repository": "shared", "repository_id": "f" * 64},
                {"type": "stats", "repository": "vault", "repository_id": "f" * 64},
            )
            assert look_at(database) == before
            assert refused(hub)[0] == 4
            await rogue.tell(run, {"type": "stats", "seq": 5, "repository": "shared", "snapshots": 3})
            assert refused(hub)[0] == 4, "of its own repository it may tell"

    asyncio.run(story())


def test_others_snapshots_are_neither_governed_nor_removed_nor_missed_by_its_word(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            save(hub, "vm", "docs", "shared", "a" * 64)
            save(hub, "evil", "own", "shared", "c" * 64)
            before = look_at(database)
            listed = {
                "id": "d" * 64,
                "time": datetime.now(UTC).isoformat(),
                "host": "vm",
                "repository": "shared",
            }
            renamed = listed | {"job": "docs", "set": "files", "original": "a" * 64}
            gone = {"action": "forget", "snapshot_id": None, "snapshots_removed": ["a" * 64]}
            for job, host in (("docs", "vm"), ("docs", "evil"), ("own", "vm"), ("own", "evil")):
                run = give(hub, RunOrder(task="backup", job="own"), "evil")
                await rogue.tell(
                    run,
                    backup_of(job, "shared", "b" * 64, host=host),
                    backup_of(job, "shared", "b" * 64, host=host) | {"snapshots": []},
                    backup_of(job, "shared", "b" * 64, host=host) | {"snapshots": [renamed]},
                    backup_of(job, "shared", "b" * 64, host=host, **gone),
                )
                assert look_at(database) == before
            held = rogue.claim(task={"type": "forget", "repository": "shared", "removals": ()})
            await rogue.say_and_hear(held)
            await rogue.tell(held.assignment.run, backup_of("docs", "shared", "b" * 64, host="vm", **gone))
            assert look_at(database) == before
            count, why = refused(hub)
            assert (count >= 12, "remove" in why or "nothing to do with" in why) == (True, True)

    asyncio.run(story())


def test_a_removal_takes_what_was_ordered_and_nothing_else(tmp_path: Path, database: Database) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            for id in "abc":
                save(hub, "evil", "own", "shared", id * 64)
            run = give(hub, RunOrder(task="stats", repository="shared"), "evil")
            removal = {"job": "own", "host": "evil", "set": "files", "tags": (), "remove": ("a" * 64,)}
            task = ForgetTask.model_validate(
                {"repository": "shared", "removals": [{**removal, "stay": ("b" * 64, "c" * 64)}]}
            )
            orders = Orders(hub.document(), hub.record, "evil")
            hub.record.note_scope(run, scope_of(orders.maintain(task, "shared", datetime.now(UTC), run=run)))
            done = backup_of("own", "shared", "a" * 64, action="forget", snapshot_id=None)
            for seq, gone in enumerate((["b" * 64], ["a" * 64, "b" * 64], ["a" * 64]), 1):
                told = {**done["done"], "snapshots_removed": gone}
                await rogue.tell(run, done | {"seq": seq, "done": told, "snapshots": None})
            with database.read() as connection:
                asked = sa.select(snapshots.c.id).where(snapshots.c.forgotten_at.is_not(None))
                left = connection.execute(asked).scalars().all()
            assert set(left) == {"a" * 64}
            assert refused(hub)[0] == 2

    asyncio.run(story())


# --- whose runs there are ------------------------------------------------------------------------


def test_others_scheduled_runs_cannot_be_taken_and_whoever_tries_is_named(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            at = datetime(2026, 3, 1, 19, 23, tzinfo=UTC)
            ids: dict[str, dict[str, Any]] = {
                fire_id("backup:docs", "vm", "backup", at): {"subject": "backup:docs", "nominal_at": at},
                fire_id("check:nas", "station", "check", at): {"subject": "check:nas", "nominal_at": at},
                fire_id("backup:own", "evil", "backup", at): {"subject": "backup:own"},
                fire_id("backup:own", "evil", "missed", at): {"subject": "backup:own", "nominal_at": at},
                fire_id("backup:new", "evil", "backup", at): {"subject": "backup:new", "nominal_at": at},
                give(hub, RunOrder(task="backup", job="docs"), "vm"): {},
            }
            before = look_at(database)
            with caplog.at_level(logging.WARNING):
                for run, told in ids.items():
                    task = {"type": "check", "repository": "shared"}
                    heard = await rogue.say_and_hear(rogue.claim(run=run, task=task, **told))
                    assert heard == []
            assert look_at(database) == before
            assert refused(hub)[0] == len(ids)
            assert [record.getMessage()[0] for record in caplog.records if "refused" in record.msg] == list(
                "124"
            )
            future = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
            for nominal, known in ((at, True), (future, False)):
                run = fire_id("backup:own", "evil", "backup", nominal)
                fired: dict[str, Any] = {"subject": "backup:own", "nominal_at": nominal, "job": "own"}
                heard = await rogue.say_and_hear(rogue.claim(run=run, task=task, **fired))
                assert bool(heard) is known, "of its own past it may tell"

    asyncio.run(story())


def test_a_run_that_nobody_ordered_claims_no_repository_and_no_time(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            held = rogue.claim(task={"type": "check", "repository": "nas"}, subject="check:nas")
            run = held.assignment.run
            await rogue.say_and_hear(held)
            await rogue.tell(run, {"type": "run.started", "pid": 1})
            assert hub.record.find_run(run).state is RunState.RUNNING
            (going,) = hub.backlog.list_going()
            assert (going.by_word, going.repository) == (True, None)
            await rogue.hang_up()
            await hub.dispatcher.cancel(run, ME)
            ended = hub.record.find_run(run)
            assert (ended.state, ended.outcome) == (RunState.DONE, Outcome.CANCELLED)
            rogue.serving = asyncio.create_task(asyncio.sleep(0))

    asyncio.run(story())


def test_a_run_of_an_agent_that_is_away_is_cancelled_in_the_record_and_its_agent_is_told_later(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            run = give(hub, RunOrder(task="backup", job="own"), "evil")
            await rogue.tell(run, {"type": "run.started", "pid": 1})
            await rogue.hang_up()
            await hub.dispatcher.cancel(run, ME)
            ended = hub.record.find_run(run)
            assert (ended.state, ended.outcome) == (RunState.DONE, Outcome.CANCELLED)
            assert ended.reason is not None
            assert "somebody" in ended.reason.message
            assert "offline" in ended.reason.message
            assert hub.backlog.list_going() == []
            back = Rogue(hub, "evil", rogue.key)
            await back.greet(await back.dial())
            order = Orders(hub.document(), hub.record, "evil").back_up("own", datetime.now(UTC), run=run)
            heard = await back.say_and_hear(RunHeld(assignment=order, last_seq=1), Inventory(runs=(run,)))
            assert [type(one.body) for one in heard] == [Acknowledged, CancelRun]
            told = {"type": "run.ended", "seq": 2, "outcome": "cancelled"}
            await back.tell(run, told)
            assert hub.record.find_run(run).outcome is Outcome.CANCELLED
            assert hub.record.find_run(run).reason is None, "what its agent tells is how it ended"
            await back.hang_up()
            rogue.serving = asyncio.create_task(asyncio.sleep(0))

    asyncio.run(story())


# --- orders that the record lost -----------------------------------------------------------------


def order_of(hub: Hub, rogue: Rogue, **odd: Any) -> Assignment:
    """An order of the hub that its record has no trace of, with its signature; something in it may be changed."""
    run = new_run_id(datetime.now(UTC), uuid.uuid4().int % 2**74)
    given = Orders(hub.document(), hub.record, "evil").back_up("own", datetime.now(UTC), run=run)
    return given.model_copy(update={"warrant": hub.fleet.sign(scope_of(given).text).hex(), **odd})


def test_an_order_that_the_record_lost_is_known_by_the_hubs_signature(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            order = order_of(hub, rogue)
            run = order.run
            await rogue.say_and_hear(RunHeld(assignment=order, last_seq=2))
            (answered,) = await rogue.say_and_hear(SecretsWanted(run=run))
            assert list(answered.body.secrets.values()) == [b"canary of shared:password"]
            await rogue.tell(
                run, backup_of("own", "shared", "e" * 64), {"type": "run.ended", "outcome": "success"}
            )
            assert states(hub)["own", "shared"] is Health.HEALTHY
            assert refused(hub) == (0, "")

    asyncio.run(story())


@pytest.mark.parametrize("what", ["run", "repositories", "task", "created_at", "warrant", "old"])
def test_a_signature_counts_for_what_was_signed_and_not_for_ever(
    tmp_path: Path, database: Database, what: str
) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            order = order_of(hub, rogue)
            others = Orders(hub.document(), hub.record, "vm").back_up("docs", datetime.now(UTC))
            changes: dict[str, dict[str, Any]] = {
                "run": {"run": str(uuid.uuid4())},
                "repositories": {"repositories": {**order.repositories, **others.repositories}},
                "task": {"task": CheckTask(repository="nas")},
                "created_at": {"created_at": order.created_at + timedelta(hours=1)},
                "warrant": {"warrant": hub.fleet.sign(b"").hex()},
                "old": {"created_at": order.created_at - timedelta(days=61)},
            }
            forged = order.model_copy(update=changes[what])
            if what == "old":
                forged = forged.model_copy(update={"warrant": hub.fleet.sign(scope_of(forged).text).hex()})
            await rogue.say_and_hear(RunHeld(assignment=forged, last_seq=2))
            (answered,) = await rogue.say_and_hear(SecretsWanted(run=forged.run))
            assert answered.body.secrets == {}
            assert hub.record.find_run(forged.run).origin == "agent"

    asyncio.run(story())


# --- how much ------------------------------------------------------------------------------------


def test_runs_that_nobody_ordered_are_written_down_so_many_a_day_and_so_much_of_each(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "MOST_BY_WORD", 3)
    monkeypatch.setattr(log_volume, "MOST_BY_WORD", 2000)

    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            told = [rogue.claim(task={"type": "check", "repository": "nas"}) for _ in range(10)]
            heard = await rogue.say_and_hear(*told)
            assert len(heard) == 3
            assert len(hub.record.list_runs()) == 3
            run = told[0].assignment.run
            for seq in range(1, 20):
                line = {
                    "type": "log",
                    "seq": seq,
                    "stream": "stdout",
                    "text": "".join(uuid.uuid4().hex for _ in range(20)),
                }
                await rogue.tell(run, line)
            assert 2 <= len(list(hub.record.read_events(run))) < 10
            await rogue.tell(run, {"type": "run.ended", "seq": 20, "outcome": "success"})
            assert hub.record.find_run(run).state is RunState.DONE
            count, why = refused(hub)
            assert (count > 10, "nobody here ordered" in why) == (True, True)

    asyncio.run(story())


def test_a_hub_that_begins_anew_remembers_how_many_those_were_today(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "MOST_BY_WORD", 3)
    today = datetime.now(UTC)
    monkeypatch.setattr(claims, "utc_now", lambda: today)  # the day does not end meanwhile
    told: dict[str, Any] = {"task": {"type": "check", "repository": "nas"}}
    told["created_at"] = today - timedelta(days=300)

    async def story() -> None:
        for heard in (2, 1, 0):
            async with attacked(tmp_path, database) as (_, rogue):
                assert len(await rogue.say_and_hear(rogue.claim(**told), rogue.claim(**told))) == heard

    asyncio.run(story())


def noise() -> str:
    """Text that does not become smaller."""
    return "".join(uuid.uuid4().hex for _ in range(20))


def test_of_the_log_of_an_ordered_run_so_much_is_kept_and_the_log_says_what_was_left_out(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_volume, "MOST_OF_LOG", 2000)

    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            run = give(hub, RunOrder(task="backup", job="own"), "evil")
            for seq in range(1, 40, 2):
                lines = [{"type": "log", "seq": seq + n, "stream": "stdout", "text": noise()} for n in (0, 1)]
                (taken,) = await rogue.tell(run, *lines)
                assert taken.body.seq == seq + 1, "it is not sent again"
            kept = [event for event in hub.record.read_events(run) if event.type == "log"]
            said = kept.pop()
            assert 2 <= len(kept) < 20
            assert (
                said.text
                == f"{40 - len(kept)} further lines left out: the hub keeps no more of one run's log"
            )
            assert said.seq == len(kept) + 1, "it stands where they would"
            saved = {**backup_of("own", "shared", "e" * 64), "seq": 41}
            await rogue.tell(run, saved, {"type": "run.ended", "seq": 42, "outcome": "success"})
            assert states(hub)["own", "shared"] is Health.HEALTHY, "only lines are left out"
            assert refused(hub) == (0, "")

    asyncio.run(story())


def test_of_an_ordered_run_no_more_is_kept_than_of_any_whatever_it_tells(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_volume, "MOST_OF_RUN", 4000)

    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            run = give(hub, RunOrder(task="backup", job="own"), "evil")
            for seq in range(1, 40):
                warning = {"code": "odd", "message": noise()}
                await rogue.tell(run, {"type": "warning", "seq": seq, "warning": warning})
            assert 2 <= len(list(hub.record.read_events(run))) < 20
            saved = {**backup_of("own", "shared", "e" * 64), "seq": 41}
            await rogue.tell(run, saved, {"type": "run.ended", "seq": 42, "outcome": "success"})
            assert hub.record.find_run(run).state is RunState.DONE
            assert states(hub)["own", "shared"] is Health.NEVER, "nothing is good that was not taken in"
            assert refused(hub)[1] == "it tells more of a run than is kept of one"

    asyncio.run(story())


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"hello","id":"1","at":"0001-01-01T00:00:00+23:59","body":{}}',
        '{"type":"inventory","id":"1","at":"2026-01-01T00:00:00Z","body":{"runs":[],"kept":{"'
        f'{uuid.UUID(int=7)}":1{"0" * 30}}}}}}}',
        '{"type":"inventory","id":"1","at":"9999-12-31T23:59:59-23:59","body":{"runs":[]}}',
        '{"type":"secrets.wanted","id":"1","at":"2026-01-01T00:00:00Z","body":{"run":"../../x"}}',
        '{"type":"events","id":"1","at":"2026-01-01T00:00:00Z","body":{"run":1' + "0" * 5000 + "}}",
        "[" * 100_000,
    ],
)
def test_what_cannot_be_said_ends_the_connection_without_a_traceback(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            await rogue.say_as_it_is(text)
            assert rogue.serving is not None
            await asyncio.wait_for(rogue.serving, 10)
            assert refused(hub) == (1, "what it said is no message")
            stranger = FakeAgent(hub, "evil")
            await stranger.dial()
            await stranger.say_as_it_is(text)
            assert stranger.serving is not None
            await asyncio.wait_for(stranger.serving, 10)
        assert [record for record in caplog.records if record.exc_info] == []

    asyncio.run(story())


def test_whoever_is_not_let_in_does_not_fill_the_log(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        hub = make_hub(tmp_path, database)
        for _ in range(20):
            stranger = FakeAgent(hub, "evil")
            await stranger.greet(await stranger.dial())
        assert len([record for record in caplog.records if "refused" in record.getMessage()]) == 5
        assert refused(hub) == (0, ""), "strangers are no agent of the host"

    asyncio.run(story())


def test_an_answer_is_as_large_as_its_question_allows_and_holds_no_more_values(
    tmp_path: Path, database: Database
) -> None:
    async def story() -> None:
        async with attacked(tmp_path, database) as (hub, rogue):
            await rogue.say_and_hear(Inventory(runs=()))
            for value, code in (
                ("[" + "{}," * 400_000 + "{}]", "values"),
                ('"' + "x" * (Browse.largest + 1) + '"', "larger than 8 MiB"),
                ('["fine"]', None),
            ):
                asking = asyncio.create_task(hub.fleet.ask("evil", Browse(path=b"/")))
                asked = await rogue.hear()
                head = f'{{"type":"answer","id":"1","at":"2026-01-01T00:00:00Z","re":"{asked.id}","body":'
                text = f'{head}{{"value":{value}}}}}'
                held = await hub.fleet.redeem(asked.body.ticket)
                assert isinstance(held, Bulk)
                if code is None:
                    await hub.fleet.take_bulk(held, zlib.compress(text.encode()))
                    assert await asking == ["fine"]
                    continue
                with pytest.raises(ValueError, match=code):
                    await hub.fleet.take_bulk(held, zlib.compress(text.encode()))
                with pytest.raises(HighballError, match=code) as raised:
                    await asking
                assert raised.value.code == "answer_too_large"

    asyncio.run(story())


@pytest.mark.parametrize(
    "kind", [kind for kind in get_args(get_args(Question)[0]) if kind not in get_args(Flowing)]
)
def test_every_question_says_how_large_its_answer_may_be(kind: Any) -> None:
    assert 0 < kind.largest <= 64 * 1024 * 1024


# --- whatever it says ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Made once: what is said on it must not change it."""
    found = Stage(tmp_path_factory.mktemp("stage"))
    yield found
    found.close()


@settings(max_examples=25)
@given(data=st.data())
def test_whatever_it_says_others_lose_nothing_and_no_secret_leaves(stage: Stage, data: st.DataObject) -> None:
    said = data.draw(st.lists(lies.messages(stage.pools), min_size=2, max_size=8))
    before, stood = stage.look(), states(stage.hub)
    heard = stage.play(said)
    assert stage.look() == before
    others = {pair: state for pair, state in states(stage.hub).items() if pair[0] != "own"}
    assert others == {pair: state for pair, state in stood.items() if pair[0] != "own"}
    handed = [value for one in heard if isinstance(one.body, Secrets) for value in one.body.secrets.values()]
    assert set(handed) <= {b"canary of shared:password"}
    assert all(
        one.body.run in stage.own for one in heard if isinstance(one.body, Secrets) and one.body.secrets
    )
    rows = {name: len(found) for name, found in stage.look(all_of_it=True).items()}
    assert rows["runs"] <= len(stage.pools["run"])
    assert rows["snapshots"] <= 3 + len(stage.own)
    assert len(stage.hub.progress) <= len(stage.own)
