"""What comes next, and what is paused."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from highball.config.moment import Moment
from highball.hub.operations.port import HubOperations
from highball.hub.runs.pauses import Pause
from highball.model.fact import Fact
from highball.model.text import UtcTime
from highball.web.authorize import Runs, Sees
from highball.web.dependencies import TheOperations


class UpcomingAnswer(Fact):
    """A time that will come; `due_at` is later by the jitter."""

    subject: str
    host: str
    at: UtcTime
    due_at: UtcTime


class PauseAnswer(Fact):
    """What does not fire; `until` null is until somebody resumes it."""

    subject: str
    since: UtcTime
    until: UtcTime | None
    actor: str
    reason: str | None


class PauseWanted(BaseModel):
    """Until when, and why."""

    model_config = ConfigDict(extra="forbid")

    until: Moment | None = None
    reason: str | None = Field(None, max_length=500)


class PauseOfAllWanted(PauseWanted):
    """Until when and why everything rests; `maintenance` true is with all that keeps repositories in order."""

    maintenance: bool = False


router = APIRouter(prefix="/api/v1", tags=["schedule"])


@router.get("/upcoming")
def upcoming(
    operations: TheOperations, _: Sees, limit: Annotated[int, Query(ge=1, le=500)] = 20
) -> list[UpcomingAnswer]:
    """What runs next by itself, the soonest first."""
    return [
        UpcomingAnswer(subject=one.subject, host=one.host, at=one.at, due_at=one.due_at)
        for one in operations.list_upcoming(limit)
    ]


@router.get("/pauses")
def list_pauses(operations: TheOperations, _: Sees) -> list[PauseAnswer]:
    """What does not fire now."""
    return _pauses(operations)


@router.post("/pauses")
def pause_all(operations: TheOperations, wanted: PauseOfAllWanted, actor: Runs) -> list[PauseAnswer]:
    """Let no job run by itself for a while; one that is paused for longer already stays so."""
    operations.pause_all(wanted.until, actor, wanted.reason, maintenance=wanted.maintenance)
    return _pauses(operations)


@router.delete("/pauses")
def resume_all(operations: TheOperations, actor: Runs) -> list[PauseAnswer]:
    """Let everything that is paused run by itself again."""
    operations.resume_all(actor)
    return _pauses(operations)


@router.post("/jobs/{key}/pause")
def pause(operations: TheOperations, key: str, wanted: PauseWanted, actor: Runs) -> list[PauseAnswer]:
    """Let a job not run by itself for a while."""
    operations.pause_job(key, wanted.until, actor, wanted.reason)
    return _pauses(operations)


@router.post("/jobs/{key}/resume")
def resume(operations: TheOperations, key: str, actor: Runs) -> list[PauseAnswer]:
    """Let it run by itself again."""
    operations.resume_job(key, actor)
    return _pauses(operations)


def _pauses(operations: HubOperations) -> list[PauseAnswer]:
    return [_pause(pause) for pause in operations.list_pauses()]


def _pause(pause: Pause) -> PauseAnswer:
    return PauseAnswer(
        subject=pause.subject, since=pause.since, until=pause.until, actor=pause.actor, reason=pause.reason
    )
