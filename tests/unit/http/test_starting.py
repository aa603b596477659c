"""What the ports answer before the server is there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
import structlog
import websockets
from starlette.responses import PlainTextResponse

from danqing.http.dialect import Dialect, DialectOptions
from danqing.http.server import Stop, open_unless_stopped
from danqing.http.starting import StartingApp
from danqing.wiring.apps import DIALECTS, build_dialects
from tests.unit.http.serving import DEADLINE_S, serving

PATHS = {
    "turbo": "/api/status",
    "live": "/api/image/x.png",
    "genserve": "/status",
    "zimage": "/v1/history",
    "openai": "/v1/models",
    "studio": "/studio/batches",
}


def starting_app(*dialects: Dialect, alone: bool = False, waiting: asyncio.Event) -> StartingApp:
    options = DialectOptions()
    return StartingApp(dialects=dialects or build_dialects(), alone=alone, options=options, waiting=waiting.wait)


@asynccontextmanager
async def port_of(app: StartingApp) -> AsyncIterator[httpx2.AsyncClient]:
    stop = Stop()
    async with serving(app, stop=stop) as ((listener,), _):
        async with httpx2.AsyncClient(base_url=listener.url, timeout=DEADLINE_S) as client:
            yield client
        stop.request()


async def test_probes_are_answered_from_the_first_moment() -> None:
    async with port_of(starting_app(waiting=asyncio.Event())) as client:
        assert (await client.get("/livez")).json() == {"live": True}
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json(), ready.headers["retry-after"]) == (503, {"ready": False}, "5")


async def test_others_wait_for_a_server_that_will_soon_be_there() -> None:
    app = starting_app(waiting=asyncio.Event())
    async with port_of(app) as client:
        asking = asyncio.create_task(client.get("/v1/models"))
        assert (await client.get("/livez")).status_code == 200  # which came after it
        assert not asking.done()
        app.become(PlainTextResponse("from the server"))
        assert (await asking).text == "from the server"
        assert (await client.get("/livez")).text == "from the server"


@pytest.mark.parametrize("alone", [True, False], ids=["own port", "shared port"])
@pytest.mark.parametrize("name", list(PATHS))
async def test_while_it_waits_for_something_each_dialect_says_so(name: str, alone: bool) -> None:
    waiting = asyncio.Event()
    app = starting_app(*([DIALECTS[name]()] if alone else []), alone=alone, waiting=waiting)
    async with port_of(app) as client:
        asking = asyncio.create_task(client.get(PATHS[name]))
        waiting.set()
        answer = await asking
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()


async def test_a_port_of_its_own_has_no_probes_of_the_house() -> None:
    app = starting_app(DIALECTS["turbo"](), alone=True, waiting=asyncio.Event())
    async with port_of(app) as client:
        asking = asyncio.create_task(client.get("/livez"))
        await asyncio.sleep(0.1)
        assert not asking.done()
        app.become(PlainTextResponse("from the server"))
        assert (await asking).text == "from the server"


async def test_the_seeds_probes_tell_life_from_readiness() -> None:
    waiting = asyncio.Event()
    waiting.set()
    async with port_of(starting_app(waiting=waiting)) as client:
        health = await client.get("/health")
        assert (health.status_code, health.json()["data"]["model_loaded"]) == (200, False)
        assert (await client.get("/ready")).status_code == 503


async def test_below_a_path_of_a_proxy_it_is_the_same() -> None:
    waiting = asyncio.Event()
    app = starting_app(waiting=waiting)

    def client(root: str) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=app, root_path=root)
        return httpx2.AsyncClient(transport=transport, base_url=f"http://danqing.test{root}")

    async with client("") as direct, client("/img") as proxied:
        assert (await asyncio.wait_for(proxied.get("/livez"), 60)).json() == {"live": True}  # it waits for nothing
        waiting.set()
        for path in PATHS.values():
            answers = [await each.get(path) for each in (direct, proxied)]
            assert [answer.status_code for answer in answers] == [503, 503]
            assert set(answers[0].json()) == set(answers[1].json())


async def test_a_websocket_is_to_come_again() -> None:
    waiting = asyncio.Event()
    waiting.set()
    async with port_of(starting_app(waiting=waiting)) as client:
        url = str(client.base_url).replace("http", "ws", 1)
        with pytest.raises(websockets.InvalidStatus) as caught:
            await websockets.connect(f"{url}api/ws" if url.endswith("/") else f"{url}/api/ws")
        assert caught.value.response.status_code == 503
        assert caught.value.response.headers["Retry-After"] == "5"


# Opening, unless somebody wants it to end


@asynccontextmanager
async def opening(log: list[str], *, may_open: asyncio.Event) -> AsyncIterator[str]:
    log.append("begun")
    try:
        await may_open.wait()
        log.append("open")
        yield "opened"
    finally:
        log.append("closed")


async def test_what_opens_is_closed_again() -> None:
    log: list[str] = []
    ready = asyncio.Event()
    ready.set()
    async with open_unless_stopped(Stop(), opening(log, may_open=ready)) as opened:
        assert (opened, log) == ("opened", ["begun", "open"])
    assert log == ["begun", "open", "closed"]


async def test_a_stop_ends_what_has_not_opened() -> None:
    log: list[str] = []
    stop = Stop()
    asyncio.get_running_loop().call_soon(stop.request)
    async with open_unless_stopped(stop, opening(log, may_open=asyncio.Event())) as opened:
        assert opened is None
    assert log == ["begun", "closed"]


async def test_what_is_noted_while_it_opens_is_known_inside() -> None:
    @asynccontextmanager
    async def noting() -> AsyncIterator[None]:
        structlog.contextvars.bind_contextvars(node="box")
        yield

    async with open_unless_stopped(Stop(), noting()):
        assert structlog.contextvars.get_contextvars()["node"] == "box"


async def test_what_cannot_open_says_why() -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        raise ZeroDivisionError
        yield

    with pytest.raises(ZeroDivisionError):
        async with open_unless_stopped(Stop(), broken()):
            pass
