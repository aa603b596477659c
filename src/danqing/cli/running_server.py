"""The options of commands that talk to a running server, and how they find it."""

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated

import typer

from danqing.cli.options import settings_from

if TYPE_CHECKING:
    from pathlib import Path

    from danqing.cli.genserve_client import GenServeClient

USUAL_URL = "http://localhost:8000"

Url = Annotated[
    str | None,
    typer.Option("--url", help=f"Address of the server. [default: the one of the data dir, else {USUAL_URL}]"),
]
Key = Annotated[str | None, typer.Option("--key", help="A key, where the server asks for one.")]


@contextlib.contextmanager
def client_of(url: str | None, key: str | None, data_dir: "Path | None") -> "Generator[GenServeClient]":
    """Of the server given, of the one that runs on the data dir, or of the one at the usual address."""
    from danqing.cli.genserve_client import GenServeClient
    from danqing.cli.server_file import find_announced

    if url is None:
        announced = find_announced(settings_from(data_dir=data_dir).data_dir)
        url = announced.url if announced else USUAL_URL
    client = GenServeClient(url, key=key)
    try:
        yield client
    finally:
        client.close()
