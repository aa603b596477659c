"""Statements of a job's way, which are executed so often that what SQLAlchemy does around each counts.

On SQLite, where a statement takes microseconds, they go to the driver as SQLAlchemy has compiled them, with its types;
so one costs a fifth. Elsewhere, where it goes over a network, they are executed as all others are.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Delete, Dialect, Executable, SelectBase, UpdateBase
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from danqing.store.rows import Row

T = TypeVar("T")
Given = Mapping[str, object]
_Processor = Callable[[Any], object]  # Any: a value of one type, or what the driver has for it
_Values = tuple[object, ...]
_KINDS: tuple[tuple[type[sqlite3.Error], type[DatabaseError]], ...] = (
    (sqlite3.IntegrityError, IntegrityError),
    (sqlite3.OperationalError, OperationalError),
    (sqlite3.Error, DatabaseError),
)


class Prepared:
    """Executed with values by the names of its parameters; what an INSERT or UPDATE sets is named by them, too.

    Within a transaction. Every call raises SQLAlchemyError, or ValueError for a value that its type refuses, and where
    one is missing. What a column may be (`IN`) must be written in the statement, not given.
    """

    def __init__(self, statement: Executable) -> None:
        """statement: one that reads, inserts, updates or deletes."""
        self.statement = statement
        self._compiled: dict[frozenset[str], _Compiled] = {}  # by what is given

    def first(self, connection: Connection, values: Given) -> Any:  # noqa: ANN401 - as SQLAlchemy's
        """The first row, a tuple, or None."""
        if (driver := _driver_of(connection)) is None:
            row = connection.execute(self.statement, dict(values)).first()
            return None if row is None else tuple(row)
        found = self._for(connection, values)
        row = found.executed(driver, values, sqlite3.Cursor.fetchone)
        return None if row is None else found.read(row)

    def scalar(self, connection: Connection, values: Given) -> Any:  # noqa: ANN401 - as SQLAlchemy's
        """The first value of the first row, or None."""
        row = self.first(connection, values)
        return None if row is None else row[0]

    def rows(self, connection: Connection, values: Given) -> Sequence[Row]:
        """All rows, by the names of their columns."""
        if (driver := _driver_of(connection)) is None:
            return connection.execute(self.statement, dict(values)).mappings().all()
        found = self._for(connection, values)
        read = found.executed(driver, values, sqlite3.Cursor.fetchall)
        return [dict(zip(found.names, found.read(row), strict=True)) for row in read]

    def changed(self, connection: Connection, values: Given) -> int:
        """How many rows it has added, changed or removed."""
        if (driver := _driver_of(connection)) is None:
            return connection.execute(self.statement, dict(values)).rowcount
        return self._for(connection, values).executed(driver, values, _rowcount)

    def _for(self, connection: Connection, values: Given) -> "_Compiled":
        given = frozenset(values)
        if (found := self._compiled.get(given)) is None:
            found = self._compiled[given] = _Compiled.of(self.statement, given, connection.dialect)
        return found


@dataclass(frozen=True, kw_only=True)
class _Compiled:
    """For SQLite. given: each parameter's name, or None for one whose value is a part of the statement: fixed."""

    text: str
    given: Sequence[tuple[str | None, object, _Processor | None]]
    names: Sequence[str]
    processors: Sequence[tuple[int, _Processor]]

    @classmethod
    def of(cls, statement: Executable, given: frozenset[str], dialect: Dialect) -> "_Compiled":
        if not isinstance(statement, (SelectBase, UpdateBase)):
            raise TypeError("neither reads nor inserts, updates or deletes")
        keys = None if isinstance(statement, (SelectBase, Delete)) else sorted(given)
        made = statement.compile(dialect=dialect, column_keys=keys)
        if made.post_compile_params or made.positiontup is None:
            raise ValueError("a list of values, which must be a part of the statement")
        parameters: list[tuple[str | None, object, _Processor | None]] = []
        for name in made.positiontup:
            processor = made.binds[name].type.dialect_impl(dialect).bind_processor(dialect)
            if name in given:
                parameters.append((name, None, processor))
            elif made.binds[name].required:
                raise ValueError(f"no value for {name}")
            else:
                fixed = made.binds[name].effective_value
                parameters.append((None, fixed if processor is None else processor(fixed), None))
        columns = list(statement.exported_columns)
        readers = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        return cls(
            text=str(made),
            given=parameters,
            names=[column.name for column in columns],
            processors=[(at, reader) for at, reader in enumerate(readers) if reader is not None],
        )

    def executed(self, driver: sqlite3.Connection, values: Given, fetched: Callable[[sqlite3.Cursor], T]) -> T:
        """What is fetched. The cursor is closed then: what it holds of the database may be more."""
        parameters = [
            fixed if name is None else values[name] if processor is None else processor(values[name])
            for name, fixed, processor in self.given
        ]
        try:
            cursor = driver.execute(self.text, parameters)
            try:
                return fetched(cursor)
            finally:
                cursor.close()
        except sqlite3.Error as exc:
            kind = next(theirs for ours, theirs in _KINDS if isinstance(exc, ours))
            raise kind(self.text, None, exc, hide_parameters=True) from exc

    def read(self, row: _Values) -> _Values:
        if not self.processors:
            return row
        values = list(row)
        for at, processor in self.processors:
            values[at] = processor(values[at])
        return tuple(values)


def _rowcount(cursor: sqlite3.Cursor) -> int:
    return cursor.rowcount


def _driver_of(connection: Connection) -> sqlite3.Connection | None:
    """None where it is not SQLite's."""
    driver = connection.connection.driver_connection
    return driver if isinstance(driver, sqlite3.Connection) else None
