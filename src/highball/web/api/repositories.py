"""Repositories and hosts as they are now: tested, listed, asked what retention would remove; nothing is changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from highball.errors import Failed
from highball.facts import Fact, Lock, Node, PathText, Snapshot, UtcTime
from highball.hub.audit import Actor
from highball.hub.hub import Hub
from highball.hub.runs import RepositoryDay, utc_now
from highball.keeping import Plan
from highball.protocol import Browse, TestRepository, TestSources
from highball.spec.access import Role
from highball.spec.document import effective_job
from highball.web.problems import ASKED_IN_VAIN
from highball.web.who import demand

Sees = Annotated[Actor, Depends(demand(Role.VIEWER))]
Runs = Annotated[Actor, Depends(demand(Role.OPERATOR))]

TEST_SECONDS = 60.0


class HostAnswer(Fact):
    """A host's agent: whether it is connected, and what it said of itself."""

    key: str
    connected: bool
    connected_since: UtcTime | None = None
    clock_skew_seconds: float | None = None
    program: str | None = None
    facts: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it


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


def make_router(hub: Hub) -> APIRouter:
    """The addresses that ask agents."""
    router = APIRouter(prefix="/api/v1", tags=["repositories"], responses=ASKED_IN_VAIN)

    @router.get("/agents")
    def list_agents(_: Sees) -> list[HostAnswer]:
        """The agents of this hub, connected or not."""
        return [_host(hub, key) for key in sorted({hub.host, *hub.fleet.list_enrolled()})]

    @router.get("/hosts/{host}/browse")
    async def browse(host: str, _: Runs, path: Annotated[str, Query(max_length=4096)] = "/") -> Any:
        """What lies in a folder of a host."""
        return await hub.fleet.ask(host, Browse(path=path.encode("utf-8", "surrogateescape")))

    @router.post("/repositories/{key}/test")
    async def test(key: str, _: Runs) -> RepositoryTestAnswer:
        """Whether a repository can be used, from the host that maintains it."""
        return await _test(hub, key, None)

    @router.post("/jobs/{key}/test")
    async def test_job(key: str, _: Runs) -> JobTestAnswer:
        """Whether a job's sources are sound and its repositories can be used, from its host."""
        job = effective_job(hub.document(), key)
        found = await hub.fleet.ask(hub.host, TestSources(job=job))
        repositories = {name: await _test(hub, name, hub.host) for name in job.repositories}
        sources = tuple(SourceTestAnswer.model_validate(source) for source in found)
        return JobTestAnswer(host=hub.host, sources=sources, repositories=repositories)

    @router.get("/repositories/{key}/snapshots")
    def list_snapshots(key: str, _: Sees) -> list[Snapshot]:
        """What a repository holds, of other tools too; newest first."""
        return hub.list_snapshots(key)

    @router.get("/repositories/{key}/locks")
    def list_locks(key: str, _: Sees) -> list[Lock]:
        """The locks in a repository, each with its owner."""
        return hub.dispatcher.asked(key).list_locks()

    @router.get("/repositories/{key}/snapshots/{snapshot}/folder", response_model_exclude_none=True)
    def list_folder(
        key: str, snapshot: str, _: Sees, path: Annotated[str, Query(max_length=4096)] = "/"
    ) -> list[Node]:
        """What a snapshot's folder holds."""
        return hub.dispatcher.asked(key).list_folder(snapshot, path.encode("utf-8", "surrogateescape"))

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


async def _test(hub: Hub, key: str, host: str | None) -> RepositoryTestAnswer:
    asked = hub.dispatcher.asked(key)
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
