"""A source: what a job reads, of some kind; `kinds` lists them.

The port that every kind stands behind, and the words that it speaks in. Nothing here knows a kind, an engine or a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, auto
from typing import ClassVar, Protocol

from highball.model.run import Caution
from highball.place.base import Place
from highball.secret import SecretReference


@dataclass(frozen=True)
class Omissions:
    """What a job leaves out of all its sources."""

    exclude: Sequence[str] = ()
    one_file_system: bool = False
    exclude_caches: bool = False
    exclude_if_present: Sequence[str] = ()
    exclude_larger_than: int | None = None


class Content(Enum):
    """What a source holds that would be saved, as far as somebody looked."""

    NOTHING = auto()
    FILES = auto()
    NO_FILES = auto()
    """Links and the like, which restic does not count as files."""
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Examined:
    """A source as it was found, with all that is left out of it."""

    path: bytes
    caution: Caution | None
    """What is wrong with it, if anything."""
    usable: bool
    """Whether the engine can be given it; one that holds nothing to save can."""
    holds: Content
    may_be_empty: bool = False
    """Whether it was declared so that it may hold nothing."""


@dataclass(frozen=True, slots=True)
class Reads:
    """What a source reads of its host, for that host's policy to allow or refuse."""

    paths: tuple[bytes, ...] = ()
    command: str | None = None
    """What it runs there, in words, if anything: `a command as a source`."""
    secrets: Mapping[str, SecretReference] = field(default_factory=dict)
    """References to secrets that it needs, by what they are called: `environment.PGPASSWORD`."""


@dataclass(frozen=True, slots=True)
class Path:
    """Something for the engine to read by itself: where it lies, and what it leaves out there."""

    path: bytes
    excludes: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """What a command prints, saved as a file of this name that lies in no folder: nothing, unless it prints something
    and ends well."""

    name: str
    argv: tuple[str, ...]
    directory: bytes | None = None
    timeout: timedelta | None = None
    environment: Mapping[str, str | SecretReference] = field(default_factory=dict)
    """What the command finds in its environment besides what every command does; secrets are resolved for it alone."""


class Source(Protocol):
    """What a job reads, as it was declared.

    In a backup each source is examined, then prepared, then read once for each repository, and at last released,
    whatever happened. Sources of one `set` are saved together, as one snapshot in each repository; a stream is always
    a set by itself.
    """

    kind: ClassVar[str]
    """What the kind is called in answers and pages: `path`."""

    @classmethod
    def claims(cls, declared: object) -> bool:
        """Whether what somebody wrote is meant as this kind; nothing is checked yet, and no two claim the same."""
        ...

    @property
    def set(self) -> str:
        """The key of the set that it is saved in: `files`, or one of its own that no other source of its job has."""
        ...

    @property
    def title(self) -> str:
        """What people see it called, in one line."""
        ...

    @property
    def path_within(self) -> bytes:
        """Under which path it lies in a snapshot, as far as that is known from its declaration."""
        ...

    def reads(self) -> Reads:
        """All that it reads of its host; what is not named here is not asked about, and so must not be read."""
        ...

    def examine(self, omissions: Omissions, place: Place) -> Examined:
        """Look at it there as it is now, and change nothing: can it be read, and would anything of it be saved?

        Never raises for the state of what is looked at: that is a caution.
        """
        ...

    def prepare(self, found: Examined, omissions: Omissions, place: Place) -> Path | Stream:
        """Make it ready to be read, as it was just found, and say what the engine is to read."""
        ...

    def release(self, place: Place) -> None:
        """Give back what was taken to prepare it; may be called twice, or where nothing was prepared."""
        ...
