"""What restic prints, as facts: JSON lines, plain lines and exit statuses of 0.14 to 0.19.

Rules: fields and kinds of message that are not known are passed over, a line that is not JSON is log, a number
that is missing is 0, one that cannot be (negative, too large, no number at all) is not known, and an exit status
that is not known is a failure. Nothing here starts a program.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pydantic_core

from highball.engine.base import LACKING, PruneReport, Summary
from highball.engine.tags import read_job, read_run, read_set
from highball.model.fact import LARGEST_NUMBER
from highball.model.run import (
    Caution,
    Progress,
)
from highball.model.snapshot import (
    Difference,
    Lock,
    Node,
    NodeKind,
    Snapshot,
)
from highball.model.text import LOST_CHARACTER, path_from_text

JsonMessage = dict[str, Any]
"""One JSON object that restic printed."""


def read_json(line: bytes) -> dict[str, Any] | None:
    """The JSON object on a line, or None where the line is something else."""
    if not line.startswith(b"{"):
        return None
    try:
        found = pydantic_core.from_json(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def read_time(text: str) -> datetime:
    """A time as Go writes it, with its offset; Go's nanoseconds are cut to microseconds."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def read_count(value: object) -> int | None:
    """How many, or how many bytes; None of what is no number that can be."""
    return value if type(value) is int and 0 <= value <= LARGEST_NUMBER else None


def _read_amount(value: object) -> float | None:
    """The same where it may be a fraction."""
    fits = isinstance(value, int | float) and 0 <= value <= LARGEST_NUMBER and math.isfinite(value)
    return value if fits else None  # type: ignore[return-value]


def is_id(value: object) -> bool:
    """Whether this is an id of restic's, or the beginning of one."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


_ID = re.compile("[0-9a-f]{8,64}")


def read_status(message: dict[str, Any]) -> Progress:
    """A `status` message of backup or restore as progress, which never goes beyond the whole."""
    seconds = _read_amount(message.get("seconds_elapsed"))
    done = read_count(message.get("bytes_done") or message.get("bytes_restored")) or 0
    total = read_count(message.get("total_bytes"))
    files = read_count(message.get("files_done") or message.get("files_restored")) or 0
    # files that grow while they are read make more of it than restic had counted, and its remainder wraps around
    grew = total is not None and done > total
    return Progress(
        percent=round((_read_amount(message.get("percent_done")) or 0) * 100, 2),
        files_done=files,
        files_total=_at_least(files, read_count(message.get("total_files"))),
        bytes_done=done,
        bytes_total=_at_least(done, total),
        bytes_per_second=_read_amount(done / seconds) if seconds else None,
        seconds_left=None if grew else _read_seconds_left(message.get("seconds_remaining")),
        current=_read_path(_first_of(message.get("current_files"))),
    )


LONGEST_LEFT = 365 * 24 * 3600
"""A forecast beyond this many seconds is none."""


def _read_seconds_left(value: object) -> float | None:
    seconds = _read_amount(value)
    return seconds if seconds is not None and seconds <= LONGEST_LEFT else None


def _at_least(done: int, total: int | None) -> int | None:
    return None if total is None else max(done, total)


LONGEST_PATH = 64 * 1024


def _read_path(value: object) -> bytes | None:
    """A path as a message spells it; none where it is longer than any system's paths are."""
    return path_from_text(value) if isinstance(value, str) and 0 < len(value) <= LONGEST_PATH else None


def _first_of(value: object) -> object:
    return value[0] if isinstance(value, list) and value else None


_SUMMED = {
    "files_new": "files_new",
    "files_changed": "files_changed",
    "files_unmodified": "files_unmodified",
    "bytes_processed": "total_bytes_processed",
    "bytes_added": "data_added",
}


def read_summary(message: dict[str, Any]) -> Summary | None:
    """A backup's `summary` message; None of one that no backup can have come to."""
    found = {name: read_count(message.get(told) or 0) for name, told in _SUMMED.items()}
    counts = {name: count for name, count in found.items() if count is not None}
    id, packed = message.get("snapshot_id") or None, message.get("data_added_packed")
    if len(counts) < len(found) or not (id is None or is_id(id)):
        return None
    return Summary(snapshot_id=id, **counts, bytes_packed=read_count(packed))


