"""What many processes on one database need; which code may use a schema that is newer than it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

OLDEST_REVISION = "0004"


def upgrade() -> None:
    """On SQLite, which one process has for itself, only the code's compatibility is new."""
    op.create_table("code_compatibility", sa.Column("oldest_revision", sa.Text, primary_key=True))
    op.execute(f"INSERT INTO code_compatibility (oldest_revision) VALUES ('{OLDEST_REVISION}')")
    if op.get_bind().dialect.name == "postgresql":
        _share()


def _share() -> None:
    text = sa.Text(collation="C")
    op.create_table(
        "nodes",
        sa.Column("id", text, primary_key=True),
        sa.Column("name", text, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("draining", sa.Boolean, nullable=False),
        sa.Column("drain_asked", sa.Boolean, nullable=False),
        sa.Column("workers", sa.Text, nullable=False),
    )
    op.create_table(
        "server_secrets",
        sa.Column("name", text, primary_key=True),
        sa.Column("secret", sa.LargeBinary, nullable=False),
    )
    is_pending, place = sa.text("state = 'pending'"), [sa.text("priority DESC"), "turn", "sequence"]
    op.create_index("ix_jobs_waiting", "jobs", ["model", *place], postgresql_where=is_pending)
    op.create_index("ix_jobs_waiting_of_owner", "jobs", ["model", "owner", *place], postgresql_where=is_pending)
    runs = sa.text("state IN ('processing', 'generated')")
    op.create_index("ix_jobs_running", "jobs", ["sequence"], postgresql_where=runs)
