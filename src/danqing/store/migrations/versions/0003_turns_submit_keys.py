"""Turns, by which owners share the devices; keys, by which a submit knows itself again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Jobs that wait already all have the same turn: they go in the order of acceptance, as they were promised."""
    op.add_column("jobs", sa.Column("turn", sa.BigInteger, nullable=False, server_default="0"))
    op.drop_index("ix_jobs_state_priority_sequence", table_name="jobs")
    op.create_index("ix_jobs_state_priority_turn_sequence", "jobs", ["state", "priority", "turn", "sequence"])
    op.create_index("ix_jobs_state_owner_priority_turn", "jobs", ["state", "owner", "priority", "turn"])
    op.create_table(
        "submit_keys",
        sa.Column("owner", TEXT, primary_key=True),
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("job_ids", sa.Text, nullable=False),
        sa.Column("counts_until", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_submit_keys_counts_until", "submit_keys", ["counts_until"])
