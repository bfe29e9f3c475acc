"""A folder or file of this machine as a source: what is declared, whether it is sound, what is left out.

Excludes belong to their own source. Nothing here reads a file's content or starts a program.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from highball.model.run import Caution
from highball.model.text import PathText, path_for_people

# --- what is declared ----------------------------------------------------------------------------


def check_path(path: bytes) -> bytes:
    """The path in its one spelling; ValueError where it is not a whole path of this machine."""
    if b"\0" in path:
        raise ValueError("a path cannot hold the character NUL")
    if not path.startswith(b"/"):
        raise _wrong(f'"{path_for_people(path[:200])}" is not a whole path', "it begins with /")
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise _wrong("a path cannot hold ..", "write where it leads")
    return b"/" + b"/".join(parts)


def lies_inside(path: bytes, folder: bytes) -> bool:
    """Whether the path lies below the folder; both in their one spelling."""
    return path != folder and path.startswith(folder.rstrip(b"/") + b"/")


# Go's filepath.Match, which restic uses: an escaped character, a class of characters or ranges, or any other.
_BOUND = r"(?:\\.|[^\\\]-])"
_PIECE = rf"\\.|\[(?P<others>\^?+)(?P<ranges>(?:{_BOUND}(?:-{_BOUND})?)+)\]|[^\\\[]"
_UNDERSTOOD = re.compile(f"(?:{_PIECE})*", re.DOTALL)


def check_pattern(pattern: str) -> str:
    """The exclude pattern in its one spelling; ValueError where restic would refuse or misread it."""
    if "\0" in pattern:
        raise ValueError("a pattern cannot hold the character NUL")
    if pattern.startswith("!"):
        raise _wrong(
            "a pattern cannot take back another with !",
            r"leave out less, or write \! where the name begins with it",
        )
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if not parts:
        raise ValueError(f'"{pattern}" would leave out the whole source')
    if ".." in parts:
        raise _wrong("a pattern cannot hold ..", "it is relative to its source")
    if not all(_UNDERSTOOD.fullmatch(part) for part in parts):
        raise _wrong(
            f'"{pattern}" is not a pattern', r"put \ before each of [ ] * ? \ that is part of a name"
        )
    return ("/" if pattern.startswith("/") else "") + "/".join(parts)


def _wrong(message: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError("wrong", "{message}", {"message": message, "hint": hint})


def misplaced(patterns: Iterable[str], path: bytes) -> list[tuple[int, str, str]]:
    """Which patterns repeat the path of the source to which they are relative: place, message, hint."""
    prefix = os.fsdecode(path) + "/"
    return [
        (
            n,
            f'"{pattern}" repeats the path of its source, to which it is relative',
            f'write "{pattern.removeprefix(prefix)}"'
            if pattern.startswith(prefix)
            else "leave out that source",
        )
        for n, pattern in enumerate(patterns)
        if f"{pattern}/".startswith(prefix)
    ]


Pattern = Annotated[str, AfterValidator(check_pattern)]
"""What to leave out: a name at any depth (`*.tmp`), or, with a slash, a path from the source on."""


class PathSource(BaseModel):
    """A folder or a file that a job backs up."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    path: Annotated[PathText, AfterValidator(check_path)] = Field(
        description="the whole path of a folder or file"
    )
    exclude: tuple[Pattern, ...] = Field(
        (), description="patterns of what to leave out, relative to this path"
    )
    allow_empty: bool = Field(False, strict=True, description="an empty folder is no cause for a warning")
    follow: bool = Field(
        False, strict=True, description="where the path is a symbolic link, back up what it leads to"
    )

    @model_validator(mode="before")
    @classmethod
    def _text_is_its_path(cls, value: object) -> object:
        bare = isinstance(value, str | bytes) or (isinstance(value, dict) and set(value) == {"b64"})
        return {"path": value} if bare else value

    @model_validator(mode="after")
    def _excludes_are_relative(self) -> Self:
        if found := misplaced(self.exclude, self.path):
            each = [
                {"under": f"exclude[{n}]", "message": message, "hint": hint} for n, message, hint in found
            ]
            raise PydanticCustomError("wrong", "{message}", {"message": found[0][1], "all": each})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "examples": ["/home/me/documents"]}, handler(core)]}


# --- whether it is sound -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """What an examination found: the path to hand to the engine, and what is wrong with it, if anything."""

    path: bytes
    caution: Caution | None = None

    @property
    def sound(self) -> bool:
        """Whether the source can be backed up without a warning."""
        return self.caution is None


def examine(source: PathSource) -> Finding:
    """Look at the source as it is now: missing, empty, unreadable, a link or a device is a caution."""
    path = source.path
    shown = path_for_people(path)
    try:
        if stat.S_ISLNK(os.lstat(path).st_mode):
            target = os.readlink(path)  # noqa: PTH115 - paths are bytes here
            if not source.follow:
                return _caution(
                    path,
                    "source_is_link",
                    f"{shown} is a symbolic link to {path_for_people(target)}, which is not followed",
                )
            path = os.path.realpath(path, strict=True)
        if not _holds_data(os.stat(path).st_mode):  # noqa: PTH116 - paths are bytes here
            return _caution(path, "source_special", f"{shown} is neither a folder nor a file")
        empty = _is_empty(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            plain = "" if _PLAIN.fullmatch(path) else "; nothing fills in wildcards and variables here"
            return _caution(path, "source_missing", f"{shown} is missing{plain}")
        return _caution(path, "source_unreadable", f"{shown} cannot be read: {error.strerror}")
    if empty and not source.allow_empty:
        return _caution(path, "source_empty", f"{shown} is an empty folder")
    return Finding(path)


_PLAIN = re.compile(rb"[^*?${]*")


def _holds_data(mode: int) -> bool:
    return stat.S_ISDIR(mode) or stat.S_ISREG(mode)


def _is_empty(path: bytes) -> bool:
    """Whether this is a folder without entries; OSError where it cannot be read."""
    if stat.S_ISDIR(os.stat(path).st_mode):  # noqa: PTH116 - paths are bytes here
        with os.scandir(path) as entries:
            return next(entries, None) is None
    if not os.access(path, os.R_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return False


def _caution(path: bytes, code: str, message: str) -> Finding:
    return Finding(path, Caution(code=code, message=message, path=path))


# --- what is left out of it ----------------------------------------------------------------------

_METACHARACTER = re.compile(rb"[\\*?\[\]]")


def patterns(source: PathSource, excludes: Iterable[str] = (), *, at: bytes | None = None) -> list[bytes]:
    """The engine's exclude patterns for this source: the job's `excludes` and its own, anchored to it.

    `at` is the path that the engine is given (a Finding's), where it is not the source's own. restic's `**`
    stands for any number of folders, none included, and it takes `\\` before a character as that character
    (0.14, 0.18 and 0.19 alike).
    """
    folder = _METACHARACTER.sub(rb"\\\g<0>", at or source.path).rstrip(b"/")
    everywhere = [_below(folder, pattern) for pattern in (*excludes, *source.exclude)]
    return list(dict.fromkeys(everywhere))


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
    for found in re.finditer(_PIECE, part, re.DOTALL):
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
    each = re.findall(rf"({_BOUND})(?:-({_BOUND}))?", text, re.DOTALL)
    bounds = [(low[-1], high[-1:] or low[-1]) for low, high in each]
    return "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in bounds if low <= high)
