"""A restic to call, and a place for a repository, as the tests see them.

The call here is deliberately plain: a test uses it to prepare and to inspect what the product did, so it
must stay independent of the product's own way of calling restic.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Argument = str | bytes | Path


@dataclass(frozen=True)
class Location:
    """Where one test's repository lies: what `--repo` says, and what reaching it takes."""

    kind: str  # "local", "sftp", "rest" or "s3"
    repository: str
    options: tuple[str, ...] = ()  # given as they are: ("-o", "sftp.command=...")
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ResticBinary:
    """One restic program of a known version."""

    path: Path
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return "restic " + ".".join(map(str, self.version))

    def run(
        self,
        *arguments: Argument,
        at: Location,
        password_file: Path,
        check: bool = True,
        cwd: Path | None = None,
        timeout: float = 240,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run restic on a location and return what it said; raises AssertionError when `check` and it failed.

        The environment holds nothing of the caller's but PATH. The repository travels in the environment,
        since a REST address has a password in it; the cache lies beside the password file.
        """
        argv: Sequence[Argument] = (self.path, *at.options, *arguments)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(password_file.parent),
            "LC_ALL": "C.UTF-8",
            "RESTIC_CACHE_DIR": str(password_file.parent / "restic-cache"),
            "RESTIC_PASSWORD_FILE": str(password_file),
            "RESTIC_REPOSITORY": at.repository,
            **at.environment,
        }
        done = subprocess.run(
            argv,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace")
            raise AssertionError(f"{self} {arguments!r} ended with {done.returncode}:\n{said}")
        return done

    def init(self, *, at: Location, password_file: Path) -> None:
        """Create the repository, in format 2 with every version of restic."""
        self.run("init", "--repository-version", "2", at=at, password_file=password_file)

    def json(self, *arguments: Argument, at: Location, password_file: Path) -> Any:
        """Run a command with `--json` that prints one document, and return it parsed."""
        return json.loads(self.run("--json", *arguments, at=at, password_file=password_file).stdout)
