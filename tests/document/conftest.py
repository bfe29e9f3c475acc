"""The Document on each kind of database, a new one for every test."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from highball.hub.audit import Actor
from highball.hub.config import Documents
from highball.hub.db import Database, metadata, open_database
from testbed import serving

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANNA = Actor("anna", address="192.0.2.1")
NAS: dict[str, Any] = {"url": "/mnt/nas", "password": {"env": "X"}}
DOCS: dict[str, Any] = {"sources": ["/docs"], "repositories": ["nas"], "schedule": "daily"}


class Desk:
    """A Document, and somebody who works on it at a moment that does not pass by itself."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.documents = Documents(database)
        self.told: dict[str, Any] = {"now": NOW, "actor": ANNA}

    def start(self) -> Desk:
        """One repository and one job."""
        self.create("repository", "nas", NAS)
        self.create("job", "docs", DOCS)
        return self

    def create(self, kind: str, key: str, spec: dict[str, Any]) -> Any:
        return self.documents.create(kind, key, spec, **self.told)

    def change(self, kind: str, key: str, **fields: Any) -> Any:
        """Set these fields anew, at whatever revision the object is."""
        return self.documents.patch(kind, key, fields, expected=self.revision(kind, key), **self.told)

    def delete(self, kind: str, key: str) -> Any:
        return self.documents.delete(kind, key, expected=self.revision(kind, key), **self.told)

    def rekey(self, kind: str, key: str, new: str) -> Any:
        return self.documents.rekey(kind, key, new, expected=self.revision(kind, key), **self.told)

    def revision(self, kind: str, key: str) -> int:
        return self.documents.get(kind, key).revision

    def specs(self) -> dict[tuple[str, str], dict[str, Any]]:
        """All that lives, read anew from the database."""
        again = Documents(self.database)
        kinds = ("settings", "defaults", "host", "profile", "repository", "job", "pin", "user", "token")
        return {one.place: one.spec for kind in kinds for one in again.list_objects(kind)}


class Postgres:
    """A PostgreSQL server of this session, on a socket in a directory of its own."""

    def __init__(self, programs: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))
        self.port = serving.free_port()
        self._programs = programs
        self._as = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
        if os.getuid() == 0:
            shutil.chown(self.folder, "nobody", "nogroup")
        else:
            self._as = []
        self._call("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off -p {self.port}"
        log = str(self.folder / "log")
        self._call("pg_ctl", "-D", self._data, "-w", "-l", log, "-o", options, "start")

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _call(self, program: str, *arguments: str) -> None:
        call = [*self._as, str(self._programs / program), *arguments]
        subprocess.run(call, check=True, capture_output=True, cwd=self.folder)

    def engine(self, name: str) -> sa.Engine:
        return sa.create_engine(
            sa.URL.create(
                "postgresql+psycopg",
                username="postgres",
                database=name,
                query={"host": str(self.folder), "port": str(self.port)},
            )
        )

    def make(self) -> sa.Engine:
        """A new database with all tables."""
        name = f"hb{uuid.uuid4().hex}"
        with self.engine("postgres").connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(
                f"CREATE DATABASE {name}"
            )
        made = self.engine(name)
        metadata.create_all(made)
        return made

    def stop(self) -> None:
        self._call("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server; skips where there is none."""
    found = shutil.which("pg_ctl")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("postgresql is missing")
        pytest.skip("postgresql is missing")
    server = Postgres(Path(found).resolve().parent)
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A new database of each kind in turn."""
    if request.param == "sqlite":
        yield open_database(tmp_path / "highball.db")
        return
    engine = request.getfixturevalue("postgres").make()
    yield Database(engine)
    engine.dispose()


@pytest.fixture
def desk(database: Database) -> Desk:
    """An empty Document."""
    return Desk(database)
