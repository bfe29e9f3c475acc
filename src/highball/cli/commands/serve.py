"""serve: the hub, and the agent of its own machine."""

from __future__ import annotations

from typing import Annotated

import typer

from highball.cli.context import Session
from highball.errors import Misuse


def serve(
    context: typer.Context,
    listen: Annotated[
        str, typer.Option("--listen", metavar="ADDRESS:PORT", help="The address and port to listen on.")
    ] = "127.0.0.1:8765",
    plain_http: Annotated[
        bool,
        typer.Option(
            "--plain-http", help="Answer other machines without TLS, like plain_http in the settings."
        ),
    ] = False,
) -> None:
    """Run the hub: its pages, its API and the agent of this machine."""
    import asyncio

    from highball.cli.hub_process import HubProcess

    session: Session = context.obj
    address, port = _read_address(listen)
    asyncio.run(HubProcess(session, address, port, plain_http).serve())


def _read_address(listen: str) -> tuple[str, int]:
    address, _, port = listen.rpartition(":")
    if not address or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Misuse("--listen needs an address and a port, like 127.0.0.1:8765")
    return address.strip("[]"), int(port)
