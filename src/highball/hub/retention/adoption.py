"""Adoption: snapshots that no known run made, in groups, and a person who says whose they are.

What is adopted is governed by a job's retention from then on, until it is released again. Adoptions lie in the
record alone: nothing in a repository is changed by them, and nothing removed. What a plan removes later has passed
every guard; the first that removes what carries no tags of ours waits for a person, and the policy then goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from highball.config.document import effective_job
from highball.config.job import Job
from highball.config.object_keys import key_from
from highball.engine.tags import without_run
from highball.errors import Misuse, Unknown
from highball.hub.audit import Actor, write_down
from highball.hub.retention.planner import Retainer, RetentionQueries
from highball.hub.runs.ingest import LONGEST_ID, SetOf
from highball.hub.storage.database import Database
from highball.hub.storage.schema import snapshots
from highball.model.snapshot import FILES_SET, ForeignGroup, Snapshot
from highball.retention import Plan

HUB = "hub"
"""The job of the hub's copies of itself, a key that no other job has: these are nobody's to adopt."""


@dataclass(frozen=True)
class Adoption:
    """Adopts and releases by the Document and the record, in one repository that `asked` answers for."""

    database: Database
    retainer: Retainer
    host: str
    """The machine of jobs that name no other."""
    repository: str
    asked: RetentionQueries
    skew: timedelta | None = None
    """How far the clock of the agent that is asked is from ours."""

    def list_groups(self) -> list[ForeignGroup]:
        """The snapshots that no known run made, alike ones together; also those that a person adopted."""
        return [_as_group(found, known) for found, known in self._sort(self._list())]

    def list_sets(self, group: str, job: str) -> list[SetOf]:
        """The sets of a job that would get some of a group."""
        return [*self._by_set(self._find(group, adopted=False), job)]

    def preview(
        self, group: str, job: str, now: datetime, looks: Mapping[SetOf, RetentionQueries] | None = None
    ) -> list[Plan]:
        """What the job's retention would do once it governs a group; one plan for each set that gets some of it.

        `looks` answer for the sets, where they were looked at beforehand.
        """
        found = self._find(group, adopted=False)
        return [
            self.retainer.plan(of, (looks or {}).get(of, self.asked), now, skew=self.skew, also=given)
            for of, given in self._by_set(found, job).items()
        ]

    def adopt(self, group: str, job: str, now: datetime, actor: Actor) -> ForeignGroup:
        """Let the job's retention govern a group; the group as it is then."""
        found = self._find(group, adopted=False)
        sets = self._by_set(found, job)
        with self.database.write() as connection:
            for of, given in sets.items():
                for snapshot in given:
                    take_in(connection, snapshot, of, actor, tagged=self._own_set_of(snapshot, job) == of)
            told = {"repository": self.repository, "group": group, "snapshots": [one.id for one in found]}
            write_down(connection, actor, "adopted", now, kind="job", key=job, after=told)
        return _as_group(found, _Whose(job, actor.name))

    def release(self, group: str, now: datetime, actor: Actor) -> ForeignGroup:
        """Let nobody govern a group any more; the group as it is then."""
        found = self._find(group, adopted=True)
        ids = [snapshot.id for snapshot in found]
        with self.database.write() as connection:
            jobs = sorted(
                {whose.job or "" for whose in _list_known(connection, self.repository, ids).values()}
            )
            _drop(connection, self.repository, ids)
            told = {"repository": self.repository, "group": group, "snapshots": ids}
            for job in jobs:
                write_down(connection, actor, "released", now, kind="job", key=job, before=told)
        return _as_group(found, _NOBODYS)

    # --- finding ---

    def _list(self) -> list[Snapshot]:
        listing = self.asked.list_snapshots()
        self.retainer.record.follow(self.repository, listing)
        return listing

    def _sort(self, listing: Iterable[Snapshot]) -> list[tuple[list[Snapshot], _Whose]]:
        """The listing without what runs made, by group and by whose it is; the newest of each last."""
        ordered = sorted((one for one in listing if one.job != HUB), key=lambda one: (one.time, one.id))
        with self.database.read() as connection:
            known = _list_known(connection, self.repository, [snapshot.id for snapshot in ordered])
        sorted_out: dict[tuple[str, _Whose], list[Snapshot]] = {}
        for snapshot in ordered:
            whose = known.get(snapshot.id, _NOBODYS)
            if whose.job is None or whose.adopted_by is not None:
                sorted_out.setdefault((group_of(snapshot), whose), []).append(snapshot)
        return [(found, whose) for (_, whose), found in sorted_out.items()]

    def _find(self, group: str, *, adopted: bool) -> list[Snapshot]:
        """The snapshots of a group that are adopted, or that are not; raises Unknown."""
        found = [
            snapshot
            for given, whose in self._sort(self._list())
            if group_of(given[0]) == group and (whose.job is not None) == adopted
            for snapshot in given
        ]
        if not found:
            what = "adopted snapshots" if adopted else "snapshots that are not adopted"
            raise Unknown(
                f"{self.repository} holds no {what} in a group {group}",
                code="group_unknown",
                hint=f"see the groups with: highball adopt {self.repository}",
            )
        return found

    def _by_set(self, found: Sequence[Snapshot], job: str) -> dict[SetOf, list[Snapshot]]:
        """Where snapshots belong once they are this job's; raises Unknown, and Misuse for a job not at home here."""
        merged = effective_job(self.retainer.document, job)
        if self.repository not in merged.repositories:
            raise Misuse(
                f"{job} does not back up to {self.repository}",
                code="repository_not_of_job",
                hint="only a job that keeps its own snapshots there can keep others",
            )
        usual = SetOf(self.repository, merged.host or self.host, job, _usual_set(merged))
        sets: dict[SetOf, list[Snapshot]] = {}
        for snapshot in found:
            sets.setdefault(self._own_set_of(snapshot, job) or usual, []).append(snapshot)
        return sets

    def _own_set_of(self, snapshot: Snapshot, job: str) -> SetOf | None:
        """The set of this job that a snapshot's tags and host say it is of, by the keys of today."""
        former = self.retainer.former
        of = own_set_of(snapshot)
        if of is None or former.now("job", of.job) != job:
            return None
        return replace(of, host=former.now("host", of.host), job=job)


