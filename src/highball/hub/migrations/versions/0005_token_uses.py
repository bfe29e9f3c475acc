"""When a token was last used, and from where."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from highball.hub.storage.database import Moment

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "token_uses",
        sa.Column("token", sa.String(36), primary_key=True),
        sa.Column("used_at", Moment, nullable=False),
        sa.Column("address", sa.String(64)),
    )
