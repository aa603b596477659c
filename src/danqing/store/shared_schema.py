"""What only a PostgreSQL database has, which many processes share. Changing it needs a migration in `migrations/`."""

from sqlalchemy import Boolean, Column, LargeBinary, MetaData, Table, Text

from danqing.store.column_types import AnyText, UtcDateTime
from danqing.store.schema import metadata

shared_metadata = MetaData(naming_convention=metadata.naming_convention)

# The processes that make pictures (`core.shared_store.Nodes`), and those that did not long ago.
nodes = Table(
    "nodes",
    shared_metadata,
    Column("id", AnyText, primary_key=True),
    Column("name", AnyText, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("lease_until", UtcDateTime, nullable=False),  # by the database's clock
    Column("draining", Boolean, nullable=False),  # as the node says
    Column("drain_asked", Boolean, nullable=False),
    Column("workers", Text, nullable=False),  # a JSON array
)

server_secrets = Table(
    "server_secrets",
    shared_metadata,
    Column("name", AnyText, primary_key=True),
    Column("secret", LargeBinary, nullable=False),
)
