"""The first schema: objects and revisions, the record of runs, snapshots, repositories."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from highball.hub.storage.database import Moment

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "objects",
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("key", sa.String(63), primary_key=True),
        sa.Column("title", sa.Text),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("origin", sa.String(20), nullable=False),
        sa.Column("former_keys", sa.JSON, nullable=False),
        sa.Column("changed_at", Moment, nullable=False),
        sa.Column("deleted_at", Moment),
    )
    op.create_table(
        "revisions",
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("key", sa.String(63), primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("at", Moment, nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("spec", sa.JSON(none_as_null=True)),
    )
    op.create_table(
        "marks",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "repositories",
        sa.Column("key", sa.String(63), primary_key=True),
        sa.Column("identity", sa.String(64)),
        sa.Column("met_at", Moment),
        sa.Column("bytes_stored", sa.BigInteger),
        sa.Column("measured_at", Moment),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("job", sa.String(63)),
        sa.Column("repository", sa.String(63)),
        sa.Column("host", sa.String(63), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("outcome", sa.String(20)),
        sa.Column("reason_code", sa.String(60)),
        sa.Column("reason_message", sa.Text),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("started_at", Moment),
        sa.Column("ended_at", Moment),
        sa.Column("last_seq", sa.Integer, nullable=False),
        sa.Column("accepted_at", Moment),
    )
    op.create_index("runs_by_time", "runs", ["created_at"])
    op.create_index("runs_open", "runs", ["state"])
    op.create_table(
        "steps",
        sa.Column("run", sa.String(36), sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("repository", sa.String(63)),
        sa.Column("job", sa.String(63)),
        sa.Column("outcome", sa.String(20)),
        sa.Column("ended_at", Moment),
        sa.Column("account", sa.JSON, nullable=False),
    )
    op.create_index("steps_by_subject", "steps", ["action", "repository", "job", "ended_at"])
    op.create_table(
        "events",
        sa.Column("run", sa.String(36), sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("first_seq", sa.Integer, primary_key=True),
        sa.Column("last_seq", sa.Integer, nullable=False),
        sa.Column("lines", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "snapshots",
        sa.Column("repository", sa.String(63), primary_key=True),
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("host", sa.String(63), nullable=False),
        sa.Column("job", sa.String(63), nullable=False),
        sa.Column("set", sa.String(63), nullable=False),
        sa.Column("run", sa.String(36)),
        sa.Column("time", Moment, nullable=False),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("shrank", sa.Boolean, nullable=False),
        sa.Column("accepted_at", Moment),
        sa.Column("forgotten_at", Moment),
        sa.Column("missing_since", Moment),
    )
    op.create_index("snapshots_by_set", "snapshots", ["repository", "host", "job", "set", "time"])
    op.create_index("snapshots_by_run", "snapshots", ["run"])
