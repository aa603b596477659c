"""Requests are counted by route, never by path."""

import asyncio

import httpx2
import pytest
from fastapi import FastAPI, Request
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from danqing.http.exchange import Exchange
from danqing.metrics.panel import MetricsPanel
from tests.unit.http.asgi import a_scope, call
from tests.unit.metrics.reading import series, value


async def answer_error(_request: HTTPConnection, error: Exception) -> Response:
    return PlainTextResponse(type(error).__name__, status_code=500)


def an_app(panel: MetricsPanel) -> ASGIApp:
    app = FastAPI()

    @app.post("/jobs/{job_id}")
    async def post(job_id: str, request: Request) -> Response:
        if job_id == "broken":
            return PlainTextResponse(status_code=500)
        return PlainTextResponse("x" * len(await request.body()))

    return Exchange(app, answer_error=answer_error, witnesses=[panel.http])


def client(panel: MetricsPanel) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=an_app(panel)), base_url="http://x")


async def test_requests_are_told_by_route_method_and_class_with_time_and_bytes() -> None:
    panel = MetricsPanel(models=[])
    async with client(panel) as http:
        await http.post("/jobs/1", content=b"12345")
        await http.post("/jobs/2", content=b"123")
        await http.post("/jobs/broken")
        await http.get("/jobs/2")
        await http.get("/nothing")
    page = await panel.page()
    route = "/jobs/{job_id}"
    assert value(page, "danqing_http_requests_total", method="POST", route=route, status="2xx") == 2
    assert value(page, "danqing_http_requests_total", method="POST", route=route, status="5xx") == 1
    assert value(page, "danqing_http_requests_total", method="GET", route="unmatched", status="4xx") == 1
    assert value(page, "danqing_http_request_seconds_count", method="POST", route=route) == 3
    assert value(page, "danqing_http_received_bytes_total") == 8
    assert (value(page, "danqing_http_sent_bytes_total") or 0) > 8
    assert value(page, "danqing_http_requests_in_progress") == 0


@pytest.mark.parametrize(("status", "told"), [(503, "503"), (500, "5xx"), (504, "5xx"), (429, "4xx")])
async def test_a_refusal_for_now_is_told_from_a_fault(status: int, told: str) -> None:
    panel = MetricsPanel(models=[])
    panel.http.began(a_scope("POST")).ended(route="/jobs", status=status, seconds=0.1, received=0, sent=0)
    page = await panel.page()
    assert value(page, "danqing_http_requests_total", method="POST", route="/jobs", status=told) == 1


async def test_paths_and_methods_that_nobody_has_are_counted_together() -> None:
    panel = MetricsPanel(models=[])
    async with client(panel) as http:
        await http.request("GET", "/")
        await http.request("MAKE", "/")
        size = len(series(await panel.page()))
        for number in range(100):
            await http.request(f"X{number}", f"/{number}?q={number}", headers={f"x-{number}": "1"})
    page = await panel.page()
    assert len(series(page)) == size
    assert value(page, "danqing_http_requests_total", method="other", route="unmatched", status="4xx") == 101


async def test_what_is_under_way_shows_while_it_is() -> None:
    # Given a request, and a WebSocket connection, that are being answered
    panel = MetricsPanel(models=[])
    go = asyncio.Event()

    async def slow(scope: object, receive: object, send: object) -> None:
        await go.wait()

    app = Exchange(slow, answer_error=answer_error, witnesses=[panel.http])
    running = [
        asyncio.create_task(call(app, a_scope())),
        asyncio.create_task(call(app, {"type": "websocket", "path": "/", "headers": []})),
    ]
    await asyncio.sleep(0)
    page = await panel.page()
    assert value(page, "danqing_http_requests_in_progress") == 1
    assert value(page, "danqing_websocket_connections") == 1
    # When they end
    go.set()
    await asyncio.gather(*running)
    # Then nothing is under way any more
    page = await panel.page()
    assert value(page, "danqing_http_requests_in_progress") == 0
    assert value(page, "danqing_websocket_connections") == 0
    assert value(page, "danqing_websocket_opened_total") == 1
    # And a request that had no answer is told so
    assert value(page, "danqing_http_requests_total", method="GET", route="unmatched", status="none") == 1
