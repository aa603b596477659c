"""What a connection may not do, over real sockets: endless heads, silence, floods, answers that nobody reads."""

import asyncio
import gc
import os
import socket
import weakref
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import websockets
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from danqing.http import server
from danqing.http.body_limit import WHOLE_BODY
from danqing.http.frames import frame_writer, text_frame
from danqing.http.server import Stop
from danqing.http.wire_guard import (
    MAX_FRAGMENTS,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_PIPELINED,
    GuardedHttp,
    GuardedWebSocket,
)
from tests.unit.http.serving import DEADLINE_S, connected, serving
from tests.unit.http.test_server import echoing

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a body with its length."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


class Seen:
    """The server's side of connections."""

    def __init__(self) -> None:
        self.made: list[GuardedHttp] = []
        self.lost = asyncio.Event()


@pytest.fixture
def seen_connections(monkeypatch: pytest.MonkeyPatch) -> Seen:
    seen, made, lost = Seen(), GuardedHttp.connection_made, GuardedHttp.connection_lost

    def connection_made(self: GuardedHttp, transport: asyncio.Transport) -> None:
        seen.made.append(self)
        made(self, transport)

    def connection_lost(self: GuardedHttp, exc: Exception | None) -> None:
        lost(self, exc)
        seen.lost.set()

    monkeypatch.setattr(GuardedHttp, "connection_made", connection_made)
    monkeypatch.setattr(GuardedHttp, "connection_lost", connection_lost)
    return seen


async def told(pieces: AsyncIterator[bytes] | list[bytes], *, when_cut_off: bytes = b"HTTP/1.1 431 ") -> bytes:
    """All that the server says to these pieces before it ends the connection, or the client has no more to say.

    when_cut_off: what counts as said where the connection was closed while the client was still talking.
    """
    async with connected(app) as (reader, writer):
        try:
            if isinstance(pieces, list):
                writer.writelines(pieces)
            else:
                async for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
            return await asyncio.wait_for(reader.read(), DEADLINE_S)
        except ConnectionError:
            return when_cut_off


async def test_an_app_knows_whether_the_whole_body_is_there() -> None:
    # Given an app that looks before it receives, and after
    seen: list[bool] = []

    async def looking(scope: Scope, receive: Receive, send: Send) -> None:
        is_there = scope["extensions"][WHOLE_BODY]
        seen.append(is_there())
        body = await Request(scope, receive).body()
        seen.append(is_there())
        await PlainTextResponse(str(len(body)))(scope, receive, send)

    stop = Stop()
    async with serving(looking, stop=stop) as ((listener,), _):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        # When one body comes with its head, and another one later
        writer.write(HEAD + b"Content-Length: 4\r\n\r\nbody")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n4"), DEADLINE_S)).startswith(b"HTTP/1.1 200")
        assert seen == [True, True]
        writer.write(HEAD + b"Content-Length: 4\r\n\r\nbo")
        while len(seen) < 3:  # noqa: ASYNC110 - it is not told
            await asyncio.sleep(0.01)
        writer.write(b"dy")
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n4"), DEADLINE_S)
        writer.close()
        stop.request()
    # Then it knew
    assert seen == [True, True, False, True]


async def test_a_request_that_was_answered_is_kept_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a server without a collector of garbage
    begun: list[weakref.ref[RequestResponseCycle]] = []
    begin = GuardedHttp._start_asgi_task

    def noted(self: GuardedHttp, cycle: RequestResponseCycle, app: ASGIApp) -> None:
        begun.append(weakref.ref(cycle))
        begin(self, cycle, app)  # type: ignore[arg-type]

    monkeypatch.setattr(GuardedHttp, "_start_asgi_task", noted)
    gc.disable()
    try:
        async with connected(app) as (reader, writer):
            # When a connection has its second request
            for _ in range(2):
                writer.write(HEAD + b"Content-Length: 4\r\n\r\nbody")
                await asyncio.wait_for(reader.readuntil(b"\r\n\r\n4"), DEADLINE_S)
            # Then nothing is left of the first one
            assert [cycle() is None for cycle in begun] == [True, False]
    finally:
        gc.enable()


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

    assert await told([beginning], when_cut_off=b"") == b""


async def test_neither_is_the_next_head_on_the_same_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuardedHttp, "head_timeout_s", 2.0)
    async with connected(app) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 3\r\n\r\nabc")
        answer = await reader.readuntil(b"\r\n\r\n3")
        assert answer.startswith(b"HTTP/1.1 200")

        writer.write(b"\r\n")

        assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""


