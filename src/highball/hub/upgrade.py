"""Bring an older database to the schema of this program, after a copy of it was made; refuse a newer one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from highball.errors import StateUnusable


def upgrade(engine: sa.Engine, found: str, path: Path | None, known: str) -> None:
    """Run the migrations from the revision that was found to the known one; SQLite is copied first, beside itself."""
    script = ScriptDirectory.from_config(configuration())
    if found not in {revision.revision for revision in script.walk_revisions()}:
        raise StateUnusable(
            f"a newer Highball wrote this database (schema {found}; this one knows {known})",
            code="database_newer",
            hint="use the newer Highball, or the copy that it made before it upgraded",
        )
    if path is not None:
        _copy(path, path.with_name(f"{path.name}.before-{known}"))
    with engine.connect().execution_options(highball_writes=True) as connection, connection.begin():
        settings = configuration()
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")


def configuration() -> Config:
    """Where the migrations lie."""
    settings = Config()
    settings.set_main_option("script_location", "highball.hub:migrations")
    return settings


def _copy(path: Path, copy: Path) -> None:
    with sqlite3.connect(path) as source, sqlite3.connect(copy) as target:
        source.backup(target)
