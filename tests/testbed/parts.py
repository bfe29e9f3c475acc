"""Where the real parts are, and what happens when one is missing.

`scripts/setup tests` puts them into `.cache/parts` of the checkout. A test whose part is missing is skipped
and says so by name; where `CI` is set it fails instead, since there every part is required.
"""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final, NoReturn

import pytest

from testbed.restic import ResticBinary

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PARTS_DIRECTORY: Final = CHECKOUT / ".cache" / "parts"
RESTIC_VERSIONS: Final = ("0.14.0", "0.18.0", "0.19.1")

# sshd lies where an unprivileged user's PATH may not look, and insists on being called by its full path.
SEARCH_PATH: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

DEBIAN_NAMES: Final = {"rest-server": "restic-rest-server"}


def missing(part: str) -> NoReturn:
    """Skip the test that needs `part`, or fail it where CI is set."""
    message = f"needs {part}: run scripts/setup tests"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@functools.cache
def find_restic(version: str) -> ResticBinary | None:
    """The restic of exactly this version, from `.cache/parts` or else from PATH."""
    on_path = shutil.which("restic", path=SEARCH_PATH)
    for candidate in (PARTS_DIRECTORY / f"restic-{version}", Path(on_path) if on_path else None):
        if candidate is not None and _version_of(candidate) == version:
            return ResticBinary(candidate, _numbers(version))
    return None


def get_restic(version: str) -> ResticBinary:
    """The restic of exactly this version; skips (in CI: fails) the test when it is not there."""
    return find_restic(version) or missing(f"restic {version}")


def find_program(name: str) -> Path | None:
    """A program by name (`rest-server`, `sshd`, `setpriv`, ...), from `.cache/parts` or else from PATH."""
    cached = PARTS_DIRECTORY / name
    if os.access(cached, os.X_OK):
        return cached
    for known_as in (name, DEBIAN_NAMES.get(name, name)):
        if found := shutil.which(known_as, path=SEARCH_PATH):
            return Path(found)
    return None


def get_program(name: str) -> Path:
    """A program by name; skips (in CI: fails) the test when it is not there."""
    return find_program(name) or missing(name)


@functools.cache
def find_postgres() -> Path | None:
    """Where PostgreSQL's programs lie, the newest ones: Debian keeps them off PATH, in `/usr/lib/postgresql/15/bin`."""
    found = [initdb.parent for initdb in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = find_program("initdb")
    return max(found, default=on_path.parent if on_path else None, key=lambda path: float(path.parent.name))


def need(part: str) -> None:
    """Skip (in CI: fail) unless `part` is there: `restic 0.18.0`, `postgres`, `moto`, `root`, or a program's name.

    Being root is a fact of the machine and no part to install: a test that needs it is skipped in CI as well.
    """
    if part == "root":
        if os.geteuid() != 0:
            pytest.skip("needs root")
    elif part == "moto":
        if importlib.util.find_spec("moto") is None:
            missing("moto")
    elif part.startswith("restic "):
        get_restic(part.removeprefix("restic "))
    elif part == "postgres":
        if find_postgres() is None:
            missing(part)
    else:
        get_program(part)


def _version_of(binary: Path) -> str | None:
    try:
        said = subprocess.run(
            [binary, "version"], capture_output=True, text=True, check=True, timeout=120
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"restic (\d+\.\d+\.\d+)", said)
    return match[1] if match else None


def _numbers(version: str) -> tuple[int, int, int]:
    major, minor, patch = (int(number) for number in version.split("."))
    return major, minor, patch
