"""`danqing workers` and what `danqing worker` says to settings that cannot be."""

import asyncio
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from danqing.cli.main import build_app
from danqing.cli.options import UserError
from danqing.cli.worker import DRAINED
from danqing.core.shared_store import Node
from danqing.core.types import DeviceStatus, JobFailure, WorkerState, WorkerStatus
from danqing.store.postgres import PostgresStores
from tests.fakes.domain import NOW
from tests.services.postgres import running_postgres


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """That the settings name, with a Redis that nobody asks."""
    url = running_postgres().new_database()
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    yield url
    running_postgres().drop_database(url)


def beat(url: str) -> None:
    """A node called box lives there, with a worker that works and one that does not."""
    workers = (
        WorkerStatus(
            id="box-1/cuda-0",
            state=WorkerState.BUSY,
            pid=7,
            restarts=2,
            models=("sample", "upscaler"),
            device=DeviceStatus(id="cuda:0", name="H100", kind="cuda"),
        ),
        WorkerStatus(
            id="box-1/cuda-1",
            state=WorkerState.BROKEN,
            pid=None,
            restarts=0,
            models=("sample",),
            failure=JobFailure(code="model_load_failure", message="No files."),
        ),
    )

    async def tell() -> None:
        stores = await asyncio.to_thread(PostgresStores.open, url)
        await stores.nodes.beat(Node(id="box-1", name="box", started_at=NOW, workers=workers), lease_s=60)
        await stores.close()

    asyncio.run(tell())


def danqing(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), list(arguments), catch_exceptions=False)
    return result.output


def test_nodes_are_listed_with_their_workers(database: str) -> None:
    assert "No node lives" in danqing("workers")
    beat(database)
    listed = danqing("workers", "list")
    lines = [line.split() for line in listed.splitlines()]
    assert ["box", "box-1"] in lines
    assert ["cuda-0", "busy", "H100", "sample", "2"] in lines
    assert "broken (No files.)" in listed


def test_a_node_is_asked_to_drain_by_its_name(database: str) -> None:
    beat(database)
    assert "Asked 1 node to drain." in danqing("workers", "drain", "box")
    assert "draining" in danqing("workers")
    with pytest.raises(UserError, match="No living node is called nobody"):
        danqing("workers", "drain", "nobody")


def test_where_nothing_is_shared_there_are_no_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (("workers",), ("workers", "drain", "box"), ("worker",)):
        with pytest.raises(UserError, match="set DATABASE_URL and REDIS_URL"):
            danqing(*command)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    with pytest.raises(UserError, match="DATABASE_URL must say"):
        danqing("worker")


@pytest.mark.parametrize(("drained", "status"), [(True, DRAINED), (False, 0)])
def test_a_node_that_was_drained_ends_with_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, drained: bool, status: int
) -> None:
    monkeypatch.setattr("danqing.cli.worker.run_worker", lambda _: drained)
    assert CliRunner().invoke(build_app(), ["worker"], catch_exceptions=False).exit_code == status
