"""Everything around the target of a restore, before and after it: mode, owner, content and time.

What a restore was asked to bring back may change, and what is missing on the way there, or no folder, may be made one.
Everything else has to be what it was, the folders that gained an entry included.
"""

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

Seen = tuple[int, int, int, int, bytes]
"""Mode, owner, group, time, and what a file holds or where a link points."""

LARGEST_READ = 1 << 20


@dataclass(frozen=True)
class Photograph:
    """What lay below some folders, less what changes by itself, and the folders above them."""

    seen: dict[bytes, Seen]
    above: dict[bytes, tuple[int, int, int]]
    """Mode, owner and group; their times are moved by others."""

    @classmethod
    def take(cls, within: Sequence[bytes], restless: Collection[bytes] = ()) -> Self:
        """Look at everything below these folders."""
        seen = {path: _look(path) for folder in within for path in _walk(folder, restless)}
        above = {path: _look(path)[:3] for folder in within for path in _ancestors(folder)}
        return cls(seen, above)

    def differences(self, later: Self, asked: Sequence[bytes], mine: Collection[bytes] = ()) -> list[str]:
        """What changed that was not asked for.

        `asked` are the paths that were to be brought back, where they go; `mine` those below them that are in no
        snapshot.
        """
        found = [
            f"{path!r}: {was} became {later.above[path]}"
            for path, was in self.above.items()
            if was != later.above[path]
        ]
        ways = {above for path in asked for above in _ancestors(path)}
        for path, was in self.seen.items():
            now = later.seen.get(path)
            made_way = path in ways and now is not None and not stat.S_ISDIR(was[0]) and stat.S_ISDIR(now[0])
            allowed = made_way or (_is_within(path, asked) and path not in mine)
            if now != was and not allowed:
                found.append(f"{path!r}: {_told(was)} became {_told(now)}")
            elif now is None:
                found.append(f"{path!r} is gone")
        found += [
            f"{path!r} is new: {_told(now)}"
            for path, now in later.seen.items()
            if path not in self.seen and path not in ways and not _is_within(path, asked)
        ]
        return found


def _walk(folder: bytes, restless: Collection[bytes]) -> Iterator[bytes]:
    if not os.path.lexists(folder):
        return
    yield folder
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if at + b"/" + name not in restless]
        yield from (at + b"/" + name for name in [*folders, *names] if at + b"/" + name not in restless)


def _look(path: bytes) -> Seen:
    seen = os.lstat(path)
    content = b""
    if stat.S_ISLNK(seen.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(seen.st_mode) and seen.st_size <= LARGEST_READ and os.access(path, os.R_OK):
        with open(path, "rb") as file:
            content = file.read()
    return seen.st_mode, seen.st_uid, seen.st_gid, seen.st_mtime_ns, content


def _ancestors(path: bytes) -> Iterator[bytes]:
    while (parent := os.path.dirname(path)) != path:  # `//` is a root of its own
        yield parent
        path = parent


def _is_within(path: bytes, places: Sequence[bytes]) -> bool:
    return any(path == place or path.startswith(place.rstrip(b"/") + b"/") for place in places)


def _told(seen: Seen | None) -> str:
    if seen is None:
        return "nothing"
    mode, uid, gid, time, content = seen
    return f"{mode:o} {uid}:{gid} at {time} holding {content[:40]!r}"
