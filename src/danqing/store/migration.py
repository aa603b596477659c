"""Brings a database to the schema of this version, in one transaction; what code may use a schema that is newer.

Each migration says which revision's code is the oldest that may still run on what it makes (`code_compatibility`), so
that processes of two versions may share a database for a while.
"""

from enum import StrEnum
from pathlib import Path
from threading import Lock

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import BigInteger, Connection, bindparam, func, inspect, select, text

from danqing.core.errors import StorageFailure
from danqing.store.advisory_locks import MIGRATION, key_of
from danqing.store.schema import code_compatibility

log = structlog.get_logger(__name__)

# Others may migrate just now, which takes as long as it takes; and then there are others that read and write.
BE_PATIENT = text(
    "SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '600000', true),"
    " set_config('idle_in_transaction_session_timeout', '60000', true)"
)
LOCK = select(func.pg_advisory_xact_lock(bindparam("key", type_=BigInteger)))

_one_at_a_time = Lock()  # Alembic keeps what it does in variables of its modules


class SchemaState(StrEnum):
    """A database's schema as this version sees it."""

    NONE = "none"  # empty: the first process to start makes the tables
    CURRENT = "current"
    OLDER = "older"  # the next process of this version to start brings it up to date
    NEWER = "newer"  # and this version may run on it
    TOO_NEW = "too new"


def schema_state(connection: Connection) -> SchemaState:
    """Only looks."""
    config, current = _config(connection), _current(connection)
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    if current is None:
        return SchemaState.NONE
    if current in known:
        return SchemaState.CURRENT if current == scripts.get_current_head() else SchemaState.OLDER
    return SchemaState.NEWER if _oldest_code(connection) in known else SchemaState.TOO_NEW


def migrate(connection: Connection, revision: str = "head") -> None:
    """Runs the migrations that the database lacks, up to a revision: all of them or, if one fails, none.

    Raises StorageFailure if a newer version has written the database that this one cannot share it with,
    SQLAlchemyError if the medium fails.
    """
    with connection.begin():
        _migrate(connection, revision)


def migrate_shared(connection: Connection) -> None:
    """As `migrate`, within a transaction on PostgreSQL that is begun already; of processes that do so at once one does,
    and the others wait.
    """
    config = _config(connection)
    if _current(connection) == ScriptDirectory.from_config(config).get_current_head():
        return
    connection.execute(BE_PATIENT)
    connection.execute(LOCK, {"key": key_of(*MIGRATION)})
    _migrate(connection, "head")


def version_table(connection: Connection) -> str:
    """Where Alembic notes the revision. A PostgreSQL database may have another program's tables, and its note."""
    return "danqing_alembic_version" if connection.dialect.name == "postgresql" else "alembic_version"


def _migrate(connection: Connection, revision: str) -> None:
    config, current = _config(connection), _current(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is None or current in known:
        with _one_at_a_time:
            command.upgrade(config, revision)
        return
    oldest = _oldest_code(connection)
    if oldest not in known:
        raise StorageFailure("The database was written by a newer version of the server.")
    log.info("store_is_newer", revision=current, oldest_code=oldest)


def _oldest_code(connection: Connection) -> str | None:
    """The revision of the oldest code that may run on the schema; None if it does not say."""
    if not inspect(connection).has_table(code_compatibility.name):
        return None
    return connection.execute(select(code_compatibility.c.oldest_revision)).scalar()


def _current(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": version_table(connection)})
    return context.get_current_revision()


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    script_location = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(script_location).replace("%", "%%"))
    return config
