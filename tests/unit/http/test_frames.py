"""Frames that are made once: what goes over the wire, and when a connection takes none."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest
import uvicorn
import websockets
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection
from websockets.protocol import State
from websockets.server import ServerProtocol

from danqing.http.frames import EXTENSION, FrameWriter, frame_writer, text_frame
from danqing.http.listeners import Listener, open_listeners
from danqing.http.server import Stop
from danqing.http.wire_guard import GuardedHttp, GuardedWebSocket
from tests.unit.http.serving import DEADLINE_S, serving

LENGTHS = [0, 1, 125, 126, 65535, 65536, 300_000]
Talk = Callable[[WebSocket, FrameWriter], Coroutine[None, None, None]]


class Talking:
    """An app that has something to say to a connection that it has accepted, and notes when that is said."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.before_acceptance: bool | None = None  # what the writer took then
        self.done = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        websocket = WebSocket(scope, receive, send)
        write = frame_writer(scope)
        assert write is not None
        self.before_acceptance = write(text_frame("too early"))
        await websocket.accept()
        await self._talk(websocket, write)
        self.done.set()


@asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[tuple[ClientConnection, Talking]]:
    """A client of it, over a real socket."""
    stop, app = Stop(), Talking(talk)
    async with serving(app, stop=stop) as ((listener,), _):
        address = listener.url.replace("http", "ws")
        async with websockets.connect(address, proxy=None, max_size=None, max_queue=1) as client:
            yield client, app
        stop.request()


@pytest.mark.parametrize("length", LENGTHS)
def test_a_frame_is_what_the_library_would_send(length: int) -> None:
    text = "画" * (length // 3) + "x" * (length % 3)
    connection = ServerProtocol(state=State.OPEN)
    connection.send_text(text.encode())

    assert text_frame(text) == b"".join(connection.data_to_send())


async def test_frames_and_messages_arrive_whole_and_in_order() -> None:
    async def talk(websocket: WebSocket, write: FrameWriter) -> None:
        for length in LENGTHS:
            while not write(text_frame("x" * length)):  # noqa: ASYNC110 - the client reads
                await asyncio.sleep(0.001)
            await websocket.send_text(f"that was {length}")

    async with talking(talk) as (client, app):
        async with asyncio.timeout(DEADLINE_S):
            heard = [await client.recv() for _ in range(2 * len(LENGTHS))]

    assert heard == [text for length in LENGTHS for text in ("x" * length, f"that was {length}")]
    assert app.before_acceptance is False


async def test_nothing_is_taken_while_the_client_does_not_read_and_nothing_is_lost() -> None:
    taken: list[int] = []
    refused, read = asyncio.Event(), asyncio.Event()

    async def talk(websocket: WebSocket, write: FrameWriter) -> None:
        # When there is more to say than anything between here and there holds
        number = 0
        while write(text_frame(f"{number} " + "x" * 100_000)):
            taken.append(number)
            number += 1
            await asyncio.sleep(0)
        assert not write(text_frame("not now either"))
        refused.set()
        await read.wait()
        await websocket.send_text("after all")

    async with talking(talk) as (client, _):
        client.transport.pause_reading()
        async with asyncio.timeout(DEADLINE_S):
            await refused.wait()
            client.transport.resume_reading()
            read.set()
            # Then what was taken arrives, and what was not does not
            heard = [str(await client.recv()).partition(" ")[0] for _ in taken]
            last = await client.recv()
    assert heard == [str(number) for number in taken]
    assert last == "after all"


async def test_a_connection_that_ends_takes_nothing() -> None:
    seen: list[bool] = []

    async def talk(websocket: WebSocket, write: FrameWriter) -> None:
        await websocket.close()
        seen.append(write(text_frame("too late")))

    async with talking(talk) as (client, app):
        with pytest.raises(websockets.ConnectionClosedOK):
            await client.recv()
        await asyncio.wait_for(app.done.wait(), DEADLINE_S)

    assert seen == [False]


async def test_neither_does_one_whose_client_is_gone() -> None:
    seen: list[bool] = []

    async def talk(websocket: WebSocket, write: FrameWriter) -> None:
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass
        seen.append(write(text_frame("too late")))

    async with talking(talk) as (client, app):
        client.transport.abort()
        await asyncio.wait_for(app.done.wait(), DEADLINE_S)

    assert seen == [False]


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_where_messages_are_compressed_they_are_sent_as_ever(compression: str | None) -> None:
    seen: list[bool] = []

    async def talk(websocket: WebSocket, write: FrameWriter) -> None:
        seen.append(write(text_frame("framed")))
        await websocket.send_text("sent")

    # Given a server that would compress
    with open_listeners([Listener(host="127.0.0.1", port=0)]) as (listener,):
        server = uvicorn.Server(
            uvicorn.Config(
                Talking(talk),
                http=GuardedHttp,
                ws=GuardedWebSocket,
                ws_per_message_deflate=True,
                lifespan="off",
                log_config=None,
            )
        )
        running = asyncio.create_task(server.serve(sockets=[listener.socket]))
        # When its client would too, or not
        address = listener.url.replace("http", "ws")
        async with websockets.connect(address, compression=compression, proxy=None) as client:
            first = await asyncio.wait_for(client.recv(), DEADLINE_S)
        server.should_exit = True
        await asyncio.wait_for(running, DEADLINE_S)

    assert (seen, first) == (([True], "framed") if compression is None else ([False], "sent"))


def test_other_servers_have_no_such_writer() -> None:
    assert frame_writer({"type": "websocket"}) is None
    assert frame_writer({"type": "websocket", "extensions": {"websocket.http.response": {}}}) is None
    assert frame_writer({"type": "websocket", "extensions": {EXTENSION: {"write": bool}}}) is bool
