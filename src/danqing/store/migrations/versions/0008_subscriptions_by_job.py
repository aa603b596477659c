"""Subscriptions by their job: with a job they go, and without an index each that goes reads all of them."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Older code does not notice."""
    op.create_index("ix_subscriptions_job_id", "subscriptions", ["job_id"])
