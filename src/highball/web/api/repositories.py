"""Repositories and hosts as they are now: tested, listed, asked what retention would remove; nothing is changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import timedelta
from functools import partial
from shlex import quote
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as Named
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from highball.errors import Failed, HighballError
from highball.facts import Difference, Fact, Lock, Node, PathText, Snapshot, UtcTime
from highball.hub.asking import AskedOverWire
from highball.hub.audit import Actor
from highball.hub.backlog import RestoreWish
from highball.hub.fleet import ENROLMENT
from highball.hub.hub import Hub
from highball.hub.runs import RepositoryDay, SetOf, utc_now
from highball.keeping import Plan
from highball.protocol import (
    FILES_SET,
    Browse,
    Dump,
    Flowing,
    ListNodes,
    Measure,
    Measured,
    RestorePlan,
    SampledNames,
    SampleNames,
    TestRepository,
    TestSources,
)
from highball.secret import SecretValue
from highball.spec.access import Role
from highball.spec.document import effective_job
from highball.spec.job import Job
from highball.spec.key import Key
from highball.spec.references import Spec
from highball.web.problems import ASKED_IN_VAIN
from highball.web.who import demand
from highball.words import counted

Sees = Annotated[Actor, Depends(demand(Role.VIEWER))]
Runs = Annotated[Actor, Depends(demand(Role.OPERATOR))]
Admin = Annotated[Actor, Depends(demand(Role.ADMIN))]

SnapshotId = Annotated[str, Named(pattern="^[0-9a-f]{4,64}$")]
InQuery = Annotated[str, Query(pattern="^[0-9a-f]{4,64}$")]


def _read_path(request: Request, path: Annotated[str | None, Query(max_length=4096)] = None) -> bytes | None:
    """The path of this request, byte for byte as it was percent-encoded: names are not always UTF-8."""
    if path is None:
        return None
    query = request.scope["query_string"].decode("utf-8", "surrogateescape")
    given: dict[str, str] = dict(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))
    return given["path"].encode("utf-8", "surrogateescape")


ByPath = Annotated[bytes | None, Depends(_read_path)]

TEST_SECONDS = 60.0
GRACE_SECONDS = 20.0
"""What bounds itself may take so much longer to begin and to answer."""

UNSAVED = "unsaved"
"""What a repository is called that has no key yet."""


class HostAnswer(Fact):
    """A host's agent: whether it is connected, and what it said of itself."""

    key: str
    connected: bool
    connected_since: UtcTime | None = None
    clock_skew_seconds: float | None = None
    program: str | None = None
    facts: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it


class InvitationAnswer(Fact):
    """A one-time token by which an agent becomes a host's, and the line to type on that machine."""

    host: str
    token: str
    expires_at: UtcTime
    line: str


class ContentAnswer(Fact):
    """Whether a job's newest snapshot holds what its host has now, told by a sample of its names: `state` is
    same, few (less than half are there), none, or unknown, where nobody could look."""

    state: Literal["same", "few", "none", "unknown"]
    message: str
    snapshot: str
    sampled: int = 0
    found: int = 0


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
    admin: RepositoryTestAnswer | None = None
    """How the access was found that may delete, where there is one."""
    content: ContentAnswer | None = None
    """Of a job's test: its newest snapshot there beside its sources."""


class SourceTestAnswer(Fact):
    """How a source of a job was found."""

    path: PathText
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


