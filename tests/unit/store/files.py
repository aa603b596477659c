"""A look into a SQLite file, and a hand in it, behind the store's back."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Select

from danqing.store.connections import open_reading


def tamper(path: Path, sql: str, *values: object) -> None:
    """Changes the file; the store must be closed."""
    with sqlite3.connect(path) as connection:
        connection.execute(sql, values)
    connection.close()


def ask(path: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    """What the file says."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, values).fetchall()


def plan_of(path: Path, statement: Select[Any], values: dict[str, object]) -> list[str]:
    """How SQLite means to carry the statement out, step by step."""
    reading = open_reading(path)
    sql = statement.params(values).compile(reading, compile_kwargs={"literal_binds": True})
    plan = [row[3] for row in reading.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")]
    reading.close()
    return plan
