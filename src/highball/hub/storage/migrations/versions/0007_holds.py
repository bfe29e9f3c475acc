"""What makes retention stand still lies in a table of its own; what held until now goes on doing so."""

import json
import secrets
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from highball.hub.storage.database import new_run_id

revision = "0007"
down_revision = "0006"

_HOLDS = sa.table(
    "holds",
    *map(
        sa.column,
        ("id", "repository", "job", "host", "set", "cause", "message", "run", "about", "since"),
    ),
)


def upgrade() -> None:
    """Make the table, and open what the snapshots and checks so far would have opened."""
    op.create_table(
        "holds",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("repository", sa.String(63), nullable=False),
        sa.Column("job", sa.String(63)),
        sa.Column("host", sa.String(63)),
        sa.Column("set", sa.String(63)),
        sa.Column("cause", sa.String(40), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("run", sa.String(36)),
        sa.Column("about", sa.String(200)),
        sa.Column("since", sa.String(27), nullable=False),
        sa.Column("lifted_at", sa.String(27)),
        sa.Column("lifted_by", sa.String(100)),
        sa.Column("why", sa.Text),
    )
    op.create_index("holds_by_place", "holds", ["repository", "lifted_at"])
    op.drop_column("runs", "accepted_at")
    connection = op.get_bind()
    rows = [*_shrunken(connection), *_damaged(connection)]
    if rows:
        connection.execute(_HOLDS.insert(), rows)


def _shrunken(connection: sa.Connection) -> list[dict[str, object]]:
    """Sets whose newest snapshot is much smaller than those before it, and nobody has accepted that."""
    names = ("repository", "id", "host", "job", "set", "run", "time", "shrank")
    found = sa.table("snapshots", *map(sa.column, (*names, "accepted_at", "forgotten_at", "missing_since")))
    asked = (
        sa.select(found)
        .where(found.c.forgotten_at.is_(None), found.c.missing_since.is_(None))
        .order_by(found.c.time)
    )
    newest = {(row.repository, row.host, row.job, row.set): row for row in connection.execute(asked)}
    return [
        {
            **{name: getattr(row, name) for name in ("repository", "host", "job", "set", "run")},
            "id": _new_id(),
            "cause": "newest_shrank",
            "message": "the newest snapshot is much smaller than those before it",
            "about": row.id,
            "since": row.time,
        }
        for row in newest.values()
        if row.shrank and row.accepted_at is None
    ]


def _damaged(connection: sa.Connection) -> list[dict[str, object]]:
    """Repositories in which a check found damage, and none has succeeded since."""
    steps = sa.table(
        "steps",
        *map(sa.column, ("run", "action", "repository", "outcome", "ended_at")),
        sa.column("account", sa.JSON),
    )
    asked = sa.select(steps).where(steps.c.action == "check", steps.c.outcome.in_(["success", "failure"]))
    last: dict[str, sa.Row[tuple[object, ...]]] = {}
    for row in connection.execute(asked.order_by(steps.c.ended_at)):
        told = json.loads(row.account) if isinstance(row.account, str) else row.account
        damaged = (told.get("reason") or {}).get("code") == "repository_damaged"
        if damaged:
            last.setdefault(row.repository, row)
        elif row.outcome == "success":
            last.pop(row.repository, None)
    return [
        {
            **dict.fromkeys(("host", "job", "set", "about")),
            "id": _new_id(),
            "repository": repository,
            "run": row.run,
            "cause": "check_failed",
            "message": f"the last check of {repository} failed",
            "since": row.ended_at,
        }
        for repository, row in last.items()
    ]


def _new_id() -> str:
    return new_run_id(datetime.now(UTC), secrets.randbits(74))
