"""What a serving hub needs beside the record: fires, the queue, the vault, agents, access, audit."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from highball.hub.storage.database import Moment, new_run_id

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables and columns."""
    _name_objects()
    _extend_the_record()
    _make_working_state()
    _make_access()


def _name_objects() -> None:
    """Every object gets an id for its places in the vault."""
    op.add_column("objects", sa.Column("id", sa.String(36)))
    objects = sa.table("objects", sa.column("kind"), sa.column("key"), sa.column("id"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(objects.c.kind, objects.c.key)).all():
        here = (objects.c.kind == row.kind) & (objects.c.key == row.key)
        fresh = new_run_id(datetime.now(UTC), secrets.randbits(74))
        connection.execute(objects.update().where(here).values(id=fresh))
    with op.batch_alter_table("objects") as table:  # nothing refers to it, so nothing cascades
        table.alter_column("id", existing_type=sa.String(36), nullable=False)
        table.create_unique_constraint("objects_id_key", ["id"])
    op.add_column("revisions", sa.Column("what", sa.String(20)))


def _extend_the_record() -> None:
    for column in (
        sa.Column("subject", sa.String(140)),
        sa.Column("nominal_at", Moment),
        sa.Column("origin", sa.String(20)),
        sa.Column("actor", sa.String(100)),
        sa.Column("order", sa.JSON(none_as_null=True)),
        sa.Column("not_before", Moment),
        sa.Column("assigned_at", Moment),
        sa.Column("cancel_requested_at", Moment),
        sa.Column("cancelled_by", sa.String(100)),
        sa.Column("missed_last", Moment),
        sa.Column("missed_count", sa.Integer),
    ):
        op.add_column("runs", column)
    op.create_index("runs_of_job", "runs", ["job", "created_at"])
    op.create_index("runs_of_repository", "runs", ["repository", "created_at"])
    op.create_index("runs_of_subject", "runs", ["subject", "nominal_at"])
    op.add_column("snapshots", sa.Column("adopted_by", sa.String(100)))
    op.create_table(
        "repository_days",
        sa.Column("repository", sa.String(63), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("bytes_stored", sa.BigInteger),
        sa.Column("bytes_restorable", sa.BigInteger),
        sa.Column("snapshots", sa.Integer),
    )


def _make_working_state() -> None:
    op.create_table(
        "fires",
        sa.Column("subject", sa.String(140), primary_key=True),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("host", sa.String(63), nullable=False),
        sa.Column("schedule", sa.Text, nullable=False),
        sa.Column("next_at", Moment),
        sa.Column("due_at", Moment),
        sa.Column("fired_at", Moment),
        sa.Column("owed", sa.JSON(none_as_null=True)),
    )
    op.create_index("fires_by_due", "fires", ["due_at"])
    op.create_table(
        "pauses",
        sa.Column("subject", sa.String(140), primary_key=True),
        sa.Column("since", Moment, nullable=False),
        sa.Column("until", Moment),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("reason", sa.Text),
    )
    op.create_table(
        "idempotency",
        sa.Column("actor", sa.String(100), primary_key=True),
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("answer", sa.JSON, nullable=False),
        sa.Column("at", Moment, nullable=False),
    )
    op.create_table(
        "agents",
        sa.Column("host", sa.String(63), primary_key=True),
        sa.Column("public_key", sa.String(64), nullable=False),
        sa.Column("enrolled_at", Moment, nullable=False),
        sa.Column("seen_at", Moment),
        sa.Column("facts", sa.JSON, nullable=False),
    )


def _make_access() -> None:
    op.create_table(
        "enrolments",
        sa.Column("token", sa.String(64), primary_key=True),
        sa.Column("purpose", sa.String(20), nullable=False),
        sa.Column("subject", sa.String(63)),
        sa.Column("expires_at", Moment, nullable=False),
        sa.Column("used_at", Moment),
        sa.Column("actor", sa.String(100), nullable=False),
    )
    op.create_table(
        "vault",
        sa.Column("place", sa.String(200), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("changed_at", Moment, nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("token", sa.String(64), primary_key=True),
        sa.Column("id", sa.String(36), nullable=False, unique=True),
        sa.Column("user", sa.String(63), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("seen_at", Moment, nullable=False),
        sa.Column("expires_at", Moment, nullable=False),
        sa.Column("address", sa.String(64)),
        sa.Column("browser", sa.Text),
    )
    op.create_index("sessions_of_user", "sessions", ["user"])
    op.create_table(
        "throttles",
        sa.Column("subject", sa.String(200), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_at", Moment, nullable=False),
        sa.Column("blocked_until", Moment),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("at", Moment, nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("address", sa.String(64)),
        sa.Column("action", sa.String(60), nullable=False),
        sa.Column("kind", sa.String(20)),
        sa.Column("key", sa.String(200)),
        sa.Column("before", sa.JSON(none_as_null=True)),
        sa.Column("after", sa.JSON(none_as_null=True)),
        sa.Column("message", sa.Text),
    )
    op.create_index("audit_by_time", "audit", ["at"])
    op.create_index("audit_of_object", "audit", ["kind", "key", "at"])
