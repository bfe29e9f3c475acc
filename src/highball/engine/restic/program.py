"""Which restic there is, and what its version can do.

The version decides much (exit codes, flags, JSON), so it is asked once per file and remembered: a probe at
every run would be a second restic process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from highball.errors import Failed, ProgramMissing
from highball.place.base import Place
from highball.process.child import Command, Manners, Stream

Version = tuple[int, int, int]

OLDEST: Version = (0, 14, 0)
ANSWER_SECONDS = 20
LONGEST_ANSWER = 64 * 1024
_MANNERS = Manners(grace=timedelta(seconds=1))
"""It has begun nothing that it would have to end well, and somebody waits."""


@dataclass(frozen=True)
class ResticBinary:
    """A restic program on this machine and its version."""

    path: Path
    version: Version

    @property
    def text(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))

    def has(self, *version: int) -> bool:
        """Whether it is at least this version."""
        return self.version >= version

    @property
    def reads_concurrently(self) -> bool:
        """`--read-concurrency` came with 0.15."""
        return self.has(0, 15)

    @property
    def names_folders(self) -> bool:
        """`<snapshot>:<folder>` came with 0.16."""
        return self.has(0, 16)

    @property
    def has_json_check(self) -> bool:
        """`check --json` came with 0.18."""
        return self.has(0, 18)

    @property
    def keeps_named_files(self) -> bool:
        """A file that is a source itself is saved from 0.19 on, whatever is left out as too large (restic#5767)."""
        return self.has(0, 19)

    @property
    def damages_at_max(self) -> bool:
        """`--compression max` of these two could write damaged data (restic#4523, restic#4677)."""
        return self.version in {(0, 16, 0), (0, 16, 3)}

    @property
    def has_exit_codes(self) -> bool:
        """Exit codes 10 and 11 came with 0.17 (12 with 0.17.1)."""
        return self.has(0, 17)


def find_restic(named: Path | None, memory: Path, place: Place) -> ResticBinary:
    """The restic to use: the one named in the settings, else the first on PATH.

    `memory` is a file that remembers versions by path, size and time of change.
    Raises ProgramMissing when there is none, it does not answer, or it is older than 0.14.
    """
    path = _locate(named, place)
    version = _recall(path, memory, place) or _ask_and_remember(path, memory, place)
    binary = ResticBinary(path, version)
    if version < OLDEST:
        raise ProgramMissing(
            f"{path} is restic {binary.text}; Highball needs 0.14 or later",
            code="restic_too_old",
            hint="install a newer restic, or name one with restic = … under [settings]",
        )
    return binary


def _locate(named: Path | None, place: Place) -> Path:
    found = place.find_program(str(named or "restic"))
    if found is None:
        raise _no_restic(f"{named} is not an executable file" if named else "restic is not installed")
    return Path(found).absolute()  # a link keeps its name: its target may be a program of many names


def _recall(path: Path, memory: Path, place: Place) -> Version | None:
    try:
        known = json.loads(memory.read_bytes())[_name(path, place)]
        major, minor, patch = known["version"]
        return (major, minor, patch) if known["file"] == _fingerprint(path, place) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _ask_and_remember(path: Path, memory: Path, place: Place) -> Version:
    version = _ask(path, place)
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        known = {}
    known = known if isinstance(known, dict) else {}
    known[_name(path, place)] = {"file": _fingerprint(path, place), "version": version}
    fresh = memory.with_name(f"{memory.name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # it is asked once more, that is all
        memory.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(known))
        fresh.replace(memory)
    return version


def _name(path: Path, place: Place) -> str:
    return f"{place.key}:{path}" if place.key else str(path)


def _fingerprint(path: Path, place: Place) -> list[int]:
    with place.files() as files:
        seen = files.status(files.real_path(os.fsencode(path), strict=True))
    return [seen.st_ino, seen.st_size, seen.st_mtime_ns] if seen is not None else []


def _ask(path: Path, place: Place) -> Version:
    said = bytearray()

    def on_data(stream: Stream, data: bytes) -> None:
        if stream == "stdout" and len(said) < LONGEST_ANSWER:
            said.extend(data)

    try:
        ended = place.run(
            Command((str(path), "version")),
            on_data,
            timeout=timedelta(seconds=ANSWER_SECONDS),
            manners=_MANNERS,
        )
    except (ProgramMissing, Failed) as error:
        raise _no_restic(error.message) from None
    if ended.timed_out:
        raise _no_restic(f"{path} did not say its version within {ANSWER_SECONDS} s")
    return read_version(said.decode("utf-8", "replace"), path)


def read_version(text: str, path: Path) -> Version:
    """The version in what `restic version` prints, on every version of restic: `restic 0.14.0 compiled with …`."""
    found = re.match(r"restic (\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise _no_restic(f"{path} is not restic: it answered {text[:60]!r}")
    return int(found[1]), int(found[2]), int(found[3] or 0)


def _no_restic(why: str) -> ProgramMissing:
    return ProgramMissing(
        why,
        code="restic_missing",
        hint="install it (Debian: apt-get install restic), or name it under [settings]",
    )
