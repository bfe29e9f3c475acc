"""Who asks, as long as they are there: what only they wait for ends when they have gone."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

_Found = TypeVar("_Found")


async def while_asked(request: Request, wait: Awaitable[_Found]) -> _Found:
    """What it comes to; raises ClientDisconnect once whoever asked has gone. All of the request has to be read."""
    return await while_there(request.receive, wait)


async def while_there(receive: Receive, wait: Awaitable[_Found]) -> _Found:
    """The same, by what is told of the request's other end."""
    found: list[_Found] = []
    fault: Exception | None = None

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        try:
            found.append(await wait)
        except Exception as error:  # the group would wrap it
            fault = error
        group.cancel_scope.cancel()
    if fault is not None:
        raise fault
    if not found:
        raise ClientDisconnect
    return found[0]
