"""What handlers ask for in their parameters: the hub and the pages of the app that was asked.

The app itself holds them, and no module does: routers stand at the top of their modules, and one process may hold
several apps, each of another hub. These are `async`, as FastAPI takes a thread for each that is not.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection

from highball.hub.hub import Hub
from highball.web.ui.render import Pages


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
