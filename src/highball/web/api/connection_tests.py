"""Repositories and jobs tried out from the hosts that use them: can they be used, and what helps if not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from highball.config.document import effective_job
from highball.config.job import Job
from highball.config.keys import Key
from highball.config.references import Spec
from highball.config.repository import Repository
from highball.errors import Failed, HighballError
from highball.hub.agents.pending_queries import each_of
from highball.hub.agents.remote_repository import AskedOverWire
from highball.hub.audit import Actor
from highball.hub.hub import Hub
from highball.hub.runs.ingest import SetOf
from highball.hub.runs.record import utc_now
from highball.humanize import counted
from highball.model.fact import Fact
from highball.model.snapshot import FILES_SET
from highball.model.text import PathText, UtcTime
from highball.protocol.queries import (
    SampledNames,
    SampleNames,
    TestRepository,
    TestSources,
)
from highball.secret import SecretValue
from highball.web.authorize import Admin, Runs
from highball.web.dependencies import TheHub
from highball.web.disconnect import while_asked
from highball.web.error_responses import ASKED_IN_VAIN

TEST_SECONDS = 60.0

UNSAVED = "unsaved"
"""What a repository is called that has no key yet."""


class ContentAnswer(Fact):
    """Whether a job's newest snapshot holds what its host has now, told by a sample of its names: `state` is
    same, few (less than half are there), none, or unknown, where nobody could look."""

    state: Literal["same", "few", "none", "unknown"]
    message: str
    snapshot: str
    sampled: int = 0
    found: int = 0


class StorageAnswer(Fact):
    """A folder as storage for a repository; of one that is not there yet, what is known of the nearest above it."""

    exists: bool
    is_folder: bool = True
    entries: int = 0
    writable: bool
    free_bytes: int
    with_system: bool
    """Whether it lies on the same disk as the system."""


class RepositoryTestAnswer(Fact):
    """How a repository was found, and from where; `action` is what helps: init, unlock, retry or null."""

    host: str
    state: str
    message: str
    hint: str | None = None
    action: str | None = None
    milliseconds: int
    snapshots: int | None = None
    newest_at: UtcTime | None = None
    restic: str | None = None
    storage: StorageAnswer | None = None
    """Where it is a folder of that host: what there is."""
    admin: RepositoryTestAnswer | None = None
    """How the access was found that may delete, where there is one."""
    content: ContentAnswer | None = None
    """Of a job's test: its newest snapshot there beside its sources."""


class SourceTestAnswer(Fact):
    """How a source of a job was found."""

    path: PathText
    title: str | None = None
    """What people call it, where it is no path."""
    sound: bool
    code: str | None = None
    message: str | None = None


class JobTestAnswer(Fact):
    """How a job's sources and repositories were found, and from where."""

    host: str
    sources: tuple[SourceTestAnswer, ...]
    repositories: dict[str, RepositoryTestAnswer]


class UnsavedRepository(BaseModel):
    """A repository as it would be declared, with the values that would be sealed for it."""

    model_config = ConfigDict(extra="forbid")

    spec: Spec
    secrets: dict[
        Annotated[str, Field(max_length=120)], Annotated[SecretStr, Field(max_length=64 * 1024)]
    ] = Field(
        {}, description="by the names of their fields, as password; others are those sealed for its key"
    )
    key: Key = Field(UNSAVED, description="whose identity and sealed secrets it has, where it is declared")


router = APIRouter(prefix="/api/v1", tags=["repositories"], responses=ASKED_IN_VAIN)


@router.post("/repositories/test")
async def test_unsaved(
    hub: TheHub, request: Request, unsaved: UnsavedRepository, actor: Admin
) -> RepositoryTestAnswer:
    """Whether a repository could be used if it were declared so, by each access; nothing is kept but in the audit.

    A secret that is sealed for its key is used where it was entered for the same server, port and user; else
    `secrets` has to hold it.
    """
    secrets = {name: value.get_secret_value() for name, value in unsaved.secrets.items()}
    return await while_asked(request, try_unsaved(hub, unsaved.key, unsaved.spec, secrets, actor))


@router.post("/repositories/{key}/test")
async def test(hub: TheHub, request: Request, key: str, _: Runs) -> RepositoryTestAnswer:
    """Whether a repository can be used, from the host that maintains it, by each access that it has."""
    return await while_asked(request, try_each(hub, key))


@router.post("/jobs/{key}/test")
async def test_job(
    hub: TheHub,
    request: Request,
    key: str,
    _: Runs,
    content: Annotated[
        bool, Query(description="also ask whether its newest snapshots hold what its host has now")
    ] = True,
) -> JobTestAnswer:
    """Whether a job's sources are sound and its repositories can be used, from its host."""
    job = await asyncio.to_thread(lambda: effective_job(hub.document(), key))
    return await while_asked(request, try_job(hub, job, key if content else None))


