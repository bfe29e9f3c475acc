"""Hosts and their agents, as a hub knows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from highball.errors import Misuse
from highball.hub.agents.refusals import HostRefusals
from highball.hub.audit import Actor
from highball.hub.auth.users import demand_present
from highball.hub.parts import HubParts
from highball.model.fact import Fact
from highball.model.text import UtcTime
from highball.protocol.queries import Browse, Measure, Measured

BROWSE_SECONDS = 30.0
GRACE_SECONDS = 20.0
"""What bounds itself may take so much longer to begin and to answer."""


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


class HostOperations:
    """The agents of hosts, who may be one, and what they see there."""

    _hub: HubParts

    def list_agents(self) -> list[HostAnswer]:
        """The agents of this hub, connected or not."""
        refused = self._hub.fleet.refusals.list_them()
        keys = sorted({self._hub.host, *self._hub.fleet.list_enrolled()})
        return [self._agent_of(key, refused.get(key)) for key in keys]

    async def browse(self, host: str, path: bytes, seconds: float = BROWSE_SECONDS) -> Any:
        """What lies in a folder of a host; raises HighballError."""
        return await self._hub.fleet.ask(host, Browse(path=path), seconds)

    async def measure(self, host: str, wish: Measure) -> Measured:
        """What sources of a host hold, as far as it can be seen in the time; raises HighballError."""
        return Measured.model_validate(await self._hub.fleet.ask(host, wish, wish.seconds + GRACE_SECONDS))

    def invite(self, host: str, actor: Actor, now: datetime) -> str:
        """A one-time token for the agent of a declared host. Raises Unknown, and Misuse for the hub's own machine."""
        self._demand_elsewhere(host, "invite another host")
        self._hub.documents.get("host", host)
        demand_present(actor)
        return self._hub.fleet.invite(host, actor, now)

    async def shut_out(self, host: str, actor: Actor, now: datetime) -> None:
        """Take a host's agent its key and its invitations. Raises Unknown, and Misuse for the hub's own machine."""
        self._demand_elsewhere(host, "end the hub to end it")
        await self._hub.fleet.shut_out(host, actor, now)

    def _demand_elsewhere(self, host: str, hint: str) -> None:
        if host == self._hub.host:
            words = f"{host} is the hub's own machine: its agent comes with the hub"
            raise Misuse(words, code="own_host", hint=hint)

    def _agent_of(self, key: str, refusal: HostRefusals | None) -> HostAnswer:
        connection = self._hub.fleet.find(key)
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
