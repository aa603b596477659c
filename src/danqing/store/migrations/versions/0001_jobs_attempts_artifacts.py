"""The first tables: jobs, attempts, artifacts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "jobs",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("batch_id", TEXT),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("mode", TEXT, nullable=False),
        sa.Column("prompt", TEXT, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("adjustments", sa.Text, nullable=False),
        sa.Column("attempt_count", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("failure_code", TEXT),
        sa.Column("failure_message", TEXT),
        sa.Column("failure_retryable", sa.Boolean),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_state_priority_sequence", "jobs", ["state", "priority", "sequence"])
    op.create_index("ix_jobs_owner_fingerprint_sequence", "jobs", ["owner", "fingerprint", "sequence"])
    op.create_table(
        "attempts",
        sa.Column("job_id", TEXT, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("worker", TEXT, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("failure_code", TEXT),
        sa.Column("failure_message", TEXT),
        sa.Column("failure_retryable", sa.Boolean),
    )
    op.create_table(
        "artifacts",
        sa.Column("job_id", TEXT, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("kind", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False, unique=True),
        sa.Column("media_type", TEXT, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
    )
