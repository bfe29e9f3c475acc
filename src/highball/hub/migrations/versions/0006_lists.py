"""Indexes for lists of runs of one kind or with one outcome, however few they are in a long record."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the indexes."""
    op.create_index("runs_of_kind", "runs", ["kind", "created_at", "id"])
    op.create_index("runs_by_outcome", "runs", ["outcome", "created_at", "id"])
