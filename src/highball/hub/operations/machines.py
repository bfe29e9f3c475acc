"""Hosts and their agents, as a hub knows them."""

from __future__ import annotations

from datetime import datetime

from highball.errors import Misuse
from highball.hub.audit import Actor
from highball.hub.auth.users import demand_present
from highball.hub.parts import HubParts


class HostOperations:
    """Who may be a host's agent."""

    _hub: HubParts

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
