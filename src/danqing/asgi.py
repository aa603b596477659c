"""ASGI apps for a process manager: `uvicorn --factory danqing.asgi:app`, or gunicorn with `danqing.asgi:turbo()`.

`app` speaks every dialect, each of the others one, as on its own port.

The process manager chooses address and ports; everything else is a setting. Without keys only clients on this machine
are served, unless `DANQING_ALLOW_PUBLIC=true`. A server that makes its pictures itself is one process: a second one on
the same data dir is refused. Where `danqing worker` makes them (a Redis or a broker is named) there may be several.
"""

import asyncio
import signal
import sys

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from danqing import collector
from danqing.config import Settings, load_settings
from danqing.http.open_files import allow_open_files
from danqing.http.server import Stop, first_of, open_unless_stopped
from danqing.http.uvicorn_log import quieten_refusals
from danqing.logs import configure_logging
from danqing.wiring import StartWait, build_managed_app, build_starting_app, log_style, open_runtime

log = structlog.get_logger(__name__)

CLOSING_S = 15.0  # that a server may take to close, after its drain
STARTUP_FAILURE = 3  # the exit status of uvicorn, and of gunicorn's workers, after a start that failed


def app() -> ASGIApp:
    """Every dialect. Reads the settings; raises InvalidSettings."""
    return _started_late(None)


def turbo() -> ASGIApp:
    """Reads the settings; raises InvalidSettings. So do all below."""
    return _started_late("turbo")


def live() -> ASGIApp:
    """See `turbo`."""
    return _started_late("live")


def genserve() -> ASGIApp:
    """See `turbo`."""
    return _started_late("genserve")


def zimage() -> ASGIApp:
    """See `turbo`."""
    return _started_late("zimage")


def openai() -> ASGIApp:
    """See `turbo`."""
    return _started_late("openai")


def open_app(dialect: str) -> ASGIApp:
    """One dialect, let in whoever reaches it: for `app.py` and `main.py`, as their documents have it.

    `DANQING_ALLOW_PUBLIC=false` still means what it says. Reads the settings; raises InvalidSettings.
    """
    return _started_late(dialect, allow_public=True)


def _started_late(dialect: str | None, **defaults: object) -> ASGIApp:
    settings = load_settings(defaults=defaults)
    configure_logging(log_style(settings))
    quieten_refusals()
    allow_open_files()
    return LateApp(settings, dialect)


class LateApp:
    """Starts the house on ASGI's lifespan start-up, and only then builds the app that answers. Drains on shut-down.

    Where the start waits for a part that is away, it counts as done: the port opens, and probes are answered.
    """

    def __init__(self, settings: Settings, dialect: str | None) -> None:
        self._settings = settings
        self._dialect = dialect
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3. The server must support lifespans."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is None:
            raise RuntimeError("Danqing needs an ASGI server that sends lifespan events.")
        else:
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        stop, wait, opened = Stop(), StartWait(most_s=self._settings.start_wait_s), asyncio.Event()
        life = asyncio.create_task(self._life(stop, wait, opened), name="life")
        await first_of(asyncio.wait([life]), wait.begun.wait(), opened.wait())
        if life.done() and (failure := life.exception()) is not None:
            await send({"type": "lifespan.startup.failed", "message": f"Danqing cannot start: {failure}"})
            return
        await send({"type": "lifespan.startup.complete"})
        shutdown = asyncio.ensure_future(receive())  # lifespan.shutdown
        await first_of(asyncio.wait([life]), asyncio.wait([shutdown]))
        if not shutdown.done():  # what it waited for has come, and says no: the server learns that by a signal only
            signal.raise_signal(signal.SIGTERM)
            await shutdown
            # Answered, the server would end as one that was told to end, and nobody would start another. Everything is
            # closed by now; an exit out of a callback, which asyncio passes on, ends it with a status that says so.
            asyncio.get_running_loop().call_soon(sys.exit, STARTUP_FAILURE)
            await asyncio.Event().wait()
        stop.request()
        await asyncio.wait([life])
        await send({"type": "lifespan.shutdown.complete"})

    async def _life(self, stop: Stop, wait: StartWait, opened: asyncio.Event) -> None:
        """Until the stop. Raises what a start may raise; it is logged."""
        starting = build_starting_app(self._settings, self._dialect, stop=stop, wait=wait)
        self._app = starting
        # A process manager that restarts us starts the new process before the old one has drained.
        lock_wait_s = self._settings.drain_deadline_s + CLOSING_S
        try:
            opening = open_runtime(self._settings, lock_wait_s=lock_wait_s, wait=wait)
            async with open_unless_stopped(stop, opening) as runtime:
                if runtime is None:
                    return
                # Seconds of work; probes are answered meanwhile.
                starting.become(await asyncio.to_thread(build_managed_app, runtime, self._dialect))
                collector.spare()
                opened.set()
                await stop.gracefully.wait()
                await runtime.drain()
        except Exception:  # the server ends the process and shows only the message
            log.exception("start_failed")
            raise
