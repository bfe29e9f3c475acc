"""A rogue agent, the hub that it speaks to, and what of that hub is not its own."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from highball.config.document import build
from highball.hub.audit import HUB, Actor
from highball.hub.auth.users import kept_sound
from highball.hub.dispatch.assignments import Orders
from highball.hub.document.store import Documents
from highball.hub.hub import Hub
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.scopes import scope_of
from highball.hub.secrets.vault import open_vault
from highball.hub.status.health import list_standings
from highball.hub.storage.database import (
    Database,
    new_run_id,
    open_database,
)
from highball.hub.storage.leader_lock import lease_on
from highball.hub.storage.schema import agents as agents_table
from highball.hub.storage.schema import (
    audit,
    events,
    holds,
    metadata,
    repositories,
    repository_days,
    runs,
    snapshots,
    steps,
)
from highball.model.event import StepEnded
from highball.model.run import (
    Action,
    Outcome,
    Step,
)
from highball.model.snapshot import Snapshot
from highball.model.standing import Health
from highball.protocol.tasks import Assignment
from highball.protocol.wire import (
    Body,
    Envelope,
    Events,
    RunHeld,
    Welcome,
)
from highball.schedule import fire_id
from highball.secret import SecretValue
from hostile import lies
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

    async def say_and_hear(self, *bodies: Body) -> list[Envelope]:
        """All that the hub answers to these."""
        for body in bodies:
            await self.say(body)
        await self.say_as_it_is('{"type": "dance", "id": "1", "at": "2026-01-01T00:00:00Z", "body": {}}')
        heard: list[Envelope] = []
        while (message := await self.hear()).type != "unsupported":
            heard.append(message)
        return heard

    async def hear_or_lose(self) -> str | None:
        """What the hub says next; None where it hung up."""
        assert self.serving is not None
        hearing = asyncio.create_task(self.line.to_agent.get())
        await asyncio.wait({hearing, self.serving}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        if hearing.done():
            return hearing.result()
        hearing.cancel()
        return None

    async def tell(self, run: str, *events: dict[str, Any]) -> list[Envelope]:
        """Events in a message about a run; what they do not say of themselves is as it should be."""
        at = datetime.now(UTC).isoformat()
        told = [{"seq": n, "run": run, "at": at, **event} for n, event in enumerate(events, 1)]
        return await self.say_and_hear(Events(run=run, events=tuple(told)))


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
    found = list_standings(hub.document(), hub.database, "station", datetime.now(UTC), list(DOCUMENT["jobs"]))
    return {(one.job, one.repository): one.state for one in found}


class Stage:
    """One hub and one rogue agent, for many a play."""

    def __init__(self, folder: Path) -> None:
        self.database = open_database(folder / "highball.db")
        self.hub = make_hub(folder, self.database)
        self.loop = asyncio.new_event_loop()
        self.key = Ed25519PrivateKey.generate()
        self.loop.run_until_complete(self._join())
        with self.database.write() as connection:
            for key in ("nas", "shared"):
                connection.execute(repositories.insert().values(key=key, identity=NAS_ID))
        save(self.hub, "vm", "docs", "shared", "a" * 64)
        save(self.hub, "vm", "docs", "nas", "b" * 64)
        save(self.hub, "evil", "own", "shared", "c" * 64)
        self.pools = self._names()
        self._told = 0

    async def _join(self) -> None:
        self.hub.bus.open(self.loop)
        self.hub.dispatcher.open(self.loop)
        rogue = Rogue(self.hub, "evil", self.key)
        await rogue.enrol(self.hub.fleet.invite("evil", HUB, datetime.now(UTC)))
        await rogue.hang_up()

    def _names(self) -> lies.Pools:
        at = datetime(2026, 3, 1, 19, 23, tzinfo=UTC)
        runs_of_others = [run.id for run in self.hub.record.list_runs() if run.host == "vm"]
        self.own = [give(self.hub, RunOrder(task="backup", job="own"), "evil") for _ in range(3)]
        fires = [fire_id("backup:docs", "vm", "backup", at), fire_id("backup:own", "evil", "backup", at)]
        words = [str(uuid.UUID(int=n, version=4)) for n in range(3)]
        ids = [*self.own, *runs_of_others, *fires, *words, "../../x"]
        kept = ["a" * 64, "b" * 64, "c" * 64, "d" * 64]
        password = {"url": "/shared", "password": {"sealed": True}}
        return {
            "own": self.own,
            "run": ids,
            "runs": ids,
            "kept": ids,
            "host": ["vm", "evil", "station", None],
            "job": ["docs", "own", "crown", None],
            "set": ["files", "other", None],
            "repository": ["nas", "shared", "vault", None],
            "repositories": ["nas", "shared"],
            "subject": ["backup:docs", "backup:own", "check:nas"],
            "snapshot_id": kept,
            "snapshots_removed": kept,
            "repository_id": ["f" * 64, NAS_ID],
            "original": [*kept, None],
            "id": kept,
            "Job": [DOCUMENT["jobs"]["docs"], DOCUMENT["jobs"]["own"]],
            "DeclaredRepository": [password],
        }

    def play(self, said: Sequence[tuple[str, lies.Table]]) -> list[Envelope]:
        """Let the rogue agent say all of it, dialling again where the hub hangs up; what it heard."""
        return self.loop.run_until_complete(asyncio.wait_for(self._play(said), 60))

    async def _play(self, said: Sequence[tuple[str, lies.Table]]) -> list[Envelope]:
        rogue, heard = await self._dial(), []
        for name, given in said:
            body = self._as_news(given) if name == "events" else given
            told = {"type": name, "id": "1", "at": "2026-03-01T00:00:00Z", "body": body}
            await rogue.say_as_it_is(json.dumps(told, default=str))
            await rogue.say_as_it_is('{"type": "dance", "id": "1", "at": "2026-01-01T00:00:00Z", "body": {}}')
            while (text := await rogue.hear_or_lose()) is not None:
                heard.append(rogue.understand(text))
                if heard[-1].type == "unsupported":
                    break
            else:
                rogue = await self._dial()
        await rogue.hang_up()
        return heard

    def _as_news(self, body: lies.Table) -> lies.Table:
        """Events with numbers that were not told yet, or else they are passed over."""
        self._told += 10
        told = [
            {**one, "seq": self._told + one["seq"]} if one.get("seq") in range(1, 10) else one
            for one in body["events"]
        ]
        return {**body, "events": told}

    async def _dial(self) -> Rogue:
        rogue = Rogue(self.hub, "evil", self.key)
        assert isinstance((await rogue.greet(await rogue.dial())).body, Welcome)
        return rogue

    def look(self, *, all_of_it: bool = False) -> dict[str, list[str]]:
        """All rows that are not of its own host, job and repository, or just all."""
        own_runs = sa.select(runs.c.id).where(runs.c.host == "evil")
        mine: dict[str, sa.ColumnElement[bool]] = {
            "runs": runs.c.host == "evil",
            "steps": steps.c.run.in_(own_runs),
            "events": events.c.run.in_(own_runs),
            "snapshots": (snapshots.c.host == "evil") & (snapshots.c.job == "own"),
            "holds": (holds.c.repository == "shared") & (holds.c.host == "evil") & (holds.c.job == "own"),
            "repositories": repositories.c.key == "shared",
            "repository_days": repository_days.c.repository == "shared",
            "agents": agents_table.c.host == "evil",
            "audit": audit.c.key.in_([*self.own, "shared"]),
        }
        mine = {} if all_of_it else mine
        with self.database.read() as connection:
            return {
                name: sorted(
                    map(repr, connection.execute(sa.select(table).where(~mine.get(name, sa.false()))).all())
                )
                for name, table in metadata.tables.items()
            }

    def close(self) -> None:
        """End it."""
        self.loop.close()
        self.database.close()
