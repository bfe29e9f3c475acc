"""Runs: order, list, watch, cancel; what their logs say; how every job stands."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Self

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from highball.config.moment import Moment
from highball.errors import Misuse
from highball.hub.operations.port import HubOperations
from highball.hub.runs.queue import Placing, RunRequest
from highball.hub.runs.recorded import RunFilter
from highball.model.event import Event
from highball.model.fact import Fact
from highball.model.run import (
    Outcome,
    Run,
    RunKind,
    RunState,
)
from highball.model.standing import Standing
from highball.model.text import time_to_text
from highball.web.api.maintenance import Accepted, Word, reason_of
from highball.web.authorize import Orders, Runs, Sees
from highball.web.dependencies import TheOperations
from highball.web.middleware import is_still_known
from highball.web.ui.log_view import each_line

Mark = Annotated[str, Query(max_length=64)]

KEEP_ALIVE_SECONDS = 15.0


class RunPage(Fact):
    """Some runs, newest first; `next` is the cursor of the page behind it, null on the last."""

    items: tuple[Run, ...]
    next: str | None = None


class Ordered(Run):
    """A run that was ordered."""

    already_waiting: bool = False
    """The same waited in the queue already, so that nothing more was queued."""
    message: str | None = None
    """That in words."""

    @classmethod
    def of(cls, run: Run, placing: Placing) -> Self:
        """An order's answer."""
        if placing is not Placing.WAITING:
            return cls(**dict(run))
        whose = f"ordered by {run.actor}" if run.origin == "manual" and run.actor else "by its schedule"
        since = f"{whose} at {time_to_text(run.created_at)}"
        message = f"the same run waits in the queue already, {since}: nothing more was queued"
        return cls(**dict(run), already_waiting=True, message=message)


def _text(media_type: str) -> dict[str, Any]:
    """What an address says of itself that answers with text, as it comes."""
    told = {200: {"content": {media_type: {"schema": {"type": "string"}}}}}
    return {"response_class": StreamingResponse, "responses": told}


router = APIRouter(prefix="/api/v1", tags=["runs"])


@router.get("/status")
def status(operations: TheOperations, _: Sees, job: str | None = None) -> list[Standing]:
    """How each job stands in each of its repositories."""
    return operations.list_standings(None if job is None else [job])


@router.get("/runs")
def list_runs(
    operations: TheOperations,
    _: Sees,
    job: str | None = None,
    repository: str | None = None,
    host: str | None = None,
    kind: RunKind | None = None,
    state: RunState | None = None,
    outcome: Outcome | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str, Query(max_length=36)] = "",
) -> RunPage:
    """Runs, newest first."""
    chosen = RunFilter(job, repository, host, kind, state, outcome, since, until)
    found = operations.list_runs(chosen, limit=limit + 1, after=cursor)
    more = found[limit - 1].id if len(found) > limit else None
    return RunPage(items=tuple(found[:limit]), next=more)


@router.post("/runs", status_code=202, responses={200: {"model": Ordered}})
def order_run(
    operations: TheOperations,
    order: RunRequest,
    actor: Orders,
    response: Response,
    idempotency_key: Annotated[str | None, Header(max_length=200, pattern="^[!-~]+$")] = None,
) -> Ordered:
    """Queue a run; the same Idempotency-Key answers with the run that it began.

    Where the same waits in the queue already, nothing more is queued: the answer is that run, and says so.
    """
    if order.verb.ordered_at is not None:
        raise Misuse(
            "keys are changed at the repository's own address",
            code="order_elsewhere",
            hint=f"see {order.verb.ordered_at.format(order.repository)}",
        )
    run, placing = operations.place(order, actor, key=idempotency_key)
    response.status_code = 202 if placing is Placing.NEW else 200
    response.headers["Location"] = f"/api/v1/runs/{run.id}"
    return Ordered.of(run, placing)


@router.get("/runs/{run}")
def show_run(operations: TheOperations, run: str, _: Sees) -> Run:
    """One run with its steps; the start of an id will do where only one begins so."""
    return operations.find_run(run)


@router.post("/runs/{run}/cancel", status_code=202)
async def cancel(operations: TheOperations, run: str, actor: Runs) -> Run:
    """End a run politely."""
    return await operations.cancel(run, actor)


@router.post("/runs/{run}/accept")
def accept(operations: TheOperations, run: str, actor: Runs, word: Word | None = None) -> Accepted:
    """Say that what a run showed is right, like a smaller size: retention goes on where it stood still for that."""
    return Accepted.of(operations.accept_run(run, actor, reason_of(word)))


@router.get("/runs/{run}/events", **_text("application/x-ndjson"))
def read_events(
    operations: TheOperations, run: str, _: Sees, after: Annotated[int, Query(ge=0)] = 0
) -> StreamingResponse:
    """All events so far, one JSON object a line; of a row that goes on, those behind the number `after`."""
    found = operations.find_run(run)
    return StreamingResponse(
        _lines(operations.read_events(found.id, after=after)), media_type="application/x-ndjson"
    )


@router.get("/runs/{run}/log", **_text("text/plain"))
def read_log(operations: TheOperations, run: str, _: Sees) -> StreamingResponse:
    """What happened in a run and what its programs printed, as text; times are UTC."""
    found = operations.find_run(run)
    return StreamingResponse(
        each_line(operations.document(), found, operations.read_events(found.id)),
        media_type="text/plain; charset=utf-8",
    )


@router.get("/stream", **_text("text/event-stream"))
async def stream(
    operations: TheOperations,
    request: Request,
    _: Sees,
    since: Mark = "",
    last_event_id: Annotated[str, Header(max_length=64)] = "",
) -> StreamingResponse:
    """What changes, as it changes (server-sent events); a comment every 15 s keeps the line open.

    Every event has an id. `since` one of them, or Last-Event-ID, what came behind it is told first; the event
    `lost` says that some of it is not known any more.
    """
    news = _news(operations, request, last_event_id or since)
    return _Stream(news, media_type="text/event-stream")


def _lines(events: Iterator[Event]) -> Iterator[str]:
    for event in events:
        yield event.model_dump_json(exclude_none=True) + "\n"


class _Stream(StreamingResponse):
    """One that is told as it comes, to very many: nothing is held for it but what it needs."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer until there is nothing more, or nobody."""
        telling = asyncio.create_task(self.stream_response(send))
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            telling.cancel()
            leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling


async def _news(operations: HubOperations, request: Request, since: str) -> AsyncIterator[str]:
    async for news in operations.follow(KEEP_ALIVE_SECONDS, since):
        if not await is_still_known(request):
            return
        if news is None:
            yield ": still here\n\n"
        else:
            told = {"key": news.key, **news.body}
            yield f"id: {news.mark}\nevent: {news.topic}\ndata: {json.dumps(told)}\n\n"