def read_file_error(message: dict[str, Any]) -> Caution:
    """An `error` message: its text lies in `error.message` since 0.17.1, in `error.Err` and `error.Op` before."""
    error = message.get("error")
    detail = ""
    if isinstance(error, dict):
        detail = str(error.get("message") or _go_error(error))
    elif isinstance(error, str):
        detail = error
    text = detail or f"error during {message.get('during') or 'the backup'}"
    return Caution(
        code="file_unreadable", message=text[:LONGEST_MESSAGE], path=_read_path(message.get("item"))
    )


LONGEST_MESSAGE = 4096
"""A message of restic names a path and says what is wrong with it."""

_OF_THE_REPOSITORY = re.compile(
    r"(is not known|could not be loaded); the repository could be damaged|not found in the repository index"
)


def as_lacking(caution: Caution, sources: Collection[bytes]) -> Caution:
    """The same, told as what it is where not a file could not be read, but what an earlier backup had saved of it.

    restic calls both an error of the file, and saves it anew. Before 0.17.1 it loses its words for the second one;
    that the tree of the snapshot before is not there it says of `/`, whatever the sources are.
    """
    is_of_root = caution.path == b"/" and b"/" not in sources
    if not is_of_root and _OF_THE_REPOSITORY.search(caution.message) is None:
        return caution
    message = (
        f"the repository lacks what an earlier backup saved, so that it was saved anew: {caution.message}"
    )
    return Caution(code=LACKING, message=message[:LONGEST_MESSAGE])


_ERRNO = {
    1: "operation not permitted",
    2: "no such file or directory",
    5: "input/output error",
    13: "permission denied",
}


def _go_error(error: dict[str, Any]) -> str:
    number = error.get("Err")
    reason = _ERRNO.get(number, f"error {number}") if isinstance(number, int) else str(number or "")
    return f"{error.get('Op') or 'read'} {error.get('Path') or ''}: {reason}".strip() if reason else ""


def read_snapshots(text: bytes, repository: str) -> list[Snapshot]:
    """The array that `snapshots --json` prints; versions before 0.17 know no sizes."""
    return read_some(text, repository, (), ())[0]


def read_some(
    text: bytes, repository: str, hosts: Collection[str], tags: Iterable[str]
) -> tuple[list[Snapshot], int]:
    """Of that array what restic would list by these hosts and comma-joined tags; and how many it shows in all."""
    found = pydantic_core.from_json(text.strip() or b"null") or []
    wanted = [set(joined.split(",")) for joined in tags]
    chosen = [
        entry
        for entry in found
        if (not hosts or entry.get("hostname") in hosts)
        and (not wanted or any(each.issubset(entry.get("tags") or ()) for each in wanted))
    ]
    return [read_snapshot(entry, repository) for entry in chosen], len(found)


def read_snapshot(entry: dict[str, Any], repository: str) -> Snapshot:
    """One snapshot as restic shows it, with what our tags say."""
    tags = tuple(entry.get("tags") or ())
    summary = entry.get("summary") or {}
    if not is_id(entry["id"]):
        raise ValueError("not an id")
    return Snapshot(
        id=entry["id"],
        time=read_time(entry["time"]),
        job=read_job(tags),
        set=read_set(tags),
        run=read_run(tags),
        host=entry.get("hostname") or "",
        tags=tags,
        paths=tuple(path_from_text(path) for path in entry.get("paths") or ()),
        repository=repository,
        size_bytes=read_count(summary.get("total_bytes_processed")),
        files=read_count(summary.get("total_files_processed")),
        tree=_read_id(entry.get("tree")),
        parent=_read_id(entry.get("parent")),
        original=_read_id(entry.get("original")),
        user=entry.get("username"),
    )


def _read_id(value: object) -> str | None:
    return value if isinstance(value, str) and is_id(value) else None


