"""Servers whose pictures are made elsewhere, put together."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from danqing.config import InvalidSettings, Settings
from danqing.core.errors import DataDirectoryInUse, JobNotFound, ShuttingDown, StorageAway, StorageFailure
from danqing.core.orders import Order
from danqing.core.states import JobState
from danqing.core.types import RequestDraft
from danqing.wiring import StartWait, open_node, open_runtime
from tests.services.postgres import PostgresServer, running_postgres
from tests.services.redis import RedisServer, this_process_redis

DEADLINE_S = 120
ORDER = Order(draft=RequestDraft(prompt="a tea pot", width=64, height=64))


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Of an API process."""
    server = this_process_redis()
    server.flush()
    url = running_postgres().new_database()
    yield Settings.model_validate(
        {"data_dir": tmp_path / "data", "cuda_available": False, "database_url": url, "redis_url": server.url}
    )
    running_postgres().drop_database(url)


async def test_several_share_jobs_and_a_data_dir_and_have_no_devices(settings: Settings) -> None:
    async with open_runtime(settings) as first, open_runtime(settings) as second:
        # Given two of them, and no node
        assert first.devices == ()
        assert "history-index" in {task.get_name() for task in asyncio.all_tasks()}
        assert not second.studio.pool_status().model_loaded
        # When a job comes to the one, then it is accepted, and the other knows it
        job = await first.studio.submit(ORDER)
        assert (await second.studio.get(job.id)).state is JobState.PENDING
        # And while the one stops, the other goes on
        await first.drain()
        with pytest.raises(ShuttingDown):
            await first.studio.submit(ORDER)
        await second.studio.cancel(job.id)


async def test_one_that_makes_its_pictures_itself_is_not_let_in_beside_them(settings: Settings) -> None:
    alone = settings.model_copy(update={"redis_url": None})
    async with open_runtime(settings):
        with pytest.raises(DataDirectoryInUse):
            async with open_runtime(alone):
                pass
    # But alone it may use the database
    async with open_runtime(alone) as runtime:
        assert runtime.devices == ("cpu",)
        with pytest.raises(DataDirectoryInUse):
            async with open_runtime(settings):
                pass


async def test_they_answer_without_a_redis_and_not_without_a_database(settings: Settings) -> None:
    async with open_runtime(settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1")})) as runtime:
        job = await runtime.studio.submit(ORDER)
        assert (await runtime.studio.get(job.id)).state is JobState.PENDING
    nowhere = settings.model_copy(update={"database_url": SecretStr("postgresql://127.0.0.1:1/x"), "start_wait_s": 0.0})
    with pytest.raises(StorageFailure):
        async with open_runtime(nowhere):
            pass


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "one of several"])
async def test_a_database_that_is_away_at_the_start_is_waited_for(tmp_path: Path, alone: bool) -> None:
    postgres = PostgresServer()
    try:
        fields = {"data_dir": tmp_path / "data", "cuda_available": False, "database_url": postgres.new_database()}
        settings = Settings.model_validate(fields if alone else fields | {"redis_url": this_process_redis().url})
        # Given a PostgreSQL that is stopped
        postgres.stop()
        wait = StartWait(retry_s=0.05)
        async with AsyncExitStack() as stack:
            opening = asyncio.create_task(stack.enter_async_context(open_runtime(settings, wait=wait)))
            await asyncio.wait_for(wait.begun.wait(), DEADLINE_S)
            assert not opening.done()
            # When it is there, then the server opens
            await asyncio.to_thread(postgres.start)
            runtime = await asyncio.wait_for(opening, DEADLINE_S)
            with pytest.raises(JobNotFound):
                await runtime.studio.get("nobodys")
    finally:
        await asyncio.to_thread(postgres.close)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"database_url": "postgresql://danqing@127.0.0.1:{port}/there_is_none"}, "no such database"),
        ({"redis_url": "redis://:wrong@127.0.0.1:{locked}/0"}, "REDIS_URL: .*: wrong password"),
        ({"broker_url": "redis://127.0.0.1:{locked}/0"}, "CELERY_BROKER_URL: .*: it wants a password"),
    ],
    ids=["database", "redis", "broker"],
)
async def test_what_says_no_is_not_waited_for(settings: Settings, changes: dict[str, str], said: str) -> None:
    locked = RedisServer(password="open sesame")
    locked.start()
    try:
        ports = {"port": running_postgres().port, "locked": locked.port}
        wrong = {name: SecretStr(url.format(**ports)) for name, url in changes.items()}
        wait = StartWait()
        with pytest.raises((StorageFailure, InvalidSettings), match=said) as refused:
            async with open_runtime(settings.model_copy(update=wrong), wait=wait):
                pass
        assert not wait.begun.is_set()
        assert not isinstance(refused.value, StorageAway)
        assert "wrong@" not in str(refused.value)
    finally:
        locked.kill()


async def test_they_start_without_their_object_store(settings: Settings) -> None:
    # Given an object store that is away
    there_is_none = {"object_store": "s3://pictures/x", "s3_endpoint": "http://127.0.0.1:1"}
    keys = {"s3_access_key_id": SecretStr("a"), "s3_secret_access_key": SecretStr("b")}
    # Then submits that bring no picture are accepted
    async with open_runtime(settings.model_copy(update=there_is_none | keys)) as runtime:
        job = await runtime.studio.submit(ORDER)
        assert (await runtime.studio.get(job.id)).state is JobState.PENDING


async def test_a_node_needs_what_it_shares(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="set DATABASE_URL and REDIS_URL"):
        async with open_node(Settings.model_validate({"data_dir": tmp_path})):
            pass
