"""Which path lies below which: absolute paths as bytes, by their spelling alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator


def is_below(path: bytes, folder: bytes) -> bool:
    """Whether a path lies below a folder (and is not the folder itself)."""
    return path.startswith(folder.rstrip(b"/") + b"/") and path != folder


def ancestors(path: bytes) -> Iterator[bytes]:
    """Every folder above a path, innermost first, `/` last."""
    while path != b"/":
        path = os.path.dirname(path)
        yield path


def outermost(paths: Iterable[bytes]) -> list[bytes]:
    """The paths without those that lie below another one, sorted, each once."""
    chosen = set(paths)
    return sorted(path for path in chosen if not any(above in chosen for above in ancestors(path)))
