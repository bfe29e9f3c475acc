"""A PostgreSQL server in a temporary folder, reached by a socket only."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import sqlalchemy as sa

from highball.hub.storage.database import Database
from highball.hub.storage.schema import metadata


class Postgresql:
    """Starts on entering and is gone on leaving; as nobody where the tests are root, for it refuses root."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._as = (
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
        )

    def __enter__(self) -> Postgresql:
        self._folder = Path(tempfile.mkdtemp(prefix="hb-pg-"))  # short: a socket's path has to be
        self._engines: list[sa.Engine] = []
        if self._as:
            os.chown(self._folder, 65534, 65534)
        self._run("initdb", "-D", "data", "-U", "highball", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses='' -k {self._folder} -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", options, "start")
        metadata.create_all(self.open().engine)
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._engines:
            engine.dispose()
        self._run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder)

    def open(self) -> Database:
        """The database, with connections of its own."""
        url = f"postgresql+psycopg://highball@/postgres?host={self._folder}"
        self._engines.append(sa.create_engine(url))
        return Database(self._engines[-1])

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._programs / program), *arguments]
        subprocess.run(command, cwd=self._folder, check=True, stdout=subprocess.DEVNULL, timeout=240)
