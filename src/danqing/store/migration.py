"""Brings a database to the schema of this version, in one transaction."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from danqing.core.errors import StorageFailure


def migrate(connection: Connection, revision: str = "head") -> None:
    """Runs the migrations that the database lacks, up to a revision: all of them or, if one fails, none.

    Raises StorageFailure if a newer version has written the database, SQLAlchemyError if the medium fails.
    """
    config = Config(attributes={"connection": connection})
    script_location = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(script_location).replace("%", "%%"))
    try:
        with connection.begin():
            command.upgrade(config, revision)
    except CommandError as exc:
        raise StorageFailure("The database was written by a newer version of the server.") from exc
