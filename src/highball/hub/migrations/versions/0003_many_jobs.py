"""Indexes for what is asked of many jobs at once: what succeeded last, the snapshots that are there, days, misses."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_HELD = sa.text("forgotten_at IS NULL AND missing_since IS NULL")
_MISSED = sa.text("missed_last IS NOT NULL")


def upgrade() -> None:
    """Make the indexes; the one of a job's runs tells more than before."""
    steps = ["action", "repository", "job", "outcome", "ended_at"]
    op.create_index("steps_by_outcome", "steps", steps)
    columns = ["repository", "host", "job", "set", "time"]
    op.create_index("snapshots_held", "snapshots", columns, sqlite_where=_HELD, postgresql_where=_HELD)
    op.drop_index("runs_of_job", "runs")
    op.create_index("runs_of_job", "runs", ["job", "created_at", "kind", "outcome"])
    op.create_index(
        "runs_missed", "runs", ["job", "missed_last"], sqlite_where=_MISSED, postgresql_where=_MISSED
    )
