"""Hosts as they are now: their agents, an invitation for one, and what lies on them; nothing is changed."""

from __future__ import annotations

from shlex import quote
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ConfigDict

from highball.hub.agents.fleet import ENROLMENT
from highball.hub.operations.machines import HostAnswer
from highball.hub.runs.record import utc_now
from highball.model.fact import Fact
from highball.model.text import UtcTime
from highball.protocol.queries import (
    Measure,
    Measured,
)
from highball.web.authorize import Admin, Runs, Sees
from highball.web.dependencies import TheOperations
from highball.web.disconnect import while_asked
from highball.web.error_responses import ASKED_IN_VAIN
from highball.web.middleware import is_plain, url_of
from highball.web.ui.byte_paths import ByPath


class MeasureRequest(Measure):
    """What is to be measured, as a program sends it."""

    model_config = ConfigDict(extra="forbid")


class InvitationAnswer(Fact):
    """A one-time token by which an agent becomes a host's, and the line to type on that machine."""

    host: str
    token: str
    expires_at: UtcTime
    line: str


router = APIRouter(prefix="/api/v1", tags=["repositories"], responses=ASKED_IN_VAIN)


@router.get("/agents")
def list_agents(operations: TheOperations, _: Sees) -> list[HostAnswer]:
    """The agents of this hub, connected or not."""
    return operations.list_agents()


@router.post("/hosts/{host}/invitation", status_code=201)
def invite(operations: TheOperations, host: str, actor: Admin, request: Request) -> InvitationAnswer:
    """A one-time invitation for the agent of a host, and the line to type there; it counts for an hour."""
    now = utc_now()
    token = operations.invite(host, actor, now)
    url = url_of(request)
    # By standard input: everybody on a machine may read the arguments of its programs.
    line = f"printf %s {token} | highball agent --join {quote(url)}"
    if is_plain(url):
        line += " --plain-http"
    return InvitationAnswer(host=host, token=token, expires_at=now + ENROLMENT, line=line)


@router.delete("/hosts/{host}/agent", status_code=204)
async def shut_out(operations: TheOperations, host: str, actor: Admin) -> None:
    """Shut a host's agent out: its key and its invitations count no more, and nobody is that host's agent until
    one joins by another invitation."""
    await operations.shut_out(host, actor, utc_now())


@router.get("/hosts/{host}/browse")
async def browse(operations: TheOperations, host: str, _: Runs, path: ByPath) -> Any:
    """What lies in a folder of a host."""
    return await operations.browse(host, path or b"/")


@router.post("/hosts/{host}/measure")
async def measure(
    operations: TheOperations, request: Request, host: str, wish: MeasureRequest, _: Runs
) -> Measured:
    """How much lies in folders of a host, and how much of it each pattern leaves out; nothing is kept."""
    return await while_asked(request, operations.measure(host, wish))
