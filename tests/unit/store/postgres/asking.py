"""A look into a PostgreSQL database, and a hand in it, behind the store's back."""

import re
from typing import Any

import psycopg
from psycopg.rows import dict_row
from sqlalchemy import Executable, TextualSelect, event

from danqing.store.postgres import PostgresStores


def ask(url: str, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """What the database says; or does, for a statement that changes it."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def ask_for_rows(url: str, sql: str, *values: object) -> list[dict[str, Any]]:
    """As `ask`, by the names of the columns."""
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(sql.encode(), values or None).fetchall()


def plan_of(stores: PostgresStores, statement: Executable, values: dict[str, Any]) -> list[str]:
    """How PostgreSQL means to carry the statement out, step by step, when it does not look at the values."""

    def explain(_: object, __: object, sql: str, *___: object) -> tuple[str, tuple[()]]:
        names = dict.fromkeys(re.findall(r"%\((\w+)\)s", sql))
        for number, name in enumerate(names, 1):
            sql = sql.replace(f"%({name})s", f"${number}")
        return f"EXPLAIN (GENERIC_PLAN) {sql}", ()

    with stores.database.engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", explain, retval=True)
        found = connection.execute(statement.element if isinstance(statement, TextualSelect) else statement, values)
        assert found.cursor is not None
        return [line for (line,) in found.cursor.fetchall()]