def make_router(hub: Hub) -> APIRouter:
    """The addresses that ask agents."""
    router = APIRouter(prefix="/api/v1", tags=["repositories"], responses=ASKED_IN_VAIN)

    @router.get("/agents")
    def list_agents(_: Sees) -> list[HostAnswer]:
        """The agents of this hub, connected or not."""
        return [_host(hub, key) for key in sorted({hub.host, *hub.fleet.list_enrolled()})]

    @router.post("/hosts/{host}/invitation", status_code=201)
    def invite(host: str, actor: Admin, request: Request) -> InvitationAnswer:
        """A one-time invitation for the agent of a host, and the line to type there; it counts for an hour."""
        now = utc_now()
        token = hub.invite(host, actor, now)
        url = str(request.base_url).rstrip("/")
        # By standard input: everybody on a machine may read the arguments of its programs.
        line = f"printf %s {token} | highball agent --join {quote(url)}"
        return InvitationAnswer(host=host, token=token, expires_at=now + ENROLMENT, line=line)

    @router.get("/hosts/{host}/browse")
    async def browse(host: str, _: Runs, path: ByPath) -> Any:
        """What lies in a folder of a host."""
        return await hub.fleet.ask(host, Browse(path=path or b"/"))

    @router.post("/hosts/{host}/measure")
    async def measure(host: str, wish: Measure, _: Runs) -> Measured:
        """How much lies in folders of a host, and how much of it each pattern leaves out; nothing is kept."""
        return await measure_on(hub, host, wish)

    @router.post("/repositories/test")
    async def test_unsaved(unsaved: UnsavedRepository, _: Admin) -> RepositoryTestAnswer:
        """Whether a repository could be used if it were declared so; nothing is kept."""
        secrets = {name: value.get_secret_value() for name, value in unsaved.secrets.items()}
        return await try_unsaved(hub, unsaved.key, unsaved.spec, secrets)

    @router.post("/repositories/{key}/test")
    async def test(key: str, _: Runs) -> RepositoryTestAnswer:
        """Whether a repository can be used, from the host that maintains it, by each access that it has."""
        return await try_each(hub, key)

    @router.post("/jobs/{key}/test")
    async def test_job(key: str, _: Runs) -> JobTestAnswer:
        """Whether a job's sources are sound and its repositories can be used, from its host."""
        return await try_job(hub, effective_job(hub.document(), key), key)

    @router.get("/repositories/{key}/snapshots")
    def list_snapshots(key: str, _: Sees) -> list[Snapshot]:
        """What a repository holds, of other tools too; newest first."""
        return hub.list_snapshots(key)

    @router.get("/repositories/{key}/locks")
    def list_locks(key: str, _: Sees) -> list[Lock]:
        """The locks in a repository, each with its owner."""
        return hub.dispatcher.asked(key).list_locks()

    @router.get("/repositories/{key}/snapshots/{snapshot}/folder", response_model_exclude_none=True)
    def list_folder(key: str, snapshot: SnapshotId, _: Sees, path: ByPath) -> list[Node]:
        """What a snapshot's folder holds."""
        return hub.dispatcher.asked(key).list_folder(snapshot, path or b"/")

    @router.get("/repositories/{key}/snapshots/{snapshot}/nodes", **_flows("application/x-ndjson"))
    async def list_nodes(key: str, snapshot: SnapshotId, _: Sees, path: ByPath) -> StreamingResponse:
        """Everything that a snapshot holds, or only a folder of it, as it is listed: one JSON object a line."""
        asked = hub.dispatcher.asked(key)
        question = ListNodes(snapshot=snapshot, path=path, **asked.about())
        return await _flow(hub, asked, question, "application/x-ndjson")

    @router.get("/repositories/{key}/snapshots/{snapshot}/content", **_flows("application/octet-stream"))
    async def read_content(key: str, snapshot: SnapshotId, _: Runs, path: ByPath) -> StreamingResponse:
        """The content of a file, or a folder as a tar archive; an answer that ends early was cut short."""
        asked = hub.dispatcher.asked(key)
        question = Dump(snapshot=snapshot, path=path or b"/", **asked.about())
        return await _flow(hub, asked, question, "application/octet-stream")

    @router.get("/repositories/{key}/differences")
    def compare(key: str, old: InQuery, new: InQuery, _: Sees) -> list[Difference]:
        """What differs between two snapshots."""
        return hub.dispatcher.asked(key).compare(old, new)

    @router.post("/restores/preview")
    def preview_restore(wish: RestoreWish, _: Runs) -> RestorePlan:
        """What a restore would do on the machine it goes to; nothing is touched, and nothing recorded."""
        return hub.plan_restore(wish)

    @router.get("/repositories/{key}/retention")
    def preview_retention(
        key: str, _: Sees, job: str | None = None, approve: str | None = None
    ) -> list[Plan]:
        """What retention would remove now, and why each snapshot stays; one plan for each set.

        `approve` shows them as they would be if a person had approved the plan with this id.
        """
        return hub.dispatcher.plan(key, job, approve)

    @router.get("/repositories/{key}/trend")
    def trend(key: str, _: Sees, days: Annotated[int, Query(ge=1, le=3660)] = 90) -> list[RepositoryDay]:
        """What a repository held at the end of each of the last days, as far as it was measured; oldest first."""
        hub.dispatcher.find_repository(key)
        return hub.record.list_days(key, utc_now().date() - timedelta(days=days))

    return router


