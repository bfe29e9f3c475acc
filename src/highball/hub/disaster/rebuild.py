"""The way back without the hub's database: what the repositories' snapshots tell of the jobs that made them.

Snapshots tell a job's key, host and paths, not its schedule, excludes or hooks: what is made of them is a skeleton,
disabled, for a person to complete. A tag alone proves nothing, so no snapshot is governed, and none is ever
removed, until a person has confirmed the job it belongs to.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from pathlib import PurePath
from typing import Any

import sqlalchemy as sa

from highball.config.document import HUB_JOB
from highball.config.job import Job
from highball.config.object_keys import key_from
from highball.hub.audit import Actor, write_down
from highball.hub.retention.adoption import own_set_of, take_in
from highball.hub.storage.database import Database, new_run_id
from highball.hub.storage.dialects import BACKUP_NAMES
from highball.hub.storage.schema import objects, revisions
from highball.model.snapshot import (
    Node,
    NodeKind,
    Snapshot,
)
from highball.model.text import path_to_text
from highball.source.spelling import lies_inside

FROM_REBUILD = "rebuild"


UNKNOWN_COMMAND = "echo 'no snapshot tells what printed this: write the command again' >&2; exit 1"
"""In place of a command that has to be written again: it fails, so that nobody takes it for one."""


@dataclass(frozen=True)
class Skeleton:
    """A job as its snapshots tell of it: the newest says which host and paths, all of them which repositories."""

    key: str
    host: str
    sources: tuple[bytes, ...]
    streams: tuple[str, ...]
    """Names of files that held what commands printed; no snapshot tells which commands."""
    repositories: tuple[str, ...]
    snapshots: int
    newest_at: datetime

    @property
    def spec(self) -> dict[str, Any]:
        """What is declared of it: disabled."""
        of_host = {"host": self.host} if "host" in Job.model_fields else {}
        return {
            "title": f"{self.key} of {self.host}, found again",
            "enabled": False,
            **of_host,
            "sources": [
                *(path_to_text(path) for path in self.sources),
                *({"run": UNKNOWN_COMMAND, "name": name} for name in self.streams),
            ],
            "repositories": list(self.repositories),
        }


# --- finding -------------------------------------------------------------------------------------


def find_skeletons(listing: Iterable[Snapshot], known: Iterable[str] = ()) -> list[Skeleton]:
    """The jobs that made these snapshots of one or more repositories, without those that are known."""
    passed_over = {HUB_JOB, *known}
    by_job: dict[str, list[Snapshot]] = {}
    for snapshot in sorted(listing, key=lambda one: (one.time, one.id)):
        job = snapshot.job
        if job is not None and key_from(job) == job and job not in passed_over and snapshot.paths:
            by_job.setdefault(job, []).append(snapshot)
    return [_skeleton(job, found) for job, found in sorted(by_job.items())]


def _skeleton(job: str, found: Sequence[Snapshot]) -> Skeleton:
    files = [snapshot for snapshot in found if not snapshot.is_stream]
    newest = (files or found)[-1]
    streams = {snapshot.set: os.fsdecode(snapshot.paths[0][1:]) for snapshot in found if snapshot.is_stream}
    return Skeleton(
        key=job,
        host=newest.host,
        sources=_outermost(files[-1].paths) if files else (),
        streams=tuple(streams.values()),
        repositories=tuple(sorted({snapshot.repository for snapshot in found})),
        snapshots=len(found),
        newest_at=newest.time,
    )


def _outermost(paths: Sequence[bytes]) -> tuple[bytes, ...]:
    """The paths that lie in no other one of them: a job may not name both."""
    unique = dict.fromkeys(paths)
    return tuple(p for p in unique if not any(o != p and lies_inside(p, o) for o in unique))


def find_copy(listing: Iterable[Snapshot]) -> Snapshot | None:
    """The newest snapshot that holds a copy of the hub itself."""
    copies = [snapshot for snapshot in listing if snapshot.job == HUB_JOB]
    return max(copies, key=lambda snapshot: snapshot.time, default=None)


def find_copy_within(nodes: Iterable[Node]) -> bytes | None:
    """The path of the newest copy among a snapshot's entries; their names are sorted by time."""
    found = [node.path for node in nodes if node.kind is NodeKind.FILE and _is_copy(node.path)]
    return max(found, key=lambda path: path.rpartition(b"/")[2], default=None)


