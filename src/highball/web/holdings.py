"""What repositories hold, for pages that look at the same snapshot again and again: asked for once.

A snapshot never changes, so what is known of it stays true; that it is still there is for the run to find out.
Nothing is lost with it but time.
"""

from __future__ import annotations

from collections import OrderedDict

from starlette.concurrency import run_in_threadpool

from highball.errors import Unknown
from highball.facts import Node, Snapshot
from highball.hub.hub import Hub

FOLDERS_KEPT = 32
SNAPSHOTS_KEPT = 20_000


class Holdings:
    """Snapshots and their folders; its answers come from an agent, or from what one said before."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._snapshots: dict[tuple[str, str], Snapshot] = {}
        self._folders: OrderedDict[tuple[str, str, bytes], tuple[Node, ...]] = OrderedDict()

    async def list_snapshots(self, key: str) -> list[Snapshot]:
        """What a repository holds now, newest first; raises HighballError."""
        found = await self._hub.list_snapshots(key)
        if len(self._snapshots) + len(found) > SNAPSHOTS_KEPT:
            self._snapshots.clear()
        self._snapshots |= {(key, snapshot.id): snapshot for snapshot in found}
        return found

    async def get_snapshot(self, key: str, id: str) -> Snapshot:
        """One snapshot, by its whole id or the start of it; raises Unknown and HighballError."""
        known = self._snapshots.get((key, id))
        if known is not None:
            return known
        found = [one for one in await self.list_snapshots(key) if id and one.id.startswith(id)]
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

    async def _ask_folder(self, key: str, snapshot: str, path: bytes) -> tuple[Node, ...]:
        asked = await run_in_threadpool(self._hub.dispatcher.asked, key)
        found = await asked.list_folder(snapshot, path)
        inside = [node for node in found if node.path != path]
        return tuple(sorted(inside, key=lambda node: (node.kind != "dir", node.path)))