async def measure_on(hub: Hub, host: str, wish: Measure) -> Measured:
    """What sources of a host hold, as far as it can be seen in the time; raises HighballError."""
    return Measured.model_validate(await hub.fleet.ask(host, wish, wish.seconds + GRACE_SECONDS))


def _flows(media_type: str) -> dict[str, Any]:
    """What an address says of itself that answers as an agent tells it."""
    told = {200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}}
    return {"response_class": StreamingResponse, "responses": told}


async def _flow(hub: Hub, asked: AskedOverWire, question: Flowing, media_type: str) -> StreamingResponse:
    """An answer as it comes; what is wrong before its first piece is told as every problem is."""
    pieces = hub.fleet.read(asked.host, question, dict(asked.sealed))
    first = await anext(pieces, b"")
    return StreamingResponse(_pass_on(first, pieces), media_type=media_type)


async def _pass_on(first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece


def _host(hub: Hub, key: str) -> HostAnswer:
    connection = hub.fleet.find(key)
    if connection is None:
        return HostAnswer(key=key, connected=False)
    return HostAnswer(
        key=key,
        connected=True,
        connected_since=connection.since,
        clock_skew_seconds=round(connection.skew.total_seconds(), 3),
        program=connection.hello.program,
        facts=connection.hello.facts,
    )


async def try_job(hub: Hub, job: Job, key: str | None = None) -> JobTestAnswer:
    """How a job's sources and repositories are found from its host; without a key it is not declared yet."""
    host = job.host or hub.host
    found = await hub.fleet.ask(host, TestSources(job=job))
    repositories = {}
    for name in job.repositories:
        tested = await try_out(hub, hub.dispatcher.asked(name), host)
        if key is not None and tested.state == "existing":
            content = await _compare_content(hub, SetOf(name, host, key, FILES_SET))
            tested = tested.model_copy(update={"content": content})
        repositories[name] = tested
    sources = tuple(SourceTestAnswer.model_validate(source) for source in found)
    return JobTestAnswer(host=host, sources=sources, repositories=repositories)


async def _compare_content(hub: Hub, of: SetOf) -> ContentAnswer | None:
    """A sample of the newest snapshot's names beside what its host has; None without a snapshot that holds any."""
    governed = await asyncio.to_thread(hub.record.list_governed, of)
    if not governed:
        return None
    newest = governed[0].id
    asked = await asyncio.to_thread(hub.dispatcher.asked, of.repository)
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


async def try_unsaved(hub: Hub, key: str, spec: Spec, secrets: Mapping[str, str]) -> RepositoryTestAnswer:
    """How a repository is found that somebody would declare so; raises ConfigurationInvalid."""

    def judge() -> AskedOverWire:
        repository = hub.documents.rehearse("repository", key, spec).repositories[key]
        values = {name: SecretValue(value.encode("utf-8", "replace")) for name, value in secrets.items()}
        return hub.dispatcher.asked_unsaved(key, repository, values)

    return await try_out(hub, await asyncio.to_thread(judge))


async def try_each(hub: Hub, key: str) -> RepositoryTestAnswer:
    """How a declared repository is found from the host that maintains it, by each access that it has."""
    asked = await asyncio.to_thread(hub.dispatcher.asked, key)
    found = await try_out(hub, asked)
    if asked.repository.admin is None:
        return found
    by_admin = await asyncio.to_thread(partial(hub.dispatcher.asked, key, admin=True))
    return found.model_copy(update={"admin": await try_out(hub, by_admin)})


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
