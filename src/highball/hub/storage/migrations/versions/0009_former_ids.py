"""A snapshot whose tags were changed has another id: the record knows those that it had before."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make the column."""
    op.add_column("snapshots", sa.Column("formerly", sa.JSON))
