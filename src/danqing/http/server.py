"""Runs the apps on their open listeners in one event loop until it is told to stop."""

import asyncio
import contextvars
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import TypeVar

import structlog
import uvicorn
from starlette.types import ASGIApp

from danqing.http.listeners import OpenListener
from danqing.http.uvicorn_log import quieten_refusals
from danqing.http.wire_guard import GuardedHttp, GuardedWebSocket

_log = structlog.get_logger(__name__)
T = TypeVar("T")
WS_MAX_MESSAGE_BYTES = 1024 * 1024
WS_PING_S = 20.0  # how often a silent client is asked whether it is there, and how long it has to answer
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Tells `serve` to end. The first request ends it gracefully, the second at once. Use it in the loop's thread."""

    def __init__(self) -> None:
        self.gracefully = asyncio.Event()
        self.at_once = asyncio.Event()

    def request(self) -> None:
        """As said above; a third request changes nothing."""
        (self.at_once if self.gracefully.is_set() else self.gracefully).set()


def event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """For `asyncio.Runner`: uvloop where it exists, else asyncio's own loop."""
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop


@contextmanager
def stop_on_signals(stop: Stop) -> Generator[None]:
    """While inside, each SIGTERM and SIGINT is a request to stop. Main thread only, in a running loop."""
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.request)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def serve(
    apps: Mapping[OpenListener, ASGIApp],
    *,
    stop: Stop,
    drain: Callable[[], Awaitable[None]],
    close_deadline_s: int = 10,
) -> None:
    """Answers requests until `stop`; then awaits drain, closes and returns.

    While drain runs, requests are still answered, so that clients can fetch what is being finished; drain says what
    is refused meanwhile and how long it lasts. After it, open connections have close_deadline_s seconds to end.
    """
    quieten_refusals()
    servers = {listener: _server(app, close_deadline_s) for listener, app in apps.items()}
    running = [asyncio.create_task(server.serve(sockets=[listener.socket])) for listener, server in servers.items()]
    for listener in servers:
        _log.info("listening", url=listener.url, bound=listener.bound, dialect=listener.listener.dialect or "all")
    await first_of(stop.gracefully.wait(), *running)
    _log.info("stopping")
    await first_of(drain(), stop.at_once.wait())
    for server in servers.values():
        server.should_exit = True
    await first_of(asyncio.gather(*running), stop.at_once.wait())
    for server in servers.values():
        server.force_exit = True
    await asyncio.gather(*running)


@asynccontextmanager
async def open_unless_stopped(stop: Stop, opening: AbstractAsyncContextManager[T]) -> AsyncGenerator[T | None]:
    """Inside, what this context manager gives; or None where the stop was asked for before it had opened, which it then
    does not. It is entered in a task of its own; the context variables that it sets are the caller's, too.
    """
    context = contextvars.copy_context()
    async with AsyncExitStack() as stack:
        entering = asyncio.get_running_loop().create_task(
            stack.enter_async_context(opening), name="opening", context=context
        )
        try:
            await first_of(entering, stop.gracefully.wait())
        finally:
            entering.cancel()
            await asyncio.wait([entering])
        if entering.cancelled():
            yield None
            return
        opened = entering.result()
        for variable, value in context.items():
            variable.set(value)
        yield opened


@asynccontextmanager
async def serving_beside(listener: OpenListener, app: ASGIApp, *, close_deadline_s: int = 2) -> AsyncGenerator[None]:
    """While inside, answers requests on one more listener, whatever else the process does."""
    quieten_refusals()
    server = _server(app, close_deadline_s)
    running = asyncio.create_task(server.serve(sockets=[listener.socket]), name="serving-beside")
    _log.info("listening", url=listener.url, bound=listener.bound, dialect=listener.listener.dialect or "all")
    try:
        yield
    finally:
        server.should_exit = True
        await running


class _Server(uvicorn.Server):
    """Leaves signals to others: there are several servers to stop."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Captures none."""
        yield


def _server(app: ASGIApp, close_deadline_s: int) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            http=GuardedHttp,
            ws=GuardedWebSocket,
            ws_max_size=WS_MAX_MESSAGE_BYTES,
            ws_ping_interval=WS_PING_S,
            ws_ping_timeout=WS_PING_S,
            ws_per_message_deflate=False,  # pictures do not get smaller, and each connection would hold its window
            lifespan="off",
            log_config=None,  # its lines go where all lines of the process go
            log_level="warning",
            access_log=False,  # `Exchange` writes one
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=close_deadline_s,
        )
    )


async def first_of(*waits: Awaitable[object]) -> None:
    """Returns when one of them ends, raising what it raised. Coroutines among the others are cancelled, tasks not."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task, wait in zip(tasks, waits, strict=True):
        if task is not wait:
            task.cancel()
    for task in done:
        task.result()
