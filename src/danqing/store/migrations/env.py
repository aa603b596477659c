"""Run by Alembic: applies the migrations over the connection that `migration.py` hands in, inside its transaction."""

from alembic import context

from danqing.store.migration import version_table
from danqing.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    version_table=version_table(connection),
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter most of a table in place
)
context.run_migrations()