async def try_job(hub: Hub, job: Job, key: str | None = None) -> JobTestAnswer:
    """How a job's sources and repositories are found from its host; with its key the content of its newest snapshots
    is compared as well."""
    host = job.host or hub.host
    found, *tested = await each_of(
        [
            hub.fleet.ask(host, TestSources(job=job)),
            *(_try_for_job(hub, name, host, key) for name in job.repositories),
        ]
    )
    sources = tuple(SourceTestAnswer.model_validate(source) for source in found)
    repositories = dict(zip(job.repositories, tested, strict=True))
    return JobTestAnswer(host=host, sources=sources, repositories=repositories)


async def _try_for_job(hub: Hub, repository: str, host: str, key: str | None) -> RepositoryTestAnswer:
    tested = await try_out(hub, await asyncio.to_thread(hub.repositories.asked, repository), host)
    if key is None or tested.state != "existing":
        return tested
    content = await _compare_content(hub, SetOf(repository, host, key, FILES_SET))  # a stream is nowhere else
    return tested.model_copy(update={"content": content})


async def _compare_content(hub: Hub, of: SetOf) -> ContentAnswer | None:
    """A sample of the newest snapshot's names beside what its host has; None without a snapshot that holds any."""
    own = await asyncio.to_thread(hub.record.list_own, of)
    if not own:
        return None
    newest = own[0].id
    asked = await asyncio.to_thread(hub.repositories.asked, of.repository)
    question = SampleNames(snapshot=newest, **asked.about())
    try:
        found = await hub.fleet.ask(of.host, question, TEST_SECONDS, dict(asked.sealed))
    except HighballError as error:
        return ContentAnswer(state="unknown", message=error.message, snapshot=newest)
    return _judge_content(SampledNames.model_validate(found), newest)


def _judge_content(names: SampledNames, snapshot: str) -> ContentAnswer | None:
    if not names.sampled:
        return None
    told = f"{names.found} of {counted(names.sampled, 'name')} of snapshot {snapshot[:8]} are still there"
    state: Literal["same", "few", "none"] = "same"
    if not names.found:
        state, told = (
            "none",
            f"nothing of snapshot {snapshot[:8]} is where it was: is this still the same source?",
        )
    elif names.found * 2 < names.sampled:
        state, told = "few", f"only {told}"
    return ContentAnswer(
        state=state, message=told, snapshot=snapshot, sampled=names.sampled, found=names.found
    )


async def try_unsaved(
    hub: Hub, key: str, spec: Spec, secrets: Mapping[str, str], actor: Actor
) -> RepositoryTestAnswer:
    """How a repository is found that somebody would declare so, by each access that it would have; who tried which
    server is in the audit.

    Raises ConfigurationInvalid.
    """
    values = {name: SecretValue(value.encode("utf-8", "replace")) for name, value in secrets.items()}

    def judge() -> Iterator[AskedOverWire]:
        repository = hub.documents.rehearse("repository", key, spec).repositories[key]
        everyday = hub.repositories.asked_unsaved(key, repository, values)
        _note_tried(hub, key, repository, actor)
        yield everyday
        if repository.has_admin:
            yield hub.repositories.asked_unsaved(key, repository, values, admin=True)

    return await _try_by_each(hub, await asyncio.to_thread(lambda: [*judge()]))


def _note_tried(hub: Hub, key: str, repository: Repository, actor: Actor) -> None:
    servers = repository.endpoints()
    hub.access.note(
        actor, "tested_unsaved", utc_now(), kind="repository", key=key, after={"servers": sorted(servers)}
    )


async def try_each(hub: Hub, key: str) -> RepositoryTestAnswer:
    """How a declared repository is found from the host that maintains it, by each access that it has."""

    def judge() -> Iterator[AskedOverWire]:
        yield hub.repositories.asked(key)
        if hub.repositories.get(key).has_admin:
            yield hub.repositories.asked(key, admin=True)

    found = await _try_by_each(hub, await asyncio.to_thread(lambda: [*judge()]))
    each = [one for one in (found, found.admin) if one is not None]
    lost = next((one for one in each if one.state in ("wrong_password", "gone", "changed", "twice")), None)
    if lost is not None or all(one.state in ("existing", "empty", "locked") for one in each):
        await asyncio.to_thread(hub.record.note_test, key, lost.message if lost else None, utc_now())
        hub.bus.news.publish("object", key)
    return found


async def _try_by_each(hub: Hub, asked: Sequence[AskedOverWire]) -> RepositoryTestAnswer:
    """How a repository is found by its everyday access, and by the one that may delete where that is asked too."""
    everyday, *by_admin = [await try_out(hub, one) for one in asked]
    return everyday.model_copy(update={"admin": by_admin[0]}) if by_admin else everyday


async def try_out(hub: Hub, asked: AskedOverWire, host: str | None = None) -> RepositoryTestAnswer:
    """How a repository is found from the host that maintains it, or from another."""
    where = host or asked.host
    question = TestRepository(**asked.about())
    begun = utc_now()
    try:
        found = await hub.fleet.ask(where, question, TEST_SECONDS, dict(asked.sealed))
    except Failed as error:
        if error.code != "timeout":
            raise
        took = round((utc_now() - begun).total_seconds() * 1000)
        return RepositoryTestAnswer(
            host=where, state="unreachable", message=error.message, action="retry", milliseconds=took
        )
    return RepositoryTestAnswer(host=where, **found)
