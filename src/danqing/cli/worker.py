"""`danqing worker`: makes jobs of a shared store until Ctrl-C or SIGTERM."""

from typing import TYPE_CHECKING, Annotated

import typer

from danqing import __version__, collector
from danqing.cli.options import DataDir, ModelPrecision, Models, UserError, served, settings_from

if TYPE_CHECKING:
    from danqing.config import Settings
    from danqing.http.server import Stop
    from danqing.wiring.node import NodeRuntime
    from danqing.workers.factory import EngineFactory

DRAINED = 100  # exit status; in the systemd unit, too


def worker(
    name: Annotated[
        str | None, typer.Option("--name", help="What this node is called. [default: the machine's name]")
    ] = None,
    data_dir: DataDir = None,
    model: Models = None,
    precision: ModelPrecision = None,
    log_format: Annotated[
        str | None, typer.Option("--log-format", help="auto, console, json or line. [default: auto]")
    ] = None,
) -> None:
    """Make the pictures of API processes (`danqing serve`) that share a PostgreSQL and a Redis or RabbitMQ with it.

    One on each machine is enough: it has a worker on every device, and several may run on one machine, each with
    devices of its own. On stopping, running jobs are finished (a second Ctrl-C does not wait); what is not is given to
    others. `danqing workers drain NAME` stops it without a deadline, and with exit code 100, so that what would start
    it again after a crash can leave it alone.

    Examples:

        DATABASE_URL=postgresql://danqing@db/danqing REDIS_URL=redis://redis danqing worker --model z-image-turbo

        GPU_DEVICE_ID=1 danqing worker --name big-box-1
    """
    settings = settings_from(
        node_name=name, data_dir=data_dir, precision=precision, log_format=log_format, **served(model)
    )
    if run_worker(settings):
        raise typer.Exit(DRAINED)


def run_worker(settings: "Settings", *, engine: "EngineFactory | None" = None) -> bool:
    """Runs until a signal or a drain ends it; True for the latter. engine: another than the settings describe. Raises
    UserError, DanqingError.
    """
    import asyncio

    from danqing.config import InvalidSettings
    from danqing.http.listeners import CannotListen
    from danqing.http.server import event_loop_factory
    from danqing.logs import configure_logging
    from danqing.wiring import log_style

    configure_logging(log_style(settings))
    try:
        with collector.paused(), asyncio.Runner(loop_factory=event_loop_factory()) as runner:
            return runner.run(_work(settings, engine))
    except (InvalidSettings, CannotListen) as exc:
        raise UserError(str(exc)) from exc


async def _work(settings: "Settings", engine: "EngineFactory | None") -> bool:
    from danqing.http.server import Stop, first_of, open_unless_stopped, stop_on_signals
    from danqing.wiring import open_node

    stop = Stop()
    with stop_on_signals(stop):
        async with open_unless_stopped(stop, open_node(settings, engine=engine)) as node:
            if node is None:
                return False
            collector.spare()
            _print_summary(node, settings)
            await first_of(stop.gracefully.wait(), node.asked_to_drain.wait())
            await _drain(node, stop, settings)
    return not stop.gracefully.is_set()


async def _drain(node: "NodeRuntime", stop: "Stop", settings: "Settings") -> None:
    """Without a deadline, unless and until a signal comes; a second one ends it."""
    import structlog

    from danqing.http.server import first_of

    log = structlog.get_logger(__name__)
    if not stop.gracefully.is_set():
        log.info("draining")
        await first_of(node.drain(deadline_s=None), stop.gracefully.wait())
    if stop.gracefully.is_set():
        log.info("stopping")
        await first_of(node.drain(deadline_s=settings.drain_deadline_s), stop.at_once.wait())


def _print_summary(node: "NodeRuntime", settings: "Settings") -> None:
    from danqing.core.upscaling import UPSCALER

    rows = [
        ("node", node.id),
        ("models", ", ".join(model for model in node.models if model != UPSCALER)),
        ("devices", ", ".join(node.devices)),
        ("data dir", str(settings.data_dir.absolute())),
    ]
    lines = "\n".join(f"  {name:<9} {value}" for name, value in rows)
    print(f"Danqing {__version__}, worker\n{lines}\n  Ctrl-C stops it.", flush=True)
