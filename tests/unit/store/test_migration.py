"""The migrations make the schema that the code expects, whole or not at all."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from danqing.store.connections import open_writing
from danqing.store.migration import HEAD, migrate, revisions
from danqing.store.migrations.upgrading import config, upgrade
from danqing.store.sqlite import SqliteStores
from tests.fakes.domain import NO_LIMIT, a_job, a_request
from tests.unit.store import old_code


def schema(connection: Connection) -> dict[str, str]:
    """Everything that the database holds: name to its SQL, spaces left out."""
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    connection.rollback()
    return {name: re.sub(r"\s+", "", sql) for name, sql in rows}


def rows(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    """Of each table that has some."""
    tables = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()
    found = {name: [tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {name}")] for name in tables}
    connection.rollback()
    return {name: of for name, of in found.items() if of}


def test_a_new_file_is_what_the_migrations_make(tmp_path: Path) -> None:
    # Given one database that was migrated step by step, and one that is new
    migrated, made = open_writing(tmp_path / "migrated.db"), open_writing(tmp_path / "made.db")
    with migrated.begin():
        upgrade(migrated, HEAD)
    migrate(made)
    # Then they are alike to the letter
    assert schema(migrated) == schema(made)
    assert {"jobs", "attempts", "artifacts", "batches", "subscriptions", "alembic_version"} <= schema(migrated).keys()
    assert rows(migrated) == rows(made)
    assert rows(made).keys() == {"alembic_version", "code_compatibility"}
    migrated.close()
    made.close()


def test_revisions_are_those_that_alembic_finds() -> None:
    scripts = ScriptDirectory.from_config(config())
    assert revisions() == tuple(reversed([script.revision for script in scripts.walk_revisions()]))


OPENS_TWICE = """
import sys
from pathlib import Path
from danqing.store.sqlite_database import SqliteDatabase
for _ in range(2):
    SqliteDatabase.open(Path(sys.argv[1])).close()
sys.exit("alembic" in sys.modules)
"""


def test_a_file_that_is_new_or_up_to_date_needs_no_alembic(tmp_path: Path) -> None:
    opened = subprocess.run([sys.executable, "-c", OPENS_TWICE, str(tmp_path / "danqing.db")], check=False)
    assert opened.returncode == 0


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


# What version 0001 wrote: columns and their order as that version had them.
OLD_JOB = """
INSERT INTO jobs (id, owner, batch_id, state, priority, fingerprint, model, mode, prompt, request, adjustments,
                  attempt_count, created_at, started_at, finished_at)
VALUES (?, ?, ?, ?, 0, 'abcdef', 'tiny', 'text2img', 'a cat', ?, '["scaled"]', ?, ?, ?, ?)
"""
OLD_REQUEST = (
    '{"model":"tiny","mode":"text2img","prompt":"a cat","negative_prompt":"","width":64,"height":64,'
    '"num_inference_steps":9,"guidance_scale":0.0,"seed":42}'
)
AT = "2026-11-22 07:30:1{}.000000"


def make_old(path: Path) -> None:
    """A database of version 0001 with jobs in many states and batches, one with an attempt and a picture."""
    connection = open_writing(path)
    migrate(connection, "0001")
    old_jobs = [
        ("waiting", "local", None, "pending", 0),
        ("done", "local", "", "completed", 1),
        ("other's", "they", "b", "pending", 0),
        ("first", "local", "b", "pending", 0),
        ("second", "local", "b", "failed", 0),
    ]
    with connection.begin():
        for second, (job_id, owner, batch_id, state, tries) in enumerate(old_jobs):
            at = AT.format(second)
            values = (job_id, owner, batch_id, state, OLD_REQUEST, tries, at, at if tries else None, None)
            connection.exec_driver_sql(OLD_JOB, values)
        connection.exec_driver_sql(
            "INSERT INTO attempts VALUES ('done', 1, 'w1', ?, NULL, NULL, NULL, NULL)", (AT.format(1),)
        )
        connection.exec_driver_sql(
            "INSERT INTO artifacts VALUES ('done', 'original', 'done.png', 'image/png', 64, 64, 1000)"
        )
    connection.close()


async def test_jobs_of_an_old_database_keep_everything_and_get_batches(tmp_path: Path) -> None:
    # Given a database of the first version
    path = tmp_path / "danqing.db"
    make_old(path)
    # When this version opens it
    stores = SqliteStores.open(path)
    try:
        # Then a job that came alone is a batch, and what was one batch still is
        history = await stores.batches.batches(None, limit=10, offset=0)
        assert [(batch.owner, batch.id, batch.size) for batch in history] == [
            ("local", "b", 2),
            ("they", "b", 1),
            ("local", "done", 1),
            ("local", "waiting", 1),
        ]
        assert [[(job.id, job.batch_index) for job in batch.jobs] for batch in history] == [
            [("first", 0), ("second", 1)],
            [("other's", 0)],
            [("done", 0)],
            [("waiting", 0)],
        ]
        assert history[0].created_at == datetime(2026, 11, 22, 7, 30, 13, tzinfo=UTC)
        # And every job has all that it had, and nothing of what is new
        done = await stores.jobs.get("done")
        assert ([artifact.name for artifact in done.artifacts], len(done.attempts)) == (["done.png"], 1)
        assert (done.batch_id, done.metadata, done.adjustments) == ("done", {}, ("scaled",))
        assert done.request == a_request(prompt="a cat", width=64, height=64)
        assert [job.id for job in await stores.jobs.unfinished()] == ["waiting", "other's", "first"]
        # And new jobs join the batches that there are
        new = await stores.jobs.add(a_job(batch_id="b"), NO_LIMIT)
        batch = await stores.batches.batch("b", "local")
        assert (batch.size, batch.jobs[-1].id, new.sequence) == (3, "second", 6)
    finally:
        await stores.close()
    with open_writing(path) as connection, connection.begin():
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


async def test_code_of_revision_0004_works_on_this_schema(tmp_path: Path) -> None:
    # Given a job that the old code has made a picture of, in a file of now
    path = tmp_path / "danqing.db"
    await SqliteStores.open(path).close()
    with open_writing(path) as connection, connection.begin():
        old_code.make_a_picture(connection, "made")
        assert len(old_code.read_all(connection)) == 6
    # Then this code reads it
    stores = SqliteStores.open(path)
    job = await stores.jobs.get("made")
    assert [artifact.name for artifact in job.artifacts] == ["made.png"]
    assert (await stores.batches.batch("made", None)).jobs == (job,)
    await stores.close()
