"""What a repository holds: snapshots, their entries, locks and keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import (
    Field,
)

from highball.model.fact import Count, Fact, Id
from highball.model.text import PathText, RecordedTime, UtcTime

FILES_SET = "files"
"""The set that all paths of a job form together."""


class Snapshot(Fact):
    """One snapshot. `job`, `run` and `set` come from its tags and are null on snapshots of other tools."""

    id: Id
    time: RecordedTime
    job: str | None = None
    run: str | None = None
    set: str | None = None
    host: str
    tags: tuple[str, ...] = ()
    paths: tuple[PathText, ...] = ()
    repository: str
    size_bytes: Count | None = None
    files: Count | None = None
    tree: str | None = None
    parent: str | None = None
    original: str | None = None
    """The id that it had before its tags were changed for the first time."""
    user: str | None = None
    governed: bool | None = None

    @property
    def is_stream(self) -> bool:
        """Whether it holds what a command printed: one file that lies in no folder, and nowhere on its host."""
        is_alone = len(self.paths) == 1 and self.paths[0].count(b"/") == 1
        return is_alone and self.set not in (None, FILES_SET)


class ForeignGroup(Fact):
    """Snapshots of a repository that no known run made, alike in host, tags (but for a run's) and paths."""

    id: str
    """The same for the same host, tags and paths in every repository."""
    repository: str
    host: str
    tags: tuple[str, ...] = ()
    paths: tuple[PathText, ...] = ()
    snapshots: int
    oldest_at: UtcTime
    newest_at: UtcTime
    job: str | None = None
    """Whose retention governs them since a person adopted them; null is nobody's."""
    adopted_by: str | None = None


class NodeKind(StrEnum):
    """What an entry of a tree is."""

    FILE = "file"
    DIRECTORY = "dir"
    SYMLINK = "symlink"
    OTHER = "other"


class Node(Fact):
    """One entry of a snapshot's tree. `inexact`: its name held bytes that restic's listing loses."""

    path: PathText
    kind: NodeKind
    size_bytes: Count | None = None
    mode: Count | None = None
    """Permission bits with set-id and sticky, as in `stat.S_IMODE`."""
    uid: Count | None = None
    gid: Count | None = None
    modified_at: UtcTime | None = None
    modified_ns: int | None = Field(default=None, exclude=True)
    inode: int | None = None
    inexact: bool = False


class Lock(Fact):
    """A lock in a repository, and who holds it."""

    id: str
    exclusive: bool
    hostname: str
    pid: Count
    username: str | None = None
    created_at: UtcTime
    """When its owner last said that it lives: restic renews it every five minutes."""
    alive: bool | None = None
    """Whether its process lives, where whoever looked is on the same machine."""


class Loss(Fact):
    """What is given up where a repository is begun anew: what the record knows of the one that is lost."""

    repository: str
    identity: str | None
    met_at: UtcTime | None
    bytes_stored: int | None
    snapshots: int
    newest_at: UtcTime | None
    last_run: str | None


class RepositoryKey(Fact):
    """A key of a repository: one password that opens all of it, and how whoever made it called it."""

    id: str
    user: str
    host: str
    created_at: UtcTime | None = None
    current: bool = False
    """Whether whoever asked opens it by this one."""


Use = Literal["everyday", "admin", "former", "added", "unknown"]
"""What a key is for: the access that is opened by it, or what else is known of it."""


class KeyTold(Fact):
    """A key of a repository and what it is for: by which access it is opened with it, whether another took its place,
    whether a run added it; `unknown` was made elsewhere."""

    id: str
    user: str
    host: str
    created_at: UtcTime | None
    use: Use
    run: str | None = None
    """The run that added it."""

    @property
    def removable(self) -> bool:
        """Whether nothing here opens the repository by it."""
        return self.use not in ("everyday", "admin")


class Difference(Fact):
    """One path that differs between two snapshots: `+` added, `-` removed, `M` content, `T` kind, `U` metadata, `?`."""

    path: PathText
    modifier: str
