"""Command-line options that several commands have, and how options become settings."""

import contextlib
from collections.abc import Generator
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
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="Id of a model (see `danqing models`), a hub id, or a diffusers folder; may be repeated, the first is the "
        "one that clients get who name none. [default: sample]",
    ),
]
ModelPrecision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="How models that do not say it keep their weights: native, sdnq-uint4, sdnq-int8, torchao-int8 or "
        "torchao-fp8. [default: native]",
    ),
]


class UserError(Exception):
    """Something that the person at the terminal can put right; its text is printed as it is."""


def served(models: list[str] | None) -> dict[str, object]:
    """The settings for `--model`, which names all that is served: further models of the environment do not count."""
    return {"model": models[0], "models": tuple(models[1:])} if models else {}


def settings_from(**options: object) -> "Settings":
    """The settings in force, with the options that were given going before the environment.

    Raises UserError for a value that a setting cannot have.
    """
    from danqing.config import load_settings

    with settings_errors():
        return load_settings({name: value for name, value in options.items() if value is not None})


@contextlib.contextmanager
def settings_errors() -> Generator[None]:
    """Raises UserError for what is wrong with a setting, or in a file that one names."""
    from danqing.config import InvalidSettings

    try:
        yield
    except InvalidSettings as exc:
        raise UserError(str(exc)) from exc
