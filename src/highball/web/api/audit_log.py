"""The audit: who changed what, when and from where, page by page or as CSV."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from highball.config.moment import Moment
from highball.hub.audit import AuditFilter, Entry, as_csv
from highball.web.authorize import Admin
from highball.web.dependencies import TheAccess


class AuditPage(BaseModel):
    """Entries of the audit, the newest first."""

    items: list[Entry]
    cursor: str | None = Field(description="what to send to read on; null is the end")


_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}

router = APIRouter(prefix="/api/v1", tags=["access"])


@router.get("/audit", response_model=AuditPage, responses=_CSV)
def read_audit(
    access: TheAccess,
    _: Admin,
    actor: str | None = None,
    kind: str | None = None,
    key: str | None = None,
    action: str | None = None,
    since: Annotated[Moment | None, Query(alias="from")] = None,
    until: Annotated[Moment | None, Query(alias="to")] = None,
    cursor: Annotated[str | None, Query(max_length=36)] = None,
    limit: Annotated[int | None, Query(ge=1, le=500)] = None,
    format: Literal["json", "csv"] | None = None,
    accept: Annotated[str, Header()] = "",
) -> AuditPage | Response:
    """Who changed what, when and from where: 100 entries where no limit is said; as CSV without one all at once."""
    wanted = AuditFilter(actor, kind, key, action, since, until)
    if format == "csv" or (format is None and "text/csv" in accept):
        return StreamingResponse(
            as_csv(islice(access.every_entry(wanted), limit)),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="highball-audit.csv"'},
        )
    limit = limit or 100
    found = access.list_audit(wanted, before=cursor, limit=limit + 1)
    more = len(found) > limit
    return AuditPage(items=found[:limit], cursor=found[limit - 1].id if more else None)
