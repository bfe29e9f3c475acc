"""Whose accounts an OpenID Connect provider opens, and when who came from there proved who they are."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Make the table and the column; who is logged in now has a password."""
    op.create_table(
        "identities",
        sa.Column("issuer", sa.String(500), primary_key=True),
        sa.Column("subject", sa.String(255), primary_key=True),
        sa.Column("user", sa.String(36), nullable=False, unique=True),
        sa.Column("since", sa.String(27), nullable=False),
    )
    op.add_column("sessions", sa.Column("proved_at", sa.String(27)))
