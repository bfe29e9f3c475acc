"""Every kind of source there is: its file and its line here, and nothing else has to be told of a new one."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import Discriminator, GetCoreSchemaHandler, Tag
from pydantic_core import CoreSchema

from highball.source.base import Source
from highball.source.command import CommandSource
from highball.source.path import PathSource

KINDS: tuple[type[Any], ...] = (
    PathSource,
    CommandSource,
)


def kind_of(declared: Any) -> str:
    """Which kind is meant by what somebody wrote, or by a source itself; a path where no kind claims it."""
    claiming = (kind.kind for kind in KINDS if isinstance(declared, kind) or kind.claims(declared))
    return next(claiming, PathSource.kind)


def tag_of(kind: str) -> str:
    """What stands for a kind in the place of a problem: nothing that could be the key of a field."""
    return f"<{kind}>"


class _OfOneKind:
    """Reads and writes a source as the kind that it is, of those that are listed above."""

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        any_of = reduce(or_, (Annotated[kind, Tag(tag_of(kind.kind))] for kind in KINDS))
        return handler.generate_schema(
            Annotated[any_of, Discriminator(lambda declared: tag_of(kind_of(declared)))]
        )


AnySource = Annotated[Source, _OfOneKind()]
"""What a job may name as a source."""
