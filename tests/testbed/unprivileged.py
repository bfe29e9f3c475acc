"""Running a program as the user nobody: root reads a file of mode 000, so tests of unreadable files need one
who does not.

That user can enter neither a checkout in a private home nor pytest's temporary directories, so what such a
program needs is put into a directory of its own: `directory` here, with `install` for programs.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from testbed.parts import get_program, need

Argument = str | bytes | Path


class Unprivileged:
    """The user nobody, with a directory that is theirs. A context manager: leaving removes the directory."""

    def __init__(self) -> None:
        need("root")
        self._setpriv = get_program("setpriv")
        entry = pwd.getpwnam("nobody")
        self.uid = entry.pw_uid
        self.gid = entry.pw_gid
        self.directory = Path(tempfile.mkdtemp(prefix="highball-nobody-"))
        os.chown(self.directory, self.uid, self.gid)
        self.directory.chmod(0o755)

    def argv(self, argv: Sequence[Argument]) -> list[Argument]:
        """The argv that runs `argv` as nobody, for whoever starts it."""
        ids = ["--reuid", str(self.uid), "--regid", str(self.gid), "--clear-groups"]
        return [str(self._setpriv), *ids, "--", *argv]

    def run(
        self,
        argv: Sequence[Argument],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 240,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run argv as nobody, in `directory` unless told otherwise, with PATH, HOME and `env` only."""
        environment = {"PATH": os.defpath, "HOME": str(self.directory), "LC_ALL": "C.UTF-8", **(env or {})}
        return subprocess.run(
            self.argv(argv),
            env=environment,
            cwd=cwd or self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def install(self, program: Path) -> Path:
        """Copy a program to where nobody may run it, and return that place."""
        target = self.directory / program.name
        shutil.copyfile(program, target)
        target.chmod(0o755)
        return target

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
