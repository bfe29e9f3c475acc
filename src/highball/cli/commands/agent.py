"""agent: be the agent of this machine, for a hub elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from highball.cli.context import Session
from highball.cli.own_places import find_state
from highball.cli.urls import check_url, is_exposed
from highball.config.document import Document
from highball.config.object_keys import check_key
from highball.errors import Misuse, NotAllowed


def agent(
    context: typer.Context,
    join: Annotated[
        str | None,
        typer.Option(
            "--join", metavar="URL", help="Join this hub first; the invitation is read from standard input."
        ),
    ] = None,
    plain_http: Annotated[
        bool,
        typer.Option(
            "--plain-http",
            help="With --join: allow http without TLS, where anybody on the network can read the secrets.",
        ),
    ] = False,
    recover: Annotated[
        str | None,
        typer.Option(
            "--recover",
            metavar="HOST",
            help="With --join: this machine replaces HOST, and may restore its snapshots.",
        ),
    ] = None,
) -> None:
    """Run the agent of this machine: connect to its hub and carry out the runs it orders, until Ctrl-C."""
    from highball.agent import agent_process
    from highball.agent.identity import Identity, Invitation
    from highball.agent.private_file import write_privately

    session: Session = context.obj
    state = find_state(None, Document())
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    identity = Identity(state / "agent")
    if recover is not None:
        _replace(state, recover, joins=join is not None)
    if join is not None:
        _demand_closed(join, plain_http)
        invitation = Invitation(hub=check_url(join), token=_read_invitation())
        write_privately(state / "agent" / "invitation.json", invitation.model_dump_json().encode())
    elif identity.membership is None and identity.invitation is None:
        raise Misuse(
            "this machine has not joined a hub yet",
            code="not_enrolled",
            hint="an administrator of the hub gets the command to type here: POST /api/v1/hosts/ID/invitation",
        )
    session.exit_status = agent_process.main([str(state)])


def _demand_closed(url: str, plain_http: bool) -> None:
    if is_exposed(check_url(url)) and not plain_http:
        raise NotAllowed(
            (
                f"{url} is plain http: anybody on the network could read the secrets of backups, and "
                "impersonate the hub"
            ),
            code="plain_http_refused",
            hint="join over https; or, if nobody else can listen: highball agent --join URL --plain-http",
        )


def _replace(state: Path, host: str, *, joins: bool) -> None:
    """Have the policy of this host say which one it took the place of: only somebody on this machine can."""
    from highball.agent.host_policy import ask_to_replace

    if not joins:
        raise Misuse("--recover needs --join", hint="highball agent --join URL --recover HOST")
    ask_to_replace(state, check_key(host))


def _read_invitation() -> str:
    """One line; never an argument, which everybody on this machine could read."""
    token = sys.stdin.readline(1000).strip()
    if not token:
        raise Misuse(
            "--join needs the invitation on standard input", hint="printf %s TOKEN | highball agent …"
        )
    return token
