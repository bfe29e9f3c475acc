"""Who needs the code of an authenticator app beside the password."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from highball.hub.storage.database import Moment

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the table; nobody needs one yet."""
    op.create_table(
        "authenticators",
        sa.Column("user", sa.String(36), primary_key=True),
        sa.Column("since", Moment, nullable=False),
        sa.Column("used_step", sa.BigInteger, nullable=False),
    )