def _is_copy(path: bytes) -> bool:
    return fnmatch(PurePath(path.decode("utf-8", "replace")).name, BACKUP_NAMES)


# --- declaring -----------------------------------------------------------------------------------


def store_skeletons(
    database: Database,
    found: Iterable[Skeleton],
    now: datetime,
    actor: Actor,
    repositories: Mapping[str, dict[str, Any]] | None = None,
) -> list[str]:
    """Store these jobs, and repositories that were named for the search; those that are there stay as they are.

    Returns the keys of the jobs that were made.
    """
    made = []
    with database.write() as connection:
        for key, spec in (repositories or {}).items():
            _store(connection, "repository", key, spec, now, actor)
        for skeleton in found:
            if _store(connection, "job", skeleton.key, skeleton.spec, now, actor):
                made.append(skeleton.key)
    return made


def _store(
    connection: sa.Connection, kind: str, key: str, spec: dict[str, Any], now: datetime, actor: Actor
) -> bool:
    here = (objects.c.kind == kind) & (objects.c.key == key)
    row = connection.execute(sa.select(objects.c.revision, objects.c.deleted_at).where(here)).first()
    if row is not None and row.deleted_at is None:
        return False
    revision = 1 if row is None else row.revision + 1
    told = {"title": spec.get("title"), "spec": spec, "revision": revision, "changed_at": now}
    told |= {"origin": FROM_REBUILD, "deleted_at": None}
    if row is None:
        id = new_run_id(now, secrets.randbits(74))
        connection.execute(objects.insert().values(kind=kind, key=key, id=id, former_keys=[], **told))
    else:
        connection.execute(objects.update().where(here).values(**told))
    what = "created" if row is None else "restored"
    facts = {"kind": kind, "key": key, "revision": revision, "at": now, "actor": actor.name}
    connection.execute(revisions.insert().values(**facts, spec=spec, what=what))
    write_down(connection, actor, what, now, kind=kind, key=key, after=spec, message="found in repositories")
    return True


def as_toml(found: Iterable[Skeleton], repositories: Mapping[str, dict[str, Any]] | None = None) -> str:
    """The same for a configuration file."""
    lines: list[str] = []
    for key, spec in (repositories or {}).items():
        lines += [f"[repositories.{_toml(key)}]", *(f"{name} = {_toml(spec[name])}" for name in spec), ""]
    for skeleton in found:
        lines += [f"[jobs.{_toml(skeleton.key)}]"]
        lines += [f"{name} = {_toml(value)}" for name, value in skeleton.spec.items()]
        lines += ["# schedule, exclude, retention and hooks are not in a snapshot", ""]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(held)}" for name, held in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f]", lambda match: f"\\u{ord(match[0]):04x}", text)


# --- confirming ----------------------------------------------------------------------------------


def adopt(
    database: Database, listing: Iterable[Snapshot], jobs: Iterable[str], now: datetime, actor: Actor
) -> dict[str, int]:
    """A person says that these jobs' snapshots are ours: from now on they are governed. How many became so, by job."""
    counts = dict.fromkeys(jobs, 0)
    with database.write() as connection:
        for snapshot in listing:
            if snapshot.job not in counts:
                continue
            of = own_set_of(snapshot)
            if of is not None and take_in(connection, snapshot, of, actor):
                counts[snapshot.job] += 1
        for job, count in counts.items():
            message = f"{count} snapshots found in repositories"
            write_down(connection, actor, "adopted", now, kind="job", key=job, message=message)
    return counts
