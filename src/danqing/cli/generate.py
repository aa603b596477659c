"""`danqing generate`: one picture into a file, by a running server or by an engine of its own."""

import contextlib
import math
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danqing.cli.options import DataDir, Model, ModelPrecision, UserError, settings_errors, settings_from
from danqing.cli.order import FinishedPicture, PictureOrder, Report

if TYPE_CHECKING:
    from danqing.cli.server_client import ServerClient
    from danqing.config import Settings
    from danqing.core.types import Lora


def generate(
    prompt: Annotated[str, typer.Argument(help="What the picture shows.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, a .png.")],
    width: Annotated[int | None, typer.Option("--width", "-W", help="Pixels. [default: the model's]")] = None,
    height: Annotated[int | None, typer.Option("--height", "-H", help="Pixels. [default: the model's]")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Denoising steps. [default: the model's]")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Makes the picture repeatable. [default: drawn]")] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option("--lora", help="A LoRA of the server's folder, NAME or NAME:SCALE; may be repeated."),
    ] = None,
    step_cache: Annotated[
        float | None,
        typer.Option(
            "--step-cache",
            min=0,
            max=1,
            help="How large a change may be for a step to be cut short; 0.1, say. [default: off]",
        ),
    ] = None,
    model: Model = None,
    precision: ModelPrecision = None,
    server: Annotated[str | None, typer.Option("--server", help="Address of the server to use.")] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Key for the server. [default: the one that the settings have]")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make one picture and write it to a file.

    A server that runs on this machine is used: the one of the data dir, or one on DANQING_PORT. Without one the engine
    is started for this picture alone, which takes a few seconds and leaves the data dir alone.

    Examples:

        danqing generate "pizza on a blue background" -o pizza.png

        danqing generate "蓝色背景上的披萨" -o pizza.png --seed 42 --width 512 --height 512

        danqing generate "a red apple" -o apple.png --server http://192.168.1.20:8000

        danqing generate "a red apple" -o apple.png --model ./my-z-image-folder --precision sdnq-int8

        danqing generate "a red apple" -o apple.png --lora ink --lora watercolour:0.6
    """
    _check_output(output)
    if server and (model or precision):
        option = "--model" if model else "--precision"
        raise UserError(f"{option} goes with an engine started here; a --server has chosen its model already.")
    settings = settings_from(data_dir=data_dir, model=model, models=(), precision=precision)
    order = PictureOrder(
        prompt=prompt,
        width=width,
        height=height,
        num_inference_steps=steps,
        seed=seed,
        loras=tuple(_lora(text) for text in lora or ()),
        step_cache=step_cache or None,
    )
    urls = [server] if server else _candidates(settings, model, precision)
    with _client(server, urls, key or _own_key(settings)) as client, _progress_bar() as report:
        picture = client.make(order, report) if client else _make_here(order, settings, report)
    _write(output, picture.content)
    print(f"{output}  seed {picture.seed}")
    for adjustment in picture.adjustments:
        print(adjustment)


def _lora(text: str) -> "Lora":
    """`NAME` or `NAME:SCALE`."""
    from danqing.core.types import Lora

    name, colon, scale = text.rpartition(":")
    if not colon:
        return Lora(name=text)
    try:
        number = float(scale)
    except ValueError:
        number = math.nan
    if not name or not math.isfinite(number):
        raise UserError(f"--lora {text}: write NAME or NAME:SCALE, the scale a number.")
    return Lora(name=name, scale=number)


def _check_output(output: Path) -> None:
    """Before minutes of work, not after."""
    if output.suffix.lower() != ".png":
        raise UserError(f"{output}: pictures are PNG files; give a name that ends in .png.")
    if not output.absolute().parent.is_dir():
        raise UserError(f"{output}: there is no folder {output.parent}.")


def _write(output: Path, content: bytes) -> None:
    try:
        output.write_bytes(content)
    except OSError as exc:
        raise UserError(f"{output} cannot be written: {exc.strerror}.") from exc


@contextlib.contextmanager
def _client(server: str | None, urls: list[str], key: str | None) -> "Generator[ServerClient | None]":
    """The server to use; None for none. Only --server must answer; a found one that does not is passed over."""
    from danqing.cli.server_client import ServerClient

    for url in urls:
        client = ServerClient(url, key=key)
        try:
            if server or client.answers():
                yield client
                return
        finally:
            client.close()
    yield None


def _own_key(settings: "Settings") -> str | None:
    """A key that a server with these settings lets in."""
    keys = [key for key in (settings.api_key, *settings.allowed_keys, settings.admin_key) if key]
    return keys[0].get_secret_value() if keys else None


def _candidates(settings: "Settings", model: str | None, precision: str | None) -> list[str]:
    """Servers on this machine that might do; with --model only one that is known to serve it, with --precision none."""
    from danqing.cli.running_server import usual_url
    from danqing.cli.server_file import find_announced

    if precision is not None:
        return []
    announced = find_announced(settings.data_dir)
    if model is not None:
        from danqing.wiring import build_catalogue

        with settings_errors():
            wanted = build_catalogue(settings).default().id
        return [announced.url] if announced and announced.model == wanted else []
    return [announced.url] if announced else [usual_url(settings, "turbo")]


def _make_here(order: PictureOrder, settings: "Settings", report: Report) -> FinishedPicture:
    from danqing.cli.own_engine import make_here
    from danqing.logs import LogStyle, configure_logging

    configure_logging(LogStyle(shape=settings.log_format, level="debug" if settings.debug else "critical"))
    with settings_errors():
        return make_here(order, settings, report)


@contextlib.contextmanager
def _progress_bar() -> Generator[Report]:
    """A bar on standard error; on something that is no terminal, nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("asking", total=100)

        def report(stage: str, percentage: int) -> None:
            progress.update(bar, description=stage, completed=percentage)

        yield report
