"""What things are called on pages: by their titles, where they have one and are still declared; else by their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from highball.config.document import Document
from highball.config.host import Host
from highball.config.job import Job
from highball.config.repository import Repository
from highball.hub.runs.subjects import (
    HISTORY,
    HUB_BACKUP,
    Subject,
)
from highball.model.run import (
    Action,
    Run,
    RunKind,
)
from highball.web.ui.status_looks import ACTIONS, TITLES


@dataclass(frozen=True)
class Named:
    """What fires, for people."""

    name: str
    icon: str
    address: str


class Names:
    """The names that a Document gives."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def job(self, key: str) -> str:
        """What a job is called."""
        return _called(self._document.jobs, key)

    def repository(self, key: str) -> str:
        """What a repository is called."""
        return _called(self._document.repositories, key)

    def host(self, key: str) -> str:
        """What a host is called."""
        return _called(self._document.hosts, key)

    def run(self, run: Run) -> str:
        """What a run is about: a job, or what is done to a repository."""
        if run.kind is RunKind.BACKUP:
            name = self.job(run.job) if run.job else "Copy of the hub"
            return f"Dry run of {name}" if run.dry_run else name
        if run.kind is RunKind.RESTORE:
            return f"Restore of {self.job(run.job)}" if run.job else "Restore"
        if run.repository and run.action in TITLES:
            return TITLES[run.action].format(self.repository(run.repository))
        return ACTIONS[run.action]

    def subject(self, subject: str) -> Named:
        """The name of something that fires, and where more is said of it."""
        about = Subject.of(subject)
        task, key = about.task, about.repository or ""
        if task == "backup":
            job = about.job or ""
            return Named(self.job(job), "archive", f"/jobs/{quote(job, safe='')}")
        if task == "verify" and about.job:
            name = f"{TITLES[Action.VERIFY].format(self.repository(key))}: {self.job(about.job)}"
            return Named(name, "shield-check", f"/jobs/{quote(about.job, safe='')}#proof")
        if subject == HUB_BACKUP:
            return Named("Copy of the hub", "save", "/maintenance#copies")
        if subject == HISTORY:
            return Named("Clean-up of old history", "history", "/settings/general#history")
        verb, icon = _SUBJECTS.get(task, (task, "wrench"))
        return Named(f"{verb} {self.repository(key)}", icon, f"/repositories/{quote(key, safe='')}")


_SUBJECTS = {
    "discard": ("Discard in", "scissors"),
    "prune": ("Prune of", "shredder"),
    "check": ("Check of", "stethoscope"),
}


def _called(objects: Mapping[str, Job] | Mapping[str, Repository] | Mapping[str, Host], key: str) -> str:
    one = objects.get(key)
    return (one.title if one else None) or key