def group_of(snapshot: Snapshot) -> str:
    """The id of a snapshot's group: a digest of host, tags and paths. Every run of ours has a tag of its own."""
    tags = sorted(without_run(snapshot.tags))
    text = json.dumps([snapshot.host, tags, sorted(map(repr, snapshot.paths))])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def own_set_of(snapshot: Snapshot) -> SetOf | None:
    """The set that a snapshot's own tags and host say it is of; None where they cannot be a set's."""
    if snapshot.job is None:
        return None
    of = SetOf(snapshot.repository, snapshot.host, snapshot.job, snapshot.set or FILES_SET)
    return of if key_from(of.host) == of.host and key_from(of.set) == of.set else None


@dataclass(frozen=True)
class _Whose:
    """Whose a snapshot is; without a name in `adopted_by` a run made it."""

    job: str | None = None
    adopted_by: str | None = None


_NOBODYS = _Whose()


def _as_group(found: Sequence[Snapshot], whose: _Whose) -> ForeignGroup:
    first, last = found[0], found[-1]
    return ForeignGroup(
        id=group_of(first),
        repository=first.repository,
        host=first.host,
        tags=without_run(first.tags),
        paths=first.paths,
        snapshots=len(found),
        oldest_at=first.time,
        newest_at=last.time,
        job=whose.job,
        adopted_by=whose.adopted_by,
    )


# --- in the record -------------------------------------------------------------------------------


def _here(repository: str, ids: Sequence[str]) -> Iterable[sa.ColumnElement[bool]]:
    for start in range(0, len(ids), 500):
        yield (snapshots.c.repository == repository) & snapshots.c.id.in_(ids[start : start + 500])


def _list_known(connection: sa.Connection, repository: str, ids: Sequence[str]) -> dict[str, _Whose]:
    """Whose these are, as far as the record counts on them; an adopted one that vanished is counted no more."""
    there = snapshots.c.forgotten_at.is_(None) & (
        snapshots.c.missing_since.is_(None) | snapshots.c.run.is_not(None)
    )
    found: dict[str, _Whose] = {}
    for here in _here(repository, ids):
        asked = sa.select(snapshots.c.id, snapshots.c.job, snapshots.c.adopted_by).where(here, there)
        found |= {row.id: _Whose(row.job, row.adopted_by) for row in connection.execute(asked)}
    return found


def take_in(
    connection: sa.Connection, snapshot: Snapshot, of: SetOf, actor: Actor, *, tagged: bool = True
) -> bool:
    """Govern a snapshot by a set's retention; false where it is governed already.

    `tagged`: its own tags and host say that it is of that set, so that every listing of the set shows it.
    """
    if snapshot.id in _list_known(connection, snapshot.repository, [snapshot.id]):
        return False
    _drop(connection, snapshot.repository, [snapshot.id])  # it was forgotten once, and is there all the same
    run = snapshot.run if tagged else None
    connection.execute(
        snapshots.insert().values(
            repository=of.repository,
            id=snapshot.id,
            host=of.host,
            job=of.job,
            set=of.set,
            run=run if run is not None and len(run) <= LONGEST_ID else None,
            time=snapshot.time,
            size_bytes=snapshot.size_bytes,
            shrank=False,
            adopted_by=actor.name,
        )
    )
    return True


def _drop(connection: sa.Connection, repository: str, ids: Sequence[str]) -> None:
    for here in _here(repository, ids):
        connection.execute(snapshots.delete().where(here))


def _usual_set(job: Job) -> str:
    """Where snapshots of another tool belong that say nothing of a set: they hold files, if the job has any."""
    return FILES_SET if FILES_SET in job.sets else job.sets[0]