_KINDS = {"file": NodeKind.FILE, "dir": NodeKind.DIRECTORY, "symlink": NodeKind.SYMLINK}


def read_node(message: dict[str, Any]) -> Node:
    """One `node` line of `ls --json`."""
    kind = _KINDS.get(message.get("type", ""), NodeKind.OTHER)
    modified_at, modified_ns = _moment(message.get("mtime"))
    mode = message.get("mode")
    return Node.model_construct(
        path=message["path"].encode("utf-8", "surrogateescape"),
        kind=kind,
        size_bytes=read_count(message.get("size") or 0) if kind is NodeKind.FILE else None,
        mode=permissions(mode) if isinstance(mode, int) else None,
        uid=read_count(message.get("uid")),
        gid=read_count(message.get("gid")),
        modified_at=modified_at,
        modified_ns=modified_ns,
        inode=inode if type(inode := message.get("inode")) is int else None,
        inexact=LOST_CHARACTER in message["path"],
    )


def _moment(text: str | None) -> tuple[datetime | None, int | None]:
    if not text:
        return None, None
    try:
        at = read_time(text)
    except ValueError:  # a year that Python cannot hold; the listing goes on
        return None, None
    return at, _nanoseconds(at, text)


def permissions(go_mode: int) -> int:
    """Go's file mode as POSIX permission bits: Go keeps set-id and sticky in bits of its own."""
    if not go_mode & _ANY_SPECIAL:
        return go_mode & 0o777
    return (go_mode & 0o777) | sum(posix for go, posix in _SPECIAL if go_mode & go)


_SPECIAL = ((1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000))
_ANY_SPECIAL = sum(go for go, _ in _SPECIAL)
_FRACTION = re.compile(r"\.(\d{1,9})")


def nanoseconds(text: str) -> int:
    """A time of Go as nanoseconds since 1970, all nine digits of it."""
    return _nanoseconds(read_time(text), text)


def _nanoseconds(at: datetime, text: str) -> int:
    fraction = _FRACTION.search(text)
    whole = int(at.replace(microsecond=0).timestamp())
    return whole * 1_000_000_000 + (int(fraction[1].ljust(9, "0")) if fraction else 0)


def read_lock(lock_id: str, text: bytes) -> Lock:
    """What `cat lock` prints."""
    entry = pydantic_core.from_json(text)
    return Lock(
        id=lock_id,
        exclusive=bool(entry.get("exclusive")),
        hostname=entry.get("hostname") or "",
        pid=read_count(entry.get("pid")) or 0,
        username=entry.get("username"),
        created_at=read_time(entry["time"]),
    )


def read_difference(message: dict[str, Any]) -> Difference | None:
    """A `change` line of `diff --json`; None for other kinds of line."""
    path = _read_path(message.get("path"))
    if message.get("message_type") != "change" or path is None:
        return None
    return Difference(path=path, modifier=str(message.get("modifier") or "?")[:8])


@dataclass(frozen=True)
class TreeEntry:
    """A name in a tree with its exact bytes, and the tree below it where it is a directory."""

    name: bytes
    subtree: str | None


def read_tree(text: bytes) -> list[TreeEntry]:
    """The entries of a tree blob; restic writes names Go-quoted, which is how bytes survive JSON."""
    tree = pydantic_core.from_json(text)
    return [TreeEntry(unquote(node["name"]), node.get("subtree")) for node in tree.get("nodes") or ()]


_ESCAPE = re.compile(
    r'\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([abfnrtv\\"\']))'
)
_SHORT = {"a": b"\a", "b": b"\b", "f": b"\f", "n": b"\n", "r": b"\r", "t": b"\t", "v": b"\v"}


def unquote(name: str) -> bytes:
    """Undo Go's `strconv.Quote`: exact bytes from its escapes."""
    parts: list[bytes] = []
    end = 0
    for found in _ESCAPE.finditer(name):
        parts.append(name[end : found.start()].encode())
        parts.append(_unescape(found))
        end = found.end()
    parts.append(name[end:].encode())
    return b"".join(parts)


