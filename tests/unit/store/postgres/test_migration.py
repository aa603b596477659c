"""On PostgreSQL the migrations make the schema that the code expects; processes of two versions may share it."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine

from danqing.core.errors import StorageFailure
from danqing.store.postgres import PostgresStores
from danqing.store.postgres_address import postgres_address
from danqing.store.schema import metadata
from danqing.store.shared_schema import shared_metadata
from tests.fakes.domain import NO_LIMIT, a_job
from tests.services.postgres import running_postgres
from tests.unit.store import old_code
from tests.unit.store.postgres import opening_process
from tests.unit.store.postgres.asking import ask

ROOT = Path(__file__).parents[4]
# All that describes a table: columns with their types, collations and defaults; constraints; indexes; triggers.
COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), l.collname, a.attnotnull, a.attidentity,
           pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_collation l ON l.oid = a.attcollation
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
"""
CONSTRAINTS = """
    SELECT c.relname, k.conname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE c.relnamespace = 'public'::regnamespace
"""
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
TRIGGERS = "SELECT tgrelid::regclass::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"
FUNCTIONS = r"""
    SELECT proname, regexp_replace(pg_get_functiondef(oid), '\s+', ' ', 'g') FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace
"""
ALEMBICS = "danqing_alembic_version"


@pytest.fixture
def engine(empty: str) -> Iterator[Engine]:
    engine = create_engine(postgres_address(empty))
    yield engine
    engine.dispose()


def schema(url: str) -> set[tuple[object, ...]]:
    """Without the order of columns, in which those that came later come last."""
    rows = [row for sql in (COLUMNS, CONSTRAINTS, INDEXES, TRIGGERS, FUNCTIONS) for row in ask(url, sql)]
    return {row for row in rows if row[0] != ALEMBICS}


def test_the_migrated_schema_is_the_schema_of_the_code(url: str, empty: str, engine: Engine) -> None:
    # Given one database that was migrated, and one made from the metadata
    with engine.begin() as connection:
        metadata.create_all(connection)
        shared_metadata.create_all(connection)
    # Then they are alike
    assert schema(url) == schema(empty)
    assert {"jobs", "nodes", "server_secrets", "count_batch_off"} <= {row[0] for row in schema(url)}


async def test_opening_again_changes_nothing(url: str) -> None:
    before = schema(url)
    await PostgresStores.open(url).close()
    assert schema(url) == before


def test_of_many_processes_that_start_at_once_one_migrates(empty: str) -> None:
    # Given a database with nothing in it
    command = [sys.executable, "-m", opening_process.__name__, empty]
    # When several processes open it, each several times at once
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in processes]
    # Then all can use it
    assert [process.returncode for process in processes] == [0, 0, 0]
    ids = [line for output, _ in outputs for line in output.split()]
    assert len(ids) == 9
    assert {job_id for (job_id,) in ask(empty, "SELECT id FROM jobs")} == set(ids)


def test_a_migration_that_fails_leaves_nothing_behind(empty: str) -> None:
    ask(empty, "CREATE TABLE artifacts (strange integer)")
    with pytest.raises(StorageFailure):
        PostgresStores.open(empty)
    tables = ask(empty, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert tables == [("artifacts",)]


# Versions


async def test_this_code_runs_on_a_newer_schema_that_allows_it(url: str) -> None:
    # Given a database that a newer version has migrated: with more columns, tables and indexes
    stores = PostgresStores.open(url)
    before = await stores.jobs.add(a_job(), NO_LIMIT)
    for change in (
        "ALTER TABLE jobs ADD COLUMN style text NOT NULL DEFAULT 'ink'",
        "ALTER TABLE nodes ADD COLUMN place text",
        "ALTER TABLE batches ADD COLUMN colour text",
        "CREATE TABLE styles (name text PRIMARY KEY)",
        "CREATE INDEX ix_jobs_style ON jobs (style)",
        f"UPDATE {ALEMBICS} SET version_num = '9999'",
        "UPDATE code_compatibility SET oldest_revision = '0006'",
    ):
        ask(url, change)
    # Then what runs goes on, and what starts runs
    for one in (stores, again := await asyncio.to_thread(PostgresStores.open, url)):
        job = await one.jobs.add(a_job(), NO_LIMIT)
        claimed = await one.jobs.claim(job.id, "w", job.created_at)
        assert claimed is not None
        done = await one.jobs.complete(job.id, 1, [], [], job.created_at)
        assert await one.jobs.get(job.id) == done
        assert [job.id for job in await one.jobs.unfinished()] == [before.id]
        assert len(await one.batches.batches(None, limit=9, offset=0)) >= 2
    await stores.close()
    await again.close()
    assert ask(url, f"SELECT version_num FROM {ALEMBICS}") == [("9999",)]


@pytest.mark.parametrize(
    "oldest", ["UPDATE code_compatibility SET oldest_revision = '9998'", "DELETE FROM code_compatibility"]
)
async def test_this_code_does_not_run_on_a_newer_schema_that_does_not_allow_it(url: str, oldest: str) -> None:
    ask(url, f"UPDATE {ALEMBICS} SET version_num = '9999'")
    ask(url, oldest)
    with pytest.raises(StorageFailure, match="newer version"):
        PostgresStores.open(url)


async def test_code_of_revision_0004_works_on_this_schema(url: str) -> None:
    # Given a job that the old code has made a picture of, on the schema of now
    engine = create_engine(postgres_address(url))

    def work(connection: Connection) -> None:
        old_code.make_a_picture(connection, "made")
        assert len(old_code.read_all(connection)) == 6

    with engine.begin() as connection:
        work(connection)
    # Then this code reads it
    stores = await asyncio.to_thread(PostgresStores.open, url)
    job = await stores.jobs.get("made")
    assert [artifact.name for artifact in job.artifacts] == ["made.png"]
    assert await stores.subscriptions.jobs("local", "c", ended=9) == [job]
    assert (await stores.batches.batch("made", None)).jobs == (job,)
    # And the old code reads what this code has made
    new = await stores.jobs.add(a_job(), NO_LIMIT)
    with engine.begin() as connection:
        assert any(new.id in row for row in old_code.read_all(connection))
    engine.dispose()
    await stores.close()


def test_another_programs_alembic_table_is_left_alone(empty: str) -> None:
    ask(empty, "CREATE TABLE alembic_version (version_num text)")
    ask(empty, "INSERT INTO alembic_version VALUES ('theirs')")
    PostgresStores.open(empty).close_now()
    assert ask(empty, "SELECT version_num FROM alembic_version") == [("theirs",)]


def test_a_database_that_is_not_in_utf_8_is_refused() -> None:
    server = running_postgres()
    name = "not_in_utf_8"
    ask(server.url("postgres"), f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0")
    with pytest.raises(StorageFailure, match="UTF-8"):
        PostgresStores.open(server.url(name))
    server.drop_database(server.url(name))
