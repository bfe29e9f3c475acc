"""What comes by itself, when it comes, and what rests for a while."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from highball.config.document import effective_job
from highball.hub.audit import Actor
from highball.hub.parts import HubParts
from highball.hub.runs.pauses import Pause
from highball.hub.runs.scheduler import Upcoming
from highball.hub.runs.subjects import Planned, planned_of, upkeep_subjects


class ScheduleOperations:
    """The times of backups and maintenance, and pauses of them."""

    _hub: HubParts
    _now: Callable[[], datetime]

    def list_planned(self) -> list[Planned]:
        """Everything that is to be done by itself."""
        return planned_of(self._hub.document(), self._hub.host)

    def list_upcoming(self, limit: int) -> list[Upcoming]:
        """What runs next by itself, the soonest first."""
        return self._hub.scheduler.upcoming(limit, self._now())

    def next_of_each(self, subjects: Sequence[str]) -> dict[str, Upcoming]:
        """When each of these fires next, as far as it does."""
        return self._hub.scheduler.next_of_each(subjects, self._now())

    def list_pauses(self) -> list[Pause]:
        """What does not fire now, by subject."""
        return self._hub.scheduler.list_pauses(self._now())

    def pause_all(
        self, until: datetime | None, actor: Actor, reason: str | None = None, *, maintenance: bool = False
    ) -> list[str]:
        """Pause all jobs that have a schedule, and all maintenance where that is meant; tells what is paused by it."""
        paused = self._hub.scheduler.pause_all(until, actor, self._now(), reason, maintenance=maintenance)
        self._hub.bus.news.publish("job")
        return paused

    def resume_all(self, actor: Actor) -> list[str]:
        """Let everything that is paused fire again; tells what does."""
        resumed = self._hub.scheduler.resume_all(actor, self._now())
        self._hub.bus.news.publish("job")
        return resumed

    def pause_job(self, key: str, until: datetime | None, actor: Actor, reason: str | None = None) -> None:
        """Let a job not run by itself until then, or until somebody resumes it. Raises Unknown and Misuse."""
        effective_job(self._hub.document(), key)
        self.pause([f"backup:{key}"], until, actor, reason, about=key)

    def resume_job(self, key: str, actor: Actor) -> None:
        """Let it run by itself again. Raises Unknown."""
        effective_job(self._hub.document(), key)
        self.resume([f"backup:{key}"], actor, about=key)

    def pause_upkeep(self, key: str, until: datetime | None, actor: Actor) -> None:
        """Let nothing keep a repository in order by itself until then. Raises Unknown and Misuse."""
        self.pause(self.list_upkeep(key), until, actor, about=key)

    def resume_upkeep(self, key: str, actor: Actor) -> None:
        """Let it be kept in order by itself again. Raises Unknown."""
        self.resume(self.list_upkeep(key), actor, about=key)

    def list_upkeep(self, key: str) -> list[str]:
        """What fires by itself to keep a repository in order. Raises Unknown."""
        self._hub.repositories.get(key)
        return upkeep_subjects(self._hub.document(), key, self._hub.host)

    def pause(
        self,
        subjects: Sequence[str],
        until: datetime | None,
        actor: Actor,
        reason: str | None = None,
        *,
        about: str | None = None,
    ) -> None:
        """Let these not fire until then, or until somebody resumes them. Raises Unknown and Misuse."""
        for subject in subjects:
            self._hub.scheduler.pause(subject, until, actor, self._now(), reason)
        self._hub.bus.news.publish("job", about or subjects[0])

    def resume(self, subjects: Sequence[str], actor: Actor, *, about: str | None = None) -> None:
        """Let these fire again, from the next time on. Raises Unknown."""
        for subject in subjects:
            self._hub.scheduler.resume(subject, actor, self._now())
        self._hub.bus.news.publish("job", about or subjects[0])
