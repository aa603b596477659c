"""The migrations make the schema that the code expects, whole or not at all."""

import re
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from danqing.store.connections import open_writing
from danqing.store.migration import migrate
from danqing.store.schema import metadata


def schema(connection: Connection) -> dict[str, str]:
    """Everything that the database holds besides Alembic's own table: name to its SQL, spaces evened out."""
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    connection.rollback()
    return {name: re.sub(r"\s+", " ", sql) for name, sql in rows if name != "alembic_version"}


def test_the_migrated_schema_is_the_schema_of_the_code(tmp_path: Path) -> None:
    # Given one database that was migrated, and one made from the metadata
    migrated, made = open_writing(tmp_path / "migrated.db"), open_writing(tmp_path / "made.db")
    migrate(migrated)
    with made.begin():
        metadata.create_all(made)
    # Then they are alike to the letter
    assert schema(migrated) == schema(made)
    assert {"jobs", "attempts", "artifacts"} <= schema(migrated).keys()
    migrated.close()
    made.close()


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    connection = open_writing(tmp_path / "danqing.db")
    migrate(connection)
    before = schema(connection)
    migrate(connection)
    assert schema(connection) == before
    connection.close()


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    # Given a file in which the last table of the first migration exists already
    connection = open_writing(tmp_path / "danqing.db")
    with connection.begin():
        connection.exec_driver_sql("CREATE TABLE artifacts (strange INTEGER)")
    # When it is migrated, it fails
    with pytest.raises(OperationalError):
        migrate(connection)
    # Then the tables before it are not there either
    assert schema(connection).keys() == {"artifacts"}
    connection.close()
