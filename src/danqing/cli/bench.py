"""`danqing bench`: measures a running server from its client's side."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from danqing.cli.options import DataDir, UserError
from danqing.cli.running_server import Beside, Key, Url, client_of

if TYPE_CHECKING:
    from danqing.cli.genserve_client import Asked, GenServeClient

FULL_SIDES, SIMPLE_SIDES = (256, 512, 1024, 2048), (1024,)  # pixels
FULL_REPEATS, SIMPLE_REPEATS = 5, 1
MEBIBYTE = 1024 * 1024


class Extent(StrEnum):
    """How much is measured."""

    SIMPLE = "simple"
    FULL = "full"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One way of sending one picture. transfers_s: of each request all but the making of the picture."""

    sent_bytes: int
    totals_s: tuple[float, ...]
    transfers_s: tuple[float, ...]


def bench_app() -> typer.Typer:
    """The commands below `danqing bench`."""
    app = typer.Typer(help="Measure a running server from its client's side.", no_args_is_help=True)
    app.callback()(_root)
    app.command("uploads")(uploads)
    return app


def _root() -> None:
    """Measure a running server from its client's side."""


def uploads(
    extent: Annotated[Extent, typer.Argument(help="One picture once, or several sizes several times.")] = Extent.SIMPLE,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    beside: Beside = None,
) -> None:
    """Compare the two ways of sending a picture: as base64 in JSON, and as a file of a form.

    Both send the same picture for the same small img2img, in turns, so that only the way differs. "transfer" is the
    time that the request took without the making of its picture: encoding, sending, reading, checking. The server
    should have nothing else to do.

    Examples:

        danqing bench uploads

        danqing bench uploads full --url http://localhost:12411
    """
    from rich.console import Console
    from rich.table import Table

    sides, repeats = (SIMPLE_SIDES, SIMPLE_REPEATS) if extent is Extent.SIMPLE else (FULL_SIDES, FULL_REPEATS)
    table = Table(box=None, pad_edge=False)
    for heading in ("picture", "way", "body MiB", "total s", "transfer s"):
        table.add_column(heading, justify="left" if heading in ("picture", "way") else "right")
    with client_of(url, key, data_dir, beside) as client:
        _one(client, sides[0], as_file=True)  # what is slow only the first time is nobody's fault
        for side in sides:
            text, file = _compare(client, side, repeats)
            for way, measured in (("JSON (base64)", text), ("form", file)):
                table.add_row(
                    f"{side}x{side}" if measured is text else "",
                    way,
                    f"{measured.sent_bytes / MEBIBYTE:.2f}",
                    _spread(measured.totals_s),
                    _spread(measured.transfers_s),
                )
            table.add_row("", "JSON / form", *_ratios(text, file))
    Console().print(table)
    if repeats > 1:
        print(f"Medians of {repeats} requests each, with the least and the most.")


def _compare(client: "GenServeClient", side: int, repeats: int) -> tuple[Measured, Measured]:
    """As base64, and as a file; which one goes first changes, so that neither gains by its place."""
    asked: dict[bool, list[Asked]] = {True: [], False: []}
    for number in range(repeats):
        for as_file in (number % 2 == 0, number % 2 == 1):
            asked[as_file].append(_one(client, side, as_file=as_file))
    return _measured(asked[False]), _measured(asked[True])


def _one(client: "GenServeClient", side: int, *, as_file: bool) -> "Asked":
    from danqing.cli.trial_pictures import noise

    fields = {
        "prompt": "a landscape with mountains and trees",
        "mode": "img2img",
        "strength": 0.5,
        "height": 256,
        "width": 256,
        "num_inference_steps": 2,
    }
    ask = client.generate_from_form if as_file else client.generate
    asked = ask(fields, {"input_image": noise(side)})
    if asked.picture is None:
        raise UserError(f"The server made no picture: {asked.error}")
    return asked


def _measured(asked: "Sequence[Asked]") -> Measured:
    return Measured(
        sent_bytes=asked[0].sent_bytes,
        totals_s=tuple(one.seconds for one in asked),
        transfers_s=tuple(max(0.0, one.seconds - one.made_s) for one in asked),
    )


def _spread(seconds: Sequence[float]) -> str:
    middle = f"{statistics.median(seconds):.3f}"
    return middle if len(seconds) == 1 else f"{middle} ({min(seconds):.3f}-{max(seconds):.3f})"


def _ratios(text: Measured, file: Measured) -> tuple[str, str, str]:
    pairs = (
        (text.sent_bytes, file.sent_bytes),
        (statistics.median(text.totals_s), statistics.median(file.totals_s)),
        (statistics.median(text.transfers_s), statistics.median(file.transfers_s)),
    )
    first, second, third = (f"{a / b:.2f} x" if b else "" for a, b in pairs)
    return first, second, third
