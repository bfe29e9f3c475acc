"""What a run was ordered to do bounds what its agent may tell of it; what is refused of an agent's word is counted."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the columns."""
    op.add_column("runs", sa.Column("scope", sa.JSON))
    op.add_column("agents", sa.Column("refused", sa.Integer))
    op.add_column("agents", sa.Column("refused_why", sa.Text))
    op.add_column("agents", sa.Column("refused_at", sa.String(27)))
