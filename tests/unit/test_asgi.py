"""The app that a process manager runs: its lifespan, also where the start waits for a part that is away."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from danqing.asgi import LateApp
from danqing.cli.serve import _serve_opened
from danqing.config import Settings
from tests.services.postgres import PostgresServer

DEADLINE_S = 120


class Manager:
    """What speaks to the app as uvicorn does."""

    def __init__(self, app: LateApp) -> None:
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._life = asyncio.create_task(app({"type": "lifespan"}, self._to_app.get, self._hear))

    async def _hear(self, message: Any) -> None:  # noqa: ANN401 - starlette's own
        await self._from_app.put(message)

    async def says(self, what: str) -> dict[str, Any]:
        """The app's answer."""
        await self._to_app.put({"type": f"lifespan.{what}"})
        return await asyncio.wait_for(self._from_app.get(), DEADLINE_S)

    async def ended(self) -> None:
        """Returns once the app has."""
        await asyncio.wait_for(self._life, DEADLINE_S)


@pytest.fixture(autouse=True)
def own_collector() -> Iterator[None]:
    """An app that has started keeps all that there is, and this process has other tests' garbage."""
    gc.collect()
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


def settings(folder: Path, url: str) -> Settings:
    return Settings.model_validate({"data_dir": folder / "data", "cuda_available": False, "database_url": url})


async def test_a_start_that_waits_counts_as_done_and_ends_when_it_is_told_to(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    # Given a database that is away
    url = postgres.new_database()
    postgres.stop()
    app = LateApp(settings(tmp_path, url), None)
    manager = Manager(app)
    # Then the port opens, and probes are answered
    assert (await manager.says("startup"))["type"] == "lifespan.startup.complete"
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/v1/history")).headers["retry-after"] == "5"
        # And once the database is there, the server's own app answers
        await asyncio.to_thread(postgres.start)
        async with asyncio.timeout(DEADLINE_S):
            while (await client.get("/v1/history")).status_code == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert (await client.get("/v1/history")).json() == []
    assert (await manager.says("shutdown"))["type"] == "lifespan.shutdown.complete"
    await manager.ended()
    # And one that still waits ends at once
    postgres.stop()
    manager = Manager(LateApp(settings(tmp_path, url), None))
    await manager.says("startup")
    assert (await manager.says("shutdown"))["type"] == "lifespan.shutdown.complete"
    await manager.ended()


async def test_a_start_that_cannot_be_is_told(tmp_path: Path, postgres: PostgresServer) -> None:
    manager = Manager(LateApp(settings(tmp_path, postgres.url("there_is_none")), "turbo"))
    answer = await manager.says("startup")
    assert answer["type"] == "lifespan.startup.failed"
    assert "no such database" in answer["message"]
    await manager.ended()


class Building:
    """Takes until somebody else has been served meanwhile, or for far too long."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.in_time = False

    def build(self, app: object) -> object:
        self.begun.set()
        self.in_time = self.may_end.wait(10)
        return app


async def test_probes_are_answered_while_the_app_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a house that is open at once, and an app that takes its time
    @asynccontextmanager
    async def opened(*_: object, **__: object) -> AsyncIterator[object]:
        yield SimpleNamespace(drain=drained)

    async def drained() -> None:
        pass

    building = Building()
    monkeypatch.setattr("danqing.asgi.open_runtime", opened)
    monkeypatch.setattr(
        "danqing.asgi.build_managed_app", lambda *_: building.build(PlainTextResponse("from the server"))
    )
    app = LateApp(Settings.model_validate({"data_dir": tmp_path / "data", "cuda_available": False}), None)
    manager = Manager(app)
    # When it starts
    starting = asyncio.create_task(manager.says("startup"))
    await asyncio.to_thread(building.begun.wait, DEADLINE_S)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
        assert (await client.get("/livez")).json() == {"live": True}
        building.may_end.set()
        await starting
        assert (await client.get("/livez")).text == "from the server"
    # Then the probe did not wait for the app
    assert building.in_time
    await manager.says("shutdown")


async def test_a_server_of_several_ports_answers_probes_while_their_apps_are_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    building, became = Building(), list[object]()
    monkeypatch.setattr("danqing.wiring.build_apps", lambda *_: building.build({"a port": "its app"}))
    monkeypatch.setattr("danqing.cli.serve._print_summary", lambda *_: None)
    settings = Settings.model_validate({"data_dir": tmp_path})
    catalogue = SimpleNamespace(default=lambda: SimpleNamespace(id="sample"))
    runtime = SimpleNamespace(settings=settings, studio=SimpleNamespace(catalogue=catalogue))
    ports = [SimpleNamespace(url="http://127.0.0.1:1")]
    apps = {"a port": SimpleNamespace(become=became.append)}
    asyncio.get_running_loop().call_soon(building.may_end.set)
    serving = asyncio.create_task(asyncio.sleep(0))
    await _serve_opened(runtime, ports, apps, serving, open_to_all=False)  # type: ignore[arg-type]
    assert (building.in_time, became) == (True, ["its app"])
