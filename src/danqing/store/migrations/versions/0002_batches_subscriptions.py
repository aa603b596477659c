"""Batches and subscriptions; what jobs say of their batch; jobs found by the beginning of their fingerprint."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Every job that there is gets the batch that it names or, where it names none, one of its own."""
    # Columns are added, the table is not copied: to drop the old one would delete attempts and artifacts with it.
    op.add_column("jobs", sa.Column("batch_index", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("metadata", sa.Text, nullable=False, server_default="{}"))
    op.drop_index("ix_jobs_owner_fingerprint_sequence", table_name="jobs")
    op.create_index("ix_jobs_fingerprint_owner_sequence", "jobs", ["fingerprint", "owner", "sequence"])
    op.create_index("ix_jobs_batch_id_owner_sequence", "jobs", ["batch_id", "owner", "sequence"])
    op.create_table(
        "batches",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("owner", TEXT, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("job_count", sa.Integer, nullable=False),
    )
    op.create_index("ix_batches_sequence", "batches", ["sequence"], unique=True)
    op.create_index("ix_batches_owner_sequence", "batches", ["owner", "sequence"])
    op.create_table(
        "subscriptions",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("client", TEXT, nullable=False),
        sa.Column("job_id", TEXT, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_subscriptions_owner_client_job_id", "subscriptions", ["owner", "client", "job_id"], unique=True)
    op.create_index("ix_subscriptions_owner_client_sequence", "subscriptions", ["owner", "client", "sequence"])
    _give_batches()


def _give_batches() -> None:
    op.execute("UPDATE jobs SET batch_id = id WHERE batch_id IS NULL OR batch_id = ''")
    op.execute(
        "UPDATE jobs SET batch_index = (SELECT count(*) FROM jobs AS earlier WHERE earlier.owner = jobs.owner"
        " AND earlier.batch_id = jobs.batch_id AND earlier.sequence < jobs.sequence) WHERE batch_id <> id"
    )
    op.execute(
        "INSERT INTO batches (id, owner, sequence, created_at, size, job_count)"
        " SELECT batch_id, owner, min(sequence), min(created_at), count(*), count(*) FROM jobs"
        " GROUP BY owner, batch_id"
    )
