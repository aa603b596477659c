"""Several apps in one loop, and how they end."""

import asyncio
import os
import signal

import httpx2
import pytest
import structlog
import websockets
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from danqing.http.server import WS_MAX_MESSAGE_BYTES, Stop, event_loop_factory, stop_on_signals
from tests.unit.http.serving import DEADLINE_S, serving


def saying(text: str) -> ASGIApp:
    return PlainTextResponse(text)


async def get(url: str) -> str:
    async with httpx2.AsyncClient(timeout=DEADLINE_S) as client:
        return (await client.get(url)).text


async def test_each_listener_has_its_app() -> None:
    stop = Stop()
    async with serving(saying("one"), saying("two"), stop=stop) as ((first, second), _):
        assert await get(first.url) == "one"
        assert await get(second.url) == "two"
        stop.request()


async def test_what_is_listened_on_is_told() -> None:
    stop = Stop()
    with structlog.testing.capture_logs() as lines:
        async with serving(saying("one"), stop=stop) as ((listener,), _):
            assert await get(listener.url) == "one"
            stop.request()

    assert [(line["url"], line["bound"]) for line in lines if line["event"] == "listening"] == [
        (listener.url, f"127.0.0.1:{listener.port}")
    ]


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


async def echoing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers each message with its length."""
    websocket = WebSocket(scope, receive, send)
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(str(len(await websocket.receive_text())))
    except WebSocketDisconnect:
        pass


async def test_websocket_messages_are_bounded_and_not_compressed() -> None:
    stop = Stop()
    async with serving(echoing, stop=stop) as ((listener,), _):
        # Given a client that would compress
        async with websockets.connect(listener.url.replace("http", "ws"), compression="deflate") as client:
            assert client.protocol.extensions == []

            # When a message is as long as is taken, and then one is longer
            await client.send("x" * WS_MAX_MESSAGE_BYTES)
            assert await client.recv() == str(WS_MAX_MESSAGE_BYTES)
            with pytest.raises(websockets.ConnectionClosed) as caught:
                await client.send("x" * (WS_MAX_MESSAGE_BYTES + 1))
                await client.recv()

            # Then the connection ends, and says why
            assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009
        stop.request()
