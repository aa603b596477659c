"""Apps behind real ports, in the test's own loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from danqing.http.listeners import Listener, OpenListener, open_listeners
from danqing.http.server import Stop, serve

DEADLINE_S = 60


async def nothing() -> None:
    pass


@asynccontextmanager
async def serving(
    *apps: ASGIApp, stop: Stop, drain: Callable[[], Awaitable[None]] = nothing, close_deadline_s: int = 10
) -> AsyncIterator[tuple[tuple[OpenListener, ...], asyncio.Task[None]]]:
    """Until stop; each app has its listener."""
    with open_listeners([Listener(host="127.0.0.1", port=0) for _ in apps]) as listeners:
        served = asyncio.create_task(
            serve(dict(zip(listeners, apps, strict=True)), stop=stop, drain=drain, close_deadline_s=close_deadline_s)
        )
        yield listeners, served
        await asyncio.wait_for(served, DEADLINE_S)


@asynccontextmanager
async def connected(app: ASGIApp) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client of it, which leaves at the end."""
    stop = Stop()
    async with serving(app, stop=stop) as ((listener,), _):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        yield reader, writer
        writer.close()
        stop.request()
