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
from danqing.core.errors import DanqingError, OutOfMemory, RequestTimeout
from danqing.core.orders import Limits, Order
from danqing.core.states import JobState
from danqing.core.submitting import Join
from danqing.core.types import RequestDraft
from danqing.http.callers import known_caller
from danqing.http.dialect import Dialect, Services
from danqing.http.server import Stop
from danqing.http.submit_keys import submit_key
from danqing.http.waiting import ClientGone, wait_for_jobs, while_connected
from tests.dialects.house import House
from tests.unit.http.serving import DEADLINE_S, serving

SIZE = 128


def an_order(prompt: str, *, seed: int | None = None) -> Order:
    """Of a request that is answered with its picture."""
    draft = RequestDraft(prompt=prompt, width=SIZE, height=SIZE, seed=seed)
    return Order(draft=draft, join=Join.UNDER_WAY, attended=True)


def waiting_dialect(*, timeout_s: float) -> Dialect:
    """`POST /make?n=` makes n pictures and answers with their states, in order. seed=: of the first of them."""

    def build_router(services: Services) -> APIRouter:
        async def make(request: Request, n: int, seed: int | None = None) -> Response:
            await request.body()
            caller = known_caller(request)
            orders = [an_order(f"no. {i}", seed=seed) for i in range(n)]
            key = submit_key(request, n, seed)
            jobs = await services.studio.submit_all(orders, caller=caller, key=key)
            ended = await wait_for_jobs(request, services.studio, jobs, caller=caller, timeout_s=timeout_s)
            if {job.state for job in ended} == {JobState.COMPLETED}:
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


@pytest.mark.parametrize("ending", [JobState.FAILED, JobState.CANCELLED])
async def test_the_first_picture_that_is_not_made_ends_the_wait_and_the_others(
    tmp_path: Path, ending: JobState
) -> None:
    # Given a request that waits for three pictures, one of which somebody else wants, too
    house = House(tmp_path)
    async with port(house) as url, httpx2.AsyncClient(timeout=DEADLINE_S) as client:
        asked = asyncio.create_task(client.post(f"{url}/make", params={"n": 3}))
        await until_counts(house, JobState.PENDING, 3)
        wanted, fails, other = house.store.matching(lambda _: True)
        await house.studio.get(wanted.id)

        # When another one ends without a picture
        if ending is JobState.FAILED:
            house.painter.failure = OutOfMemory()
            await house.painter.start(fails.id)
            await house.painter.fail(fails.id)
        else:
            await house.studio.cancel(fails.id)

        # Then that is the answer, at once, and what nobody else wants is not made
        assert (await asked).json() == [ending]
    states = {job.id: job.state for job in house.store.matching(lambda _: True)}
    assert states == {wanted.id: JobState.PENDING, fails.id: ending, other.id: JobState.CANCELLED}


