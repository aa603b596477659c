"""What Qwen-Image checkpoints can do, for pictures from words and for edits: the known ones, and any in a local folder.

Imports no torch.
"""

from dataclasses import replace
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt

from danqing.core.capabilities import (
    MAX_PROMPT_CHARS,
    Capabilities,
    FreeSizes,
    ModelCard,
    ModelDefaults,
    Range,
    ReferenceScaling,
    Scaling,
    SizeRules,
    TrainedSizes,
)
from danqing.core.errors import ModelLoadFailure
from danqing.core.types import Mode
from danqing.engine.families.description import FamilyDescription
from danqing.engine.families.own_description import (
    OWN_DESCRIPTION,
    VAE_CONFIG,
    OwnDescription,
    own_sizes,
    read_description,
)

FAMILY = "qwen_image"
MODEL_INDEX = "model_index.json"
PROCESSOR = "processor"  # the folder of what prepares pictures for the text encoder
BASE, EDIT, EDIT_PLUS = "QwenImagePipeline", "QwenImageEditPipeline", "QwenImageEditPlusPipeline"
PATCH = 2  # latent pixels that the transformer takes as one token, each way
VISION_PATCH = 28  # pixels that the text encoder takes as one token, each way
MIN_SIDE, MAX_SIDE = 64, 2048
MOST_STEPS = 100
MANY_STEPS = 20  # that a model takes by default: of fewer, as of those distilled to it, each counts
MAX_PROMPT_TOKENS = 1024  # what the pipelines cut to
MAX_LAID_OUT = 16  # pictures that a model without instructions begins with, side by side
MAX_REFERENCES = {EDIT: 1, EDIT_PLUS: 3}  # of 2509: "optimal performance is currently achieved with 1 to 3"
MAX_PIXELS = {
    BASE: 1328 * 1328,  # the largest of the sizes that it was trained at
    EDIT: MAX_SIDE * MAX_SIDE,
    EDIT_PLUS: MAX_SIDE * MAX_SIDE,
}
# As diffusers' pipelines have them; the first edit model shows its text encoder the same picture as its transformer.
ONE_MEGAPIXEL = Scaling(pixels=1024 * 1024, multiple_of=32)
REFERENCE_SCALING = {
    EDIT: ReferenceScaling(latents=ONE_MEGAPIXEL, prompt=ONE_MEGAPIXEL),
    EDIT_PLUS: ReferenceScaling(latents=ONE_MEGAPIXEL, prompt=Scaling(pixels=384 * 384, multiple_of=32)),
}
DEFAULTS = {
    BASE: ModelDefaults(width=1328, height=1328, num_inference_steps=50, guidance_scale=4.0),
    # An edit with a mask makes all of the white part anew, as a fill does.
    EDIT: ModelDefaults(width=1024, height=1024, num_inference_steps=50, guidance_scale=4.0, strength=1.0),
    EDIT_PLUS: ModelDefaults(width=1024, height=1024, num_inference_steps=40, guidance_scale=4.0, strength=1.0),
}


class _ModelIndex(BaseModel):
    """What is read of `model_index.json`."""

    model_config = ConfigDict(extra="ignore")

    pipeline_class: str = Field(alias="_class_name")


class _VaeConfig(BaseModel):
    """What is read of `vae/config.json`. temperal_downsample: one entry for each halving of a picture; so spelled."""

    model_config = ConfigDict(extra="ignore")

    temperal_downsample: list[bool]


class _OwnDescription(OwnDescription):
    """reference_pixels, condition_pixels: how many the pictures of an instruction have in all, for the transformer and
    for the text encoder, where it is not as for Qwen's own checkpoints. references_framed: see `ReferenceScaling`.
    num_inference_steps, guidance_scale: the model's defaults.
    """

    reference_pixels: PositiveInt | None = None
    condition_pixels: PositiveInt | None = None
    references_framed: bool = False
    num_inference_steps: PositiveInt | None = Field(default=None, le=MOST_STEPS)
    guidance_scale: NonNegativeFloat | None = None


def describe_folder(folder: Path, model_id: str) -> ModelCard:
    """The card of the checkpoint in `folder`. Raises ModelLoadFailure if its descriptions are missing or wrong."""
    pipeline_class = read_description(folder / MODEL_INDEX, _ModelIndex).pipeline_class
    if pipeline_class not in DEFAULTS:
        raise ModelLoadFailure(f"The model is a {pipeline_class}; supported: {', '.join(DEFAULTS)}.")
    own_file = folder / OWN_DESCRIPTION
    own = read_description(own_file, _OwnDescription) if own_file.exists() else _OwnDescription()
    multiple_of = 2 ** len(read_description(folder / VAE_CONFIG, _VaeConfig).temperal_downsample) * PATCH
    rules = own_sizes(own, multiple_of=multiple_of, min_side=MIN_SIDE, max_pixels=MAX_PIXELS[pipeline_class])
    capabilities = _capabilities(pipeline_class, rules)
    scaling = _own_scaling(own, capabilities.reference_scaling, multiple_of)
    defaults = DEFAULTS[pipeline_class]
    if own.num_inference_steps is not None:
        defaults = replace(defaults, num_inference_steps=own.num_inference_steps)
    if own.guidance_scale is not None:
        defaults = replace(defaults, guidance_scale=own.guidance_scale)
    return ModelCard(
        id=model_id,
        family=FAMILY,
        source=str(folder),
        revision=None,
        title=own.title or model_id,
        capabilities=replace(
            capabilities,
            reference_scaling=scaling,
            max_input_images=_most_pictures(pipeline_class, scaling),
            step_cache=defaults.num_inference_steps >= MANY_STEPS,
        ),
        defaults=defaults,
    )


