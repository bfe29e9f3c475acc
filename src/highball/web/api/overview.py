"""Is everything protected, and could it be restored: all that the landing page says, in one answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from highball.hub.status.overview import Overview
from highball.web.authorize import Sees
from highball.web.dependencies import TheOperations

router = APIRouter(prefix="/api/v1", tags=["overview"])


@router.get("/overview")
def show_overview(
    operations: TheOperations,
    _: Sees,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Overview:
    """What needs somebody, how so many of the jobs stand (those with problems first), what runs, what is next."""
    return operations.look_over(limit=limit, offset=offset)
