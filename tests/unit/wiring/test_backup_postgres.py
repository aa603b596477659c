"""A backup where the jobs are in PostgreSQL: by its own tools, with the commands of `docs/operations.md`."""

import asyncio
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from danqing.config import Settings
from danqing.core.errors import StorageFailure
from danqing.store.postgres import PostgresStores
from danqing.wiring.backup import make_backup, restore_backup
from tests.contracts.job_store import processing
from tests.fakes.domain import NO_LIMIT, a_job, an_original, later
from tests.services.postgres import USER, running_postgres

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


def test_our_own_tool_says_which_to_use(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=SecretStr("postgresql://user:hidden@host/db"))
    for call, tool in ((lambda: make_backup(settings, tmp_path / "b"), "pg_dump"),
                       (lambda: restore_backup(tmp_path / "b", settings), "pg_restore")):  # fmt: skip
        with pytest.raises(StorageFailure, match=tool) as refused:
            call()
        assert "hidden" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


async def test_what_the_documented_commands_have_dumped_they_restore(tmp_path: Path) -> None:
    # Given a database with jobs in it, of which one runs
    server = running_postgres()
    ordinary = server.new_role("ordinary")
    stores = PostgresStores.open(url := server.new_database())
    waiting, running, done = await stores.jobs.add(a_job(), NO_LIMIT), *[await processing(stores.jobs) for _ in "12"]
    done = await stores.jobs.complete(done.id, 1, [an_original(done)], [], later())
    secret = await stores.secret()
    # When the documented commands are run, one after the other: the database made by one who may, for one who may not
    names = ("pg_dump", "createdb", "pg_restore")
    commands = [line for line in OPERATIONS.read_text().splitlines() if line.split(" ")[0] in names]
    assert [command.split()[0] for command in commands] == [*names]
    restored = server.url("restored", user=ordinary)
    for command, database in zip(commands, (url, "", restored), strict=True):
        program = server.dump_program(command.split()[0])
        environment = {
            **os.environ,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
            "PGUSER": USER,
            "DATABASE_URL": database,
        }
        if program.name == "createdb":
            assert command.endswith(" --owner=danqing danqing")
            command = f"{command.removesuffix(' --owner=danqing danqing')} --owner={ordinary} restored"
        process = await asyncio.create_subprocess_shell(command, cwd=tmp_path, env=environment)
        assert await process.wait() == 0
    # Then everything is there, and can be gone on with
    again = PostgresStores.open(restored)
    assert [await again.jobs.get(job.id) for job in (waiting, running)] == [waiting, running]
    assert done is not None
    assert await again.jobs.get(done.id) == done
    assert await again.secret() == secret
    assert await again.nodes.orphans() == [running]
    claimed = await again.line.claim("tiny", "w", later())
    assert claimed is not None
    assert claimed.id == waiting.id
    assert (await again.jobs.add(a_job(), NO_LIMIT)).sequence > done.sequence
    await stores.close()
    await again.close()
