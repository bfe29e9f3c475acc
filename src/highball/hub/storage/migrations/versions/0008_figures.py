"""How many snapshots a repository last showed in all, and when: what is not ours is told apart."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns; what was never counted is not known."""
    op.add_column("repositories", sa.Column("snapshots_listed", sa.Integer))
    op.add_column("repositories", sa.Column("listed_at", sa.String(27)))
