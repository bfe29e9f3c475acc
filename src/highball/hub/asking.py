"""Questions that the hub's own rooms put to an agent, from a thread that may wait for the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from highball.errors import Unknown
from highball.facts import Difference, Lock, Node, RepositoryKey, Snapshot
from highball.hub.fleet import Fleet
from highball.keeping import Retention
from highball.protocol import (
    CompareSnapshots,
    ListFolder,
    ListKeys,
    ListLocks,
    ListSnapshots,
    Overwrite,
    PlanRestore,
    Question,
    RehearseForget,
    RestorePlan,
    TestRepository,
)
from highball.spec.repository import Repository

LISTING_SECONDS = 15 * 60.0

_DIGITS = set("0123456789abcdef")

_SNAPSHOTS: TypeAdapter[list[Snapshot]] = TypeAdapter(list[Snapshot])
_DIFFERENCES: TypeAdapter[list[Difference]] = TypeAdapter(list[Difference])
_NODES: TypeAdapter[list[Node]] = TypeAdapter(list[Node])
_KEYS: TypeAdapter[list[RepositoryKey]] = TypeAdapter(list[RepositoryKey])
_LOCKS: TypeAdapter[list[Lock]] = TypeAdapter(list[Lock])


@dataclass(frozen=True)
class AskedOverWire:
    """A repository, asked through the agent that maintains it; not to be used in the loop's own thread."""

    fleet: Fleet
    loop: asyncio.AbstractEventLoop
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
    others: Mapping[str, str] = field(default_factory=dict)
    """The keys of other repositories by their ids, where it was never met."""

    def list_snapshots(self, *, hosts: Sequence[str] = (), tags: Sequence[str] = ()) -> list[Snapshot]:
        """What the repository holds; raises HighballError."""
        carried = {"host": hosts[0] if hosts else None, "former_hosts": tuple(hosts[1:]), "tags": tuple(tags)}
        return _SNAPSHOTS.validate_python(self._ask(ListSnapshots(**carried, **self.about())))

    def test(self) -> dict[str, Any]:
        """Whether it can be used from there, in which state it is, and what would help; raises HighballError."""
        found: dict[str, Any] = self._ask(TestRepository(**self.about()))
        return found

    def list_folder(self, snapshot: str, path: bytes) -> list[Node]:
        """What a snapshot's folder holds; raises Unknown and what else the agent says."""
        if not snapshot or not set(snapshot) <= _DIGITS:
            raise Unknown(f"{snapshot[:80]} is not the id of a snapshot", code="snapshot_unknown")
        question = ListFolder(snapshot=snapshot, path=path, **self.about())
        return _NODES.validate_python(self._ask(question))

    def list_locks(self) -> list[Lock]:
        """The locks in it; raises HighballError."""
        return _LOCKS.validate_python(self._ask(ListLocks(**self.about())))

    def list_keys(self) -> list[RepositoryKey]:
        """The keys of it, each marked where this access opens it by it; raises HighballError."""
        return _KEYS.validate_python(self._ask(ListKeys(**self.about())))

    def plan_forget(self, hosts: Sequence[str], tags: Sequence[str], retention: Retention) -> set[str]:
        """What restic itself would remove; raises HighballError."""
        carried = {"host": hosts[0], "former_hosts": tuple(hosts[1:]), "tags": tuple(tags)}
        return set(self._ask(RehearseForget(**carried, retention=retention, **self.about())))

    def compare(self, old: str, new: str) -> list[Difference]:
        """What differs between two snapshots; raises HighballError."""
        question = CompareSnapshots(old=old, new=new, **self.about())
        return _DIFFERENCES.validate_python(self._ask(question))

    def plan_restore(
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
        return RestorePlan.model_validate(self._ask(question))

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

    def _ask(self, question: Question) -> Any:
        asking = self.fleet.ask(self.host, question, self.seconds, dict(self.sealed))
        return asyncio.run_coroutine_threadsafe(asking, self.loop).result()