def _unescape(found: re.Match[str]) -> bytes:
    two, octal, four, eight, short = found.groups()
    if two or octal:
        return bytes([int(two, 16) if two else int(octal, 8)])
    if four or eight:
        return chr(int(four or eight, 16)).encode()
    return _SHORT.get(short, short.encode())


@dataclass(frozen=True)
class CheckResult:
    """What `check` found: how many errors, and the lines that tell them."""

    errors: int
    lines: tuple[str, ...]
    broken_packs: tuple[str, ...] = ()


def read_check(message: dict[str, Any]) -> CheckResult | None:
    """The `summary` of `check --json` (since 0.18); None for other kinds of line, and of one that makes no sense."""
    errors = read_count(message.get("num_errors") or 0)
    if message.get("message_type") != "summary" or errors is None:
        return None
    packs = message.get("broken_packs")
    return CheckResult(
        errors=errors, lines=(), broken_packs=tuple(filter(is_id, packs if isinstance(packs, list) else ()))
    )


def finds_damage(log: Iterable[str]) -> bool:
    """Whether a check that failed says at its end that it found something."""
    return any(re.search("repository contains errors|LoadIndex returned errors", line) for line in log)


def was_kept_out(log: Iterable[str]) -> bool:
    """Whether restic could not begin, because it could not put its lock into the repository."""
    return any("unable to create lock in backend" in line for line in log)


NO_ERRORS = "no errors were found"
"""What `check` says at its good end before it speaks JSON (0.18)."""


@dataclass
class PruneText:
    """What `prune` says of its work: text on every version, of which a long one prints much."""

    freed: int | None = None
    left: int = 0
    """How many files could not be removed."""
    _is_done: bool = False

    def hear(self, line: str) -> None:
        """One more line."""
        found = read_freed([line])
        self.freed = self.freed if found is None else found
        self.left += line.startswith("unable to remove ")
        self._is_done = self._is_done or line == "done"

    @property
    def report(self) -> PruneReport:
        """What it came to."""
        return PruneReport(self._is_done and self.freed is not None, self.freed, self.left)


_IGNORED = re.compile(r"ignoring error for (?P<path>.*?): (?P<message>.*)")
_METADATA = re.compile(r"(l?chown|l?chmod|utimes?|mknod|.{0,12}xattr)", re.IGNORECASE)
"""What a restore's complaints about anything but content begin with."""


def read_ignored(line: str) -> Caution | None:
    """What a restore before 0.17.1 says in plain words of an entry that it goes on without; None for other lines."""
    if not line.startswith("ignoring error for "):
        return None
    found = _IGNORED.fullmatch(line[: LONGEST_PATH + LONGEST_MESSAGE])
    path = os.fsencode(found["path"]) if found else None
    message = found["message"] if found else line
    is_path = path is not None and len(path) <= LONGEST_PATH
    return Caution(code="file_unreadable", message=message[:LONGEST_MESSAGE], path=path if is_path else None)


def spares_content(message: str) -> bool:
    """Whether a restore complains of an entry's owner, mode, times or the like alone."""
    return _METADATA.match(message) is not None


_PLAIN_ERROR = re.compile(r"error: (?P<what>\S.*)")


def read_plain_error(line: str) -> Caution | None:
    """What could not be read, where a backup says so in plain words beside its JSON; None for any other line."""
    found = _PLAIN_ERROR.fullmatch(line)
    return Caution(code="file_unreadable", message=found["what"]) if found else None


_FREED = re.compile(r"total prune: +\d+ blobs / (\d{1,12}(?:\.\d{1,12})?) ([KMGT]?)i?B")


def read_freed(lines: Iterable[str]) -> int | None:
    """The bytes in `total prune: 3 blobs / 293.664 KiB`; None where restic (0.14 to 0.19 do) does not say so."""
    found = next((match for line in lines if (match := _FREED.match(line))), None)
    return round(float(found[1]) * 1024 ** " KMGT".index(found[2] or " ")) if found else None
