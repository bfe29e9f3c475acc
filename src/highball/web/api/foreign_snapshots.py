"""Snapshots that no known run made: in groups, what a job's retention would do with them, adopted and released."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi import Path as Named
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from highball.config.keys import Key
from highball.config.roles import Role
from highball.hub.audit import Actor
from highball.hub.hub import Hub
from highball.hub.runs.record import utc_now
from highball.model.snapshot import ForeignGroup
from highball.retention import Plan
from highball.web.authorize import demand
from highball.web.error_responses import ASKED_IN_VAIN

Sees = Annotated[Actor, Depends(demand(Role.VIEWER))]
Rules = Annotated[Actor, Depends(demand(Role.ADMIN))]
Group = Annotated[str, Named(pattern="^[0-9a-f]{12}$")]


class Adopted(BaseModel):
    """Whose a group is to be."""

    model_config = ConfigDict(extra="forbid")

    job: Key


def make_router(hub: Hub) -> APIRouter:
    """The addresses about foreign snapshots."""
    router = APIRouter(
        prefix="/api/v1/repositories/{key}/foreign", tags=["repositories"], responses=ASKED_IN_VAIN
    )

    @router.get("")
    async def list_foreign(key: str, _: Sees) -> list[ForeignGroup]:
        """The snapshots that no known run made, alike ones together; adopted ones with their job."""
        adoption = await hub.operations.adoption(key)
        return await run_in_threadpool(adoption.list_groups)

    @router.get("/{group}/retention")
    async def preview_adoption(key: str, group: Group, job: Key, _: Sees) -> list[Plan]:
        """What the job's retention would do once it governs this group, and why each snapshot stays."""
        return await hub.operations.preview_adoption(key, group, job)

    @router.post("/{group}/adopt")
    async def adopt(key: str, group: Group, wanted: Adopted, actor: Rules) -> ForeignGroup:
        """Let a job's retention govern this group from now on; nothing is removed by that."""
        adoption = await hub.operations.adoption(key)
        return await run_in_threadpool(adoption.adopt, group, wanted.job, utc_now(), actor)

    @router.post("/{group}/release")
    async def release(key: str, group: Group, actor: Rules) -> ForeignGroup:
        """Let nobody govern this group any more: it is foreign again, and stays."""
        adoption = await hub.operations.adoption(key)
        return await run_in_threadpool(adoption.release, group, utc_now(), actor)

    return router
