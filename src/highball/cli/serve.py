"""serve: the hub, and the agent of its own machine, until Ctrl-C; the agent's runs go on without either."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from highball.cli.machine import Machine
from highball.cli.session import Session
from highball.errors import Failed, Misuse
from highball.hub.audit import HUB
from highball.hub.runs import utc_now

if TYPE_CHECKING:
    import uvicorn

    from highball.cli.local_agent import LocalAgent


def serve(
    context: typer.Context,
    listen: Annotated[
        str, typer.Option("--listen", metavar="ADDRESS:PORT", help="Where to answer.")
    ] = "127.0.0.1:8765",
) -> None:
    """Serve the hub: its API, and the agent of this machine."""
    session: Session = context.obj
    address, port = _read_address(listen)
    machine = session.open()
    asyncio.run(_Serving(session, machine, address, port).serve())


def _read_address(listen: str) -> tuple[str, int]:
    address, _, port = listen.rpartition(":")
    if not address or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Misuse("--listen wants an address and a port, like 127.0.0.1:8765")
    return address.strip("[]"), int(port)


class _Serving:
    """One life of the hub."""

    def __init__(self, session: Session, machine: Machine, address: str, port: int) -> None:
        self._session = session
        self._machine = machine
        self._address, self._port = address, port
        shown = f"[{address}]" if ":" in address else address
        self._url = f"http://{shown}:{port}"

    async def serve(self) -> None:
        """Until a signal ends it."""
        import uvicorn

        from highball.cli.local_agent import LocalAgent
        from highball.hub.hub import Hub
        from highball.hub.vault import find_key_file, open_vault
        from highball.web.app import make_app

        machine = self._machine
        vault = open_vault(machine.database, find_key_file(_folder_of(machine.path), os.environ))
        hub = Hub(machine.database, lambda: machine.document, machine.host, vault)
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(hub),
                host=self._address,
                port=self._port,
                log_level="warning",
                access_log=False,
                ws="websockets-sansio",
                ws_max_size=4 << 20,
                ws_ping_interval=None,
                timeout_graceful_shutdown=5,
            )
        )
        hub.begin()
        serving = asyncio.create_task(server.serve())
        await self._begin_well(server, serving)
        agent = LocalAgent(machine.state, machine.document.settings.restic)
        try:
            agent.begin(self._url, lambda: hub.fleet.invite(machine.host, HUB, utc_now()))
            self._session.output.line(f"Highball serves at {self._url}", "bold")
            await serving
        finally:
            await hub.end()
            self._say_goodbye(agent)

    async def _begin_well(self, server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
        while not server.started:
            if serving.done():
                raise Failed(
                    f"{self._url} cannot be served: is another program there?",
                    code="address_in_use",
                    hint="choose another with --listen 127.0.0.1:8766",
                )
            await asyncio.sleep(0.02)

    def _say_goodbye(self, agent: LocalAgent) -> None:
        going = agent.list_going()
        if not going:
            agent.end()
            self._session.output.note("The hub has ended, and the agent, which was idle.")
        for run in going:
            self._session.output.note(
                f"The hub has ended; run {run} goes on, and its agent waits for the hub."
            )


def _folder_of(configuration: Path) -> Path:
    return configuration.resolve().parent
