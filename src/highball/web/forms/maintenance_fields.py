"""How a repository is kept in order, as fields of its page say it: read from what is declared, and written back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel

from highball.config.repository import (
    AFTER_BACKUP,
    SCHEDULES,
    Repository,
)
from highball.schedule import Schedule
from highball.web.ui import status_looks

KEPT = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


class MaintenanceForm(BaseModel):
    """How a repository is to be kept in order, as two toggles and some fields say it; blank is as Highball thinks best.

    The second toggle counts only with the first on *user*: so to switch maintenance off takes both of them.
    """

    revision: int
    mode: Literal["auto", "user"] = "auto"
    user: Literal["config", "off"] = "config"
    accept_growth: str = ""
    discard: str = ""
    after: str = ""
    """Whether retention is applied after each backup: with a schedule beside it, or alone."""
    prune: str = ""
    test: str = ""
    check: str = ""
    share: str = ""
    last: str = ""
    hourly: str = ""
    daily: str = ""
    weekly: str = ""
    monthly: str = ""
    yearly: str = ""

    @classmethod
    def of(cls, repository: Repository, revision: int) -> Self:
        """The form as it is filled with what holds now."""
        kept = repository.retention
        named = (repository.discard_schedule, repository.prune_schedule, repository.verify_schedule)
        share = "" if "check_share" not in repository.model_fields_set else f"{repository.check_share:g}"
        return cls(
            revision=revision,
            mode="auto" if repository.maintenance == "auto" and not any(named) else "user",
            user="off" if repository.maintenance == "off" else "config",
            discard=_when(repository.discards_at),
            after="yes" if repository.discards_after_backup else "",
            prune=_when(repository.prune_schedule),
            test=_when(repository.verify_schedule),
            check=_when(repository.check_schedule),
            share=share,
            **{name: str(value) for name in KEPT if kept and (value := getattr(kept, name)) is not None},
        )

    @property
    def is_off(self) -> bool:
        """Whether both toggles say so."""
        return self.mode == "user" and self.user == "off"

    @property
    def in_words(self) -> str:
        """What it comes to."""
        return "off" if self.is_off else "recommended settings" if self.mode == "auto" else "custom settings"

    def applied_to(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """The spec that says so. What only counts with *user* is gone otherwise, what is kept stays as it was."""
        ours = ("maintenance", "accept_growth", *SCHEDULES)
        after = {name: value for name, value in spec.items() if name not in ours}
        if self.mode == "auto":
            return after
        if self.is_off:
            return {**after, "maintenance": "off", "accept_growth": True}
        after["maintenance"] = "user"
        typed = zip(SCHEDULES, (self.discard, self.prune, self.test, self.check), strict=True)
        for name, text in typed:
            if text.strip():
                after[name] = _with_cron(_schedule_of(spec.get(name)), status_looks.read_when(text))
        if self.after:
            schedule = after.get("discard_schedule")
            after["discard_schedule"] = [schedule, AFTER_BACKUP] if schedule else AFTER_BACKUP
        after.pop("check_share", None)
        if self.share.strip():
            after["check_share"] = f"{self.share.strip().removesuffix('%').strip()}%"
        return after | self._retention(after.pop("retention", None) or {})

    def _retention(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """What is kept: blanks are nothing, and where all are blank it is as each job says."""
        kept = {name: value for name, value in before.items() if name not in KEPT}
        for name in KEPT:
            text = getattr(self, name).strip()
            if text:
                kept[name] = int(text) if text.isdigit() else text
        return {"retention": kept} if kept else {}


def _when(schedule: Schedule | None) -> str:
    return status_looks.when(schedule) if schedule else ""


def _schedule_of(told: Any) -> Any:
    """Of what a spec says of discarding, the schedule."""
    return next((one for one in told if one != AFTER_BACKUP), None) if isinstance(told, list) else told


def _with_cron(before: Any, cron: str) -> Any:
    """A schedule with other times; its zone and its jitter stay."""
    return {**before, "cron": cron} if isinstance(before, dict) else cron
