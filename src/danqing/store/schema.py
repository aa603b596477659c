"""The tables of the store, for SQLite and PostgreSQL alike. Changing them needs a migration in `migrations/`."""

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    event,
    false,
    text,
)

from danqing.store.column_types import AnyText, UtcDateTime

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
    Column("id", AnyText, nullable=False, unique=True),
    Column("owner", AnyText, nullable=False),
    Column("batch_id", AnyText),  # never NULL; older files do not let it be declared so without a copy of the table
    Column("state", AnyText, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("fingerprint", AnyText, nullable=False),
    # model, mode and prompt repeat what `request` (the whole request as JSON) holds, to be queried.
    Column("model", AnyText, nullable=False),
    Column("mode", AnyText, nullable=False),
    Column("prompt", AnyText, nullable=False),
    Column("request", Text, nullable=False),
    Column("adjustments", Text, nullable=False),  # a JSON array of sentences
    Column("attempt_count", Integer, nullable=False),  # the number of the newest attempt, 0 before the first
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("failure_code", AnyText),
    Column("failure_message", AnyText),
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

# Where many processes share the database, they look for the next job in it: the lines of waiting jobs in the order of
# taking, of a model, and of each owner in it.
_IS_PENDING = text("state = 'pending'")
_PLACE = (jobs.c.priority.desc(), jobs.c.turn, jobs.c.sequence)
Index("ix_jobs_waiting", jobs.c.model, *_PLACE, postgresql_where=_IS_PENDING).ddl_if(dialect="postgresql")
Index("ix_jobs_waiting_of_owner", jobs.c.model, jobs.c.owner, *_PLACE, postgresql_where=_IS_PENDING).ddl_if(
    dialect="postgresql"
)
_RUNS = text("state IN ('processing', 'generated')")
Index("ix_jobs_running", jobs.c.sequence, postgresql_where=_RUNS).ddl_if(dialect="postgresql")

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", AnyText, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("worker", AnyText, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("failure_code", AnyText),
    Column("failure_message", AnyText),
    Column("failure_retryable", Boolean),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_id", AnyText, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", AnyText, primary_key=True),
    Column("name", AnyText, nullable=False, unique=True),
    Column("media_type", AnyText, nullable=False),
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
    Column("id", AnyText, primary_key=True),
    Column("owner", AnyText, primary_key=True),
    Column("sequence", BigInteger, nullable=False),  # that of its first job
    Column("created_at", UtcDateTime, nullable=False),
    Column("size", Integer, nullable=False),  # as announced, or more if more came
    Column("job_count", Integer, nullable=False),  # how many came
    Index("ix_batches_sequence", "sequence", unique=True),
    Index("ix_batches_owner_sequence", "owner", "sequence"),
)

# Stretches of the history that are indexed for searches (`history_index.py`): of jobs by their sequences.
history_parts = Table(
    "history_parts",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("first", BigInteger, nullable=False),  # sequence
    Column("size", Integer, nullable=False),  # sequences, whether there are jobs of them or not
    Column("state", Text, nullable=False),  # `history_parts.PartState`
    Index("ix_history_parts_first_size", "first", "size", unique=True),
    sqlite_autoincrement=True,
)

history_terms = Table(
    "history_terms",
    metadata,
    # Of the part and the term, see `history_parts.key_of`. No number of a row: SQLite has but one tree for it.
    Column("key", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False),
    Column("jobs", LargeBinary, nullable=False),  # of the part that have the term: a bit each, the first lowest; zlib
)

# Batches in each stretch of `history_parts.LEAF` sequences in which no more come, by its first sequence: of everybody,
# and of each owner who has some. Triggers count those off that go (`history_counts.py`).
history_counts = Table(
    "history_counts",
    metadata,
    Column("first", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False),
    Column("batches", Integer, nullable=False),
)

owner_history_counts = Table(
    "owner_history_counts",
    metadata,
    Column("owner", AnyText, primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("batches", Integer, nullable=False),
    Index("ix_owner_history_counts_first", "first"),
)

# Submits that named a key: one of the same owner with the same key and digest is a repetition.
submit_keys = Table(
    "submit_keys",
    metadata,
    Column("owner", AnyText, primary_key=True),
    Column("key", AnyText, primary_key=True),
    Column("digest", AnyText, nullable=False),
    Column("job_ids", Text, nullable=False),  # a JSON array, in the order in which they are answered
    Column("counts_until", UtcDateTime, nullable=False),
    Index("ix_submit_keys_counts_until", "counts_until"),
)

# Keys that an administrator has handed out; the keys themselves are kept nowhere.
issued_keys = Table(
    "issued_keys",
    metadata,
    Column("id", AnyText, primary_key=True),
    Column("name", AnyText, nullable=False),
    Column("digest", AnyText, nullable=False, unique=True),  # SHA-256 of the key, hex
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_on", Date),  # the day in UTC
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("owner", AnyText, nullable=False),
    Column("client", AnyText, nullable=False),
    Column("job_id", AnyText, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Index("ix_subscriptions_owner_client_job_id", "owner", "client", "job_id", unique=True),
    Index("ix_subscriptions_owner_client_sequence", "owner", "client", "sequence"),
    Index("ix_subscriptions_job_id", "job_id"),  # with a job they go
    sqlite_autoincrement=True,
)

# One row: the oldest revision of this schema whose code may still be used on it. See `migration.py`.
code_compatibility = Table(
    "code_compatibility",
    metadata,
    Column("oldest_revision", Text, primary_key=True),
)
OLDEST_CODE = "0004"  # what it is after the newest migration

# What is counted of batches is counted off where they go, whichever version's code removes them.
_COUNT_OFF = """
    UPDATE history_counts SET batches = batches - 1 WHERE first = OLD.sequence / 2048 * 2048;
    UPDATE owner_history_counts SET batches = batches - 1
    WHERE owner = OLD.owner AND first = OLD.sequence / 2048 * 2048;
"""
for _dialect, _statement in (
    ("sqlite", f"CREATE TRIGGER batch_goes AFTER DELETE ON batches BEGIN {_COUNT_OFF} END"),
    (
        "postgresql",
        "CREATE FUNCTION count_batch_off() RETURNS trigger LANGUAGE plpgsql AS $$"
        f" BEGIN {_COUNT_OFF} RETURN NULL; END $$",
    ),
    (
        "postgresql",
        "CREATE TRIGGER batch_goes AFTER DELETE ON batches FOR EACH ROW EXECUTE FUNCTION count_batch_off()",
    ),
):
    event.listen(metadata, "after_create", DDL(_statement).execute_if(dialect=_dialect))
