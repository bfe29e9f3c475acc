"""How paths and patterns are spelled: in one way each, so that they can be held against each other.

An exclude pattern is relative to its own source. Nothing here looks at what is on a disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from highball.model.text import path_for_people


def check_path(path: bytes) -> bytes:
    """The path in its one spelling; ValueError where it is not a whole path of this machine."""
    if b"\0" in path:
        raise ValueError("a path cannot hold the character NUL")
    if not path.startswith(b"/"):
        raise wrong(f'"{path_for_people(path[:200])}" is not an absolute path', "it starts with /")
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise wrong("a path cannot hold ..", "write the path without it")
    return b"/" + b"/".join(parts)


def lies_inside(path: bytes, folder: bytes) -> bool:
    """Whether the path lies below the folder; both in their one spelling."""
    return path != folder and path.startswith(folder.rstrip(b"/") + b"/")


# Go's filepath.Match, which restic uses: an escaped character, a class of characters or ranges, or any other.
BOUND = r"(?:\\.|[^\\\]-])"
PIECE = rf"\\.|\[(?P<others>\^?+)(?P<ranges>(?:{BOUND}(?:-{BOUND})?)+)\]|[^\\\[]"
_UNDERSTOOD = re.compile(f"(?:{PIECE})*", re.DOTALL)


def check_pattern(pattern: str) -> str:
    """The exclude pattern in its one spelling; ValueError where restic would refuse or misread it."""
    if "\0" in pattern:
        raise ValueError("a pattern cannot hold the character NUL")
    if pattern.startswith("!"):
        raise wrong(
            "a pattern cannot take back another with !",
            "exclude less, or write \\! if the name starts with it",
        )
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if not parts:
        raise ValueError(f'"{pattern}" would exclude the whole source')
    if ".." in parts:
        raise wrong("a pattern cannot hold ..", "it is relative to its source")
    if not all(_UNDERSTOOD.fullmatch(part) for part in parts):
        raise wrong(f'"{pattern}" is not a pattern', r"put \ before each of [ ] * ? \ that is part of a name")
    return ("/" if pattern.startswith("/") else "") + "/".join(parts)


def wrong(message: str, hint: str) -> PydanticCustomError:
    """The error that says so, with what to do about it."""
    return PydanticCustomError("wrong", "{message}", {"message": message, "hint": hint})


def misplaced(patterns: Iterable[str], path: bytes) -> list[tuple[int, str, str]]:
    """Which patterns repeat the path of the source to which they are relative: place, message, hint."""
    prefix = os.fsdecode(path) + "/"
    return [
        (
            n,
            f'"{pattern}" repeats the path of its source, to which it is relative',
            f'write "{pattern.removeprefix(prefix)}"' if pattern.startswith(prefix) else "remove that source",
        )
        for n, pattern in enumerate(patterns)
        if f"{pattern}/".startswith(prefix)
    ]


Pattern = Annotated[str, AfterValidator(check_pattern)]
"""What to leave out: a name at any depth (`*.tmp`), or, with a slash, a path from the source on."""
