"""Repositories and jobs tried out from the hosts that use them: can they be used, and what helps if not.

What is to open a repository is tried before it takes the place of what opens it now. A password that opens nothing is
refused. Where nobody can say, because the agent or the storage is away, whoever insists is let through, and the value
before is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from highball.config.job import Job
from highball.config.references import Spec
from highball.config.repository import Repository
from highball.engine.kinds import USUAL
from highball.errors import Conflict, Failed, HighballError
from highball.hub.agents.pending_queries import each_of
from highball.hub.agents.remote_repository import AskedOverWire
from highball.hub.audit import Actor
from highball.hub.parts import HubParts
from highball.hub.runs.ingest import SetOf
from highball.hub.secrets.vault import FORMER
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

TEST_SECONDS = 60.0

OPENS = ("existing", "empty", "locked")
"""The states of a repository that was opened."""

OPENERS = {"password": "password", "admin": "admin.password"}
"""The slots in the vault whose values open a repository, and what they are called in its spec."""


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
    engine: str | None = None
    version: str | None = None
    """The version of the engine that found it."""
    restic: str | None = None
    """The same, where that engine is restic: as it was called before there were others."""
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


class TrialOperations:
    """What a look at a repository, from where it is used, says of it."""

    _hub: HubParts
    _now: Callable[[], datetime]

    async def test_job(self, job: Job, key: str | None = None) -> JobTestAnswer:
        """How a job's sources and repositories are found from its host.

        With its key the content of its newest snapshots is compared as well.
        """
        host = job.host or self._hub.host
        found, *tested = await each_of(
            [
                self._hub.fleet.ask(host, TestSources(job=job)),
                *(self._try_for_job(name, host, key) for name in job.repositories),
            ]
        )
        sources = tuple(SourceTestAnswer.model_validate(source) for source in found)
        repositories = dict(zip(job.repositories, tested, strict=True))
        return JobTestAnswer(host=host, sources=sources, repositories=repositories)

    async def _try_for_job(self, repository: str, host: str, key: str | None) -> RepositoryTestAnswer:
        tested = await self._try_out(await asyncio.to_thread(self._hub.repositories.asked, repository), host)
        if key is None or tested.state != "existing":
            return tested
        files = SetOf(repository, host, key, FILES_SET)  # a stream is nowhere else
        content = await self._compare_content(files)
        return tested.model_copy(update={"content": content})

    async def _compare_content(self, of: SetOf) -> ContentAnswer | None:
        """A sample of the newest snapshot's names beside what its host has; None without a snapshot that holds any."""
        own = await asyncio.to_thread(self._hub.record.list_own, of)
        if not own:
            return None
        newest = own[0].id
        asked = await asyncio.to_thread(self._hub.repositories.asked, of.repository)
        question = SampleNames(snapshot=newest, **asked.about())
        try:
            found = await self._hub.fleet.ask(of.host, question, TEST_SECONDS, dict(asked.sealed))
        except HighballError as error:
            return ContentAnswer(state="unknown", message=error.message, snapshot=newest)
        return _judge_content(SampledNames.model_validate(found), newest)

    async def test_unsaved(
        self, key: str, spec: Spec, secrets: Mapping[str, str], actor: Actor
    ) -> RepositoryTestAnswer:
        """How a repository is found that somebody would declare so, by each access that it would have; who tried which
        server is in the audit.

        Raises ConfigurationInvalid.
        """
        values = {name: SecretValue(value.encode("utf-8", "replace")) for name, value in secrets.items()}

        def judge() -> Iterator[AskedOverWire]:
            repository = self._hub.documents.rehearse("repository", key, spec).repositories[key]
            everyday = self._hub.repositories.asked_unsaved(key, repository, values)
            self._note_tried(key, repository, actor)
            yield everyday
            if repository.has_admin:
                yield self._hub.repositories.asked_unsaved(key, repository, values, admin=True)

        return await self._try_by_each(await asyncio.to_thread(lambda: [*judge()]))

    def _note_tried(self, key: str, repository: Repository, actor: Actor) -> None:
        servers = repository.endpoints()
        self._hub.access.note(
            actor,
            "tested_unsaved",
            self._now(),
            kind="repository",
            key=key,
            after={"servers": sorted(servers)},
        )

    async def test_repository(self, key: str) -> RepositoryTestAnswer:
        """How a declared repository is found from the host that maintains it, by each access that it has."""

        def judge() -> Iterator[AskedOverWire]:
            yield self._hub.repositories.asked(key)
            if self._hub.repositories.get(key).has_admin:
                yield self._hub.repositories.asked(key, admin=True)

        found = await self._try_by_each(await asyncio.to_thread(lambda: [*judge()]))
        each = [one for one in (found, found.admin) if one is not None]
        lost = next(
            (one for one in each if one.state in ("wrong_password", "gone", "changed", "twice")), None
        )
        if lost is not None or all(one.state in OPENS for one in each):
            await asyncio.to_thread(
                self._hub.record.note_test, key, lost.message if lost else None, self._now()
            )
            self._hub.bus.news.publish("object", key)
        return found

    async def _try_by_each(self, asked: Sequence[AskedOverWire]) -> RepositoryTestAnswer:
        """How a repository is found by its everyday access, and by the one that may delete where that is asked too."""
        everyday, *by_admin = [await self._try_out(one) for one in asked]
        return everyday.model_copy(update={"admin": by_admin[0]}) if by_admin else everyday

    async def _try_out(self, asked: AskedOverWire, host: str | None = None) -> RepositoryTestAnswer:
        """How a repository is found from the host that maintains it, or from another."""
        where = host or asked.host
        question = TestRepository(**asked.about())
        begun = self._now()
        try:
            found = await self._hub.fleet.ask(where, question, TEST_SECONDS, dict(asked.sealed))
        except Failed as error:
            if error.code != "timeout":
                raise
            took = round((self._now() - begun).total_seconds() * 1000)
            return RepositoryTestAnswer(
                host=where, state="unreachable", message=error.message, action="retry", milliseconds=took
            )
        return _as_answer(where, found)

    async def prove_secret(self, key: str, slot: str, value: SecretValue, anyway: bool) -> bool:
        """Whether the value before is to be kept beside this one.

        Raises Conflict where it does not open the repository (`password_refused`), and where nobody can say, it would
        replace another, and nobody insists (`password_untried`).
        """
        if slot.endswith(FORMER):
            raise Conflict(
                f"{slot} is kept by the hub itself", code="secret_kept", hint=f"set {slot[: -len(FORMER)]}"
            )
        if slot not in OPENERS:
            return False
        replaces = await asyncio.to_thread(self._replaces, key, slot, value)
        try:
            asked = await asyncio.to_thread(self._asked_with, key, slot, value)
            if asked is None:
                return replaces
            found: RepositoryTestAnswer | None = await self._try_out(asked)
            why = found.message if found else ""
        except HighballError as error:
            found, why = None, error.message
        if found is not None and found.state == "wrong_password":
            raise _refused(key)
        if found is not None and found.state in OPENS and not self._hub.repositories.get(key).has_admin:
            await asyncio.to_thread(self._hub.record.note_test, key, None, self._now())
        proved = found is not None and found.state in (*OPENS, "uninitialised")
        if replaces and not proved and not anyway:
            raise _untried(key, why)
        return replaces and not proved

    def _replaces(self, key: str, slot: str, value: SecretValue) -> bool:
        """Whether another value than this lies there."""
        place = self._hub.vault.find_place(key, slot)
        if self._hub.vault.find(place) is None:
            return False
        return self._hub.vault.open(place).reveal() != value.reveal().rstrip(b"\r\n")

    def _asked_with(self, key: str, slot: str, value: SecretValue) -> AskedOverWire | None:
        """The repository as this value would open it; None where it has no such access."""
        tried = self._hub.repositories.get(key).with_sealed(slot)
        if tried is None:
            return None
        return self._hub.repositories.asked_unsaved(key, tried, {OPENERS[slot]: value}, admin=slot == "admin")


