"""A line whose other end is gone without a word: both sides notice, and the agent dials again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn

from highball.agent import connection
from highball.agent.connection import Link
from highball.agent.identity import Identity, Invitation
from highball.agent.private_file import write_privately
from highball.hub.audit import HUB
from highball.hub.hub import Hub
from highball.hub.storage.database import open_database
from highball.protocol.queries import Browse
from highball.web.app import make_app
from hub.spoken import make_hub
from testbed import serving


class Wire:
    """A TCP proxy that can be cut: what is sent from then on over the lines that there are is swallowed unheard."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._lines: list[asyncio.Event] = []

    def cut(self) -> None:
        """Swallow everything, and tell nobody."""
        for swallows in self._lines:
            swallows.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One line, both ways."""
        swallows = asyncio.Event()
        self._lines.append(swallows)
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to)
        await asyncio.gather(self._pump(reader, to_writer, swallows), self._pump(to_reader, writer, swallows))

    @staticmethod
    async def _pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, swallows: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not swallows.is_set():
                    writer.write(data)
            if not swallows.is_set():
                writer.close()


@contextlib.asynccontextmanager
async def served(hub: Hub) -> AsyncIterator[int]:
    """The port at which the hub answers."""
    hub.bus.open(asyncio.get_running_loop())
    hub.dispatcher.open(asyncio.get_running_loop())
    port = serving.free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(hub), port=port, log_level="error", ws="websockets-sansio", ws_ping_interval=None
        )
    )
    serving_it = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        yield port
    finally:
        server.should_exit = server.force_exit = True
        await serving_it


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


def test_an_agent_whose_own_files_cannot_be_used_says_so_and_stays(tmp_path: Path) -> None:
    said: list[str] = []

    async def story() -> None:
        identity = tmp_path / "agent"
        Identity(identity)
        (identity / "agent.json").write_text("cut sho")
        agent = asyncio.create_task(Link(tmp_path, said.append).keep())
        await until(lambda: agent.done() or said != [])
        assert not agent.done(), "what is mended is used at its next look"
        assert "agent.json is not valid" in said[0]
        agent.cancel()
        await asyncio.gather(agent, return_exceptions=True)

    asyncio.run(story())


def test_a_line_that_swallows_everything_is_given_up_by_both_and_laid_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEARTBEAT", timedelta(seconds=0.2))
    monkeypatch.setattr(connection, "PING_SECONDS", 0.5)
    said: list[str] = []

    async def story() -> None:
        hub = make_hub(tmp_path, open_database(tmp_path / "highball.db"))
        hub.fleet.offline_after = timedelta(seconds=2)
        async with served(hub) as port:
            wire = Wire(port)
            proxy = await asyncio.start_server(wire.carry, "127.0.0.1")
            address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
            identity = tmp_path / "state" / "agent"
            Identity(identity)
            token = hub.fleet.invite("station", HUB, datetime.now(UTC))
            invitation = Invitation(hub=address, token=token).model_dump_json().encode()
            write_privately(identity / "invitation.json", invitation)
            agent = asyncio.create_task(Link(tmp_path / "state", said.append).keep())
            await until(lambda: hub.fleet.connected == {"station"})
            before = hub.fleet.find("station")

            wire.cut()
            await until(lambda: hub.fleet.find("station") is not before)
            await until(lambda: hub.fleet.connected == {"station"})
            assert any(words.startswith("not linked") for words in said), said
            answer = await hub.fleet.ask("station", Browse(path=str(tmp_path).encode()))
            assert answer["entries"], "what is asked now comes through"

            wire.cut()
            agent.cancel()
            await asyncio.gather(agent, return_exceptions=True)
            await until(lambda: hub.fleet.find("station") is None)
            proxy.close()

    asyncio.run(story())
