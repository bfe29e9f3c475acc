"""A small database that is backed up, and whoever looks at it as a person would."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from testbed.parts import SEARCH_PATH
from testbed.postgres import PASSWORD, USER, PostgresServer


@dataclass
class Shop:
    """A database with customers in it, and those who look at it as a person would: with psql."""

    server: PostgresServer
    name: str
    password_file: Path

    @property
    def source(self) -> dict[str, Any]:
        """What a job says to save it."""
        secret = {"file": str(self.password_file)}
        return {"run": "pg_dump", "name": "shop.sql", "environment": {**self._way, "PGPASSWORD": secret}}

    @property
    def _way(self) -> dict[str, str]:
        at = {"PGHOST": str(self.server.directory), "PGPORT": str(self.server.port)}
        return {**at, "PGUSER": USER, "PGDATABASE": self.name}

    def execute(self, statement: str) -> None:
        """One statement in it."""
        with psycopg.connect(self.server.address(self.name), autocommit=True) as connection:
            connection.execute(statement.encode())

    def psql(self, *words: str, script: bytes = b"") -> str:
        """What psql prints."""
        argv = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--set", "ON_ERROR_STOP=1", *words]
        environment = {"PATH": SEARCH_PATH, "PGPASSWORD": PASSWORD, **self._way}
        done = subprocess.run(argv, env=environment, input=script, capture_output=True, check=True)
        return done.stdout.decode()

    def read(self) -> str:
        """All its rows."""
        return self.psql("--command", "SELECT * FROM customers ORDER BY id")

    def lose(self) -> None:
        """Drop it, and make an empty one of the same name."""
        self.server.drop(self.name)
        self.server.execute(f'CREATE DATABASE "{self.name}" TEMPLATE template0')


def open_shop(server: PostgresServer, folder: Path) -> Shop:
    """A new one, with a few customers whose names are not easy."""
    password = folder / "pg-password"
    password.write_text(f"{PASSWORD}\n")
    password.chmod(0o600)
    shop = Shop(server, server.create(), password)
    shop.execute("CREATE TABLE customers (id serial PRIMARY KEY, name text, picture bytea)")
    shop.execute(
        r"""INSERT INTO customers (name, picture) VALUES ('O''Brien', '\x00ff'), (E'tab\t\\.', NULL), ('Žofie', '')"""
    )
    return shop