async def test_a_request_that_takes_long_is_not_given_up_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuardedHttp, "head_timeout_s", 1.0)
    async with connected(app) as (reader, writer):
        writer.write(HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\na")
        await asyncio.sleep(1.2)  # longer than a head may take
        writer.write(b"bc")

        assert (await asyncio.wait_for(reader.read(), DEADLINE_S)).endswith(b"\r\n\r\n3")


async def test_requests_may_come_before_the_answers_but_not_any_number_of_them() -> None:
    one, last = HEAD + b"Content-Length: 3\r\n\r\nabc", HEAD + b"Connection: close\r\nContent-Length: 4\r\n\r\nabcd"

    answers = await told([one * MAX_PIPELINED + last])
    assert (answers.count(b"HTTP/1.1 200"), answers[-5:]) == (MAX_PIPELINED + 1, b"\r\n\r\n4"[-5:])

    async with connected(app) as (reader, writer):
        with pytest.raises(ConnectionError):
            writer.write(one * (MAX_PIPELINED + 2))
            raise ConnectionError(await asyncio.wait_for(reader.read(), DEADLINE_S) or "without a word")


async def test_nothing_is_read_while_requests_wait(seen_connections: Seen) -> None:
    # Given an app that answers one request at a time, when told to, and a client that has sent three, then more
    go, begun = asyncio.Semaphore(0), asyncio.Event()
    seen: list[str] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        begun.set()
        await go.acquire()
        await PlainTextResponse("x")(scope, receive, send)

    stop = Stop()
    async with serving(slow, stop=stop) as ((listener,), _):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % at for at in range(3)))
        await asyncio.wait_for(begun.wait(), DEADLINE_S)
        (protocol,) = seen_connections.made

        # When the first is answered, with one more still waiting behind the second
        begun.clear()
        go.release()
        await asyncio.wait_for(begun.wait(), DEADLINE_S)

        # Then nothing is read until that one runs
        assert (len(protocol.pipeline), protocol.flow.read_paused) == (1, True)
        begun.clear()
        go.release()
        await asyncio.wait_for(begun.wait(), DEADLINE_S)
        assert (len(protocol.pipeline), protocol.flow.read_paused) == (0, False)
        assert seen == ["/0", "/1", "/2"]
        go.release()
        writer.close()
        stop.request()
        assert (await asyncio.wait_for(reader.read(), DEADLINE_S)).count(b"HTTP/1.1 200") <= 3


async def test_who_hangs_up_ends_the_request_that_runs_not_the_latest() -> None:
    running, gone = asyncio.Event(), asyncio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        running.set()
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    stop = Stop()
    async with serving(waiting, stop=stop) as ((listener,), _):
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write((HEAD + b"Content-Length: 3\r\n\r\nabc") * 2)
        await asyncio.wait_for(running.wait(), DEADLINE_S)
        writer.close()

        await asyncio.wait_for(gone.wait(), DEADLINE_S)
        stop.request()


@pytest.mark.parametrize("pieces", [1, 40], ids=["whole", "streamed"])
async def test_who_does_not_read_an_answer_is_given_up(
    pieces: int, seen_connections: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an answer larger than what the kernels take, and a client that reads nothing of it
    monkeypatch.setattr(GuardedHttp, "unread_timeout_s", 0.2)
    answered = asyncio.Event()

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        piece = bytes(40 * 1024 * 1024 // pieces)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for at in range(pieces):
                await send({"type": "http.response.body", "body": piece, "more_body": at < pieces - 1})
        finally:
            answered.set()

    stop = Stop()
    async with serving(large, stop=stop) as ((listener,), _):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", listener.port))
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.wait_for(answered.wait(), DEADLINE_S)

            # Then the server ends the connection, and forgets what was to be sent
            received = 0
            with suppress(ConnectionError):
                await asyncio.wait_for(seen_connections.lost.wait(), DEADLINE_S)
                while piece := await asyncio.wait_for(loop.sock_recv(client, 65536), DEADLINE_S):
                    received += len(piece)
            assert received < 30 * 1024 * 1024
        stop.request()


async def test_who_reads_slowly_gets_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuardedHttp, "unread_timeout_s", 0.5)

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(bytes(24 * 1024 * 1024))(scope, receive, send)

    stop = Stop()
    async with serving(large, stop=stop) as ((listener,), _):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=65536)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = 0
        while piece := await asyncio.wait_for(reader.read(512 * 1024), DEADLINE_S):
            got += len(piece)
            await asyncio.sleep(0.005)
        assert got > 24 * 1024 * 1024
        writer.close()
        stop.request()


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


async def test_a_websocket_is_not_ended_by_the_wait_for_a_next_head(seen_connections: Seen) -> None:
    stop = Stop()
    async with serving(echoing, stop=stop) as ((listener,), _):
        address = listener.url.replace("http", "ws")
        # When a connection becomes a WebSocket
        async with websockets.connect(address, proxy=None):
            # Then nobody waits for a head on it any more
            (connection,) = seen_connections.made
            assert connection.__dict__["_head_due"] is None
        stop.request()


@pytest.mark.parametrize("stays", [False, True], ids=["the app has ended", "a ping is not answered"])
async def test_a_websocket_that_is_over_does_not_wait_for_ever_for_its_client_to_read(
    stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a client that reads nothing of what is more than the kernels take
    monkeypatch.setattr(GuardedWebSocket, "unread_timeout_s", 0.2)
    if stays:
        monkeypatch.setattr(server, "WS_PING_S", 0.2)
    lost, gone = GuardedWebSocket.connection_lost, asyncio.Event()

    def connection_lost(self: GuardedWebSocket, exc: Exception | None) -> None:
        lost(self, exc)
        gone.set()

    monkeypatch.setattr(GuardedWebSocket, "connection_lost", connection_lost)

    async def talking(scope: Scope, receive: Receive, send: Send) -> None:
        websocket, write = WebSocket(scope, receive, send), frame_writer(scope)
        assert write is not None
        await websocket.accept()
        while write(text_frame("x" * 100_000)):  # noqa: ASYNC110 - the client reads nothing
            await asyncio.sleep(0)
        while stays and (await websocket.receive())["type"] != "websocket.disconnect":
            pass

    stop = Stop()
    async with serving(talking, stop=stop) as ((listener,), _):
        address = listener.url.replace("http", "ws")
        async with websockets.connect(address, proxy=None, max_queue=1, close_timeout=0.1) as client:
            client.transport.pause_reading()

            # Then the server is rid of it all the same
            await asyncio.wait_for(gone.wait(), DEADLINE_S)
            client.transport.abort()
        stop.request()
