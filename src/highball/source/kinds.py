"""Every kind of source there is: its file and its line here, and nothing else has to be told of a new one."""

from __future__ import annotations

from typing import Any

from highball.source.path import PathSource

KINDS = (PathSource,)

AnySource = PathSource


def kind_of(declared: Any) -> str:
    """Which kind is meant by what somebody wrote, or by a source itself; a path where no kind claims it."""
    if isinstance(declared, KINDS):
        return declared.kind
    claiming = (kind.kind for kind in KINDS if kind.claims(declared))
    return next(claiming, PathSource.kind)