def _judge_content(names: SampledNames, snapshot: str) -> ContentAnswer | None:
    if not names.sampled:
        return None
    told = f"{names.found} of {counted(names.sampled, 'path')} of snapshot {snapshot[:8]} still exist"
    state: Literal["same", "few", "none"] = "same"
    if not names.found:
        state, told = (
            "none",
            f"no path of snapshot {snapshot[:8]} was found: is this still the same source?",
        )
    elif names.found * 2 < names.sampled:
        state, told = "few", f"only {told}"
    return ContentAnswer(
        state=state, message=told, snapshot=snapshot, sampled=names.sampled, found=names.found
    )


def _refused(key: str) -> Conflict:
    return Conflict(
        f"this password does not open {key}, so nothing was changed",
        code="password_refused",
        hint=f"send its current password; to change the password, rotate it: highball keys {key} --rotate",
    )


def _untried(key: str, why: str) -> Conflict:
    return Conflict(
        f"it could not be tested whether this password opens {key}: {why}",
        code="password_untried",
        hint="try again once it can be reached; anyway=true stores it all the same and keeps the previous one",
    )


def _as_answer(host: str, found: dict[str, Any]) -> RepositoryTestAnswer:
    """What an agent found; one of before knows restic alone, and says its version as that."""
    version = found.get("version") or found.get("restic")
    told = {"engine": USUAL.words.name} | found | {"version": version}
    if told["engine"] == USUAL.words.name:
        told["restic"] = version
    return RepositoryTestAnswer(host=host, **told)
