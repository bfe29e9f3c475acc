"""Snapshots that no known run made: in groups, what a job's retention would do with them, adopted and released."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as Named
from pydantic import BaseModel, ConfigDict

from highball.config.object_keys import Key
from highball.model.snapshot import ForeignGroup
from highball.retention import Plan
from highball.web.authorize import Admin, Sees
from highball.web.dependencies import TheOperations
from highball.web.error_responses import ASKED_IN_VAIN

Group = Annotated[str, Named(pattern="^[0-9a-f]{12}$")]


class Adopted(BaseModel):
    """Whose a group is to be."""

    model_config = ConfigDict(extra="forbid")

    job: Key


router = APIRouter(
    prefix="/api/v1/repositories/{key}/foreign", tags=["repositories"], responses=ASKED_IN_VAIN
)


@router.get("")
async def list_foreign(operations: TheOperations, key: str, _: Sees) -> list[ForeignGroup]:
    """The snapshots that no known run made, alike ones together; adopted ones with their job."""
    return await operations.list_foreign(key)


@router.get("/{group}/retention")
async def preview_adoption(
    operations: TheOperations, key: str, group: Group, job: Key, _: Sees
) -> list[Plan]:
    """What the job's retention would do once it governs this group, and why each snapshot stays."""
    return await operations.preview_adoption(key, group, job)


@router.post("/{group}/adopt")
async def adopt(
    operations: TheOperations, key: str, group: Group, wanted: Adopted, actor: Admin
) -> ForeignGroup:
    """Let a job's retention govern this group from now on; nothing is removed by that."""
    return await operations.adopt(key, group, wanted.job, actor)


@router.post("/{group}/release")
async def release(operations: TheOperations, key: str, group: Group, actor: Admin) -> ForeignGroup:
    """Let nobody govern this group any more: it is foreign again, and stays."""
    return await operations.release(key, group, actor)
