"""What Z-Image checkpoints can do: the known ones, and any in a local folder. Imports no torch."""

from importlib import resources
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from danqing.core.capabilities import Capabilities, FreeSizes, ModelCard, ModelDefaults, Range, SizeRules, TrainedSizes
from danqing.core.errors import ModelLoadFailure
from danqing.core.types import Mode
from danqing.engine.families.description import FamilyDescription

FAMILY = "z_image"
VAE_CONFIG = "vae/config.json"
OWN_DESCRIPTION = "danqing.json"
PATCH = 2  # latent pixels that the transformer takes as one token, each way
MIN_SIDE, MAX_SIDE = 64, 2048
MAX_PIXELS = 2048 * 2048
MAX_INPUT_IMAGES = 16  # laid side by side
MAX_PROMPT_TOKENS = 512  # what Z-Image was trained with, its chat template included
DEFAULTS = ModelDefaults(width=1024, height=1024, num_inference_steps=9, guidance_scale=0.0)
Description = TypeVar("Description", bound=BaseModel)


class _VaeConfig(BaseModel):
    """What we read of `vae/config.json`."""

    model_config = ConfigDict(extra="ignore")

    block_out_channels: list[PositiveInt]


class _OwnDescription(BaseModel):
    """`danqing.json` beside `model_index.json`, which may be absent: what the ordinary files do not say.

    trained_sizes: (width, height) pairs; without it the model is taken to make any size.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str | None = None
    trained_sizes: tuple[tuple[PositiveInt, PositiveInt], ...] | None = None


def describe_folder(folder: Path, model_id: str) -> ModelCard:
    """The card of the checkpoint in `folder`. Raises ModelLoadFailure if its descriptions are missing or wrong."""
    multiple_of = 2 ** (len(_read(folder / VAE_CONFIG, _VaeConfig).block_out_channels) - 1) * PATCH
    own_file = folder / OWN_DESCRIPTION
    own = _read(own_file, _OwnDescription) if own_file.exists() else _OwnDescription()
    rules: SizeRules = FreeSizes(
        multiple_of=multiple_of, min_side=-(-MIN_SIDE // multiple_of) * multiple_of, max_pixels=MAX_PIXELS
    )
    if own.trained_sizes is not None:
        if not own.trained_sizes or any(side % multiple_of for size in own.trained_sizes for side in size):
            raise ModelLoadFailure(f"danqing.json: trained_sizes must be multiples of {multiple_of}, at least one.")
        rules = TrainedSizes(sizes=own.trained_sizes)
    return ModelCard(
        id=model_id,
        family=FAMILY,
        source=str(folder),
        revision=None,
        title=own.title or model_id,
        capabilities=_capabilities(rules),
        defaults=DEFAULTS,
    )


def _read(file: Path, shape: type[Description]) -> Description:
    try:
        return shape.model_validate_json(file.read_bytes())
    except OSError as exc:
        raise ModelLoadFailure(f"The model's folder has no readable {file.parent.name}/{file.name}.") from exc
    except ValidationError as exc:
        raise ModelLoadFailure(f"The model's {file.parent.name}/{file.name} is not as expected.") from exc


def _capabilities(rules: SizeRules) -> Capabilities:
    return Capabilities(
        modes=frozenset({Mode.TEXT2IMG, Mode.IMG2IMG, Mode.FILL, Mode.EDIT}),
        size_rules=rules,
        side=Range(minimum=MIN_SIDE, maximum=MAX_SIDE),
        steps=Range(minimum=1, maximum=50),
        guidance=True,
        negative_prompt=True,
        max_prompt_chars=10_000,
        instruction_edit=False,
        max_input_images=MAX_INPUT_IMAGES,
        sequence_length=Range(minimum=1, maximum=MAX_PROMPT_TOKENS),
    )


SAMPLE = ModelCard(
    id="sample",
    family=FAMILY,
    source=str(resources.files("danqing.engine") / "checkpoints" / "sample"),
    revision=None,
    title="Danqing sample model (emoji)",
    capabilities=_capabilities(TrainedSizes(sizes=((128, 128), (144, 112), (112, 144), (160, 96), (96, 160)))),
    defaults=DEFAULTS,
)
TURBO = ModelCard(
    id="z-image-turbo",
    family=FAMILY,
    source="Tongyi-MAI/Z-Image-Turbo",
    revision=None,
    title="Z-Image-Turbo",
    capabilities=_capabilities(FreeSizes(multiple_of=16, min_side=MIN_SIDE, max_pixels=MAX_PIXELS)),
    defaults=DEFAULTS,
)
Z_IMAGE = FamilyDescription(
    id=FAMILY,
    pipeline_class="ZImagePipeline",
    known_models=(SAMPLE, TURBO),
    describe_folder=describe_folder,
    description_files=(VAE_CONFIG,),
    optional_files=(OWN_DESCRIPTION,),
    adapter="danqing.engine.families.z_image.model:z_image_adapter",
)
