"""The head of an answer and what comes with it, as it goes over the wire."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from danqing.http.one_piece import OnePiece
from danqing.http.wire_guard import GuardedHttp
from tests.unit.http.serving import DEADLINE_S, connected


class Written(asyncio.Transport):
    """Remembers each write that would reach the system."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(b"too late: " * self.closed + bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


async def until(reader: asyncio.StreamReader, end: bytes) -> bytes:
    return await asyncio.wait_for(reader.readuntil(end), DEADLINE_S)


async def test_the_first_two_are_written_at_once_and_all_others_as_they_come() -> None:
    # Given an answer's first piece
    below = Written()
    answer = OnePiece(below, asyncio.get_running_loop())
    answer.write(b"head ")
    assert below.pieces == []
    # When the second one comes, and others after it
    answer.write(b"body ")
    assert below.pieces == [b"head body "]
    answer.write(bytearray(b"more "))
    answer.write(memoryview(b"and more"))
    # Then nothing waits, and nothing is written twice
    assert below.pieces == [b"head body ", b"more ", b"and more"]
    await asyncio.sleep(0)
    answer.flush()
    assert len(below.pieces) == 3


async def test_the_first_waits_no_longer_than_a_turn_of_the_loop() -> None:
    below = Written()
    answer = OnePiece(below, asyncio.get_running_loop())
    answer.write(b"head")
    await asyncio.sleep(0)
    assert below.pieces == [b"head"]
    answer.write(b"body")
    assert below.pieces == [b"head", b"body"]


async def test_what_waits_is_written_before_it_is_closed() -> None:
    below = Written()
    answer = OnePiece(below, asyncio.get_running_loop())
    answer.write(b"head")
    assert not answer.is_closing()
    answer.close()
    assert (below.pieces, below.closed, answer.is_closing()) == ([b"head"], True, True)
    await asyncio.sleep(0)
    assert below.pieces == [b"head"]


async def test_nothing_is_written_to_a_connection_that_is_lost() -> None:
    # Given an answer's head that waits, on a connection that takes nothing any more
    class Lost(Written):
        def write(self, data: bytes | bytearray | memoryview) -> None:
            raise AssertionError(data)

    answer = OnePiece(Lost(), asyncio.get_running_loop())
    answer.write(b"head")
    # When that is told, then the turn of the loop that would have written it does not
    answer.forget()
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    await asyncio.sleep(0)
    assert failures == []


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[GuardedHttp, Written]]:
    """Those that were made, with what was written instead of reaching a client."""
    made, seen = GuardedHttp.connection_made, list[tuple[GuardedHttp, Written]]()

    def connection_made(self: GuardedHttp, transport: asyncio.Transport) -> None:
        made(self, transport)
        below = Written()
        monkeypatch.setattr(self, "transport", below)
        seen.append((self, below))

    monkeypatch.setattr(GuardedHttp, "connection_made", connection_made)
    return seen


async def after_the_head(happens: Callable[[], None]) -> None:
    """A request is answered with a head, behind which something happens in the same turn of the loop."""
    over = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        happens()
        await asyncio.sleep(0)
        over.set()

    async with connected(app) as (_, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(over.wait(), DEADLINE_S)


async def test_a_head_is_not_written_to_a_client_that_left(connections: list[tuple[GuardedHttp, Written]]) -> None:
    await after_the_head(lambda: connections[0][0].connection_lost(None))
    assert connections[0][1].pieces == []


async def test_what_is_no_request_is_answered_after_the_head_before_it(
    connections: list[tuple[GuardedHttp, Written]],
) -> None:
    await after_the_head(lambda: connections[0][0].send_400_response("no request"))
    assert [piece[:12] for piece in connections[0][1].pieces] == [b"HTTP/1.1 200", b"HTTP/1.1 400"]


async def test_the_head_is_there_of_an_answer_that_breaks_off() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        raise RuntimeError("the app's")

    async with connected(app) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        said = await asyncio.wait_for(reader.read(), DEADLINE_S)
    assert said.startswith(b"HTTP/1.1 200")
    assert said.endswith(b"\r\n\r\n")


async def test_an_answer_is_given_to_the_transport_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given connections of which each write is seen
    seen: list[Written] = []
    made = GuardedHttp.connection_made

    def connection_made(self: GuardedHttp, transport: asyncio.Transport) -> None:
        made(self, transport)

        class Seen(Written):
            def write(self, data: bytes | bytearray | memoryview) -> None:
                super().write(data)
                transport.write(data)

            def get_write_buffer_size(self) -> int:
                return transport.get_write_buffer_size()

            def get_protocol(self) -> asyncio.BaseProtocol:
                return transport.get_protocol()

        self.transport = Seen()
        seen.append(self.transport)

    monkeypatch.setattr(GuardedHttp, "connection_made", connection_made)
    async with connected(PlainTextResponse("whole")) as (reader, writer):
        # When two requests are answered
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(reader, b"whole")
        # Then each was in one
        (connection,) = seen
        assert [piece.endswith(b"\r\n\r\nwhole") for piece in connection.pieces] == [True, True]


async def test_the_head_of_a_stream_does_not_wait_for_its_first_word() -> None:
    # Given a stream that says nothing before the client has its head
    has_head = asyncio.Event()

    async def words() -> AsyncIterator[bytes]:
        await asyncio.wait_for(has_head.wait(), DEADLINE_S)
        yield b"word"

    async with connected(StreamingResponse(words())) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await until(reader, b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        has_head.set()
        assert (await until(reader, b"0\r\n\r\n")).endswith(b"word\r\n0\r\n\r\n")


async def test_answers_without_a_body_come_in_their_order() -> None:
    # Given requests on one connection, of which some have no body in their answer
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = Request(scope).url.path
        answer = Response(status_code=204) if path == "/none" else PlainTextResponse(path)
        await answer(scope, receive, send)

    async with connected(app) as (reader, writer):
        # When they are sent without waiting
        for line in ("HEAD /head", "GET /none", "HEAD /again"):
            writer.write(f"{line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        writer.write(b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        # Then all are answered, in their order, and the connection ends
        said = await asyncio.wait_for(reader.read(), DEADLINE_S)
    heads = said.split(b"HTTP/1.1 ")[1:]
    assert [head[:3] for head in heads] == [b"200", b"204", b"200", b"200"]
    assert [b"content-length: 5" in head for head in heads] == [True, False, False, True]
    assert [head.endswith(b"\r\n\r\n") for head in heads] == [True, True, True, False]
    assert heads[-1].endswith(b"/last")


async def test_a_client_that_waits_for_leave_to_send_gets_it() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(await Request(scope, receive).body())(scope, receive, send)

    async with connected(app) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert await until(reader, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert (await until(reader, b"\r\n\r\nbody")).startswith(b"HTTP/1.1 200")
