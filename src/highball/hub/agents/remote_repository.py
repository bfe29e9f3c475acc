"""Questions that the hub's own rooms put to an agent: awaited in the loop, and no thread waits with them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from highball.config.repository import Repository
from highball.errors import Unknown
from highball.hub.agents.fleet import Fleet
from highball.hub.data import HubData
from highball.model.snapshot import (
    Difference,
    Lock,
    Node,
    RepositoryKey,
    Snapshot,
)
from highball.protocol.queries import (
    CompareSnapshots,
    ListFolder,
    ListKeys,
    ListLocks,
    ListSnapshots,
    PlanRestore,
    Question,
    RehearseForget,
    RestorePlan,
    TestRepository,
)
from highball.protocol.tasks import Overwrite
from highball.retention import Retention
from highball.secret import SecretValue

LISTING_SECONDS = 15 * 60.0

_DIGITS = set("0123456789abcdef")

_SNAPSHOTS: TypeAdapter[list[Snapshot]] = TypeAdapter(list[Snapshot])
_DIFFERENCES: TypeAdapter[list[Difference]] = TypeAdapter(list[Difference])
_NODES: TypeAdapter[list[Node]] = TypeAdapter(list[Node])
_KEYS: TypeAdapter[list[RepositoryKey]] = TypeAdapter(list[RepositoryKey])
_LOCKS: TypeAdapter[list[Lock]] = TypeAdapter(list[Lock])


@dataclass(frozen=True)
class AskedOverWire:
    """A repository, asked through the agent that maintains it."""

    fleet: Fleet
    host: str
    key: str
    repository: Repository
    identity: str | None
    sealed: Mapping[str, bytes]
    from_file: bool = False
    seconds: float = LISTING_SECONDS
    """So long an answer may take."""
    known: str | None = None
    """A snapshot that it holds as far as the record knows."""
    patient: bool = False
    """Whether it is asked however many others are before it: by a run, for which nobody waits at a page."""
    others: Mapping[str, str] = field(default_factory=dict)
    """The keys of other repositories by their ids, where it was never met."""

    async def list_snapshots(self, *, hosts: Sequence[str] = (), tags: Sequence[str] = ()) -> list[Snapshot]:
        """What the repository holds; raises HighballError."""
        carried = {"host": hosts[0] if hosts else None, "former_hosts": tuple(hosts[1:]), "tags": tuple(tags)}
        found = await self._ask(ListSnapshots(**carried, **self.about()))
        return await asyncio.to_thread(_SNAPSHOTS.validate_python, found)  # there may be very many

    async def test(self) -> dict[str, Any]:
        """Whether it can be used from there, in which state it is, and what would help; raises HighballError."""
        found: dict[str, Any] = await self._ask(TestRepository(**self.about()))
        return found

    async def list_folder(self, snapshot: str, path: bytes) -> list[Node]:
        """What a snapshot's folder holds; raises Unknown and what else the agent says."""
        if not snapshot or not set(snapshot) <= _DIGITS:
            raise Unknown(f"{snapshot[:80]} is not the id of a snapshot", code="snapshot_unknown")
        question = ListFolder(snapshot=snapshot, path=path, **self.about())
        return await asyncio.to_thread(_NODES.validate_python, await self._ask(question))

    async def list_locks(self) -> list[Lock]:
        """The locks in it; raises HighballError."""
        return _LOCKS.validate_python(await self._ask(ListLocks(**self.about())))

    async def list_keys(self) -> list[RepositoryKey]:
        """The keys of it, each marked where this access opens it by it; raises HighballError."""
        return _KEYS.validate_python(await self._ask(ListKeys(**self.about())))

    async def plan_forget(self, hosts: Sequence[str], tags: Sequence[str], retention: Retention) -> set[str]:
        """What its engine itself would remove; raises HighballError."""
        carried = {"host": hosts[0], "former_hosts": tuple(hosts[1:]), "tags": tuple(tags)}
        return set(await self._ask(RehearseForget(**carried, retention=retention, **self.about())))

    async def compare(self, old: str, new: str) -> list[Difference]:
        """What differs between two snapshots; raises HighballError."""
        question = CompareSnapshots(old=old, new=new, **self.about())
        return await asyncio.to_thread(_DIFFERENCES.validate_python, await self._ask(question))

    async def plan_restore(
        self,
        snapshot: str,
        paths: Sequence[bytes],
        target: bytes | None,
        overwrite: Overwrite | None,
        *,
        counts: bool,
    ) -> RestorePlan:
        """What a restore to that host would do; raises HighballError."""
        wanted = {"snapshot": snapshot, "paths": tuple(paths), "target": target, "overwrite": overwrite}
        question = PlanRestore(**wanted, counts=counts, **self.about())
        return RestorePlan.model_validate(await self._ask(question))

    def about(self) -> dict[str, Any]:
        """What every question about it says."""
        return {
            "key": self.key,
            "repository": self.repository,
            "identity": self.identity,
            "known": self.known,
            "others": dict(self.others),
            "from_file": self.from_file,
        }

    async def _ask(self, question: Question) -> Any:
        return await self.fleet.ask(
            self.host, question, self.seconds, dict(self.sealed), patient=self.patient
        )


class RemoteRepositories:
    """The repositories that are declared, each ready to be asked."""

    def __init__(self, data: HubData, fleet: Fleet) -> None:
        self._data = data
        self._fleet = fleet

    def get(self, key: str) -> Repository:
        """What is declared of a repository; raises Unknown."""
        repository = self._data.document().repositories.get(key)
        if repository is None:
            raise Unknown(f"there is no repository {key}", code="repository_unknown")
        return repository

    def asked(self, key: str, *, admin: bool = False) -> AskedOverWire:
        """A repository, ready to be asked through the agent that maintains it; raises Unknown.

        With `admin` by the access that may delete: only to see whether it opens.
        """
        placed = self._data.vault.place(key, self.get(key))
        if admin:
            placed = placed.as_admin()
        opened = self._data.vault.open_named(placed, admin=False)
        return self._asked(
            key, placed, opened, from_file=self._data.documents.is_from_file("repository", key)
        )

    def asked_unsaved(
        self, key: str, repository: Repository, secrets: Mapping[str, SecretValue], *, admin: bool = False
    ) -> AskedOverWire:
        """A repository as somebody would declare it; sealed secrets that are not given are those of its key now.

        Raises ConfigurationInvalid where one is neither given nor sealed.
        """
        placed, opened = self._data.vault.place_unsaved(key, repository, secrets, admin=admin)
        return self._asked(key, placed, opened, from_file=False)

    def _asked(
        self, key: str, placed: Repository, opened: Mapping[str, SecretValue], *, from_file: bool
    ) -> AskedOverWire:
        host = placed.maintainer(self._data.host)
        values = {place: value.reveal() for place, value in opened.items()}
        identity, known = self._data.record.find_identity(key), self._data.record.find_newest(key)
        others = self._data.record.list_others(key, self._data.document().repositories)
        return AskedOverWire(
            fleet=self._fleet,
            host=host,
            key=key,
            repository=placed,
            identity=identity,
            sealed=values,
            from_file=from_file,
            known=known,
            others=others,
        )
