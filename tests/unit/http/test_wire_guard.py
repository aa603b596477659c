"""What a connection may not do, over real sockets: endless heads, silence, answers that nobody reads."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import websockets
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from danqing.http.server import Stop
from danqing.http.wire_guard import MAX_FRAGMENTS, MAX_HEAD_BYTES, MAX_HEADERS, GuardedHttp
from tests.unit.http.serving import DEADLINE_S, serving
from tests.unit.http.test_server import echoing

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a body with its length."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    stop = Stop()
    async with serving(app, stop=stop) as ((listener,), _):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        yield reader, writer
        writer.close()
        stop.request()


async def told(pieces: AsyncIterator[bytes] | list[bytes]) -> bytes:
    """All that the server says to these pieces before it ends the connection, or the client has no more to say."""
    async with connected() as (reader, writer):
        try:
            if isinstance(pieces, list):
                writer.writelines(pieces)
            else:
                async for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
            return await asyncio.wait_for(reader.read(), DEADLINE_S)
        except ConnectionError:  # closed while this was still talking
            return b"HTTP/1.1 431 "


async def endless(start: bytes, piece: bytes) -> AsyncIterator[bytes]:
    yield start
    for _ in range(200):
        yield piece * (8000 // len(piece))


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (HEAD + b"X: ", b"x"),
        (HEAD, b"X: y\r\n"),
        (b"GET /", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;", b"x"),
    ],
    ids=["value", "headers", "address", "trailer", "trailers", "extension"],
)
async def test_endless_heads_are_cut_off(start: bytes, piece: bytes) -> None:
    assert (await told(endless(start, piece))).startswith(b"HTTP/1.1 431 ")


async def test_a_head_within_the_limits_passes() -> None:
    headers = b"".join(b"X-%d: %s\r\n" % (at, b"y" * 400) for at in range(MAX_HEADERS - 4))
    end = b"Content-Length: 3\r\nConnection: close\r\n\r\nabc"

    assert (await told([HEAD, headers, end])).endswith(b"\r\n\r\n3")

    long = b"Z: " + b"y" * (MAX_HEAD_BYTES - 50_000) + b"\r\n"
    assert (await told([HEAD, headers, long, end])).startswith(b"HTTP/1.1 431 ")


async def test_a_large_body_is_no_head() -> None:
    body = os.urandom(700_000)
    whole = HEAD + b"Connection: close\r\nContent-Length: 700000\r\n\r\n"
    assert (await told([whole, body])).endswith(b"\r\n\r\n700000")


@pytest.mark.parametrize("beginning", [b"", b"\r\n", b"POST / HT", HEAD + b"X: "])
async def test_who_says_nothing_whole_is_not_waited_for(beginning: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuardedHttp, "head_timeout_s", 0.05)

    assert await told([beginning]) == b""


async def test_neither_is_the_next_head_on_the_same_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuardedHttp, "head_timeout_s", 0.5)
    async with connected() as (reader, writer):
        writer.write(HEAD + b"Content-Length: 3\r\n\r\nabc")
        answer = await reader.readuntil(b"\r\n\r\n3")
        assert answer.startswith(b"HTTP/1.1 200")

        writer.write(b"\r\n")

        assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""


async def test_a_request_that_takes_long_is_not_given_up_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuardedHttp, "head_timeout_s", 0.2)
    async with connected() as (reader, writer):
        writer.write(HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\na")
        await asyncio.sleep(0.3)  # longer than a head may take
        writer.write(b"bc")

        assert (await asyncio.wait_for(reader.read(), DEADLINE_S)).endswith(b"\r\n\r\n3")


async def test_pings_that_nobody_reads_the_answers_of_end_the_connection() -> None:
    stop = Stop()
    async with serving(echoing, stop=stop) as ((listener,), _):
        async with websockets.connect(listener.url.replace("http", "ws"), ping_interval=None) as client:
            # Given a client that reads nothing
            client.transport.pause_reading()
            frame = b"\x89\xfd" + bytes(4) + bytes(125)

            # Then the server gives it up before its answers fill the memory
            with pytest.raises((ConnectionError, asyncio.CancelledError, websockets.ConnectionClosed, OSError)):
                for _ in range(4000):
                    client.transport.write(frame * 500)
                    await asyncio.sleep(0)
                    if client.transport.is_closing():
                        raise ConnectionError
        stop.request()


async def test_a_message_of_endless_empty_fragments_ends_the_connection() -> None:
    stop = Stop()
    async with serving(echoing, stop=stop) as ((listener,), _):
        async with websockets.connect(listener.url.replace("http", "ws")) as client:
            await client.send(["x"] * 3)  # a few are fine
            assert await client.recv() == "3"

            with pytest.raises(websockets.ConnectionClosed) as caught:
                await client.send([""] * (MAX_FRAGMENTS + 5))
                await client.recv()

            assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009
        stop.request()
