"""On which day an issued key was last used."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Not known for those that there are."""
    op.add_column("issued_keys", sa.Column("last_used_on", sa.Date(), nullable=True))
