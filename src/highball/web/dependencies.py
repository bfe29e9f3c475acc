"""What handlers ask for in their parameters: the hub of the app that was asked, what belongs to it, and its pages.

The app itself holds them, and no module does: routers stand at the top of their modules, and one process may hold
several apps, each of another hub. These are `async`, as FastAPI takes a thread for each that is not.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection

from highball.hub.agents.fleet import Fleet
from highball.hub.auth.sessions import Access
from highball.hub.hub import Hub
from highball.hub.operations.port import HubOperations
from highball.hub.runs.record import utc_now
from highball.hub.secrets.vault import Vault
from highball.web.ui.templating import Pages

Clock = Callable[[], datetime]


def equip(app: FastAPI, hub: Hub, pages: Pages) -> None:
    """Give an app what its handlers will ask for."""
    app.state.hub = hub
    app.state.pages = pages


async def hub_of(asked: HTTPConnection) -> Hub:
    """The hub on which the app that was asked stands."""
    hub: Hub = asked.app.state.hub
    return hub


async def pages_of(asked: HTTPConnection) -> Pages:
    """What draws the pages of the app that was asked."""
    pages: Pages = asked.app.state.pages
    return pages


TheHub = Annotated[Hub, Depends(hub_of)]
ThePages = Annotated[Pages, Depends(pages_of)]


async def operations_of(hub: TheHub) -> HubOperations:
    """What can be asked of that hub or ordered of it."""
    return hub.operations


async def access_of(hub: TheHub) -> Access:
    """Who may come in to that hub."""
    return hub.access


async def vault_of(hub: TheHub) -> Vault:
    """What that hub keeps sealed."""
    return hub.vault


async def fleet_of(hub: TheHub) -> Fleet:
    """The agents of that hub."""
    return hub.fleet


async def clock_of() -> Clock:
    """What tells the time."""
    return utc_now


TheOperations = Annotated[HubOperations, Depends(operations_of)]
TheAccess = Annotated[Access, Depends(access_of)]
TheVault = Annotated[Vault, Depends(vault_of)]
TheFleet = Annotated[Fleet, Depends(fleet_of)]
TheClock = Annotated[Clock, Depends(clock_of)]
