"""The tables as revision 0004 had them, and as its code named their columns. Never to be changed."""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    false,
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC and read back in UTC. Refuses naive ones with ValueError."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database: in UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database: SQLite returns it naive, PostgreSQL aware."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    # SQLite numbers rows by itself only in a column whose type is spelled INTEGER.
    Column("sequence", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("batch_id", Text),  # never NULL; older files do not let it be declared so without a copy of the table
    Column("state", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("fingerprint", Text, nullable=False),
    # model, mode and prompt repeat what `request` (the whole request as JSON) holds, to be queried.
    Column("model", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("adjustments", Text, nullable=False),  # a JSON array of sentences
    Column("attempt_count", Integer, nullable=False),  # the number of the newest attempt, 0 before the first
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("failure_code", Text),
    Column("failure_message", Text),
    Column("failure_retryable", Boolean),
    Column("batch_index", Integer, nullable=False, server_default="0"),
    Column("metadata", Text, nullable=False, server_default="{}"),  # a JSON object
    Column("turn", BigInteger, nullable=False, server_default="0"),  # see `core.fairness`
    # Waiting jobs in the order of taking; also lets the states be counted without reading the rows.
    Index("ix_jobs_state_priority_turn_sequence", "state", "priority", "turn", "sequence"),
    Index("ix_jobs_state_owner_priority_turn", "state", "owner", "priority", "turn"),
    Index("ix_jobs_fingerprint_owner_sequence", "fingerprint", "owner", "sequence"),
    Index("ix_jobs_batch_id_owner_sequence", "batch_id", "owner", "sequence"),
    sqlite_autoincrement=True,  # a sequence is never given twice, even after the newest job was deleted
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("worker", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("failure_code", Text),
    Column("failure_message", Text),
    Column("failure_retryable", Boolean),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("media_type", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("missing", Boolean, nullable=False, server_default=false()),  # not there at the last start, or about to go
)

# A batch that is shown in the history. Its jobs are those of its owner and id that are not older than it: a forgotten
# batch has no row, and one that is begun again under its id does not show what came before.
batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),  # that of its first job
    Column("created_at", UtcDateTime, nullable=False),
    Column("size", Integer, nullable=False),  # as announced, or more if more came
    Column("job_count", Integer, nullable=False),  # how many came
    Index("ix_batches_sequence", "sequence", unique=True),
    Index("ix_batches_owner_sequence", "owner", "sequence"),
)

# Submits that named a key: one of the same owner with the same key and digest is a repetition.
submit_keys = Table(
    "submit_keys",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("job_ids", Text, nullable=False),  # a JSON array, in the order in which they are answered
    Column("counts_until", UtcDateTime, nullable=False),
    Index("ix_submit_keys_counts_until", "counts_until"),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("owner", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Index("ix_subscriptions_owner_client_job_id", "owner", "client", "job_id", unique=True),
    Index("ix_subscriptions_owner_client_sequence", "owner", "client", "sequence"),
    sqlite_autoincrement=True,
)
