"""An object remembers which applied file declares it: another file, and the hub's own, leave it alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the column."""
    op.add_column("objects", sa.Column("file", sa.Text))
