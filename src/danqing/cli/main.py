"""The `danqing` command as a whole: its commands, its version, and how errors reach a terminal user."""

import sys
from typing import Annotated

import typer

from danqing import __version__
from danqing.cli.backup import backup, restore
from danqing.cli.bench import bench_app
from danqing.cli.doctor import doctor
from danqing.cli.generate import generate
from danqing.cli.models import models_app
from danqing.cli.monitor import monitor
from danqing.cli.options import UserError
from danqing.cli.selftest import selftest_app
from danqing.cli.serve import serve
from danqing.cli.worker import worker
from danqing.cli.workers import workers_app
from danqing.core.errors import DanqingError


def build_app() -> typer.Typer:
    """The command-line program. Modules that take long to import are imported by the command that needs them."""
    app = typer.Typer(
        name="danqing",
        help="Danqing (丹青): a self-hosted image generation server.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    app.callback()(root)
    for command in (serve, worker, generate, doctor, monitor, backup, restore):
        app.command()(command)
    app.add_typer(models_app(), name="models")
    app.add_typer(workers_app(), name="workers")
    app.add_typer(bench_app(), name="bench")
    app.add_typer(selftest_app(), name="selftest")
    return app


def _print_version(asked: bool) -> None:
    if asked:
        print(f"danqing {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Danqing (丹青): a self-hosted image generation server.

    Start with `danqing serve`, or make one picture with `danqing generate "pizza on a blue background" -o pizza.png`.
    """


def main() -> None:
    """Runs the command line; a user's error ends in one line and exit code 1, never in a traceback."""
    try:
        build_app()()
    except (UserError, DanqingError) as exc:
        sys.exit(f"danqing: {exc}")
