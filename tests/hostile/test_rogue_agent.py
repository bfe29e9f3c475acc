"""An agent in the hands of somebody who tells a hub what they like: it is believed only about what it was ordered."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from highball.facts import Action, Health, Outcome, RunState, Snapshot, Step, StepEnded
from highball.hub.accounts import kept_sound
from highball.hub.audit import HUB, Actor
from highball.hub.backlog import RunOrder
from highball.hub.config import Documents
from highball.hub.db import Database, holds, new_run_id, open_database, repositories, runs, snapshots, steps
from highball.hub.hub import Hub
from highball.hub.lease import lease_on
from highball.hub.orders import Orders
from highball.hub.scopes import scope_of
from highball.hub.vault import open_vault
from highball.protocol import (
    Acknowledged,
    Assignment,
    Body,
    CancelRun,
    Events,
    ForgetTask,
    Inventory,
    Message,
    RunHeld,
    Secrets,
    SecretsWanted,
)
from highball.secret import SecretValue
from highball.spec.document import build
from highball.timing import fire_id
from hub.spoken import FakeAgent, agents

NAS_ID = "6" * 64
DOCUMENT: dict[str, Any] = {
    "settings": {"host": "station"},
    "hosts": {"vm": {}, "evil": {}},
    "repositories": {
        "nas": {"url": "/nas", "password": {"sealed": True}},
        "vault": {
            "url": "rest:http://127.0.0.1:1/",
            "password": {"sealed": True},
            "rest_username": "u",
            "rest_password": {"sealed": True},
            "admin": {"rest_username": "a", "rest_password": {"sealed": True}},
        },
        "shared": {"url": "/shared", "password": {"sealed": True}},
    },
    "jobs": {
        "docs": {"repositories": ["nas", "shared"], "sources": ["/home"], "host": "vm"},
        "crown": {"repositories": ["vault"], "sources": ["/home"], "host": "vm"},
        "own": {"repositories": ["shared"], "sources": ["/home"], "host": "evil"},
    },
}
ME = Actor("somebody")


def make_hub(folder: Path, database: Database) -> Hub:
    """A hub with the jobs of two hosts, and secrets that one of them may not have."""
    documents = Documents(database, kept_sound)
    documents.load(build(DOCUMENT), now=datetime.now(UTC), actor=HUB)
    vault = open_vault(database, folder / "hub.key")
    hub = Hub(database, documents, "station", vault, folder, lease_on(None))
    for place in ("nas:password", "vault:password", "vault:rest_password", "vault:admin", "shared:password"):
        key, slot = place.split(":")
        where = hub.vault.find_place(key, "admin.rest_password" if slot == "admin" else slot)
        hub.vault.seal(where, SecretValue(f"canary of {place}".encode()), HUB, datetime.now(UTC))
    return hub


class Rogue(FakeAgent):
    """An agent that tells and asks whatever somebody types, and hears what comes of it."""

    def claim(self, kind: str = "maintenance", *, run: str | None = None, **told: Any) -> RunHeld:
        """A run that it says it holds."""
        facts = {"run": run or str(uuid.uuid4()), "kind": kind, "host": self.host, "repositories": {}}
        made = Assignment.model_validate({**facts, "created_at": datetime.now(UTC), **told})
        return RunHeld(assignment=made, last_seq=0)

    async def say_and_hear(self, *bodies: Body) -> list[Message]:
        """All that the hub answers to these."""
        for body in bodies:
            await self.say(body)
        await self.say_as_it_is('{"type": "dance", "id": "1", "at": "2026-01-01T00:00:00Z", "body": {}}')
        heard: list[Message] = []
        while (message := await self.hear()).type != "unsupported":
            heard.append(message)
        return heard

    async def tell(self, run: str, *events: dict[str, Any]) -> list[Message]:
        """Events in a message about a run; what they do not say of themselves is as it should be."""
        at = datetime.now(UTC).isoformat()
        told = [{"seq": n, "run": run, "at": at, **event} for n, event in enumerate(events, 1)]
        return await self.say_and_hear(Events(run=run, events=tuple(told)))


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """The hub's."""
    return open_database(tmp_path / "highball.db")


