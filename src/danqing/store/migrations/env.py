"""Run by Alembic: applies the migrations over the connection that `migration.py` hands in, inside its transaction."""

from alembic import context

from danqing.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter most of a table in place
)
context.run_migrations()
