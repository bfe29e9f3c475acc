"""A PostgreSQL server of the tests' own, on a Unix socket in a temporary directory, with a database for each test.

PostgreSQL refuses to run as root, so there it runs as the user nobody. It sorts text as people do (ICU), since
that is what an installed server does and what a query must not rely on; and it asks for a password, so that
there is one that could leak. What a test's end makes worthless is not written to disk: `fsync` is off.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psycopg

from testbed.parts import find_postgres, get_program, missing
from testbed.serving import STOP_WITHIN, Server, wait_until

USER: Final = "highball"
PASSWORD: Final = "canary/of the:database@"
PASSWORD_IN_ADDRESS: Final = "canary%2Fof%20the%3Adatabase%40"

SETTINGS: Final = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "dynamic_shared_memory_type": "mmap",  # nothing of it outlives its directory
    "max_connections": "200",
}


class PostgresServer(Server):
    """A server with the user `highball`, who may make databases. Needs no port: its socket's name has one."""

    name = "postgres"

    def __init__(self) -> None:
        self._programs = find_postgres() or missing("postgres")
        self._as_whom = _as_nobody() if os.geteuid() == 0 else []
        # Not below pytest's directory: nobody may not enter that, and a socket's path has at most 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="highball-pg-"))
        super().__init__(self.directory / "log")
        if self._as_whom:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.directory, nobody.pw_uid, nobody.pw_gid)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def argv(self, port: int) -> Sequence[str | Path]:
        if not self.data.exists():
            self._make()
        settings = SETTINGS | {"unix_socket_directories": str(self.directory), "port": str(port)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        # setpriv for itself: the kernel forgets who a process dies with when it becomes another user.
        return [*self._as_whom, self._programs / "postgres", "-D", self.data, *options]

    def address(self, database: str = "postgres") -> str:
        """The address of a database, with the password in it."""
        at = f"{USER}:{PASSWORD_IN_ADDRESS}@:{self.port}"
        return f"postgresql://{at}/{database}?host={self.directory}"

    def execute(self, statement: str) -> None:
        """One statement of the administrator."""
        with psycopg.connect(self._string(self.port), autocommit=True) as connection:
            connection.execute(statement.encode())

    def create(self, template: str = "template0") -> str:
        """A new database's name, an empty one unless a template is named."""
        name = f"test_{uuid.uuid4().hex[:16]}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def stop(self) -> None:
        """End it at once, connections and all; what was committed is there after the next start."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGQUIT)
            process = self._process
            wait_until(lambda: process.poll() is not None)
        super().stop()

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _string(self, port: int) -> str:
        words = {"host": self.directory, "port": port, "user": USER, "password": f"'{PASSWORD}'"}
        return " ".join(f"{name}={value}" for name, value in words.items()) + " dbname=postgres"

    def _answers(self, port: int) -> bool:
        try:
            psycopg.connect(self._string(port), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _make(self) -> None:
        password = self.directory / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        options: list[str | Path] = ["--username", USER, "--pwfile", password, "--auth", "scram-sha-256"]
        sorting = ["--encoding", "UTF8", "--locale", "C.UTF-8", "--locale-provider", "icu"]
        argv: list[str | Path] = [self._programs / "initdb", "-D", self.data, "--no-sync"]
        done = subprocess.run(
            [*self._as_whom, *argv, *options, *sorting, "--icu-locale", "en-US"],
            env=dict(self.environment()),
            cwd=self.directory,
            capture_output=True,
            check=False,
            timeout=STOP_WITHIN * 12,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")


def _as_nobody() -> list[str | Path]:
    nobody = pwd.getpwnam("nobody")
    ids = ["--reuid", str(nobody.pw_uid), "--regid", str(nobody.pw_gid), "--clear-groups"]
    return [get_program("setpriv"), *ids, "--pdeathsig", "TERM", "--"]