async def test_after_a_failure_the_others_go_on_for_who_named_a_key(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with port(house) as url, httpx2.AsyncClient(timeout=DEADLINE_S) as client:
        headers = {"Idempotency-Key": "a key"}
        asked = asyncio.create_task(client.post(f"{url}/make", params={"n": 2}, headers=headers))
        await until_counts(house, JobState.PENDING, 2)
        first, _ = house.store.matching(lambda _: True)
        house.painter.failure = OutOfMemory()
        await house.painter.start(first.id)
        await house.painter.fail(first.id)
        assert (await asked).json() == [JobState.FAILED]
    assert await states_in(house) == [JobState.FAILED, JobState.PENDING]


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
            async with httpx2.AsyncClient(timeout=DEADLINE_S) as client:
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


@asynccontextmanager
async def hanging_up(url: str, house: House, **headers: str) -> AsyncIterator[None]:
    """A client that waits for one picture, always the same; it hangs up at the end, and the server has noticed."""
    with structlog.testing.capture_logs() as lines:
        async with httpx2.AsyncClient(timeout=DEADLINE_S) as client:
            asked = asyncio.create_task(client.post(f"{url}/make", params={"n": 1, "seed": 1}, headers=headers))
            async with asyncio.timeout(DEADLINE_S):
                while not await house.store.unfinished():  # noqa: ASYNC110 - a store tells nobody
                    await asyncio.sleep(0.01)
            yield
            asked.cancel()
            await asyncio.wait((asked,))
        async with asyncio.timeout(DEADLINE_S):
            while [line.get("status") for line in lines if line["event"] == "http_request"] != [499]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def states_in(house: House) -> list[JobState]:
    return [job.state for job in house.store.matching(lambda _: True)]


async def test_a_picture_that_somebody_else_waits_for_is_made_though_one_hangs_up(tmp_path: Path) -> None:
    # Given two clients that wait for equal pictures
    house = House(tmp_path)
    async with port(house) as url, httpx2.AsyncClient(timeout=DEADLINE_S) as staying:
        async with hanging_up(url, house):
            other = asyncio.create_task(staying.post(f"{url}/make", params={"n": 1, "seed": 1}))
            async with asyncio.timeout(DEADLINE_S):
                while await house.studio.waiting_for(house.store.matching(lambda _: True)[0]) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        # When one of them has hung up, then the other one gets the picture that both waited for
        (job,) = house.store.matching(lambda _: True)
        assert job.state is JobState.PENDING
        await house.painter.start(job.id)
        await house.painter.finish(job.id)
        assert (await other).json() == ["completed"]


async def test_a_picture_that_somebody_polls_is_made_though_the_client_hangs_up(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with port(house) as url:
        async with hanging_up(url, house):
            await house.studio.get(house.store.matching(lambda _: True)[0].id)
        assert await states_in(house) == [JobState.PENDING]


async def test_who_named_a_key_may_hang_up_and_come_back(tmp_path: Path) -> None:
    house, key = House(tmp_path), {"Idempotency-Key": "a key"}
    async with port(house) as url, httpx2.AsyncClient(timeout=DEADLINE_S) as client:
        async with hanging_up(url, house, **key):
            pass
        # Given that his job went on, and is done
        (job,) = house.store.matching(lambda _: True)
        await house.painter.start(job.id)
        await house.painter.finish(job.id)
        # When he asks again, then he gets its picture
        again = await client.post(f"{url}/make", params={"n": 1, "seed": 1}, headers=key)
        assert again.json() == ["completed"]
    assert await states_in(house) == [JobState.COMPLETED]


async def test_nothing_is_cancelled_for_a_client_where_the_operator_does_not_want_it(tmp_path: Path) -> None:
    house = House(tmp_path, limits=Limits(max_queue_size=9, cancel_abandoned=False))
    async with port(house) as url:
        async with hanging_up(url, house):
            pass
        assert await states_in(house) == [JobState.PENDING]


async def test_who_waits_while_the_server_stops_has_his_jobs_made_after_the_next_start(tmp_path: Path) -> None:
    # Given a request that waits for two pictures
    house, stop = House(tmp_path), Stop()

    async def drain() -> None:
        house.studio.stop_accepting()
        house.events.close()

    serve = serving(house.app(waiting_dialect(timeout_s=600)), stop=stop, drain=drain)
    async with httpx2.AsyncClient(timeout=DEADLINE_S) as client, serve as ((listener,), served):
        asked = asyncio.create_task(client.post(f"{listener.url}/make", params={"n": 2}))
        await until_counts(house, JobState.PENDING, 2)
        # When the server stops
        stop.request()
        # Then he is told so, and the jobs wait for the next one
        assert (await asked).json() == {"error": "shutting_down"}
        await served
    assert await states_in(house) == [JobState.PENDING] * 2


async def test_a_wait_that_the_server_ends_cancels_the_jobs_and_leaves_nothing_behind(tmp_path: Path) -> None:
    # Given a request that waits for two pictures
    house = House(tmp_path)
    caller = house.gate.keys.caller(None)
    assert caller is not None
    order = an_order("x")
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
    order = an_order("x")
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


@pytest.mark.parametrize("result", ["done", TimeoutError("its own")])
async def test_what_work_gives_at_the_last_moment_is_not_lost(result: str | TimeoutError) -> None:
    gone, loop = asyncio.Event(), asyncio.get_running_loop()

    async def work() -> str:
        gone.set()  # the client leaves, and the time is over, just when it is done
        until = loop.time() + 0.01
        while loop.time() < until:
            pass
        if isinstance(result, TimeoutError):
            raise result
        return result

    asking = while_connected(a_connection(gone), work(), timeout_s=0.01)
    if isinstance(result, TimeoutError):
        with pytest.raises(TimeoutError, match="its own"):
            await asking
    else:
        assert await asking == result


async def test_a_connection_that_breaks_counts_as_gone() -> None:
    async def receive() -> dict[str, object]:
        raise ConnectionError

    with pytest.raises(ClientGone):
        await while_connected(Request({"type": "http", "headers": []}, receive), Work().do(), timeout_s=600)
