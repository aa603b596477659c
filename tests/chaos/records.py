"""What a database says of all jobs, read past the product: from a SQLite file, or from PostgreSQL.

Triggers note each move of each job in a table of their own, in the transaction that makes it: whatever dies, the note
is there exactly if the move is.
"""

import contextlib
import sqlite3
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from tests.e2e.servers import ANSWER_S

JOBS = "SELECT id, state, fingerprint, failure_code FROM jobs"
MOVES = "SELECT job_id, before, after FROM chaos_moves ORDER BY number"
ATTEMPTS = "SELECT job_id, number, failure_code FROM attempts ORDER BY 1, 2"
ARTIFACTS = "SELECT job_id, name, size_bytes FROM artifacts"
COUNT = "SELECT count(*) FROM jobs WHERE state IN ('pending', 'processing', 'generated')"

SQLITE_NOTES = """
CREATE TABLE IF NOT EXISTS chaos_moves (number INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT, before TEXT, after TEXT);
CREATE TRIGGER IF NOT EXISTS chaos_new AFTER INSERT ON jobs BEGIN
  INSERT INTO chaos_moves (job_id, before, after) VALUES (new.id, NULL, new.state); END;
CREATE TRIGGER IF NOT EXISTS chaos_move AFTER UPDATE OF state ON jobs BEGIN
  INSERT INTO chaos_moves (job_id, before, after) VALUES (new.id, old.state, new.state); END;
"""
# A job's row is locked while it moves, so the notes of one job are numbered in the order of its moves.
POSTGRES_NOTES: LiteralString = """
CREATE TABLE IF NOT EXISTS chaos_moves (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, job_id text, before text, after text);
CREATE OR REPLACE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO chaos_moves (job_id, before, after)
  VALUES (new.id, CASE WHEN TG_OP = 'UPDATE' THEN old.state END, new.state); RETURN NULL; END $$;
CREATE OR REPLACE TRIGGER chaos_new AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION chaos_note();
CREATE OR REPLACE TRIGGER chaos_move AFTER UPDATE OF state ON jobs FOR EACH ROW EXECUTE FUNCTION chaos_note();
"""


@dataclass(frozen=True, kw_only=True)
class Records:
    """jobs: state, fingerprint and failure by id. moves: job, before, after, in order. attempts: job, number, failure.

    artifacts: job, name, bytes. is_whole: the database itself finds nothing damaged.
    """

    jobs: dict[str, tuple[str, str, str | None]]
    moves: list[tuple[str, str | None, str]]
    attempts: list[tuple[str, int, str | None]]
    artifacts: list[tuple[str, str, int]]
    is_whole: bool = True


@dataclass(frozen=True)
class SqliteRecords:
    """Of the file at this path."""

    path: Path

    def take_notes(self) -> None:
        """Has every move noted from now on. No server may run."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.executescript(SQLITE_NOTES)

    def unfinished(self) -> int:
        """How many jobs have not ended. A server may run."""
        with self._reading() as connection:
            return connection.execute(COUNT).fetchone()[0]

    def read(self) -> Records:
        """Everything. No server may run."""
        with self._reading() as connection:
            return Records(
                jobs=_by_id(connection.execute(JOBS).fetchall()),
                moves=connection.execute(MOVES).fetchall(),
                attempts=connection.execute(ATTEMPTS).fetchall(),
                artifacts=connection.execute(ARTIFACTS).fetchall(),
                is_whole=connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)],
            )

    @contextlib.contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
            yield connection


@dataclass(frozen=True)
class PostgresRecords:
    """Of the database at this URL."""

    url: str

    def take_notes(self) -> None:
        """Has every move noted from now on; the tables must be there."""
        with self._connection() as connection:
            connection.execute(POSTGRES_NOTES)

    def unfinished(self) -> int:
        """How many jobs have not ended. Servers may run."""
        with self._connection() as connection:
            (row,) = connection.execute(COUNT).fetchall()
            return row[0]

    def read(self) -> Records:
        """Everything. Nobody may write."""
        with self._connection() as connection:
            return Records(
                jobs=_by_id(connection.execute(JOBS).fetchall()),
                moves=connection.execute(MOVES).fetchall(),
                attempts=connection.execute(ATTEMPTS).fetchall(),
                artifacts=connection.execute(ARTIFACTS).fetchall(),
            )

    def states(self) -> list[str]:
        """Of all jobs, oldest first. Servers may run."""
        with self._connection() as connection:
            return [state for (state,) in connection.execute("SELECT state FROM jobs ORDER BY sequence").fetchall()]

    def attempts(self) -> list[tuple[str, int, str | None]]:
        """Job, number and failure of each, in order. Servers may run."""
        with self._connection() as connection:
            return connection.execute(ATTEMPTS).fetchall()

    def newest(self) -> str:
        """The id of the job that came last."""
        with self._connection() as connection:
            ((job_id,),) = connection.execute("SELECT id FROM jobs ORDER BY sequence DESC LIMIT 1").fetchall()
            return job_id

    def _connection(self) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(self.url, connect_timeout=ANSWER_S)


def _by_id(rows: list[tuple[Any, ...]]) -> dict[str, tuple[str, str, str | None]]:
    return {job_id: (state, fingerprint, code) for job_id, state, fingerprint, code in rows}
