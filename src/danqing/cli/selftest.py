"""`danqing selftest`: asks a running server for pictures of every kind and looks at what comes back."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danqing.cli.options import DataDir, UserError
from danqing.cli.running_server import Beside, Key, Url, client_of

if TYPE_CHECKING:
    from danqing.cli.genserve_client import GenServeClient

PROMPT = "a red balloon over a green meadow"


class TriedMode(StrEnum):
    """What can be tried."""

    TEXT2IMG = "text2img"
    IMG2IMG = "img2img"
    FILL = "fill"
    CONTROLNET = "controlnet"


class Verdict(StrEnum):
    """What came of it."""

    PASSED = "passed"
    NOT_SUPPORTED = "not supported"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One mode. picture: what the server made, if it made any."""

    mode: TriedMode
    verdict: Verdict
    text: str
    picture: bytes | None = None


def selftest_app() -> typer.Typer:
    """The commands below `danqing selftest`."""
    app = typer.Typer(help="Try out a running server.", no_args_is_help=True)
    app.callback()(_root)
    app.command("img2img")(img2img)
    return app


def _root() -> None:
    """Try out a running server."""


def img2img(
    mode: Annotated[TriedMode | None, typer.Argument(help="The only mode to try. [default: all]")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the pictures; made if need be.")] = None,
    side: Annotated[int, typer.Option("--size", min=64, help="Width and height of the pictures, in pixels.")] = 512,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Denoising steps.")] = 20,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    beside: Beside = None,
) -> None:
    """Ask a running server for a picture in each mode, with pictures to begin with that are drawn here.

    Every picture must be a PNG of the size asked for, and a fill must leave alone what its mask protects. A mode that
    the server's model has not is told as such. Exit code 1 if a mode failed, or if the one that was named is not
    supported.

    Examples:

        danqing selftest img2img

        danqing selftest img2img fill --out pictures

        danqing selftest img2img --url http://localhost:12411 --key sesame
    """
    if out:
        _make_folder(out)
    verdicts: list[Verdict] = []
    with client_of(url, key, data_dir, beside) as client:
        for tried in [mode] if mode else TriedMode:
            trial = try_mode(client, tried, side, steps)
            verdicts.append(trial.verdict)
            saved = _save(out / f"{tried}.png", trial.picture) if out and trial.picture else ""
            print(f"{tried:<10}  {trial.verdict:<13}  {trial.text}{saved}", flush=True)
    if Verdict.FAILED in verdicts or (mode and Verdict.NOT_SUPPORTED in verdicts):
        raise typer.Exit(1)


def try_mode(client: "GenServeClient", mode: TriedMode, side: int, steps: int) -> Trial:
    """Text2img goes as JSON, the others as a form. Raises UserError if the server does not answer."""
    from danqing.cli.trial_pictures import keeps, scene, scene_edges, scene_mask, size_of

    drawn = {"input_image": scene, "mask_image": scene_mask, "control_image": scene_edges}
    needed = {
        TriedMode.TEXT2IMG: (),
        TriedMode.IMG2IMG: ("input_image",),
        TriedMode.FILL: ("input_image", "mask_image"),
        TriedMode.CONTROLNET: ("input_image", "control_image"),
    }[mode]
    sent = {name: drawn[name](side) for name in needed}
    fields: dict[str, object] = {
        "prompt": PROMPT,
        "mode": str(mode),
        "height": side,
        "width": side,
        "num_inference_steps": steps,
    }
    if mode is TriedMode.IMG2IMG:
        fields["strength"] = 0.7
    asked = client.generate_from_form(fields, sent) if sent else client.generate(fields, sent)
    if asked.picture is None:
        verdict = Verdict.NOT_SUPPORTED if asked.is_unsupported else Verdict.FAILED
        return Trial(mode=mode, verdict=verdict, text=f"{asked.status} {asked.error}")
    size = size_of(asked.picture)
    if size != (side, side):
        seen = f"{size[0]}x{size[1]}" if size else "no whole PNG"
        text = f"{seen} instead of {side}x{side}"
    elif mode is TriedMode.FILL and not keeps(asked.picture, sent["input_image"], sent["mask_image"]):
        text = "the picture differs where its mask is black"
    else:
        text = f"{asked.seconds:.1f} s, {asked.made_s:.1f} s of it for the picture"
        return Trial(mode=mode, verdict=Verdict.PASSED, text=text, picture=asked.picture)
    return Trial(mode=mode, verdict=Verdict.FAILED, text=text, picture=asked.picture)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UserError(f"{folder} cannot be made: {exc.strerror}.") from exc


def _save(file: Path, picture: bytes) -> str:
    try:
        file.write_bytes(picture)
    except OSError as exc:
        raise UserError(f"{file} cannot be written: {exc.strerror}.") from exc
    return f", {file}"
