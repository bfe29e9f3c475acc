"""A repository that is gone for good: what is given up with it is shown, confirmed, and another is begun in its place.

What cannot be reached is never taken for gone here: the agent has to say that it looked, and that what was known is
not there.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from datetime import tzinfo
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from starlette.concurrency import run_in_threadpool

from highball import humanize
from highball.config.document import effective_job
from highball.errors import HighballError
from highball.hub.hub import Hub
from highball.hub.runs.queue import RunOrder
from highball.model.snapshot import Loss
from highball.web.authorize import Admin
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import (
    Offer,
    Question,
    Text,
    ask,
)
from highball.web.ui import status_looks
from highball.web.ui.addresses import repository_page
from highball.web.ui.templating import (
    Pages,
    Said,
    go,
)

router = APIRouter(include_in_schema=False)


@router.get("/repositories/{key}/anew")
async def ask_to_begin_anew(hub: TheHub, pages: ThePages, request: Request, key: str, _: Admin) -> Response:
    try:
        loss = await hub.operations.tell_loss(key)
    except HighballError as error:
        return go(repository_page(key), said=_why_not(error))
    return await run_in_threadpool(_ask, hub, pages, request, loss)


@router.post("/repositories/{key}/anew")
async def begin_anew(
    hub: TheHub,
    key: str,
    actor: Admin,
    identity: Annotated[str, Form(max_length=64)] = "",
    sure: Text = "",
    order_key: Text = "",
) -> Response:
    if not sure:
        told = Said(
            "Not started over: confirm with the checkbox that the repository is lost for good.", "warn"
        )
        return go(repository_page(key), said=told)
    try:
        await hub.operations.give_up(key, identity or None, actor)
    except HighballError as error:
        return go(repository_page(key), said=_why_not(error))
    order = RunOrder(task="init", repository=key)
    run, _ = await run_in_threadpool(hub.operations.place, order, actor, key=order_key[:200] or None)
    return go(f"/runs/{run.id}")


def _ask(hub: Hub, pages: Pages, request: Request, loss: Loss) -> Response:
    document = hub.document()
    used = [job for job in document.jobs if loss.repository in effective_job(document, job).repositories]
    return ask(pages, request, _about_loss(loss, used, pages.zone()))


def _why_not(error: HighballError) -> Said:
    hint = f" {status_looks.sentence(error.hint)}" if error.hint else ""
    return Said(f"Not started over: {error.message}.{hint}", "warn")


def _about_loss(loss: Loss, jobs: Sequence[str], zone: tzinfo) -> Question:
    key = loss.repository
    return Question(
        title=f"Give up {key} and create a new repository in its place?",
        text="The repository and everything in it will be recorded as lost. If its disk is only not connected, mount "
        "it instead and check again: nothing was touched.",
        details=tuple(_given_up(loss, jobs, zone)),
        offer=Offer(
            "sure",
            "It is lost for good and cannot be recovered",
            "Its jobs count as never backed up there until their next backup, and earlier restore tests do not count.",
        ),
        action=f"{repository_page(key)}/anew",
        verb="Give up and start over",
        back=repository_page(key),
        hidden=(("identity", loss.identity or ""), ("order_key", f"anew-{secrets.token_hex(6)}")),
    )


def _given_up(loss: Loss, jobs: Sequence[str], zone: tzinfo) -> Iterator[str]:
    """What the record knows of the repository that is lost."""
    newest = f", the newest from {humanize.full_moment(loss.newest_at, zone)}" if loss.newest_at else ""
    yield f"{humanize.counted(loss.snapshots, 'snapshot')}{newest}"
    if jobs:
        yield f"Backed up there: {', '.join(jobs)}"
    if loss.bytes_stored is not None:
        yield f"{humanize.size(loss.bytes_stored)} stored"
    if loss.identity:
        met = f", first seen {humanize.full_moment(loss.met_at, zone)}" if loss.met_at else ""
        yield f"The repository with the ID {loss.identity[:10]}{met}"
