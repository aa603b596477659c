"""Rows by the hundred thousand, for `growth.py`: what a store has after as many jobs, put there behind its back.

A history is ended jobs of ten owners, each job a batch of its own with an attempt, a picture and somebody who asked for
it. Waiting jobs are of a hundred owners, whose turns are mixed.
"""

import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' helpers

from danqing.store.rows import job_values
from tests.fakes.domain import a_job

HISTORY_OWNERS, WAITING_OWNERS = 10, 100
COMMON, RARE, RARE_PIECE, NONE = "teapot", "unicorn", "独角", "basilisk"
RARE_EVERY = 20_000  # jobs; in fewer there is none
MANY = 20_000  # rows
_INDEXES = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'jobs' AND sql IS NOT NULL"
WAITS, ENDED = "waits", "ended"  # how the ids of the jobs begin

_JOBS = """
    INSERT INTO jobs (id, owner, batch_id, state, priority, fingerprint, model, mode, prompt, request, adjustments,
                      attempt_count, created_at, started_at, finished_at, turn)
    SELECT '{kind}-' || (1000000000 + n), 'owner-' || ({mixed} % {owners}),
           '{kind}-' || (1000000000 + n), '{state}', 0, {mixed}, 'tiny', 'text2img',
           'a {common} on a table, number ' || n
           || CASE WHEN n % {rare_every} = 0 THEN ' with a {rare}, 一只{piece}兽' ELSE '' END,
           {request}, '[]', {attempts}, {at}, {at}, {at}, {turn} FROM numbers
"""
_OF_NEW = "FROM jobs WHERE sequence > {newest}"
_OF_TRIED = f"{_OF_NEW} AND attempt_count = 1"
_REST = (
    f"INSERT INTO batches (id, owner, sequence, created_at, size, job_count)"
    f" SELECT id, owner, sequence, created_at, 1, 1 {_OF_NEW}",
    f"INSERT INTO attempts (job_id, number, worker, started_at, ended_at)"
    f" SELECT id, 1, 'w/cpu', created_at, created_at {_OF_TRIED}",
    f"INSERT INTO artifacts (job_id, kind, name, media_type, width, height, size_bytes)"
    f" SELECT id, 'original', id || '.png', 'image/png', 64, 64, 5000 {_OF_TRIED}",
    f"INSERT INTO subscriptions (owner, client, job_id) SELECT owner, 'client-' || sequence % 100, id {_OF_TRIED}",
)
# A number that looks random, and is the same in every run.
_MIXED = {"sqlite": "(n * 2654435761 % 4294967291)", "postgresql": "(n::bigint * 2654435761 % 4294967291)"}


@dataclass(frozen=True)
class _Kind:
    name: str
    state: str
    owners: int
    attempts: int


_KINDS = {
    ENDED: _Kind(ENDED, "completed", HISTORY_OWNERS, 1),
    WAITS: _Kind(WAITS, "pending", WAITING_OWNERS, 0),
}


class Filler(Protocol):
    """Adds rows to one database, and says which there are."""

    def add(self, kind: str, count: int) -> None:
        """So many more jobs."""
        ...

    def ids(self, kind: str, count: int) -> list[str]:
        """Of so many of these jobs, from all over the table."""
        ...


def _statements(dialect: str, kind: _Kind, newest: int, *, at: str, request: str) -> list[str]:
    mixed = _MIXED[dialect]
    turn = mixed if kind.state == "pending" else "n"
    values = {
        "kind": kind.name,
        "state": kind.state,
        "owners": kind.owners,
        "attempts": kind.attempts,
        "mixed": mixed,
        "turn": turn,
        "common": COMMON,
        "rare": RARE,
        "piece": RARE_PIECE,
        "rare_every": RARE_EVERY,
        "at": at,
        "request": request,
    }
    return [_JOBS.format(**values), *(statement.format(newest=newest) for statement in _REST)]


def _request() -> str:
    return "'" + str(job_values(a_job())["request"]).replace("'", "''") + "'"


class SqliteFiller:
    """On a file that a store has made, beside it: the store must not write meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, kind: str, count: int) -> None:
        """See `Filler`."""
        with sqlite3.connect(self._path) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cache_size = -400000")
            newest = connection.execute("SELECT coalesce(max(sequence), 0) FROM jobs").fetchone()[0]
            numbers = (
                f"WITH RECURSIVE numbers (n) AS (SELECT {newest} + 1 UNION ALL"
                f" SELECT n + 1 FROM numbers WHERE n < {newest} + {count}) "
            )
            at = "'2026-11-22 07:30:15.000000'"
            jobs, *rest = _statements("sqlite", _KINDS[kind], newest, at=at, request=_request())
            # To make an index anew takes far less than to put many rows into it, each in another place.
            indexes = connection.execute(_INDEXES).fetchall() if count >= MANY else []
            for name, _ in indexes:
                connection.execute(f"DROP INDEX {name}")
            head, _, tail = jobs.partition("SELECT ")
            connection.execute(f"{head}{numbers}SELECT {tail}")
            for statement in [*rest, *(sql for _, sql in indexes)]:
                connection.execute(statement)
            connection.execute("PRAGMA optimize")
        connection.close()

    def ids(self, kind: str, count: int) -> list[str]:
        """See `Filler`."""
        with sqlite3.connect(self._path) as connection:
            found = [row[0] for row in connection.execute(_IDS.format(kind=kind, count=count))]
        connection.close()
        return found


class PostgresFiller:
    """On a database that a store has migrated."""

    def __init__(self, url: str) -> None:
        self._url = url

    def add(self, kind: str, count: int) -> None:
        """See `Filler`."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            row = connection.execute("SELECT coalesce(max(sequence), 0) FROM jobs").fetchone()
            newest = row[0] if row else 0
            numbers = f"generate_series({newest + 1}, {newest + count}) AS numbers (n)"
            at = "TIMESTAMPTZ '2026-11-22 07:30:15+00'"
            jobs, *rest = _statements("postgresql", _KINDS[kind], newest, at=at, request=_request())
            connection.execute(jobs.replace("FROM numbers", f"FROM {numbers}"))
            for statement in rest:
                connection.execute(statement)
            connection.execute("VACUUM ANALYZE")

    def ids(self, kind: str, count: int) -> list[str]:
        """See `Filler`."""
        with psycopg.connect(self._url) as connection:
            return [row[0] for row in connection.execute(_IDS.format(kind=kind, count=count))]


# By their places in the index of ids, which are as good as random.
_IDS = "SELECT id FROM jobs WHERE id LIKE '{kind}-%' ORDER BY fingerprint LIMIT {count}"
