"""Answer questions that are no runs: list a repository, show its locks, ask its engine what it would forget.

An answer changes nothing and is never recorded. The command line calls this in process; a hub asks over the
wire.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

from highball.agent.run.restore import plan_restore
from highball.agent.state_dir import (
    PATIENCE,
    Workplace,
    as_gone,
    meet,
)
from highball.engine.base import DeclaredRepository, OpenRepository
from highball.errors import HighballError, Misuse, RepositoryError, Unknown
from highball.model.snapshot import (
    Difference,
    Lock,
    Node,
    NodeKind,
    RepositoryKey,
    Snapshot,
)
from highball.place.base import Files, holds_something, is_there
from highball.process.child import Stop
from highball.protocol.queries import RestorePlan, SampledNames
from highball.protocol.tasks import Overwrite
from highball.retention import Retention

LISTING_TIMEOUT = timedelta(minutes=15)
SAMPLE = 100
SAMPLING_SECONDS = 20.0
"""So long a snapshot is listed for a sample of its names: of a larger one what comes first has to do."""


class RepositoryQueries:
    """A repository that questions are put to; `identity` is the one that the record knows, and `known` a snapshot."""

    def __init__(
        self,
        workplace: Workplace,
        key: str,
        repository: DeclaredRepository,
        identity: str | None,
        stop: Stop | None = None,
        known: str | None = None,
        others: Mapping[str, str] | None = None,
    ) -> None:
        self.key = key
        self._workplace = workplace
        self._identity = identity
        self._known = known
        self._others = others
        self._is_met = False
        opened = workplace.open(key, repository, f"ask_{key}", stop=stop)
        self.opened: OpenRepository = opened.having(patience=PATIENCE)

    def compare_identity(self) -> str:
        """The repository's identity, as the record knows it; raises RepositoryError where it is another or none."""
        found = meet(self.opened, self._identity, self._others)
        self._is_met = True
        return found

    def list_snapshots(self, *, hosts: Sequence[str] = (), tags: Sequence[str] = ()) -> list[Snapshot]:
        """What the repository holds; raises RepositoryError where it is another than the record knows.

        A listing that shows the known snapshot tells that it is not; else its identity is asked for.
        """
        try:
            found = self.opened.list_snapshots(hosts=hosts, tags=tags, timeout=LISTING_TIMEOUT)
        except RepositoryError as error:
            raise as_gone(error, self._identity, self.key) from None
        if not any(snapshot.id == self._known for snapshot in found):
            self._demand_the_same()
        return found

    def _demand_the_same(self) -> None:
        if self._identity is not None and not self._is_met:
            self.compare_identity()

    @contextlib.contextmanager
    def _of_a_snapshot(self) -> Iterator[None]:
        """A snapshot that is not there may be missing because another repository lies in this one's place."""
        try:
            yield
        except HighballError as error:
            if error.code == "snapshot_unknown":
                self._demand_the_same()
            raise

    def list_locks(self) -> list[Lock]:
        """The locks in it."""
        self._demand_the_same()
        return self.opened.locks.list_locks() if self.opened.locks else []

    def list_keys(self) -> list[RepositoryKey]:
        """The keys of it, that by which this access opens it marked."""
        self._demand_the_same()
        return self.opened.keys.list_keys() if self.opened.keys else []

    def list_folder(self, snapshot: str, folder: bytes) -> list[Node]:
        """What a snapshot's folder holds."""
        with self._of_a_snapshot():
            return list(self.opened.list_folder(snapshot, folder))

    def plan_forget(self, hosts: Sequence[str], tags: Sequence[str], retention: Retention) -> set[str]:
        """The ids that the engine itself would remove; it has to rehearse retention."""
        rehearsal = self.opened.rehearsal
        if rehearsal is None:
            raise Misuse(f"{self.opened.words.name} has no dry run of retention", code="no_rehearsal")
        return rehearsal.plan_forget(hosts, tags, retention)

    def compare(self, old: str, new: str) -> list[Difference]:
        """What differs between two snapshots."""
        found: list[Difference] = []
        with self._of_a_snapshot():
            self.opened.compare(old, new, found.append)
        return found

    def plan_restore(
        self,
        snapshot: str,
        paths: Sequence[bytes],
        target: bytes | None,
        overwrite: Overwrite | None,
        *,
        counts: bool,
    ) -> RestorePlan:
        """What a restore would do; without `counts` entries are only looked at where something is in use already.

        No paths are all of them. Without a rule, what is there is replaced in place, and kept in a folder that
        was named.
        """
        snapshot = self._workplace.demand_own(self.opened, snapshot, in_place=target is None)
        with self._workplace.place.files() as files:
            return self._plan(files, snapshot, paths, target, overwrite, counts=counts)

    def _plan(
        self,
        files: Files,
        snapshot: str,
        paths: Sequence[bytes],
        target: bytes | None,
        overwrite: Overwrite | None,
        *,
        counts: bool,
    ) -> RestorePlan:
        base = None if target is None else files.resolve(target)
        in_use = base is None or holds_something(files, base)
        wanted = tuple(paths) or tuple(self._paths_of(snapshot))
        rule = overwrite or _usual_rule(base, in_use=in_use)
        if counts or in_use:
            about = (self.opened, snapshot, wanted, target, rule)
            with self._of_a_snapshot():
                plan = plan_restore(*about, files, self._workplace.scratch, self._workplace.own)
            return plan.model_copy(update={"paths": wanted})
        return RestorePlan(
            snapshot_id=snapshot, overwrite=rule, in_place=False, in_use=False, paths=wanted, target=base
        )

    def _paths_of(self, snapshot: str) -> list[bytes]:
        found = next((one for one in self.list_snapshots() if one.id == snapshot), None)
        if found is None:
            raise Unknown(f"{self.key} contains no snapshot {snapshot[:8]}", code="snapshot_unknown")
        return self.opened.exact_paths(found)

    def sample_names(self, snapshot: str) -> SampledNames:
        """Look on this machine for some of what a snapshot holds, every name as likely as any other."""
        sample = _Sample(time.monotonic() + SAMPLING_SECONDS, self._workplace.may_read)
        with contextlib.suppress(_Enough), self._of_a_snapshot():
            self.opened.each_node(snapshot, sample.take)
        with self._workplace.place.files() as files:
            found = sum(is_there(files, path) for path in sample.paths)
        return SampledNames(sampled=len(sample.paths), found=found)

    def each_node(self, snapshot: str, path: bytes | None, on_node: Callable[[Node], None]) -> None:
        """Hand everything that a snapshot, or a folder of it, holds to `on_node`."""
        with self._of_a_snapshot():
            self.opened.each_node(snapshot, on_node, () if path is None else (path,), recursive=False)

    def dump(self, snapshot: str, path: bytes, on_data: Callable[[bytes], None]) -> None:
        """The content of a file, or a folder as a tar archive."""
        with self._of_a_snapshot():
            self.opened.dump(snapshot, path, on_data)


class _Enough(Exception):
    """The time for a sample is over."""


class _Sample:
    """Some of many names that come one by one; folders are left out, as those above a source are always there."""

    def __init__(self, end: float, may_look: Callable[[bytes], bool]) -> None:
        self.paths: list[bytes] = []
        self._end = end
        self._may_look = may_look
        self._seen = 0

    def take(self, node: Node) -> None:
        """One more; raises _Enough when the time is over."""
        if time.monotonic() > self._end:
            raise _Enough
        if node.kind is NodeKind.DIRECTORY or not self._may_look(node.path):
            return
        self._seen += 1
        if len(self.paths) < SAMPLE:
            self.paths.append(node.path)
        elif (place := random.randrange(self._seen)) < SAMPLE:  # noqa: S311 - nobody gains by guessing it
            self.paths[place] = node.path


def _usual_rule(base: bytes | None, *, in_use: bool) -> Overwrite:
    if base is None:
        return Overwrite.IF_CHANGED
    return Overwrite.NEVER if in_use else Overwrite.ALWAYS
