"""`danqing serve`: runs the server in the foreground until Ctrl-C or SIGTERM."""

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated

import typer

from danqing import __version__, collector
from danqing.cli.options import DataDir, ModelPrecision, Models, UserError, served, settings_from

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from danqing.config import Settings
    from danqing.http.listeners import OpenListener
    from danqing.http.starting import StartingApp
    from danqing.wiring import Runtime
    from danqing.workers.factory import EngineFactory
    from danqing.workers.prepared import PreparedProcess

ENGINE = "danqing.engine.build"  # the module of the engines that settings describe
WORKER = "danqing.workers.runner"


def serve(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port for every dialect. [default: 8000]")] = None,
    data_dir: DataDir = None,
    model: Models = None,
    precision: ModelPrecision = None,
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", metavar="DIALECT=PORT", help="A further port for one dialect; may be repeated."),
    ] = None,
    allow_public: Annotated[
        bool, typer.Option("--allow-public", help="Let other machines in although no keys are listed.")
    ] = False,
    log_format: Annotated[
        str | None, typer.Option("--log-format", help="auto, console, json or line. [default: auto]")
    ] = None,
) -> None:
    """Serve pictures over HTTP until Ctrl-C or SIGTERM.

    Every option has a variable too, and there are more settings than options: see docs/configuration.md. On stopping,
    running jobs are finished (a second Ctrl-C does not wait); what still waits is made after the next start.

    Examples:

        danqing serve

        danqing serve --listen turbo=5000

        danqing serve --model z-image-turbo --data-dir /srv/danqing

        danqing serve --model z-image-turbo --model ./my-flux-folder --precision sdnq-int8

        API_KEY=... danqing serve --host 0.0.0.0
    """
    settings = settings_from(
        host=host,
        port=port,
        data_dir=data_dir,
        precision=precision,
        listen=listen or None,
        allow_public=allow_public or None,
        log_format=log_format,
        **served(model),
    )
    run_server(settings)


def run_server(settings: "Settings", *, engine: "EngineFactory | None" = None, alone: str | None = None) -> None:
    """Runs until a signal ends it. engine: another than the settings describe. alone: the only dialect of the first
    port. Raises UserError, DanqingError.
    """
    with _prepared_worker(settings, engine) as prepared, collector.paused():
        _run(settings, engine, prepared, alone)


@contextlib.contextmanager
def _prepared_worker(settings: "Settings", engine: "EngineFactory | None") -> "Generator[PreparedProcess | None]":
    """A process for the first worker, which imports torch while this one imports all that a server needs.

    None where the workers are elsewhere.
    """
    from danqing.workers.prepared import PreparedProcess

    prepared: PreparedProcess | None = None
    if not (settings.redis_url or settings.broker_url):
        with contextlib.suppress(OSError):  # which will be told when a worker cannot be started
            prepared = PreparedProcess([ENGINE if engine is None else engine.module, WORKER])
    try:
        yield prepared
    finally:
        if prepared is not None:
            prepared.close()


def _run(
    settings: "Settings", engine: "EngineFactory | None", prepared: "PreparedProcess | None", alone: str | None
) -> None:
    import asyncio

    from danqing.config import InvalidSettings
    from danqing.http.listeners import CannotListen
    from danqing.http.open_files import allow_open_files
    from danqing.http.server import event_loop_factory
    from danqing.logs import configure_logging
    from danqing.wiring import log_style

    configure_logging(log_style(settings))
    allow_open_files()
    try:
        with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
            runner.run(_serve(settings, engine, prepared, alone))
    except (InvalidSettings, CannotListen) as exc:
        raise UserError(str(exc)) from exc


async def _serve(
    settings: "Settings", engine: "EngineFactory | None", prepared: "PreparedProcess | None", alone: str | None
) -> None:
    import asyncio

    from danqing.http.listeners import open_listeners
    from danqing.http.server import Stop, open_unless_stopped, stop_on_signals
    from danqing.http.server import serve as answer_requests
    from danqing.wiring import (
        StartWait,
        build_catalogue,
        build_starting_apps,
        check_exposure,
        listeners,
        open_runtime,
    )

    open_to_all = check_exposure(settings)
    await asyncio.to_thread(build_catalogue, settings)  # what is wrong with it is said before anything is waited for
    stop, wait = Stop(), StartWait(most_s=settings.start_wait_s)
    with stop_on_signals(stop), open_listeners(listeners(settings, alone=alone)) as opened:
        apps = build_starting_apps(settings, opened, stop=stop, wait=wait)
        runtime: Runtime | None = None

        async def drain() -> None:
            if runtime is not None:
                await runtime.drain()

        serving = asyncio.create_task(answer_requests(apps, stop=stop, drain=drain), name="serving")
        try:
            opening = open_runtime(settings, engine=engine, wait=wait, prepared=prepared)
            async with open_unless_stopped(stop, opening) as runtime:
                if runtime is not None:
                    await _serve_opened(runtime, opened, apps, serving, open_to_all=open_to_all)
        finally:
            while not stop.at_once.is_set():
                stop.request()
            await serving


async def _serve_opened(
    runtime: "Runtime",
    opened: "Sequence[OpenListener]",
    apps: "Mapping[OpenListener, StartingApp]",
    serving: "asyncio.Task[None]",
    *,
    open_to_all: bool,
) -> None:
    """Hands the ports over to the server; until they are closed."""
    import asyncio

    import structlog

    from danqing.cli.server_file import RunningServer, announced
    from danqing.wiring import build_apps

    settings = runtime.settings
    built = await asyncio.to_thread(build_apps, runtime, opened)  # seconds of work, and probes are to be answered
    for one, app in built.items():
        apps[one].become(app)
    collector.spare()
    _print_summary(runtime, opened)
    if open_to_all:
        log = structlog.get_logger(__name__)
        log.warning("open_to_the_network", host=settings.host, hint="no listed key is needed; see SECURITY.md")
    here = RunningServer.of(opened[0].url, model=runtime.studio.catalogue.default().id)
    with announced(settings.data_dir, here):
        await serving


def _print_summary(runtime: "Runtime", opened: "Sequence[OpenListener]") -> None:
    cards = runtime.studio.catalogue.cards()
    rows = [
        *(("address" if one is opened[0] else "", _address(one)) for one in opened),
        *(("model" if card is cards[0] else "", f"{card.id} ({card.title})") for card in cards),
        ("device", ", ".join(runtime.devices) or "none: made by `danqing worker`"),
        ("data dir", str(runtime.settings.data_dir.absolute())),
    ]
    lines = "\n".join(f"  {name:<9} {value}" for name, value in rows)
    print(f"Danqing {__version__}\n{lines}\n  Ctrl-C stops it.", flush=True)


def _address(one: "OpenListener") -> str:
    return f"{one.url}  ({one.listener.dialect} only)" if one.listener.dialect else one.url
