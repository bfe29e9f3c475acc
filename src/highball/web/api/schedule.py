"""What comes next, and what is paused."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from highball.config.document import effective_job
from highball.config.moment import Moment
from highball.hub.hub import Hub
from highball.hub.runs.pauses import Pause
from highball.hub.runs.record import utc_now
from highball.model.fact import Fact
from highball.model.text import UtcTime
from highball.web.authorize import Runs, Sees
from highball.web.dependencies import TheHub


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
def upcoming(hub: TheHub, _: Sees, limit: Annotated[int, Query(ge=1, le=500)] = 20) -> list[UpcomingAnswer]:
    """What runs next by itself, the soonest first."""
    return [
        UpcomingAnswer(subject=one.subject, host=one.host, at=one.at, due_at=one.due_at)
        for one in hub.scheduler.upcoming(limit, utc_now())
    ]


@router.get("/pauses")
def list_pauses(hub: TheHub, _: Sees) -> list[PauseAnswer]:
    """What does not fire now."""
    return _pauses(hub)


@router.post("/pauses")
def pause_all(hub: TheHub, wanted: PauseOfAllWanted, actor: Runs) -> list[PauseAnswer]:
    """Let no job run by itself for a while; one that is paused for longer already stays so."""
    hub.scheduler.pause_all(wanted.until, actor, utc_now(), wanted.reason, maintenance=wanted.maintenance)
    hub.bus.news.publish("job")
    return _pauses(hub)


@router.delete("/pauses")
def resume_all(hub: TheHub, actor: Runs) -> list[PauseAnswer]:
    """Let everything that is paused run by itself again."""
    hub.scheduler.resume_all(actor, utc_now())
    hub.bus.news.publish("job")
    return _pauses(hub)


@router.post("/jobs/{key}/pause")
def pause(hub: TheHub, key: str, wanted: PauseWanted, actor: Runs) -> list[PauseAnswer]:
    """Let a job not run by itself for a while."""
    effective_job(hub.document(), key)
    hub.scheduler.pause(f"backup:{key}", wanted.until, actor, utc_now(), wanted.reason)
    hub.bus.news.publish("job", key)
    return _pauses(hub)


@router.post("/jobs/{key}/resume")
def resume(hub: TheHub, key: str, actor: Runs) -> list[PauseAnswer]:
    """Let it run by itself again."""
    effective_job(hub.document(), key)
    hub.scheduler.resume(f"backup:{key}", actor, utc_now())
    hub.bus.news.publish("job", key)
    return _pauses(hub)


def _pauses(hub: Hub) -> list[PauseAnswer]:
    return [_pause(pause) for pause in hub.scheduler.list_pauses(utc_now())]


def _pause(pause: Pause) -> PauseAnswer:
    return PauseAnswer(
        subject=pause.subject, since=pause.since, until=pause.until, actor=pause.actor, reason=pause.reason
    )
