"""A process that is killed between two statements, as far as a database can tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa


class Killed(Exception):
    """The process ended here. (SQLAlchemy closes a connection on anything else, and a database in memory with it.)"""


@contextmanager
def killed_at(engine: sa.Engine, statement: int | None) -> Iterator[None]:
    """Before the nth statement, or the commit after it, everything ends; None is never."""
    count = 0

    def before(connection: Any, cursor: Any, text: str, *_: Any) -> None:
        nonlocal count
        if not text.startswith("BEGIN"):
            count += 1
            if count == statement:
                raise Killed

    def commit(connection: Any) -> None:
        nonlocal count
        count += 1
        if count == statement:
            raise Killed

    sa.event.listen(engine, "before_cursor_execute", before)
    sa.event.listen(engine, "commit", commit)
    try:
        yield
    finally:
        sa.event.remove(engine, "before_cursor_execute", before)
        sa.event.remove(engine, "commit", commit)
