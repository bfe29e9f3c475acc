"""What repositories hold, for pages that look at the same snapshots again and again: not asked for at every click.

A snapshot never changes, so what is known of it stays true; that it is still there is for the run to find out. A list
of them is shown again for a minute, and no longer than nothing happened that could change it here. What other programs
change meanwhile is seen by asking anew, which every page that shows such a list offers.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from highball.errors import Unknown
from highball.hub.hub import Hub
from highball.hub.runs.record import utc_now
from highball.model.snapshot import Node, Snapshot

FOLDERS_KEPT = 32
SNAPSHOTS_KEPT = 20_000
SECONDS_KEPT = 60.0

ANEW = "anew"
"""How a page's address says that the repository is to be asked now."""


@dataclass(frozen=True)
class SnapshotList:
    """The snapshots of a repository, newest first, and when it was asked for them."""

    snapshots: list[Snapshot]
    at: datetime
    until: float
    """In seconds of the monotonic clock."""
    during: tuple[object, ...]
    """What had last happened to runs and to what is declared."""


class Listings:
    """Snapshots and their folders; its answers come from an agent, or from what one said before."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._listings: dict[str, SnapshotList] = {}
        self._snapshots: dict[tuple[str, str], Snapshot] = {}
        self._folders: OrderedDict[tuple[str, str, bytes], tuple[Node, ...]] = OrderedDict()

    def find_listing(self, key: str) -> SnapshotList | None:
        """What a repository said a moment ago that it holds, where nothing is known to have changed since."""
        kept = self._listings.get(key)
        if kept is None or time.monotonic() > kept.until or kept.during != self._now():
            return None
        return kept

    async def list_snapshots(self, key: str, *, anew: bool = False) -> SnapshotList:
        """What a repository holds, asked for now or a moment ago; raises HighballError."""
        kept = None if anew else self.find_listing(key)
        return kept or await self._ask_snapshots(key)

    async def get_snapshot(self, key: str, id: str) -> Snapshot:
        """One snapshot, by its whole id or the start of it; raises Unknown and HighballError."""
        known = self._snapshots.get((key, id))
        if known is not None:
            return known
        listing = await self.list_snapshots(key)
        found = [one for one in listing.snapshots if id and one.id.startswith(id)]
        if len(found) != 1:
            raise Unknown(f"there is no snapshot {id[:64]} in {key}", code="snapshot_unknown")
        return found[0]

    async def list_folder(self, key: str, snapshot: str, path: bytes) -> tuple[Node, ...]:
        """What lies in a folder, folders first, by name; raises HighballError."""
        about = (key, snapshot, path)
        if about not in self._folders:
            self._folders[about] = await self._ask_folder(key, snapshot, path)
        self._folders.move_to_end(about)
        while len(self._folders) > FOLDERS_KEPT:
            self._folders.popitem(last=False)
        return self._folders[about]

    def _now(self) -> tuple[object, ...]:
        return tuple(self._hub.bus.news.find_last(topic) for topic in ("run", "object"))

    async def _ask_snapshots(self, key: str) -> SnapshotList:
        before, asked_at = self._now(), utc_now()
        found = await self._hub.operations.list_snapshots(key)
        if len(self._snapshots) + len(found) > SNAPSHOTS_KEPT:
            self._snapshots.clear()
            self._listings.clear()
        self._snapshots |= {(key, snapshot.id): snapshot for snapshot in found}
        self._listings[key] = SnapshotList(found, asked_at, time.monotonic() + SECONDS_KEPT, before)
        return self._listings[key]

    async def _ask_folder(self, key: str, snapshot: str, path: bytes) -> tuple[Node, ...]:
        found = await self._hub.operations.list_folder(key, snapshot, path)
        inside = [node for node in found if node.path != path]
        return tuple(sorted(inside, key=lambda node: (node.kind != "dir", node.path)))
