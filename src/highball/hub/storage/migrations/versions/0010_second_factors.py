"""Who needs the code of an authenticator app beside the password."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the table; nobody needs one yet."""
    op.create_table(
        "authenticators",
        sa.Column("user", sa.String(36), primary_key=True),
        sa.Column("since", sa.String(27), nullable=False),
        sa.Column("used_step", sa.BigInteger, nullable=False),
    )
