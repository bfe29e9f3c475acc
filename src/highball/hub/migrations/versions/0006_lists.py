"""Indexes for lists of runs that are no backups, and of those that were no success: few in a long record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the indexes."""
    for name, column, few in (
        ("runs_not_backup", "kind", sa.text("kind <> 'backup'")),
        ("runs_not_success", "outcome", sa.text("outcome <> 'success'")),
    ):
        columns = [column, "created_at", "id"]
        op.create_index(name, "runs", columns, sqlite_where=few, postgresql_where=few)
