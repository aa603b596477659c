"""What a checkpoint's small files say of it: `danqing.json`, and the configurations of its parts. Imports no torch."""

import os.path
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from danqing.core.capabilities import Companion, FreeSizes, SizeRules, TrainedSizes
from danqing.core.errors import ModelLoadFailure
from danqing.core.resolve import MAX_CONDITIONING
from danqing.core.types import Mode

OWN_DESCRIPTION = "danqing.json"
VAE_CONFIG = "vae/config.json"
Description = TypeVar("Description", bound=BaseModel)


class OwnDescription(BaseModel):
    """`danqing.json` beside `model_index.json`, which may be absent: what the ordinary files do not say.

    trained_sizes: (width, height) pairs; without it the model is taken to make any size. controlnet: a folder with a
    ControlNet in diffusers' layout, as seen from this one; controlnet_conditioning_scale: as in `Companion`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str | None = None
    trained_sizes: tuple[tuple[PositiveInt, PositiveInt], ...] | None = None
    controlnet: str | None = None
    controlnet_conditioning_scale: float | None = Field(default=None, ge=0, le=MAX_CONDITIONING)


class _VaeConfig(BaseModel):
    """What is read of `vae/config.json`."""

    model_config = ConfigDict(extra="ignore")

    block_out_channels: list[PositiveInt]


def own_description(folder: Path) -> OwnDescription:
    """What `danqing.json` in the folder says; nothing if there is none. Raises ModelLoadFailure."""
    file = folder / OWN_DESCRIPTION
    return read_description(file, OwnDescription) if file.exists() else OwnDescription()


def own_companions(folder: Path, own: OwnDescription) -> tuple[Companion, ...]:
    """What the checkpoint brings beside its own weights. Raises ModelLoadFailure."""
    if own.controlnet is None:
        return ()
    controlnet = Path(os.path.normpath(folder / own.controlnet))
    if not (controlnet / "config.json").is_file():
        raise ModelLoadFailure("danqing.json: controlnet names no folder with a config.json.")
    scale = own.controlnet_conditioning_scale
    return (Companion(mode=Mode.CONTROLNET, source=str(controlnet), conditioning_scale=scale),)


def size_rules(folder: Path, own: OwnDescription, *, patch: int, min_side: int, max_pixels: int) -> SizeRules:
    """Of a checkpoint with an `AutoencoderKL`. patch: latent pixels that its transformer takes as one, each way.

    min_side: pixels, rounded up to what the model makes. Raises ModelLoadFailure.
    """
    multiple_of = 2 ** (len(read_description(folder / VAE_CONFIG, _VaeConfig).block_out_channels) - 1) * patch
    return own_sizes(own, multiple_of=multiple_of, min_side=min_side, max_pixels=max_pixels)


def own_sizes(own: OwnDescription, *, multiple_of: int, min_side: int, max_pixels: int) -> SizeRules:
    """As `size_rules`, of a checkpoint that makes multiples of so many pixels."""
    if own.trained_sizes is None:
        least = -(-min_side // multiple_of) * multiple_of
        return FreeSizes(multiple_of=multiple_of, min_side=least, max_pixels=max_pixels)
    if not own.trained_sizes or any(side % multiple_of for size in own.trained_sizes for side in size):
        raise ModelLoadFailure(f"danqing.json: trained_sizes must be multiples of {multiple_of}, at least one.")
    return TrainedSizes(sizes=own.trained_sizes)


def read_description(file: Path, shape: type[Description]) -> Description:
    """The JSON file, in the folder of a checkpoint or one of its parts. Raises ModelLoadFailure."""
    try:
        return shape.model_validate_json(file.read_bytes())
    except OSError as exc:
        raise ModelLoadFailure(f"The model's folder has no readable {file.parent.name}/{file.name}.") from exc
    except ValidationError as exc:
        raise ModelLoadFailure(f"The model's {file.parent.name}/{file.name} is not as expected.") from exc
