"""Prepared statements: on SQLite they answer as SQLAlchemy would, and fail as it would."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError, OperationalError

from danqing.store.column_types import AnyText, UtcDateTime
from danqing.store.connections import open_writing
from danqing.store.prepared import Prepared

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
THINGS = Table(
    "things",
    MetaData(),
    Column("sequence", Integer, primary_key=True),
    Column("name", AnyText, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("made_at", UtcDateTime),
)
ADD = Prepared(insert(THINGS).values(state=literal_column("'new'")).returning(THINGS.c.sequence, THINGS.c.made_at))
OF_NAME = Prepared(select(THINGS).where(THINGS.c.name == bindparam("of_name")))
ALL = Prepared(select(THINGS).order_by(THINGS.c.sequence))
NEW = Prepared(select(func.count()).where(THINGS.c.state == "new"))
CHANGE = Prepared(update(THINGS).where(THINGS.c.name == bindparam("of_name")))
REMOVE = Prepared(delete(THINGS).where(THINGS.c.name == bindparam("of_name")))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """In a transaction, with two things."""
    opened = open_writing(tmp_path / "things.db")
    with opened.begin():
        THINGS.create(opened)
        for name in ("cup", "猫"):
            assert ADD.first(opened, {"name": name, "made_at": NOON}) is not None
        yield opened
    opened.close()


def test_they_answer_as_sqlalchemy_does(connection: Connection) -> None:
    # Given a table with two rows
    # When both ways are asked
    # Then they say the same, types and all
    theirs = connection.execute(ALL.statement).mappings().all()
    assert [dict(row) for row in ALL.rows(connection, {})] == [dict(row) for row in theirs]
    assert OF_NAME.first(connection, {"of_name": "猫"}) == (2, "猫", "new", NOON)
    assert OF_NAME.first(connection, {"of_name": "dog"}) is None
    assert OF_NAME.scalar(connection, {"of_name": "dog"}) is None
    assert NEW.scalar(connection, {}) == 2  # with a value of its own


def test_what_is_set_is_named_by_what_is_given(connection: Connection) -> None:
    # Given one statement
    # When other columns are given each time
    # Then those are set, and no others
    assert CHANGE.changed(connection, {"of_name": "cup", "state": "old"}) == 1
    assert CHANGE.changed(connection, {"of_name": "cup", "made_at": None}) == 1
    assert CHANGE.changed(connection, {"of_name": "dog", "state": "old"}) == 0
    assert OF_NAME.first(connection, {"of_name": "cup"}) == (1, "cup", "old", None)
    assert REMOVE.changed(connection, {"of_name": "cup"}) == 1
    assert NEW.scalar(connection, {}) == 1


def test_a_row_that_was_returned_holds_nothing_back(tmp_path: Path) -> None:
    # Given statements that return rows, of which one was taken
    opened = open_writing(tmp_path / "things.db")
    with opened.begin():
        THINGS.create(opened)
    # When their transaction ends
    with opened.begin():
        assert ADD.first(opened, {"name": "cup", "made_at": NOON}) == (1, NOON)
        assert ALL.first(opened, {}) == (1, "cup", "new", NOON)
    # Then it has, and the table can even be dropped
    with opened.begin():
        THINGS.drop(opened)
    opened.close()


def test_what_the_database_refuses_is_an_error_of_sqlalchemy_without_the_values(connection: Connection) -> None:
    # Given a name that must be there once, and a table that is not there
    # When it is added again, and the other is read
    with pytest.raises(IntegrityError) as twice:
        ADD.first(connection, {"name": "cup", "made_at": NOON})
    with pytest.raises(OperationalError):
        Prepared(select(Table("nothing", MetaData(), Column("a", Integer)))).rows(connection, {})
    # Then the errors are those that the rest of the store knows, and give no value away
    assert "UNIQUE" in str(twice.value)
    assert "cup" not in str(twice.value)


def test_what_fails_while_rows_are_read_is_such_an_error_too(connection: Connection) -> None:
    # Given a second row that cannot be read
    connection.exec_driver_sql("UPDATE things SET name = CAST(x'ff' AS TEXT) WHERE sequence = 2")
    # When the rows are read
    with pytest.raises(OperationalError):
        ALL.rows(connection, {})
    # Then the first can be read still
    assert ALL.first(connection, {}) == (1, "cup", "new", NOON)


def test_what_cannot_be_is_said(connection: Connection) -> None:
    # Given values that a type refuses, that are missing, or that are a list, and a statement of another kind
    with pytest.raises(ValueError, match="without a time zone"):
        ADD.first(connection, {"name": "dog", "made_at": NOON.replace(tzinfo=None)})
    with pytest.raises(ValueError, match="no value for of_name"):
        OF_NAME.first(connection, {})
    with pytest.raises(ValueError, match="a list of values"):
        Prepared(select(THINGS).where(THINGS.c.name.in_(["cup"]))).rows(connection, {})
    with pytest.raises(TypeError):
        Prepared(text("SELECT 1")).rows(connection, {})
    # Then nothing was written
    assert NEW.scalar(connection, {}) == 2
