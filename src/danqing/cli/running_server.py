"""The options of commands that talk to a running server, and how they find it."""

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danqing.cli.options import settings_errors, settings_from

if TYPE_CHECKING:
    from danqing.cli.genserve_client import GenServeClient
    from danqing.config import Settings

_ANY_HOST = ("0.0.0.0", "::", "127.0.0.1", "::1")  # that a server on this machine answers at as `localhost`

Url = Annotated[
    str | None,
    typer.Option(
        "--url", help="Address of the server. [default: the one of the data dir, else DANQING_PORT of this machine]"
    ),
]
Key = Annotated[str | None, typer.Option("--key", help="A key, where the server asks for one.")]
# Set by the files in `scripts`, which people start where these are, and the server where Danqing is.
Beside = Annotated[Path | None, typer.Option("--beside", hidden=True, help="Another folder to look for a server in.")]


@contextlib.contextmanager
def client_of(
    url: str | None, key: str | None, data_dir: Path | None, beside: Path | None = None
) -> "Generator[GenServeClient]":
    """Of the server given, of the one that runs on the data dir, or of the one at the usual address.

    beside: a folder whose env files and data dir count where the working folder has none.
    """
    from danqing.cli.genserve_client import GenServeClient

    client = GenServeClient(_found(data_dir, beside) if url is None else url, key=key)
    try:
        yield client
    finally:
        client.close()


def usual_url(settings: "Settings", dialect: str) -> str:
    """Where a server with these settings is reached on this machine: its first port or, where that is any free one, the
    dialect's own.
    """
    named = (one.port for one in settings.listen if one.dialect == dialect)
    host = "localhost" if settings.host in _ANY_HOST else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port or next(named, 0)}"


def _found(data_dir: Path | None, beside: Path | None) -> str:
    from danqing.cli.server_file import find_announced
    from danqing.config import ENV_FILE, env_files, load_settings

    settings = settings_from(data_dir=data_dir)
    announced = find_announced(settings.data_dir)
    if announced is None and data_dir is None and beside is not None:
        with settings_errors():
            there = load_settings(env_file=beside / ENV_FILE)
        announced = find_announced(beside / there.data_dir)
        settings = settings if env_files() else there
    return announced.url if announced else usual_url(settings, "genserve")
