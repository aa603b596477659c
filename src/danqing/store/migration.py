"""Brings a database to the schema of this version, in one transaction; what code may use a schema that is newer.

Each migration says which revision's code is the oldest that may still run on what it makes (`code_compatibility`), so
that processes of two versions may share a database for a while.

Alembic takes a tenth of a second and ten megabytes to import, and is there for databases of an older version: what is
up to date, and a SQLite file that is new, do without.
"""

from enum import StrEnum
from functools import cache
from pathlib import Path

import structlog
from sqlalchemy import BigInteger, Connection, String, bindparam, column, func, inspect, select, table, text

from danqing.core.errors import StorageFailure
from danqing.store.advisory_locks import MIGRATION, key_of
from danqing.store.schema import OLDEST_CODE, code_compatibility, metadata

log = structlog.get_logger(__name__)

HEAD = "head"

# Others may migrate just now, which takes as long as it takes; and then there are others that read and write.
BE_PATIENT = text(
    "SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '600000', true),"
    " set_config('idle_in_transaction_session_timeout', '60000', true)"
)
LOCK = select(func.pg_advisory_xact_lock(bindparam("key", type_=BigInteger)))
VERSIONS = Path(__file__).parent / "migrations" / "versions"


class SchemaState(StrEnum):
    """A database's schema as this version sees it."""

    NONE = "none"  # empty: the first process to start makes the tables
    CURRENT = "current"
    OLDER = "older"  # the next process of this version to start brings it up to date
    NEWER = "newer"  # and this version may run on it
    TOO_NEW = "too new"


def schema_state(connection: Connection) -> SchemaState:
    """Only looks."""
    current, known = _current(connection), revisions()
    if current is None:
        return SchemaState.NONE
    if current in known:
        return SchemaState.CURRENT if current == known[-1] else SchemaState.OLDER
    return SchemaState.NEWER if _oldest_code(connection) in known else SchemaState.TOO_NEW


def migrate(connection: Connection, revision: str = HEAD) -> None:
    """Runs the migrations that the database lacks, up to a revision: all of them or, if one fails, none. A SQLite file
    that is new is made at once what all of them would make of it.

    Raises StorageFailure if a newer version has written the database that this one cannot share it with,
    SQLAlchemyError if the medium fails.
    """
    with connection.begin():
        _migrate(connection, revision)


def migrate_shared(connection: Connection) -> None:
    """As `migrate`, within a transaction on PostgreSQL that is begun already; of processes that do so at once one does,
    and the others wait.
    """
    if _current(connection) == revisions()[-1]:
        return
    connection.execute(BE_PATIENT)
    connection.execute(LOCK, {"key": key_of(*MIGRATION)})
    _migrate(connection, HEAD)


def version_table(connection: Connection) -> str:
    """Where Alembic notes the revision. A PostgreSQL database may have another program's tables, and its note."""
    return "danqing_alembic_version" if connection.dialect.name == "postgresql" else "alembic_version"


@cache
def revisions() -> tuple[str, ...]:
    """Of all migrations, in their order: what the names of their files begin with."""
    return tuple(sorted(file.name.partition("_")[0] for file in VERSIONS.glob("[0-9]*_*.py")))


def _migrate(connection: Connection, revision: str) -> None:
    current, known = _current(connection), revisions()
    if current is None and revision == HEAD and _is_new_file(connection):
        _make(connection)
    elif current is None or (current in known and current != known[-1]):
        from danqing.store.migrations.upgrading import upgrade

        upgrade(connection, revision)
    elif current not in known:
        oldest = _oldest_code(connection)
        if oldest not in known:
            raise StorageFailure("The database was written by a newer version of the server.")
        log.info("store_is_newer", revision=current, oldest_code=oldest)


def _is_new_file(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite" and not inspect(connection).get_table_names()


def _make(connection: Connection) -> None:
    """What all migrations together make of an empty SQLite file."""
    metadata.create_all(connection, checkfirst=False)
    connection.execute(code_compatibility.insert(), {"oldest_revision": OLDEST_CODE})
    noted_in = version_table(connection)  # as Alembic makes it
    connection.exec_driver_sql(
        f"CREATE TABLE {noted_in} (version_num VARCHAR(32) NOT NULL,"
        f" CONSTRAINT {noted_in}_pkc PRIMARY KEY (version_num))"
    )
    connection.execute(table(noted_in, column("version_num")).insert(), {"version_num": revisions()[-1]})


def _oldest_code(connection: Connection) -> str | None:
    """The revision of the oldest code that may run on the schema; None if it does not say."""
    if not inspect(connection).has_table(code_compatibility.name):
        return None
    return connection.execute(select(code_compatibility.c.oldest_revision)).scalar()


def _current(connection: Connection) -> str | None:
    noted_in = version_table(connection)
    if not inspect(connection).has_table(noted_in):
        return None
    return connection.execute(select(column("version_num", String)).select_from(table(noted_in))).scalar_one_or_none()
