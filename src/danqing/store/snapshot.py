"""A copy of the database as it was at one moment, taken beside a running server, and whether a copy is whole."""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from danqing.core.errors import StorageFailure

T = TypeVar("T")

BUSY_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a database holds. pictures: the names that its jobs made; inputs: those that they start from."""

    jobs: int
    pictures: frozenset[str]
    inputs: frozenset[str]


def take_snapshot(database: Path, into: Path) -> None:
    """Copies the database into a new file. A server may be writing it meanwhile; neither waits for the other.

    The connection to the original only reads: it neither writes nor checkpoints, so it cannot meet the WAL-reset bug
    (`connections.py`). Blocking. Raises StorageFailure.
    """
    if not database.is_file():
        raise StorageFailure(f"There is no database {database}.")

    def copy(original: sqlite3.Connection) -> None:
        with contextlib.closing(sqlite3.connect(into)) as target:
            original.backup(target)  # all pages in one step, so that the server's writes do not make it begin anew
            target.execute("PRAGMA journal_mode = DELETE")  # one file, with no log beside it

    _reading(database, copy)


def contents(database: Path) -> Contents:
    """Blocking. Raises StorageFailure."""

    def read(connection: sqlite3.Connection) -> Contents:
        (jobs,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
        pictures = frozenset(name for (name,) in connection.execute("SELECT name FROM artifacts"))
        inputs = frozenset(
            name for (request,) in connection.execute("SELECT request FROM jobs") for name in _inputs(request)
        )
        return Contents(jobs=jobs, pictures=pictures, inputs=inputs)

    return _reading(database, read)


def is_sound(database: Path) -> bool:
    """Whether SQLite finds every page, index and reference in order. Blocking. Raises StorageFailure."""

    def check(connection: sqlite3.Connection) -> bool:
        intact = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return intact and not connection.execute("PRAGMA foreign_key_check").fetchall()

    return _reading(database, check)


def _reading(database: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    try:
        with _opened(database) as connection:
            return work(connection)
    except sqlite3.Error as exc:
        raise StorageFailure(f"The database {database} cannot be read or copied ({exc}).") from exc


@contextlib.contextmanager
def _opened(database: Path) -> Generator[sqlite3.Connection]:
    uri = f"{database.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
        connection.execute("PRAGMA query_only = ON")
        yield connection


def _inputs(request: str) -> list[str]:
    """The names of the pictures that a stored request starts from. One that cannot be read has none."""
    try:
        fields = json.loads(request)
        named = [*fields.get("input_images", ()), fields.get("mask"), fields.get("control_image")]
        return [image["name"] for image in named if image is not None]
    except (ValueError, AttributeError, TypeError, KeyError):
        return []
