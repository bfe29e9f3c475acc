"""What a Document wants done by itself, subject by subject: `backup:docs`, `check:nas`, `discard:nas`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from highball.config.document import (
    Document,
    effective_cadences,
    effective_job,
)
from highball.model.run import Action
from highball.schedule import Schedule, duration_to_text


@dataclass(frozen=True)
class Planned:
    """One subject (`backup:docs`, `check:nas`) and when it runs by itself.

    `catch_up` is how late the newest missed time may still run; None is less than one interval.
    """

    subject: str
    action: Action
    host: str
    schedule: Schedule
    timezone: str = "UTC"
    catch_up: timedelta | None = None

    @property
    def told(self) -> str:
        """All that due times are computed from, as it is stored."""
        schedule = Schedule(
            cron=self.schedule.expression or "manual",
            timezone=self.schedule.timezone or self.timezone,
            jitter=self.schedule.jitter,
        )
        found: dict[str, Any] = {"schedule": schedule.model_dump(mode="json")}
        if self.catch_up is not None:
            found["catch_up"] = duration_to_text(self.catch_up)
        return json.dumps(found, separators=(",", ":"))


HUB_BACKUP_DAILY = Schedule(cron="0 4 * * *")
HUB_BACKUP = "hub-backup:hub"
HUB_COPIES_KEPT = 7
"""So many copies of itself the hub keeps in its state, and so many of those that it saves in a repository."""

HISTORY_DAILY = Schedule(cron="30 4 * * *")
HISTORY = "history:hub"


def planned_of(document: Document, host: str) -> list[Planned]:
    """What a Document wants done by itself: backups, maintenance, and what the hub does for itself (on `host`).

    A job is always among them, though it may be manual; what keeps a repository in order only where it ever comes.
    """
    zone = document.settings.timezone
    backups = [_backup_of(document, key, host) for key, job in document.jobs.items() if job.enabled]
    upkeep = [planned for key in document.repositories for planned in _upkeep_of(document, key, host)]
    own = [
        Planned(HUB_BACKUP, Action.BACKUP, host, HUB_BACKUP_DAILY, zone),
        Planned(HISTORY, Action.HISTORY, host, HISTORY_DAILY, zone),
    ]
    return [*backups, *upkeep, *own]


def _backup_of(document: Document, key: str, hub: str) -> Planned:
    job = effective_job(document, key)
    catch_up = timedelta(0) if job.missed == "skip" else None
    host, zone = job.host or hub, document.settings.timezone
    return Planned(f"backup:{key}", Action.BACKUP, host, job.schedule, zone, catch_up)


def _upkeep_of(document: Document, key: str, hub: str) -> Iterator[Planned]:
    repository, cadences = document.repositories[key], effective_cadences(document, key)
    if repository.maintenance == "off":
        return
    host, zone = repository.maintainer(hub), document.settings.timezone
    if cadences.discard.expression is not None:
        yield Planned(f"discard:{key}", Action.FORGET, host, cadences.discard, zone)
    if cadences.prune is not None and cadences.prune.expression is not None:
        yield Planned(f"prune:{key}", Action.PRUNE, host, cadences.prune, zone)
    if cadences.check.expression is not None:
        yield Planned(f"check:{key}", Action.CHECK, host, cadences.check, zone)
    if cadences.verify.expression is not None:
        for name in document.jobs:
            job = effective_job(document, name)
            if job.enabled and key in job.repositories:
                subject = f"verify:{key}:{name}"
                yield Planned(subject, Action.VERIFY, job.host or hub, cadences.verify, zone)


def upkeep_subjects(document: Document, key: str, hub: str) -> list[str]:
    """What fires by itself to keep a repository in order."""
    return [planned.subject for planned in _upkeep_of(document, key, hub)]


@dataclass(frozen=True)
class Subject:
    """What a subject says: what is to be done, and to which job and repository (a restore test has both)."""

    task: str
    job: str | None = None
    repository: str | None = None

    @classmethod
    def of(cls, subject: str) -> Subject:
        """`backup:docs`, `check:nas`, `verify:nas:docs`."""
        task, *keys = subject.split(":")
        if task == "backup":
            return cls(task, job=keys[0])
        if subject in (HUB_BACKUP, HISTORY):
            return cls(task)
        return cls(task, job=keys[1] if len(keys) > 1 else None, repository=keys[0])
