"""An index of the history for searches, and how many batches each stretch of it has; the server fills both.

A trigger counts batches off that go, whichever version's code removes them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COUNT_OFF = """
    UPDATE history_counts SET batches = batches - 1 WHERE first = OLD.sequence / 2048 * 2048;
    UPDATE owner_history_counts SET batches = batches - 1
    WHERE owner = OLD.owner AND first = OLD.sequence / 2048 * 2048;
"""
SQLITE_TRIGGER = f"CREATE TRIGGER batch_goes AFTER DELETE ON batches BEGIN {COUNT_OFF} END"
POSTGRES_FUNCTION = f"""
    CREATE FUNCTION count_batch_off() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN {COUNT_OFF} RETURN NULL; END $$
"""
POSTGRES_TRIGGER = "CREATE TRIGGER batch_goes AFTER DELETE ON batches FOR EACH ROW EXECUTE FUNCTION count_batch_off()"


def upgrade() -> None:
    """Older code does not notice."""
    is_postgres = op.get_bind().dialect.name == "postgresql"
    text = sa.Text(collation="C") if is_postgres else sa.Text()
    row_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "history_parts",
        sa.Column("id", row_number, autoincrement=True),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_history_parts"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_history_parts_first_size", "history_parts", ["first", "size"], unique=True)
    op.create_table(
        "history_terms",
        sa.Column("key", row_number, autoincrement=False),
        sa.Column("jobs", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_history_terms"),
    )
    op.create_table(
        "history_counts",
        sa.Column("first", row_number, autoincrement=False),
        sa.Column("batches", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("first", name="pk_history_counts"),
    )
    op.create_table(
        "owner_history_counts",
        sa.Column("owner", text),
        sa.Column("first", sa.BigInteger, autoincrement=False),
        sa.Column("batches", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("owner", "first", name="pk_owner_history_counts"),
    )
    op.create_index("ix_owner_history_counts_first", "owner_history_counts", ["first"])
    if is_postgres:
        op.execute(POSTGRES_FUNCTION)
        op.execute(POSTGRES_TRIGGER)
    else:
        op.execute(SQLITE_TRIGGER)
