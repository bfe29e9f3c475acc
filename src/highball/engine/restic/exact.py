"""The exact names of what restic lists: its JSON loses bytes that are not UTF-8, its trees do not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from highball.engine.restic.output import TreeEntry
from highball.model.snapshot import Node, NodeKind
from highball.model.text import LOST, as_listed


class Trees(Protocol):
    """Whoever reads the trees of a repository."""

    def read_tree(
        self, snapshot: str, folder: bytes, *, known: dict[bytes, str] | None = None
    ) -> list[TreeEntry]:
        """The entries of one folder with their exact names; `known` remembers trees between calls."""


class ExactNames:
    """Gives entries of a listing their exact names back, asking for a folder's tree once when it is needed.

    restic lists a folder's entries sorted by their bytes, folder after folder, so the nth entry of a lossy
    spelling is the nth such name in the tree.
    """

    def __init__(self, trees: Trees, snapshot: str, folders: Iterable[bytes] = ()) -> None:
        self._source = trees
        self._snapshot = snapshot
        # the folders that were asked for are listed without those above them
        self._asked = {as_listed(folder): folder for folder in folders}
        self._folders = {shown: folder for shown, folder in self._asked.items() if shown != folder}
        self._names: dict[bytes, dict[bytes, deque[bytes]]] = {}
        self._trees: dict[bytes, str] = {}

    def of(self, node: Node) -> Node:
        """The entry by its exact name, as far as that can be had."""
        if not self._folders and not node.inexact:
            return node
        asked = self._asked.get(node.path)
        if asked is not None:
            return node.model_copy(update={"path": asked, "inexact": False})
        shown_parent, _, shown_name = node.path.rpartition(b"/")
        parent = self._folders.get(shown_parent, self._parent_of(shown_parent))
        name = self._exact_name(parent, shown_name) if LOST in shown_name else shown_name
        if name is None:
            return node
        path = parent + b"/" + name
        if node.kind == NodeKind.DIRECTORY:
            self._folders[node.path] = path
        return node.model_copy(update={"path": path, "inexact": False})

    def _parent_of(self, shown: bytes) -> bytes:
        above, _, name = shown.rpartition(b"/")
        if not shown or LOST not in shown:
            return shown
        return self._folders.get(above, self._parent_of(above)) + b"/" + name

    def _exact_name(self, parent: bytes, shown: bytes) -> bytes | None:
        if parent not in self._names:
            names: dict[bytes, deque[bytes]] = {}
            for entry in self._source.read_tree(self._snapshot, parent, known=self._trees):
                names.setdefault(as_listed(entry.name), deque()).append(entry.name)
            self._names[parent] = names
        queue = self._names[parent].get(shown)
        return queue.popleft() if queue else None
