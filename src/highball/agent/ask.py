"""Answer questions that are no runs: list a repository, show its locks, ask restic what it would forget.

An answer changes nothing and is never recorded. The command line calls this in process; a hub will ask over
the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from highball.agent.workplace import Workplace, as_gone, meet
from highball.engine.restic.repository import ResticRepository
from highball.engine.restic.restic import Restic
from highball.errors import RepositoryError
from highball.facts import Lock, Snapshot
from highball.process import Stop

LISTING_TIMEOUT = timedelta(minutes=15)


class Asked:
    """A repository that questions are put to; `identity` is the one that the record knows."""

    def __init__(
        self,
        place: Workplace,
        key: str,
        repository: ResticRepository,
        identity: str | None,
        stop: Stop | None = None,
    ) -> None:
        self.key = key
        self._identity = identity
        self.restic: Restic = place.open(key, repository, f"ask_{key}", stop=stop)

    def compare_identity(self) -> str:
        """The repository's identity, as the record knows it; raises RepositoryError where it is another or none."""
        return meet(self.restic, self._identity)

    def list_snapshots(self, *, host: str | None = None, tags: Sequence[str] = ()) -> list[Snapshot]:
        """What the repository holds."""
        try:
            return self.restic.list_snapshots(host=host, tags=tags, timeout=LISTING_TIMEOUT)
        except RepositoryError as error:
            raise as_gone(error, self._identity) from None

    def list_locks(self) -> list[Lock]:
        """The locks in it."""
        return self.restic.list_locks()

    def plan_forget(self, host: str, tags: Sequence[str], policy: Sequence[str]) -> set[str]:
        """The ids that restic itself would remove."""
        return self.restic.plan_forget(host, tags, policy)

    def dump(self, snapshot: str, path: bytes, on_data: Callable[[bytes], None]) -> None:
        """The content of a file, or a folder as a tar archive."""
        self.restic.dump(snapshot, path, on_data)
