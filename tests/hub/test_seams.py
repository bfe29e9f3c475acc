"""Hub or agent killed at every point between an order and its end: one outcome, one restic, a log without a gap, and
retention behind the backup once.

The hub dies before each statement that writes and before each commit, the agent before each message it would send
or hear. What they are in memory is thrown away, and they begin anew on what is on disk. The run itself is played:
that restic dies with its process, and is not begun twice, is what `test_survival` shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from highball.agent import connection as link_room
from highball.agent.connection import Link
from highball.agent.identity import Identity, Membership
from highball.agent.run_archive import RunArchive
from highball.agent.run_directory import list_run_directories
from highball.agent.supervisor import Carrier
from highball.config.document import build
from highball.hub.audit import HUB
from highball.hub.auth.users import kept_sound
from highball.hub.dispatch import dispatcher as dispatcher_room
from highball.hub.document.store import Documents
from highball.hub.hub import Hub
from highball.hub.runs.queue import RunOrder
from highball.hub.secrets.vault import open_vault
from highball.hub.storage.database import new_run_id, open_database
from highball.hub.storage.leader_lock import lease_on
from highball.hub.storage.schema import agents
from highball.model.event import (
    LogLine,
    RunEnded,
    RunStarted,
    StepEnded,
    StepStarted,
)
from highball.model.run import (
    Action,
    Outcome,
    RunState,
    Step,
)
from hub.spoken import Line
from scheduler.killing import Killed

DOCUMENT = {
    "settings": {"host": "station"},
    "hosts": {"elsewhere": {}},
    "repositories": {
        "nas": {
            "url": "/nowhere",
            "password": {"env": "PASSWORD"},
            "maintenance": "user",
            "maintained_by": "elsewhere",  # whose agent never comes: what follows the backup waits for it
            "discard_schedule": "after-backup",
        }
    },
    "jobs": {"docs": {"repositories": ["nas"], "sources": ["/home"], "schedule": "manual"}},
}
RUN = new_run_id(datetime(2026, 3, 1, tzinfo=UTC), 1)
SNAPSHOT = "5" * 64
PATIENCE = 20.0


def open_hub(folder: Path) -> Hub:
    """A hub on what lies in a folder."""
    database = open_database(folder / "highball.db")
    vault = open_vault(database, folder / "hub.key")
    return Hub(database, Documents(database, kept_sound), "station", vault, folder, lease_on(None))


class AgentsEnd:
    """The agent's end of a line; before the nth message that it sends or hears it is killed."""

    def __init__(self, line: Line, world: World) -> None:
        self._line = line
        self._world = world

    async def send(self, text: str) -> None:
        self._world.come_to_a_point()
        await self._line.to_hub.put(text)

    async def recv(self) -> str:
        text = await self._line.to_agent.get()
        self._world.come_to_a_point()
        if text is None:
            raise OSError("cut")
        return text

    async def __aiter__(self) -> AsyncIterator[str]:
        while True:
            try:
                yield await self.recv()
            except OSError:
                return


