"""Requests that wait for their pictures: through a real port, where clients really hang up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from danqing.core.callers import Caller
from danqing.core.errors import DanqingError, RequestTimeout
from danqing.core.states import JobState
from danqing.core.studio import Order
from danqing.core.types import RequestDraft
from danqing.http.callers import known_caller
from danqing.http.dialect import Dialect, Services
from danqing.http.server import Stop
from danqing.http.waiting import ClientGone, wait_for_jobs, while_connected
from tests.dialects.house import House
from tests.unit.http.serving import DEADLINE_S, serving

SIZE = 128


def waiting_dialect(*, timeout_s: float) -> Dialect:
    """`POST /make?n=` makes n pictures and answers with their states, in order."""

    def build_router(services: Services) -> APIRouter:
        async def make(request: Request, n: int) -> Response:
            await request.body()
            caller = known_caller(request)
            orders = [Order(draft=RequestDraft(prompt=f"no. {i}", width=SIZE, height=SIZE)) for i in range(n)]
            jobs = await services.studio.submit_all(orders, caller=caller)
            ended = await wait_for_jobs(request, services.studio, jobs, caller=caller, timeout_s=timeout_s)
            assert [job.id for job in ended] == [job.id for job in jobs]
            return JSONResponse([job.state for job in ended])

        router = APIRouter()
        router.add_api_route("/make", make, methods=["POST"])
        return router

    def render_error(error: Exception) -> Response:
        code = error.code if isinstance(error, DanqingError) else "fault"
        return JSONResponse({"error": code}, status_code=408 if isinstance(error, RequestTimeout) else 500)

    return Dialect(
        name="waiting",
        title="Waits",
        prefixes=("/make",),
        build_router=build_router,
        render_error=render_error,
        error_fields=None,
        health=None,
        max_body_bytes=1000,
        curl_example="",
    )


@asynccontextmanager
async def port(house: House, *, timeout_s: float = 600.0) -> AsyncIterator[str]:
    stop = Stop()
    async with serving(house.app(waiting_dialect(timeout_s=timeout_s)), stop=stop) as ((listener,), _):
        yield listener.url
        stop.request()


async def until_counts(house: House, state: JobState, count: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while (await house.store.counts())[state] != count:  # noqa: ASYNC110 - a store tells nobody
            await asyncio.sleep(0.01)


async def test_the_answer_comes_with_all_pictures(tmp_path: Path) -> None:
    async with port(House(tmp_path, automatic=True)) as url, httpx2.AsyncClient(timeout=DEADLINE_S) as client:
        answer = await client.post(f"{url}/make", params={"n": 3}, content=b"a body")

    assert answer.json() == ["completed"] * 3


async def test_no_pictures_are_soon_made(tmp_path: Path) -> None:
    async with port(House(tmp_path)) as url, httpx2.AsyncClient(timeout=DEADLINE_S) as client:
        assert (await client.post(f"{url}/make", params={"n": 0})).json() == []


async def test_a_request_that_waited_too_long_has_its_jobs_cancelled(tmp_path: Path) -> None:
    # Given workers that never begin
    house = House(tmp_path)

    async with port(house, timeout_s=0.05) as url, httpx2.AsyncClient(timeout=DEADLINE_S) as client:
        answer = await client.post(f"{url}/make", params={"n": 2})

    assert (answer.status_code, answer.json()) == (408, {"error": "request_timeout"})
    assert (await house.store.counts())[JobState.CANCELLED] == 2


async def test_who_hangs_up_has_his_jobs_cancelled_and_no_fault_is_logged(tmp_path: Path) -> None:
    house = House(tmp_path)
    with structlog.testing.capture_logs() as lines:
        async with port(house) as url:
            # Given a client that waits for two pictures
            async with httpx2.AsyncClient() as client:
                asked = asyncio.create_task(client.post(f"{url}/make", params={"n": 2}, content=b"body"))
                await until_counts(house, JobState.PENDING, 2)

                # When its connection ends
                asked.cancel()
                await asyncio.wait((asked,))

            # Then nobody makes them
            await until_counts(house, JobState.CANCELLED, 2)

    assert "client_gone" in [line["event"] for line in lines]
    assert [line["status"] for line in lines if line["event"] == "http_request"] == [499]
    assert not [line for line in lines if line["log_level"] in ("warning", "error")]


async def test_a_wait_that_the_server_ends_cancels_the_jobs_and_leaves_nothing_behind(tmp_path: Path) -> None:
    # Given a request that waits for two pictures
    house = House(tmp_path)
    caller = house.gate.keys.caller(None)
    assert caller is not None
    order = Order(draft=RequestDraft(prompt="x", width=SIZE, height=SIZE))
    jobs = await house.studio.submit_all([order, order])
    never = asyncio.Event()

    async def receive() -> dict[str, object]:
        await never.wait()
        return {"type": "http.disconnect"}

    request = Request({"type": "http", "headers": []}, receive)
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(wait_for_jobs(request, house.studio, jobs, caller=caller, timeout_s=600))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    # When it is cancelled
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert (await house.store.counts())[JobState.CANCELLED] == 2
    assert asyncio.all_tasks() == before


async def test_a_wait_that_breaks_cancels_the_jobs(tmp_path: Path) -> None:
    # Given two jobs, of which one is not there for this caller
    house = House(tmp_path)
    mine, others = Caller(owner="ann"), Caller(owner="bob")
    order = Order(draft=RequestDraft(prompt="x", width=SIZE, height=SIZE))
    jobs = [await house.studio.submit(order, caller=mine), await house.studio.submit(order, caller=others)]
    never = asyncio.Event()

    async def receive() -> dict[str, object]:
        await never.wait()
        return {}

    with pytest.raises(DanqingError):
        await wait_for_jobs(
            Request({"type": "http", "headers": []}, receive), house.studio, jobs, caller=mine, timeout_s=600
        )

    assert (await house.store.get(jobs[0].id)).state is JobState.CANCELLED
    assert (await house.store.get(jobs[1].id)).state is JobState.PENDING


class Work:
    """Takes its time, and some more to end."""

    def __init__(self) -> None:
        self.ended = False
        self._enough = asyncio.Event()

    async def do(self) -> str:
        try:
            await self._enough.wait()
            return "done"
        finally:
            await asyncio.sleep(0)
            self.ended = True

    def finish(self) -> None:
        self._enough.set()


def a_connection(gone: asyncio.Event) -> Request:
    """Of a client that hangs up when gone is set."""

    async def receive() -> dict[str, object]:
        await gone.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": []}, receive)


async def test_work_is_given_up_when_its_client_leaves_or_its_time_is_over() -> None:
    gone = asyncio.Event()
    for timeout_s, error in ((600.0, ClientGone), (0.0, RequestTimeout)):
        work, before = Work(), asyncio.all_tasks()
        asking = asyncio.create_task(while_connected(a_connection(gone), work.do(), timeout_s=timeout_s))
        await asyncio.sleep(0)
        if error is ClientGone:
            gone.set()

        with pytest.raises(error):
            await asking
        assert work.ended
        assert asyncio.all_tasks() == before
        gone.clear()


async def test_work_that_is_done_is_answered_and_so_is_its_failure() -> None:
    work, request = Work(), a_connection(asyncio.Event())
    asking = asyncio.create_task(while_connected(request, work.do(), timeout_s=600))
    await asyncio.sleep(0)
    work.finish()
    assert await asking == "done"

    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await while_connected(request, fail(), timeout_s=600)
