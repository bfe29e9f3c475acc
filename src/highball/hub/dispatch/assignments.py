"""Orders: the complete assignment for each kind of run, from the Document and what the record knows.

Every order carries the effective job (all levels merged) and the repositories it needs, nothing else.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from highball.config.document import (
    HUB_JOB,
    Document,
    effective_job,
)
from highball.config.job import Job
from highball.config.repository import demand_right_to_delete
from highball.errors import Unknown
from highball.hub.document.rename import UNCHANGED, FormerKeys
from highball.hub.retention.planner import next_slice
from highball.hub.runs.ingest import SetOf
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.record import Record, utc_now
from highball.hub.storage.database import new_run_id
from highball.model.run import RunKind, Step
from highball.model.snapshot import FILES_SET, Snapshot
from highball.protocol.tasks import (
    Assignment,
    BackupTask,
    CheckTask,
    Expectation,
    KeyTask,
    PlainTask,
    Task,
    UnlockTask,
    VerifyTask,
)
from highball.source.contents import MARKER_OF_CACHES
from highball.source.path import PathSource

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Orders:
    """Gives orders for one host."""

    document: Document
    record: Record
    host: str
    former: FormerKeys = UNCHANGED

    def back_up(
        self,
        job: str,
        now: datetime,
        *,
        wait: timedelta | None = None,
        dry_run: bool = False,
        run: str | None = None,
    ) -> Assignment:
        """Back up a job into all its repositories."""
        merged = effective_job(self.document, job)
        expected = {set: self._expect(job, merged, set) for set in (FILES_SET, *merged.sets)}
        files = expected.pop(FILES_SET)
        task = BackupTask(job=merged, expected=files, streams=expected, dry_run=dry_run)
        zone = merged.schedule.timezone or self.document.settings.timezone
        return self._order(
            RunKind.BACKUP,
            task,
            merged.repositories,
            now,
            job=job,
            timezone=zone,
            wait=merged.wait if wait is None else wait,
            run=run,
        )

    def _expect(self, key: str, job: Job, set: str) -> dict[str, Expectation]:
        """What a backup of one of a job's sets should find, by repository."""
        return {name: self.record.expect(SetOf(name, self.host, key, set)) for name in job.repositories}

    def save_copy(
        self, copy: Path, copied: Step, repository: str, now: datetime, *, run: str, wait: timedelta | None
    ) -> Assignment:
        """Save a copy of the hub's own database, which it has just made, into a repository."""
        job = Job(sources=(PathSource(path=os.fsencode(copy)),), repositories=(repository,))
        expected = {repository: self.record.expect(SetOf(repository, self.host, HUB_JOB, HUB_JOB))}
        task = BackupTask(job=job, set=HUB_JOB, expected=expected)
        kind = RunKind.MAINTENANCE
        order = self._order(kind, task, (repository,), now, job=HUB_JOB, wait=wait, run=run)
        return order.model_copy(update={"done_before": (copied,)})

    def maintain(
        self,
        task: Task,
        repository: str,
        now: datetime,
        *,
        job: str | None = None,
        wait: timedelta | None = None,
        run: str | None = None,
    ) -> Assignment:
        """Do one thing to one repository."""
        return self._order(RunKind.MAINTENANCE, task, (repository,), now, job=job, wait=wait, run=run)

    def task_for(
        self, order: RunOrder, key: str, lists: Callable[[], list[Snapshot]]
    ) -> tuple[Task, str | None]:
        """What is to be done to a repository, where that needs no plan; and the job that it is about, if any.

        `lists` is asked what the repository holds where the record knows of nothing there. Raises NotAllowed, and
        Unknown where there is nothing to verify.
        """
        repository = self.document.repositories[key]
        if order.verb.deletes and order.task != "unlock":
            demand_right_to_delete(key, repository)
        match order.task:
            case "check":
                return CheckTask(
                    repository=key, slice=next_slice(self.record, key, repository, order.subset)
                ), None
            case "unlock":
                return UnlockTask(repository=key, remove_all=order.remove_all), None
            case "key-add" | "key-rotate":
                act = order.task.removeprefix("key-")
                told = {"new": order.new, "name": order.key_name, "of_admin": order.of_admin}
                return KeyTask.model_validate({"repository": key, "act": act, **told}), None
            case "key-remove":
                return KeyTask(repository=key, act="remove", id=order.key_id), None
            case "verify":
                snapshot, job, confirmed = self._snapshot_to_verify(order, key, lists)
                markers = self._markers_of(job)
                set = self.record.find_set_of(key, snapshot)
                streams = effective_job(self.document, job).streams if job in self.document.jobs else ()
                printed = self.record.find_printed(key, snapshot)
                return VerifyTask(
                    repository=key,
                    snapshot_id=snapshot,
                    all_data=order.all_data,
                    stream=printed is not None or any(one.set == set for one in streams),
                    printed=printed,
                    markers=markers,
                    unconfirmed=not confirmed,
                ), job
        assert order.verb.is_plain_on("repository"), f"{order.task} needs a plan"
        return PlainTask(type=order.task, repository=key), None

    def has_to_list(self, order: RunOrder, key: str) -> bool:
        """Whether `task_for` will ask what the repository holds."""
        is_named = order.task != "verify" or order.snapshot is not None
        return not is_named and self._find_newest(key, order.job) is None

    def _snapshot_to_verify(
        self, order: RunOrder, key: str, lists: Callable[[], list[Snapshot]]
    ) -> tuple[str, str | None, bool]:
        """The snapshot that was named, or the newest one of the job, or of any; whose it is, and whether that is sure.

        Where the record knows of none (it was lost, or this machine is new) the repository is asked, and tags tell.
        """
        if order.snapshot is not None:
            return order.snapshot, order.job, True
        found = self._find_newest(key, order.job)
        if found is None:
            listing = lists()
            self.record.take_listing(key, listing, utc_now())
            found = self._find_newest(key, order.job)
            tagged = [one for one in listing if order.job is not None and self._is_tagged(one, order.job)]
            if found is None and tagged:
                return max(tagged, key=lambda one: one.time).id, order.job, False
        if found is None:
            whose = order.job or "anybody"
            raise Unknown(
                f"{key} has no snapshot of {whose} to test",
                code="snapshot_unknown",
                hint="back up first: highball run",
            )
        return *found, True

    def _find_newest(self, key: str, job: str | None) -> tuple[str, str] | None:
        sets = self.record.list_sets(job=job, repository=key)
        found = [(of, snapshot) for of in sets for snapshot in self.record.list_own(of)[:1]]
        if not found:
            return None
        of, newest = max(found, key=lambda one: one[1].time)
        together = [one for one in found if newest.run is not None and one[1].run == newest.run]
        if len(together) > 1:  # the sets of a job take turns
            of, newest = min(together, key=lambda one: self.record.find_last_tested(one[0]) or _NEVER)
        return newest.id, of.job

    def _is_tagged(self, snapshot: Snapshot, job: str) -> bool:
        """Whether a snapshot says that it is this job's on this host, by any key that they have or had."""
        hosts = (self.host, *self.former.of("host", self.host))
        return snapshot.host in hosts and snapshot.job in (job, *self.former.of("job", job))

    def _markers_of(self, job: str | None) -> tuple[str, ...]:
        """By which files folders are left out of what a job saves."""
        declared = job in self.document.jobs
        return (
            MARKER_OF_CACHES,
            *(effective_job(self.document, job).exclude_if_present if job and declared else ()),
        )

    def bring_back(
        self,
        task: Task,
        repository: str,
        now: datetime,
        *,
        job: str | None,
        wait: timedelta | None = None,
        run: str | None = None,
    ) -> Assignment:
        """Restore from one repository."""
        return self._order(RunKind.RESTORE, task, (repository,), now, job=job, wait=wait, run=run)

    def _order(
        self,
        kind: RunKind,
        task: Task,
        repositories: tuple[str, ...],
        now: datetime,
        *,
        job: str | None,
        timezone: str | None = None,
        wait: timedelta | None = None,
        run: str | None = None,
    ) -> Assignment:
        identities = self.record.list_identities()
        others = {id: key for key, id in identities.items() if key in self.document.repositories}
        if all(key in identities for key in repositories):
            others = {}
        return Assignment(
            run=run or new_run_id(now, secrets.randbits(74)),
            kind=kind,
            job=job,
            host=self.host,
            timezone=timezone or self.document.settings.timezone,
            task=task,
            repositories={key: self.document.repositories[key] for key in repositories},
            identities={key: identities[key] for key in repositories if key in identities},
            others=others,
            wait=timedelta(hours=1) if wait is None else wait,
            former_jobs=self.former.of("job", job),
            former_hosts=self.former.of("host", self.host),
            created_at=now,
        )
