"""ASGI apps for a process manager: `uvicorn --factory danqing.asgi:app`, or gunicorn with `danqing.asgi:turbo()`.

`app` speaks every dialect, each of the others one, as on its own port.

The process manager chooses address and ports; everything else is a setting. Without keys only clients on this machine
are served, unless `DANQING_ALLOW_PUBLIC=true`. A server that makes its pictures itself is one process: a second one on
the same data dir is refused. Where `danqing worker` makes them (a Redis or a broker is named) there may be several.
"""

from contextlib import AsyncExitStack

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from danqing.config import Settings, load_settings
from danqing.http.server import spare_the_collector
from danqing.http.uvicorn_log import quieten_refusals
from danqing.logs import configure_logging
from danqing.wiring import build_managed_app, log_style, open_runtime

log = structlog.get_logger(__name__)

CLOSING_S = 15.0  # that a server may take to close, after its drain


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


def _started_late(dialect: str | None) -> ASGIApp:
    settings = load_settings()
    configure_logging(log_style(settings))
    quieten_refusals()
    return LateApp(settings, dialect)


class LateApp:
    """Starts the house on ASGI's lifespan start-up, and only then builds the app that answers. Drains on shut-down."""

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
        async with AsyncExitStack() as stack:
            try:
                # A process manager that restarts us starts the new process before the old one has drained.
                wait_s = self._settings.drain_deadline_s + CLOSING_S
                runtime = await stack.enter_async_context(open_runtime(self._settings, lock_wait_s=wait_s))
                self._app = build_managed_app(runtime, self._dialect)
                spare_the_collector()
            except Exception as exc:  # the server ends the process and shows only the message
                log.exception("start_failed")
                await send({"type": "lifespan.startup.failed", "message": f"Danqing cannot start: {exc}"})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
            await runtime.drain()
        await send({"type": "lifespan.shutdown.complete"})
