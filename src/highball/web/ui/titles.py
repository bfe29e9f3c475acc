"""What things are called on pages: by their titles, where they have one and are still declared; else by their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from highball.actions import ACTIONS, ActionWords, words_of
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
from highball.web.ui.addresses import job_page, repository_page


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
            name = self.job(run.job) if run.job else "Hub backup"
            return f"Dry run of {name}" if run.dry_run else name
        if run.kind is RunKind.RESTORE:
            return f"Restore of {self.job(run.job)}" if run.job else "Restore"
        words = words_of(run.action)
        return words.title.format(self.repository(run.repository)) if run.repository else words.noun

    def subject(self, subject: str) -> Named:
        """The name of something that fires, and where more is said of it."""
        about = Subject.of(subject)
        task, key, words = about.task, about.repository or "", _words_of(about.task)
        if task == "backup":
            job = about.job or ""
            return Named(self.job(job), "archive", job_page(job))
        if task == "verify" and about.job:
            name = f"{words_of(Action.VERIFY).title.format(self.repository(key))}: {self.job(about.job)}"
            return Named(name, "shield-check", f"{job_page(about.job)}#proof")
        if subject == HUB_BACKUP:
            return Named(words.noun, words.icon, "/maintenance#copies")
        if subject == HISTORY:
            return Named(words.noun, words.icon, "/settings/general#history")
        name = words.title.format(self.repository(key))
        return Named(name, words.icon, repository_page(key))


def _words_of(task: str) -> ActionWords:
    """Of a task that the table knows no more, its name is all there is."""
    verb = ACTIONS.get(task)
    return ActionWords(task, f"{task} {{}}") if verb is None else verb.words


def _called(objects: Mapping[str, Job] | Mapping[str, Repository] | Mapping[str, Host], key: str) -> str:
    one = objects.get(key)
    return (one.title if one else None) or key
