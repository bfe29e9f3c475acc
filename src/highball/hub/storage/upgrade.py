"""Bring an older database to the schema of this program, after a copy of it was made.

A newer one is refused, and one that is older than the first migration: nothing in it is changed.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from highball.errors import StateUnusable
from highball.hub.storage.dialects import WRITING
from highball.hub.storage.schema import read_revision

_BEFORE_THE_BASELINE = "be736df"
"""A commit whose migrations begin with the very first schema: it brings any database to one that is known here."""


def upgrade(engine: sa.Engine, found: str, path: Path | None, known: str) -> None:
    """Run the migrations from the revision that was found to the known one; SQLite is copied first, beside itself."""
    demand_known(found, known, "this database")
    with engine.execution_options(**WRITING).begin() as connection:
        if read_revision(connection) != found:  # another process was quicker
            return
        if path is not None:
            _copy(path, path.with_name(f"{path.name}.before-{known}"))
        migrate(connection, "head")


def demand_known(found: str, known: str, what: str) -> None:
    """Raise StateUnusable where no migration leads from the schema that was found to the known one."""
    script = ScriptDirectory.from_config(configuration())
    if found in {revision.revision for revision in script.walk_revisions()}:
        return
    first = script.get_base() or known
    if found < first:
        raise StateUnusable(
            f"{what} is too old for this Highball (schema {found}; it brings up {first} and later)",
            code="database_too_old",
            hint=f"open it (a copy: restore it) once with the Highball of commit {_BEFORE_THE_BASELINE}, which brings"
            " it to a schema that this one knows",
        )
    raise StateUnusable(
        f"a newer Highball wrote {what} (schema {found}; this one knows {known})",
        code="database_newer",
        hint="use the newer Highball, or the copy that it made before it upgraded",
    )


def migrate(connection: sa.Connection, revision: str) -> None:
    """Run the migrations up to a revision, within the connection's transaction."""
    settings = configuration()
    settings.attributes["connection"] = connection
    command.upgrade(settings, revision)


def configuration() -> Config:
    """Where the migrations lie."""
    settings = Config()
    settings.set_main_option("script_location", "highball.hub.storage:migrations")
    return settings


def _copy(path: Path, copy: Path) -> None:
    """Copy an SQLite database; what stands under the copy's name is whole at any moment."""
    unfinished = copy.with_name(f"{copy.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    source, target = sqlite3.connect(path), sqlite3.connect(unfinished)
    try:
        source.backup(target)
    finally:
        target.close()
        source.close()
    unfinished.replace(copy)
