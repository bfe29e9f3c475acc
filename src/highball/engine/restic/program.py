"""Which restic there is, and what its version can do.

The version decides much (exit codes, flags, JSON), so it is asked once per file and remembered: a probe at
every run would be a second restic process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from highball.errors import ProgramMissing

Version = tuple[int, int, int]

OLDEST: Version = (0, 14, 0)
ANSWER_SECONDS = 20


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


def find_restic(named: Path | None, memory: Path) -> ResticBinary:
    """The restic to use: the one named in the settings, else the first on PATH.

    `memory` is a file that remembers versions by path, size and time of change.
    Raises ProgramMissing when there is none, it does not answer, or it is older than 0.14.
    """
    path = _locate(named)
    version = _recall(path, memory) or _ask_and_remember(path, memory)
    binary = ResticBinary(path, version)
    if version < OLDEST:
        raise ProgramMissing(
            f"{path} is restic {binary.text}; Highball needs 0.14 or later",
            code="restic_too_old",
            hint="install a newer restic, or name one with restic = … under [settings]",
        )
    return binary


def _locate(named: Path | None) -> Path:
    found = shutil.which(str(named or "restic"))
    if found is None:
        raise _no_restic(f"{named} is not an executable file" if named else "restic is not installed")
    return Path(found).absolute()  # a link keeps its name: its target may be a program of many names


def _recall(path: Path, memory: Path) -> Version | None:
    try:
        known = json.loads(memory.read_bytes())[str(path)]
        major, minor, patch = known["version"]
        return (major, minor, patch) if known["file"] == _fingerprint(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _ask_and_remember(path: Path, memory: Path) -> Version:
    version = _ask(path)
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        known = {}
    known = known if isinstance(known, dict) else {}
    known[str(path)] = {"file": _fingerprint(path), "version": version}
    fresh = memory.with_name(f"{memory.name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # it is asked once more, that is all
        memory.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(known))
        fresh.replace(memory)
    return version


def _fingerprint(path: Path) -> list[int]:
    seen = path.stat()
    return [seen.st_ino, seen.st_size, seen.st_mtime_ns]


def _ask(path: Path) -> Version:
    try:
        done = subprocess.run(
            [path, "version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_SECONDS,
            check=False,
            env={},
        )
    except OSError as error:
        raise _no_restic(f"{path} cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise _no_restic(f"{path} did not say its version within {ANSWER_SECONDS} s") from None
    return read_version(done.stdout.decode("utf-8", "replace"), path)


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
