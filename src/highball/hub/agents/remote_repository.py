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
from highball.hub.retention.planner import Seen, Wanted
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
        """What restic itself would remove; raises HighballError."""
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

    async def look(self, wanted: Wanted) -> Seen:
        """What it shows of a set now, for a plan; raises HighballError."""
        listing = await self.list_snapshots(hosts=wanted.hosts, tags=wanted.tags)
        shown = {snapshot.id for snapshot in listing}
        everything = await self.list_snapshots() if wanted.adopted - shown else []
        removes = await self.plan_forget(wanted.hosts, wanted.tags, wanted.retention) if listing else set()
        return Seen(wanted.own, listing, everything, removes)

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
