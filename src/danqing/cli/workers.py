"""`danqing workers`: the nodes that share a store, and how one is taken out of service."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from danqing.cli.options import settings_errors, settings_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from danqing.core.shared_store import Node

Name = Annotated[str, typer.Argument(help="Name or id of a node, as `danqing workers` shows it.")]


def workers_app() -> typer.Typer:
    """The group of commands."""
    app = typer.Typer(rich_markup_mode="markdown")
    app.callback(invoke_without_command=True)(workers)
    app.command("list")(list_workers)
    app.command()(drain)
    return app


def workers(context: typer.Context) -> None:
    """List the nodes (`danqing worker`) of the database that the settings name, or take one out of service.

    Without a command it lists.

    Examples:

        danqing workers

        danqing workers drain big-box-1
    """
    if context.invoked_subcommand is None:
        list_workers()


def list_workers() -> None:
    """List the nodes that live, with the workers of each: device, state, models, restarts.

    Examples:

        danqing workers list
    """
    from rich.console import Console
    from rich.table import Table

    nodes = _nodes()
    table = Table(box=None, pad_edge=False)
    for heading in ("node", "worker", "state", "device", "models", "restarts"):
        table.add_column(heading, no_wrap=heading != "models")
    for row in _rows(nodes):
        table.add_row(*row)
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 200).print(table)
    if not nodes:
        print("No node lives. Start one: danqing worker")


def _rows(nodes: "Sequence[Node]") -> "list[tuple[str, ...]]":
    from danqing.core.upscaling import UPSCALER

    rows: list[tuple[str, ...]] = []
    for node in nodes:
        state = "draining" if node.draining else ""
        rows.append((node.name, node.id, state, "", "", ""))
        for worker in node.workers:
            device = worker.device.name if worker.device else ""
            failure = f" ({worker.failure.message})" if worker.failure else ""
            name = worker.id.rpartition("/")[2]
            models = ", ".join(model for model in worker.models if model != UPSCALER)
            rows.append(("", name, worker.state.value + failure, device, models, str(worker.restarts)))
    return rows


def drain(name: Name) -> None:
    """Have a node take no more jobs, finish what it has however long that takes, and end. No job is lost.

    Of several nodes of one name all do; an id means one of them.

    Examples:

        danqing workers drain big-box-1
    """
    import asyncio

    from danqing.cli.options import UserError
    from danqing.wiring import ask_to_drain

    settings = settings_from()
    with settings_errors():
        asked = asyncio.run(ask_to_drain(settings, name))
    if not asked:
        raise UserError(f"No living node is called {name}; see `danqing workers`.")
    print(f"Asked {asked} node{'s' if asked > 1 else ''} to drain.")


def _nodes() -> "Sequence[Node]":
    import asyncio

    from danqing.wiring import living_nodes

    settings = settings_from()
    with settings_errors():
        return asyncio.run(living_nodes(settings))