@asynccontextmanager
async def attacked(folder: Path, database: Database) -> AsyncIterator[tuple[Hub, Rogue]]:
    """A hub, and a rogue agent of the host `evil` that is let in."""
    hub = make_hub(folder, database)
    async with agents(hub, "evil") as [agent]:
        rogue = Rogue(hub, "evil", agent.key)
        rogue.line, rogue.serving, rogue.conversation = agent.line, agent.serving, agent.conversation
        yield hub, rogue


def give(hub: Hub, order: RunOrder, host: str) -> str:
    """A run that the hub ordered of a host."""
    now = datetime.now(UTC)
    run = new_run_id(now, uuid.uuid4().int % 2**74)
    hub.backlog.enqueue(order, host, now, id=run, actor=ME)
    assert hub.backlog.mark_assigned(run, now)
    orders = Orders(hub.document(), hub.record, host)
    if order.task == "backup":
        assert order.job is not None
        given = orders.back_up(order.job, now, run=run)
    else:
        assert order.repository is not None
        task, job = orders.task_for(order, order.repository, list)
        given = orders.maintain(task, order.repository, now, job=job, run=run)
    hub.record.note_scope(run, scope_of(given))
    return run


def save(hub: Hub, host: str, job: str, repository: str, id: str) -> None:
    """A backup of a host that went well."""
    run = give(hub, RunOrder(task="backup", job=job), host)
    at = datetime.now(UTC)
    about = {"repository": repository, "job": job, "set": "files"}
    done = Step(number=1, action=Action.BACKUP, **about, outcome=Outcome.SUCCESS, snapshot_id=id, ended_at=at)
    listing = (Snapshot(id=id, time=at, host=host, run=run, **about),)
    hub.record.absorb(run, [StepEnded(seq=1, run=run, at=at, step=1, done=done, snapshots=listing)])


def backup_of(job: str, repository: str, id: str, **more: Any) -> dict[str, Any]:
    """A backup step that ended well, with the snapshot that it saved."""
    at = datetime.now(UTC).isoformat()
    about = {"repository": repository, "job": job, "set": "files"}
    step = {"number": 1, "action": "backup", **about, "outcome": "success", "snapshot_id": id, "ended_at": at}
    shown = {"id": id, "time": at, "host": "evil", **about}
    return {"type": "step.ended", "step": 1, "done": {**step, **more}, "snapshots": [shown]}


def look_at(database: Database, host: str = "evil") -> list[Any]:
    """All that the database holds of what is not this host's."""
    with database.read() as connection:
        others = sa.select(runs.c.id).where(runs.c.host != host)
        asked: Sequence[sa.Select[Any]] = (
            sa.select(runs).where(runs.c.host != host).order_by(runs.c.id),
            sa.select(steps).where(steps.c.run.in_(others)).order_by(steps.c.run, steps.c.number),
            sa.select(snapshots).where(snapshots.c.host != host).order_by(snapshots.c.id),
            sa.select(repositories).order_by(repositories.c.key),
            sa.select(holds).where(holds.c.host.is_distinct_from(host)).order_by(holds.c.id),
        )
        return [connection.execute(one).all() for one in asked]


def refused(hub: Hub, host: str = "evil") -> tuple[int, str]:
    """How much was refused of what its agent told, and why the last of it was."""
    found = hub.fleet.refusals.list_them().get(host)
    return (0, "") if found is None else (found.count, found.why)


def states(hub: Hub) -> dict[tuple[str, str], Health]:
    """How all jobs stand."""
    from highball.hub.standing import list_standings

    found = list_standings(hub.document(), hub.database, "station", datetime.now(UTC), list(DOCUMENT["jobs"]))
    return {(one.job, one.repository): one.state for one in found}


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
            assert "away" in ended.reason.message
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
