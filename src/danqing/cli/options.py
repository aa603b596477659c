"""Command-line options that several commands have, and how options become settings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from danqing.config import Settings

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder for everything that the server writes. [default: ./danqing-data]"),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="Id of a model (see `danqing models`), a hub id, or a diffusers folder. [default: sample]"
    ),
]


class UserError(Exception):
    """Something that the person at the terminal can put right; its text is printed as it is."""


def settings_from(**options: object) -> "Settings":
    """The settings in force, with the options that were given going before the environment.

    Raises UserError for a value that a setting cannot have.
    """
    from danqing.config import InvalidSettings, load_settings

    try:
        return load_settings({name: value for name, value in options.items() if value is not None})
    except InvalidSettings as exc:
        raise UserError(str(exc)) from exc
