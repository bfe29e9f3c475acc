"""What a pattern leaves out, counted as restic counts it, and how it is told to restic.

A pattern is relative to its own source. Nothing here looks at what is on a disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from highball.source.spelling import BOUND, PIECE, lies_inside

_METACHARACTER = re.compile(rb"[\\*?\[\]]")


def anchored(path: bytes, patterns: Iterable[str]) -> list[bytes]:
    """The engine's exclude patterns for these of a source that it is given by this path.

    restic's `**` stands for any number of folders, none included, and it takes `\\` before a character as that
    character (0.14, 0.18 and 0.19 alike).
    """
    folder = _METACHARACTER.sub(rb"\\\g<0>", path).rstrip(b"/")
    return list(dict.fromkeys(_below(folder, pattern) for pattern in patterns))


def _below(folder: bytes, pattern: str) -> bytes:
    between = b"/" if "/" in pattern else b"/**/"
    return folder + between + os.fsencode(pattern.lstrip("/"))


def pattern_of(path: bytes, sources: Iterable[bytes]) -> str | None:
    """The exclude pattern that names just this path in its source; None where it lies in none, or is no text."""
    source = next((one for one in sources if lies_inside(path, one)), None)
    if source is None:
        return None
    named = _METACHARACTER.sub(rb"\\\g<0>", path[len(source.rstrip(b"/")) :])
    try:
        pattern = named.decode()
    except UnicodeDecodeError:
        return None
    return (
        pattern if pattern.isprintable() and "\ufffd" not in pattern else None
    )  # restic shows that for lost bytes


def leaves_out(patterns: Iterable[str], below: bytes) -> bool:
    """Whether one of these patterns of a source leaves out what lies `below` it there, or a folder on the way."""
    names = os.fsdecode(below).split("/")
    return any(_begins(names, _parts(pattern)) for pattern in patterns)


class Patterns:
    """Some patterns of a source for a walk from it down, which never enters what one of them leaves out."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._parts = [_parts(pattern) for pattern in patterns]

    def find(self, names: Sequence[str]) -> int | None:
        """The number of the first pattern that leaves out this entry; `names` lead to it from the source."""
        for number, parts in enumerate(self._parts):
            if len(parts) == 2 and parts[0] == "**" != parts[1]:
                if _is_named(names[-1], parts[1]):
                    return number
            elif _begins(names, parts):
                return number
        return None


def _parts(pattern: str) -> list[str]:
    return pattern.lstrip("/").split("/") if "/" in pattern else ["**", pattern]


def _begins(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether the path, or a folder on its way, is what the pattern names; counts `**` as restic does.

    That is not quite any number of folders where there are several: `a/**/**` leaves out what is in a, not a. Each
    pair of a place in the path and one in the pattern is looked at once, so that no pattern takes long.
    """
    known: dict[tuple[int, int], bool] = {}

    def matches(at: int, part: int) -> bool:
        if part == len(parts):
            return True
        if (at, part) not in known:
            known[at, part] = look(at, part)
        return known[at, part]

    def look(at: int, part: int) -> bool:
        if parts[part] == "**":
            longest = len(names) - at - (len(parts) - part - 1)
            return any(matches(at + span, part + 1) for span in range(longest + 1))
        return at < len(names) and _is_named(names[at], parts[part]) and matches(at + 1, part + 1)

    return matches(0, 0)


def _is_named(name: str, part: str) -> bool:
    """Go's filepath.Match."""
    return _compiled(part).fullmatch(name) is not None


@lru_cache(maxsize=1024)
def _compiled(part: str) -> re.Pattern[str]:
    """What is between two `*` is looked for once, from the left: that is enough, and no name takes long."""
    between: list[list[str]] = [[]]
    for found in re.finditer(PIECE, part, re.DOTALL):
        if found[0] == "*":
            between.append([])
        else:
            between[-1].append(_piece(found))
    first, *others = ["".join(pieces) for pieces in between]
    if not others:
        return re.compile(first, re.DOTALL)
    *inner, last = others
    found_in_turn = "".join(f"(?>.*?{pieces})" for pieces in inner if pieces)
    return re.compile(f"{first}{found_in_turn}.*{last}", re.DOTALL)


def _piece(found: re.Match[str]) -> str:
    if found["ranges"]:  # a slash is in no name: with it the class is never empty
        return f"[{found['others']}/{_ranges(found['ranges'])}]"
    return "." if found[0] == "?" else re.escape(found[0].removeprefix("\\"))


def _ranges(text: str) -> str:
    each = re.findall(rf"({BOUND})(?:-({BOUND}))?", text, re.DOTALL)
    bounds = [(low[-1], high[-1:] or low[-1]) for low, high in each]
    return "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in bounds if low <= high)
