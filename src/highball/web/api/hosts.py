"""Hosts as they are now: their agents, an invitation for one, and what lies on them; nothing is changed."""

from __future__ import annotations

from shlex import quote
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ConfigDict

from highball.hub.agents.fleet import ENROLMENT
from highball.hub.agents.refusals import Refusal
from highball.hub.hub import Hub
from highball.hub.runs.record import utc_now
from highball.model.fact import Fact
from highball.model.text import UtcTime
from highball.protocol.queries import (
    Browse,
    Measure,
    Measured,
)
from highball.web.authorize import Admin, Runs, Sees
from highball.web.dependencies import TheHub
from highball.web.disconnect import while_asked
from highball.web.error_responses import ASKED_IN_VAIN
from highball.web.middleware import is_plain, url_of
from highball.web.ui.byte_paths import ByPath

GRACE_SECONDS = 20.0
"""What bounds itself may take so much longer to begin and to answer."""


class MeasureRequest(Measure):
    """What is to be measured, as a program sends it."""

    model_config = ConfigDict(extra="forbid")


class RefusalAnswer(Fact):
    """What of a host's agent was refused since it joined: how much, and why the last of it was.

    An agent is believed only about what it was ordered. Where this is more than an old version, somebody else speaks
    for it: look at that machine, shut its agent out, invite the host again, and join it anew.
    """

    count: int
    why: str
    at: UtcTime


class HostAnswer(Fact):
    """A host's agent: whether it is connected, and what it said of itself."""

    key: str
    connected: bool
    connected_since: UtcTime | None = None
    clock_skew_seconds: float | None = None
    program: str | None = None
    facts: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    refused: RefusalAnswer | None = None


class InvitationAnswer(Fact):
    """A one-time token by which an agent becomes a host's, and the line to type on that machine."""

    host: str
    token: str
    expires_at: UtcTime
    line: str


router = APIRouter(prefix="/api/v1", tags=["repositories"], responses=ASKED_IN_VAIN)


@router.get("/agents")
def list_agents(hub: TheHub, _: Sees) -> list[HostAnswer]:
    """The agents of this hub, connected or not."""
    refused = hub.fleet.refusals.list_them()
    return [_host(hub, key, refused.get(key)) for key in sorted({hub.host, *hub.fleet.list_enrolled()})]


@router.post("/hosts/{host}/invitation", status_code=201)
def invite(hub: TheHub, host: str, actor: Admin, request: Request) -> InvitationAnswer:
    """A one-time invitation for the agent of a host, and the line to type there; it counts for an hour."""
    now = utc_now()
    token = hub.operations.invite(host, actor, now)
    url = url_of(request)
    # By standard input: everybody on a machine may read the arguments of its programs.
    line = f"printf %s {token} | highball agent --join {quote(url)}"
    if is_plain(url):
        line += " --plain-http"
    return InvitationAnswer(host=host, token=token, expires_at=now + ENROLMENT, line=line)


@router.delete("/hosts/{host}/agent", status_code=204)
async def shut_out(hub: TheHub, host: str, actor: Admin) -> None:
    """Shut a host's agent out: its key and its invitations count no more, and nobody is that host's agent until
    one joins by another invitation."""
    await hub.operations.shut_out(host, actor, utc_now())


@router.get("/hosts/{host}/browse")
async def browse(hub: TheHub, host: str, _: Runs, path: ByPath) -> Any:
    """What lies in a folder of a host."""
    return await hub.fleet.ask(host, Browse(path=path or b"/"))


@router.post("/hosts/{host}/measure")
async def measure(hub: TheHub, request: Request, host: str, wish: MeasureRequest, _: Runs) -> Measured:
    """How much lies in folders of a host, and how much of it each pattern leaves out; nothing is kept."""
    return await while_asked(request, measure_on(hub, host, wish))


async def measure_on(hub: Hub, host: str, wish: Measure) -> Measured:
    """What sources of a host hold, as far as it can be seen in the time; raises HighballError."""
    return Measured.model_validate(await hub.fleet.ask(host, wish, wish.seconds + GRACE_SECONDS))


def _host(hub: Hub, key: str, refusal: Refusal | None) -> HostAnswer:
    connection = hub.fleet.find(key)
    refused = refusal and RefusalAnswer(count=refusal.count, why=refusal.why, at=refusal.at)
    if connection is None:
        return HostAnswer(key=key, connected=False, refused=refused)
    return HostAnswer(
        key=key,
        connected=True,
        connected_since=connection.since,
        clock_skew_seconds=round(connection.skew.total_seconds(), 3),
        program=connection.hello.program,
        facts=connection.hello.facts,
        refused=refused,
    )