class World:
    """A hub and an agent that find each other, again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub = open_hub(folder)
        self.points = 0
        self.agent_dies_at: int | None = None
        self.agent_died = asyncio.Event()
        self.hub_died = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []

    def come_to_a_point(self) -> None:
        """One more point at which the agent may be killed."""
        self.points += 1
        if self.points == self.agent_dies_at:
            self.agent_died.set()
            raise Killed

    @contextlib.asynccontextmanager
    async def dial(self, _: str) -> AsyncIterator[AgentsEnd]:
        """What the agent does instead of a network."""
        line = Line()
        serving = asyncio.create_task(self._serve(line))
        try:
            yield AgentsEnd(line, self)
        finally:
            await line.close()
            await serving

    async def _serve(self, line: Line) -> None:
        with contextlib.suppress(Killed):
            await self.hub.fleet.serve(line)
        await line.close()

    def hub_dies_at(self, statement: int | None) -> None:
        """From the nth statement or commit that writes on, nothing that the hub does is done any more: not by a thread
        of it that comes to its next statement when its loop has ended already, either."""
        count = 0
        engine = self.hub.database.engine

        def come(*_: Any) -> None:
            nonlocal count
            count += 1
            if statement is not None and count >= statement:
                with contextlib.suppress(RuntimeError):  # the loop has ended before its threads
                    loop.call_soon_threadsafe(self.hub_died.set)
                raise Killed

        def before(connection: Any, cursor: Any, text: str, *_: Any) -> None:
            if text.startswith(("INSERT", "UPDATE", "DELETE")):
                come()

        loop = asyncio.get_running_loop()
        sa.event.listen(engine, "before_cursor_execute", before)
        sa.event.listen(engine, "commit", come)

    async def live(self) -> None:
        """Until the run has ended and is put by, or somebody is killed."""
        self.hub.bus.open(asyncio.get_running_loop())
        self.hub.dispatcher.open(asyncio.get_running_loop())
        link = Link(self.folder / "agent")
        lives = [asyncio.create_task(coroutine) for coroutine in (self.hub.dispatcher.keep(), link.keep())]
        ends = [asyncio.create_task(c) for c in (self._end(), self.hub_died.wait(), self.agent_died.wait())]
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in [*lives, *ends]:
                task.cancel()
            await asyncio.gather(*lives, *ends, return_exceptions=True)
            self.hub.database.close()

    async def _end(self) -> None:
        while not (RunArchive(self.folder / "agent" / "kept").last_seqs() or self.hub_died.is_set()):
            await asyncio.sleep(0.01)


def play(carrier: Carrier, secrets: Any) -> None:
    """What a run's own process does, without one: once it has begun, nobody begins it again."""
    directory = carrier.directory
    carrier.wanting = False
    if not directory.take_if_free():
        return
    try:
        if next(directory.read_events(), None) is None:
            with (directory.path.parent.parent / "restics").open("a") as restics:
                restics.write("restic\n")
            step = Step(number=1, action=Action.BACKUP, repository="nas", job="docs", set="files")
            told = {"outcome": Outcome.SUCCESS, "ended_at": datetime.now(UTC), "snapshot_id": SNAPSHOT}
            done = step.model_copy(update=told)
            directory.append(RunStarted, pid=1)
            directory.append(StepStarted, step=1, running=step)
            directory.append(LogLine, step=1, stream="stdout", text="saved")
            directory.append(StepEnded, step=1, done=done)
            directory.append(RunEnded, outcome=Outcome.SUCCESS)
    finally:
        directory.release()


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub with a run in its queue, and its agent."""
    monkeypatch.setattr(Carrier, "start", play)
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE", "LOOK_SECONDS"):
        monkeypatch.setattr(link_room, name, 0.01)
    monkeypatch.setattr(dispatcher_room, "LOOK_AGAIN", 0.05)
    folder = tmp_path / "template"
    identity = Identity(folder / "agent" / "agent")
    hub, now = open_hub(folder), datetime.now(UTC)
    hub.documents.load(build(DOCUMENT), now=now, actor=HUB)
    hub.backlog.enqueue(RunOrder(task="backup", job="docs"), "station", now, id=RUN, actor=HUB)
    hub_key = hub.vault.identity(HUB, now).public_key().public_bytes_raw()
    identity.join(Membership(hub="http://hub", host="station", hub_key=hub_key))
    enrolled = {"host": "station", "public_key": identity.public_key.hex(), "facts": {}}
    with hub.database.write() as connection:
        connection.execute(agents.insert().values(**enrolled, enrolled_at=now))
    hub.database.close()
    return folder


def assert_whole(folder: Path) -> None:
    """One outcome, one restic, a log without a gap, what follows the backup, and nothing else left to do."""
    hub = open_hub(folder)
    [following, run] = hub.record.list_runs()
    assert (following.action, following.job, following.state) == (Action.FORGET, "docs", RunState.QUEUED)
    assert (run.id, run.state, run.outcome) == (RUN, RunState.DONE, Outcome.SUCCESS)
    assert [event.seq for event in hub.record.read_events(RUN)] == [1, 2, 3, 4, 5]
    assert (folder / "agent" / "restics").read_text() == "restic\n"
    assert list_run_directories(folder / "agent" / "runs") == []
    assert RunArchive(folder / "agent" / "kept").last_seqs() == {RUN: 5}
    hub.database.close()


def live_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, hub_at: int | None = None, agent_at: int | None = None
) -> bool:
    """One life, and whether somebody was killed in it."""

    async def story() -> bool:
        world = World(folder)
        world.agent_dies_at = agent_at
        monkeypatch.setattr(link_room, "_dial", world.dial)
        world.hub_dies_at(hub_at)
        await world.live()
        return world.hub_died.is_set() or world.agent_died.is_set()

    return asyncio.run(story())


@pytest.mark.parametrize("who", ["hub_at", "agent_at"])
def test_killed_at_any_point(template: Path, monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    for point in range(1, 200):
        folder = template.with_name("life")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder)
        killed = live_once(folder, monkeypatch, **{who: point})
        if killed:
            assert not live_once(folder, monkeypatch), point
        assert_whole(folder)
        if not killed:
            assert point > 8, "there are so many points at least"
            return
    pytest.fail("there is no end of points")
