"""What repositories hold: listed, read, compared, and what retention would remove of it; nothing is changed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi import Path as Named
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from highball.hub.runs.queue import RestoreWish
from highball.hub.runs.recorded import RepositoryDay
from highball.hub.status.repository_status import Holding
from highball.model.snapshot import (
    Difference,
    Lock,
    Loss,
    Node,
    Snapshot,
)
from highball.protocol.queries import (
    RestorePlan,
)
from highball.retention import Plan
from highball.web.authorize import Admin, Restores, Runs, Sees
from highball.web.dependencies import TheOperations
from highball.web.disconnect import while_asked
from highball.web.error_responses import ASKED_IN_VAIN
from highball.web.ui.byte_paths import ByPath


class GivenUp(BaseModel):
    """The repository that is given up, by the id that was shown."""

    model_config = ConfigDict(extra="forbid")

    identity: str | None


SnapshotId = Annotated[str, Named(pattern="^[0-9a-f]{4,64}$")]
InQuery = Annotated[str, Query(pattern="^[0-9a-f]{4,64}$")]


def _flows(media_type: str) -> dict[str, Any]:
    """What an address says of itself that answers as an agent tells it."""
    told = {200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}}
    return {"response_class": StreamingResponse, "responses": told}


router = APIRouter(prefix="/api/v1", tags=["repositories"], responses=ASKED_IN_VAIN)


@router.get("/repositories/{key}/snapshots")
async def list_snapshots(operations: TheOperations, key: str, _: Sees) -> list[Snapshot]:
    """What a repository holds, of other tools too; newest first."""
    return await operations.list_snapshots(key)


@router.get("/repository-figures")
def list_figures(operations: TheOperations, _: Sees) -> list[Holding]:
    """What each repository stores and protects, how many snapshots of ours and of others are in it, and what was
    last done to keep it in order; figures that stand beside each other are of one moment."""
    return operations.list_holdings()


@router.get("/repositories/{key}/figures")
def show_figures(operations: TheOperations, key: str, _: Sees) -> Holding:
    """The same of one."""
    return operations.get_holding(key)


@router.get("/repositories/{key}/loss")
async def tell_loss(operations: TheOperations, key: str, _: Admin) -> Loss:
    """What would be given up by beginning a repository anew, which is lost for good."""
    return await operations.tell_loss(key)


@router.post("/repositories/{key}/give-up", status_code=204)
async def give_up(operations: TheOperations, key: str, actor: Admin, loss: GivenUp) -> None:
    """Hold a repository for gone, with all that was in it; a run of init then makes another in its place."""
    await operations.give_up(key, loss.identity, actor)


@router.get("/repositories/{key}/locks")
async def list_locks(operations: TheOperations, key: str, _: Sees) -> list[Lock]:
    """The locks in a repository, each with its owner."""
    return await operations.list_locks(key)


@router.get("/repositories/{key}/snapshots/{snapshot}/folder", response_model_exclude_none=True)
async def list_folder(
    operations: TheOperations, key: str, snapshot: SnapshotId, _: Sees, path: ByPath
) -> list[Node]:
    """What a snapshot's folder holds."""
    return await operations.list_folder(key, snapshot, path or b"/")


@router.get("/repositories/{key}/snapshots/{snapshot}/nodes", **_flows("application/x-ndjson"))
async def list_nodes(
    operations: TheOperations, key: str, snapshot: SnapshotId, _: Sees, path: ByPath
) -> StreamingResponse:
    """Everything that a snapshot holds, or only a folder of it, as it is listed: one JSON object a line."""
    return await _flow(await operations.list_nodes(key, snapshot, path), "application/x-ndjson")


@router.get("/repositories/{key}/snapshots/{snapshot}/content", **_flows("application/octet-stream"))
async def read_content(
    operations: TheOperations, key: str, snapshot: SnapshotId, _: Runs, path: ByPath
) -> StreamingResponse:
    """The content of a file, or a folder as a tar archive; an answer that ends early was cut short."""
    return await _flow(await operations.read_content(key, snapshot, path or b"/"), "application/octet-stream")


@router.get("/repositories/{key}/differences")
async def compare(
    operations: TheOperations, key: str, old: InQuery, new: InQuery, _: Sees
) -> list[Difference]:
    """What differs between two snapshots."""
    return await operations.compare(key, old, new)


@router.post("/restores/preview")
async def preview_restore(
    operations: TheOperations, request: Request, wish: RestoreWish, _: Restores
) -> RestorePlan:
    """What a restore would do on the machine it goes to; nothing is touched, and nothing recorded."""
    return await while_asked(request, operations.plan_restore(wish))


@router.get("/repositories/{key}/retention")
async def preview_retention(
    operations: TheOperations, key: str, _: Sees, job: str | None = None, approve: str | None = None
) -> list[Plan]:
    """What retention would remove now, and why each snapshot stays; one plan for each set.

    `approve` shows them as they would be if a person had approved the plan with this id.
    """
    return await operations.list_plans(key, job, approve)


@router.get("/repositories/{key}/trend")
def trend(
    operations: TheOperations, key: str, _: Sees, days: Annotated[int, Query(ge=1, le=3660)] = 90
) -> list[RepositoryDay]:
    """What a repository held at the end of each of the last days, as far as it was measured; oldest first."""
    return operations.list_days(key, days)


async def _flow(pieces: AsyncGenerator[bytes, None], media_type: str) -> StreamingResponse:
    """An answer as it comes; what is wrong before its first piece is told as every problem is."""
    first = await anext(pieces, b"")
    return StreamingResponse(_pass_on(first, pieces), media_type=media_type)


async def _pass_on(first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece
