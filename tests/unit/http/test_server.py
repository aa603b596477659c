"""Several apps in one loop, and how they end."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from danqing.http.listeners import Listener, OpenListener, open_listeners
from danqing.http.server import Stop, event_loop_factory, serve, stop_on_signals

DEADLINE_S = 20


def saying(text: str) -> ASGIApp:
    return PlainTextResponse(text)


async def nothing() -> None:
    pass


@asynccontextmanager
async def serving(
    *apps: ASGIApp, stop: Stop, drain: Callable[[], Awaitable[None]] = nothing, close_deadline_s: int = 10
) -> AsyncIterator[tuple[tuple[OpenListener, ...], asyncio.Task[None]]]:
    with open_listeners([Listener(host="127.0.0.1", port=0) for _ in apps]) as listeners:
        served = asyncio.create_task(
            serve(dict(zip(listeners, apps, strict=True)), stop=stop, drain=drain, close_deadline_s=close_deadline_s)
        )
        yield listeners, served
        await asyncio.wait_for(served, DEADLINE_S)


async def get(url: str) -> str:
    async with httpx2.AsyncClient() as client:
        return (await client.get(url)).text


async def test_each_listener_has_its_app() -> None:
    stop = Stop()
    async with serving(saying("one"), saying("two"), stop=stop) as ((first, second), _):
        assert await get(first.url) == "one"
        assert await get(second.url) == "two"
        stop.request()


async def test_while_draining_requests_are_still_answered() -> None:
    # Given a server whose drain waits for a sign
    stop, draining, drained = Stop(), asyncio.Event(), asyncio.Event()

    async def drain() -> None:
        draining.set()
        await drained.wait()

    async with serving(saying("still here"), stop=stop, drain=drain) as ((listener,), served):
        stop.request()
        await asyncio.wait_for(draining.wait(), DEADLINE_S)

        # Then it answers until the drain is over, and then no more
        assert await get(listener.url) == "still here"
        drained.set()
        await asyncio.wait_for(served, DEADLINE_S)
        with pytest.raises(httpx2.ConnectError):
            await get(listener.url)


async def test_a_running_answer_is_finished() -> None:
    # Given a request whose answer waits for a sign
    stop, asked, go_on = Stop(), asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        await go_on.wait()
        await PlainTextResponse("whole")(scope, receive, send)

    async with serving(slow, stop=stop) as ((listener,), _):
        answer = asyncio.create_task(get(listener.url))
        await asyncio.wait_for(asked.wait(), DEADLINE_S)

        # When the server is told to stop, and the sign comes after that
        stop.request()
        go_on.set()

        assert await answer == "whole"


async def test_a_second_request_ends_drain_and_answers_at_once() -> None:
    # Given a drain and an answer that never end
    stop, asked, draining, never = Stop(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def drain() -> None:
        draining.set()
        await never.wait()

    async def stuck(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        await never.wait()

    async with serving(stuck, stop=stop, drain=drain, close_deadline_s=600) as ((listener,), served):
        answer = asyncio.create_task(get(listener.url))
        await asyncio.wait_for(asked.wait(), DEADLINE_S)
        stop.request()
        await asyncio.wait_for(draining.wait(), DEADLINE_S)

        stop.request()

        await asyncio.wait_for(served, DEADLINE_S)
        answer.cancel()


async def test_an_answer_that_does_not_end_is_cut_off_at_the_deadline() -> None:
    stop, asked, never = Stop(), asyncio.Event(), asyncio.Event()

    async def stuck(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        await never.wait()

    async with serving(stuck, stop=stop, close_deadline_s=1) as ((listener,), _):
        answer = asyncio.create_task(get(listener.url))
        await asyncio.wait_for(asked.wait(), DEADLINE_S)
        stop.request()

        assert await answer == "Internal Server Error"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_are_requests_to_stop(number: signal.Signals) -> None:
    stop = Stop()

    with stop_on_signals(stop):
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.gracefully.wait(), DEADLINE_S)
        assert not stop.at_once.is_set()
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.at_once.wait(), DEADLINE_S)


def test_the_quick_loop_is_used_where_there_is_one() -> None:
    loop = event_loop_factory()()

    assert type(loop).__module__.startswith("uvloop")
    loop.close()
