"""`danqing models`: the models that can be served, what is known of them, and their files on this disk."""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from danqing.cli.options import ModelPrecision, Models, UserError, served, settings_errors, settings_from
from danqing.core.errors import DanqingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from danqing.core.capabilities import ModelCard

Name = Annotated[str, typer.Argument(help="Id of a model (see `danqing models`), a hub id, or a diffusers folder.")]


def models_app() -> typer.Typer:
    """The group of commands."""
    app = typer.Typer(rich_markup_mode="markdown")
    app.callback(invoke_without_command=True)(models)
    app.command("list")(list_models)
    for command in (show, pull, rm):
        app.command()(command)
    return app


def models(context: typer.Context, model: Models = None) -> None:
    """List models, show what is known of one, download it, or remove its files.

    Without a command it lists.

    Examples:

        danqing models

        danqing models show z-image-turbo

        danqing models pull z-image-turbo

        danqing models rm z-image-turbo
    """
    if context.invoked_subcommand is None:
        list_models(model)


def list_models(model: Models = None) -> None:
    """List the models that have an id: family, precision, whether the files are here, and where they come from.

    Those with a star are the ones that `danqing serve` would serve now, the default first.

    Examples:

        danqing models list

        danqing models list --model ./my-z-image-folder
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from danqing.wiring import build_catalogue, known_models

    settings = settings_from(**served(model))
    with settings_errors():
        on_offer, known = build_catalogue(settings).cards(), known_models(settings)
    table = Table(box=None, pad_edge=False)
    for heading in ("", "id", "family", "precision", "files", "source"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "id")
    for card in on_offer:
        table.add_row("*", *_row(card))
    for model_id in known.ids():
        if model_id in {card.id for card in on_offer}:
            continue
        try:
            card = known.find(model_id)
        except DanqingError as exc:  # of the models file, and cannot be looked at now
            table.add_row("", model_id, "", "", escape(exc.public_message), "")
        else:
            table.add_row("", *_row(card))
    Console().print(table)


def _row(card: "ModelCard") -> tuple[str, ...]:
    from rich.markup import escape

    from danqing.model_files import files_state, is_bundled

    source = "comes with Danqing" if is_bundled(card) else card.source
    return card.id, card.family, card.precision, files_state(card).text, escape(source)


def show(name: Name, precision: ModelPrecision = None) -> None:
    """Print everything that is known of a model: what it can do, its defaults, files, memory, licence and LoRAs.

    Examples:

        danqing models show z-image-turbo
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from danqing.cli.model_words import description

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for subject, text in description(_with_loras(_find(name, precision))):
        table.add_row(subject, escape(text))
    Console().print(table)


def pull(
    name: Name,
    companions: Annotated[
        bool, typer.Option(help="Also what modes need beside the model: a ControlNet, a fill checkpoint.")
    ] = True,
) -> None:
    """Download a model, and what its modes need beside it, from the Hugging Face hub into its cache.

    Only safetensors weights, configurations and tokenizers. What is whole already is not downloaded again, so a
    download that broke off goes on. HF_HOME says where the cache is, HF_TOKEN who asks.

    Examples:

        danqing models pull z-image-turbo

        danqing models pull Tongyi-MAI/Z-Image-Turbo
    """
    from danqing.model_files import check_space, is_local, plan_downloads

    card = _find(name)
    if is_local(card):
        raise UserError(f"{card.id} is a folder on this disk: there is nothing to download.")
    downloads = plan_downloads(card, card.companions if companions else ())
    check_space(downloads)
    for download in downloads:
        licence = f", licence {download.licence}" if download.licence else ""
        print(
            f"{download.repo_id} at commit {download.commit}: {len(download.files)} files, "
            f"{download.size_bytes / 1e9:.2f} GB, {download.missing_bytes / 1e9:.2f} GB to download{licence}"
        )
        print(f"  {download.fetch(bars=sys.stderr.isatty())}")
    if card.revision is None and downloads:
        print(
            f'To stay at this commit whatever the cache holds: revision = "{downloads[0].commit}" in the models file.'
        )


def rm(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a model's files, and those of its companions that no other model on this disk has, from the hub's cache.

    Folders of your own, and the bundled model, are left alone.

    Examples:

        danqing models rm z-image-turbo
    """
    from danqing.model_files import is_bundled, is_local, model_folder, plan_removal

    card = _find(name)
    if is_bundled(card):
        raise UserError(f"{card.id} comes with Danqing and is not removed.")
    if is_local(card):
        raise UserError(f"{card.id} is a folder of yours: {card.source} is not touched.")
    removal = plan_removal(card, [other for other in _others(card) if model_folder(other)])
    if not removal.repositories:
        raise UserError(f"{card.id}: nothing of it is in the hub's cache.")
    print(f"{', '.join(removal.repositories)}: {removal.size_bytes / 1e9:.2f} GB")
    if removal.kept:
        print(f"{', '.join(removal.kept)} stays: another model has it too.")
    if removal.sharers:
        print(f"Also lost with it: {', '.join(removal.sharers)}.")
    if not yes and not typer.confirm("Remove this from the disk?"):
        raise typer.Exit(1)
    removal.execute()
    print("Removed.")


def _find(name: str, precision: str | None = None) -> "ModelCard":
    from danqing.wiring import known_models

    with settings_errors():
        return known_models(settings_from(precision=precision)).find(name)


def _with_loras(card: "ModelCard") -> "ModelCard":
    from dataclasses import replace

    from danqing.wiring import lora_files

    with settings_errors():
        return replace(card, loras=lora_files(settings_from()).names(family=card.family, model=card.id))


def _others(card: "ModelCard") -> "Iterator[ModelCard]":
    """Every other model that has an id and can be looked at."""
    from danqing.wiring import known_models

    with settings_errors():
        known = known_models(settings_from())
    for model_id in known.ids():
        with suppress(DanqingError):
            if model_id != card.id:
                yield known.find(model_id)
