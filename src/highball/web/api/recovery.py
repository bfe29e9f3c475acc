"""The ways back: pages to print, and the hub's copies of its own database."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from highball.model.fact import Fact
from highball.model.run import Run
from highball.model.text import UtcTime
from highball.web.authorize import Admin
from highball.web.dependencies import TheOperations


class BackupAnswer(Fact):
    """A copy of the hub's database."""

    name: str
    made_at: UtcTime
    program: str
    size_bytes: int
    rows: dict[str, int]


router = APIRouter(prefix="/api/v1", tags=["recovery"])


@router.get(
    "/repositories/{key}/recovery-kit",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}},
)
def recovery_kit(operations: TheOperations, key: str, actor: Admin) -> StreamingResponse:
    """The page to print for a repository (Markdown): address, password, the commands that bring data back."""
    page = operations.make_kit(key, actor)
    return StreamingResponse(iter([page]), media_type="text/markdown; charset=utf-8")


@router.get("/hub/backups")
def list_copies(operations: TheOperations, _: Admin) -> list[BackupAnswer]:
    """The hub's copies of its own database, the newest first; each was read through to say this."""
    found = []
    for path, manifest in operations.list_copies():
        found.append(
            BackupAnswer(
                name=path.name,
                made_at=manifest.made_at,
                program=manifest.program,
                size_bytes=path.stat().st_size,
                rows=manifest.rows,
            )
        )
    return found


@router.post("/hub/backups", status_code=202)
def back_up(operations: TheOperations, actor: Admin) -> Run:
    """Make one more copy now."""
    # Here, where copies are listed, that is for admins alone; among all runs it is ordered like any other.
    return operations.order("hub-backup", None, actor=actor)[0]
