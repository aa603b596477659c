"""Whether an artifact's picture was there when the server started last."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Those that there are count as there; the next start looks."""
    op.add_column("artifacts", sa.Column("missing", sa.Boolean, nullable=False, server_default=sa.false()))
