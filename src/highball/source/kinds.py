"""Every kind of source there is: its file and its line here, and nothing else has to be told of a new one."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from highball.source.command import CommandSource
from highball.source.path import PathSource


def kind_of(declared: Any) -> str:
    """Which kind is meant by what somebody wrote, or by a source itself; a path where no kind claims it."""
    claiming = (kind.kind for kind in KINDS if isinstance(declared, kind) or kind.claims(declared))
    return next(claiming, PathSource.kind)


AnySource = Annotated[
    Annotated[PathSource, Tag(PathSource.kind)] | Annotated[CommandSource, Tag(CommandSource.kind)],
    Discriminator(kind_of),
]
"""What a job may name as a source."""

KINDS: tuple[type[PathSource | CommandSource], ...] = (
    PathSource,
    CommandSource,
)
