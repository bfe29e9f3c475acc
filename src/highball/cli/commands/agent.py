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
            "--join", metavar="URL", help="Join this hub first; the invitation comes on standard input."
        ),
    ] = None,
    plain_http: Annotated[
        bool,
        typer.Option(
            "--plain-http", help="With --join: also without TLS, where anybody between reads the secrets."
        ),
    ] = False,
    recover: Annotated[
        str | None,
        typer.Option(
            "--recover",
            metavar="HOST",
            help="With --join: this machine replaces HOST, and restores what it saved.",
        ),
    ] = None,
) -> None:
    """Be the agent of this machine: dial the hub it belongs to, and carry out what comes, until Ctrl-C."""
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
            "this machine belongs to no hub yet",
            code="not_enrolled",
            hint="a hub's administrator gets the line to type here: POST /api/v1/hosts/KEY/invitation",
        )
    session.exit_status = agent_process.main([str(state)])


def _demand_closed(url: str, plain_http: bool) -> None:
    if is_exposed(check_url(url)) and not plain_http:
        raise NotAllowed(
            f"{url} is plain http: anybody between could read the secrets of backups, and speak for the hub",
            code="plain_http_refused",
            hint="join by https; or, where nobody else can listen: highball agent --join URL --plain-http",
        )


def _replace(state: Path, host: str, *, joins: bool) -> None:
    """Have the policy of this host say which one it took the place of: only somebody on this machine can."""
    from highball.agent.host_policy import ask_to_replace

    if not joins:
        raise Misuse("--recover goes with --join", hint="highball agent --join URL --recover HOST")
    ask_to_replace(state, check_key(host))


def _read_invitation() -> str:
    """One line; never an argument, which everybody on this machine could read."""
    token = sys.stdin.readline(1000).strip()
    if not token:
        raise Misuse(
            "--join wants the invitation on standard input", hint="printf %s TOKEN | highball agent …"
        )
    return token