def _own_scaling(own: _OwnDescription, usual: ReferenceScaling | None, multiple_of: int) -> ReferenceScaling | None:
    """What the checkpoint says instead of the usual, as near to it as its networks can take."""
    if own.reference_pixels is None and own.condition_pixels is None and not own.references_framed:
        return usual
    if usual is None:
        raise ModelLoadFailure("danqing.json: what is said of reference pictures is for models that edit.")
    latents, prompt = usual.latents, usual.prompt
    if own.reference_pixels is not None:
        latents = Scaling(pixels=own.reference_pixels, multiple_of=multiple_of)
    if own.condition_pixels is not None:
        prompt = Scaling(pixels=own.condition_pixels, multiple_of=VISION_PATCH)
    return ReferenceScaling(latents=latents, prompt=prompt, framed=own.references_framed)


def _capabilities(pipeline_class: str, rules: SizeRules) -> Capabilities:
    edits = pipeline_class != BASE
    return Capabilities(
        modes=frozenset({Mode.FILL, Mode.EDIT} if edits else {Mode.TEXT2IMG, Mode.IMG2IMG, Mode.FILL, Mode.EDIT}),
        size_rules=rules,
        side=Range(minimum=MIN_SIDE, maximum=MAX_SIDE),
        steps=Range(minimum=1, maximum=MOST_STEPS),
        guidance=True,
        negative_prompt=True,
        max_prompt_chars=MAX_PROMPT_CHARS,
        instruction_edit=edits,
        max_input_images=_most_pictures(pipeline_class, REFERENCE_SCALING.get(pipeline_class)),
        sequence_length=Range(minimum=1, maximum=MAX_PROMPT_TOKENS),
        reference_scaling=REFERENCE_SCALING.get(pipeline_class),
        step_cache=DEFAULTS[pipeline_class].num_inference_steps >= MANY_STEPS,
    )


def _most_pictures(pipeline_class: str, scaling: ReferenceScaling | None) -> int:
    return MAX_LAID_OUT if scaling is None or scaling.framed else MAX_REFERENCES[pipeline_class]


def _qwens_own(model_id: str, repository: str, pipeline_class: str) -> ModelCard:
    return ModelCard(
        id=model_id,
        family=FAMILY,
        source=f"Qwen/{repository}",
        revision=None,
        title=repository,
        capabilities=_capabilities(
            pipeline_class, FreeSizes(multiple_of=16, min_side=MIN_SIDE, max_pixels=MAX_PIXELS[pipeline_class])
        ),
        defaults=DEFAULTS[pipeline_class],
        memory_bytes=57_700_000_000,
        licence="Apache-2.0",
    )


SAMPLE_EDIT_SIZES = TrainedSizes(sizes=((128, 128),))
SAMPLE_EDIT_SCALING = ReferenceScaling(
    latents=Scaling(pixels=128 * 128, multiple_of=16), prompt=Scaling(pixels=56 * 56, multiple_of=28), framed=True
)
SAMPLE_EDIT = ModelCard(
    id="sample-edit",
    family=FAMILY,
    source=str(resources.files("danqing.engine") / "checkpoints" / "sample_edit"),
    revision=None,
    title="Danqing sample edit model (emoji)",
    capabilities=replace(
        _capabilities(EDIT_PLUS, SAMPLE_EDIT_SIZES),
        reference_scaling=SAMPLE_EDIT_SCALING,
        max_input_images=MAX_LAID_OUT,
        step_cache=False,
    ),
    defaults=replace(DEFAULTS[EDIT_PLUS], num_inference_steps=8, guidance_scale=1.0),
    licence="Apache-2.0",
)
QWEN_IMAGE = FamilyDescription(
    id=FAMILY,
    pipeline_classes=(BASE, EDIT, EDIT_PLUS),
    known_models=(
        SAMPLE_EDIT,
        _qwens_own("qwen-image", "Qwen-Image", BASE),
        _qwens_own("qwen-image-edit", "Qwen-Image-Edit", EDIT),
        _qwens_own("qwen-image-edit-2509", "Qwen-Image-Edit-2509", EDIT_PLUS),
        _qwens_own("qwen-image-edit-2511", "Qwen-Image-Edit-2511", EDIT_PLUS),
    ),
    describe_folder=describe_folder,
    description_files=(VAE_CONFIG,),
    optional_files=(OWN_DESCRIPTION,),
    adapter="danqing.engine.families.qwen_image.model:qwen_image_adapter",
)
