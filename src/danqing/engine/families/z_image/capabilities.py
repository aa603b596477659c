"""What Z-Image checkpoints can do: the known ones, and any in a local folder. Imports no torch."""

from dataclasses import replace
from importlib import resources
from pathlib import Path

from danqing.core.capabilities import (
    MAX_PROMPT_CHARS,
    Capabilities,
    Companion,
    FreeSizes,
    ModelCard,
    ModelDefaults,
    Range,
    SizeRules,
    TrainedSizes,
)
from danqing.core.types import Mode
from danqing.engine.families.description import FamilyDescription
from danqing.engine.families.own_description import (
    OWN_DESCRIPTION,
    VAE_CONFIG,
    own_companions,
    own_description,
    size_rules,
)

FAMILY = "z_image"
PATCH = 2  # latent pixels that the transformer takes as one token, each way
MIN_SIDE, MAX_SIDE = 64, 2048
MAX_PIXELS = 2048 * 2048
OWN_MODES = frozenset({Mode.TEXT2IMG, Mode.IMG2IMG, Mode.FILL, Mode.EDIT})  # that need no companion
MAX_INPUT_IMAGES = 16  # laid side by side
MAX_PROMPT_TOKENS = 512  # what Z-Image was trained with, its chat template included
DEFAULTS = ModelDefaults(width=1024, height=1024, num_inference_steps=9, guidance_scale=0.0)


def describe_folder(folder: Path, model_id: str) -> ModelCard:
    """The card of the checkpoint in `folder`. Raises ModelLoadFailure if its descriptions are missing or wrong."""
    own = own_description(folder)
    rules = size_rules(folder, own, patch=PATCH, min_side=MIN_SIDE, max_pixels=MAX_PIXELS)
    companions = own_companions(folder, own)
    return ModelCard(
        id=model_id,
        family=FAMILY,
        source=str(folder),
        revision=None,
        title=own.title or model_id,
        capabilities=_capabilities(rules, companions),
        defaults=DEFAULTS,
        companions=companions,
    )


def _capabilities(rules: SizeRules, companions: tuple[Companion, ...] = ()) -> Capabilities:
    return Capabilities(
        modes=OWN_MODES | {companion.mode for companion in companions},
        size_rules=rules,
        side=Range(minimum=MIN_SIDE, maximum=MAX_SIDE),
        steps=Range(minimum=1, maximum=50),
        guidance=True,
        negative_prompt=True,
        max_prompt_chars=MAX_PROMPT_CHARS,
        instruction_edit=False,
        max_input_images=MAX_INPUT_IMAGES,
        sequence_length=Range(minimum=1, maximum=MAX_PROMPT_TOKENS),
        cfg_shaping=True,
    )


SAMPLE_CONTROLNET = Companion(
    mode=Mode.CONTROLNET,
    source=str(resources.files("danqing.engine") / "checkpoints" / "sample_controlnet"),
    conditioning_scale=1.0,
)
SAMPLE = ModelCard(
    id="sample",
    family=FAMILY,
    source=str(resources.files("danqing.engine") / "checkpoints" / "sample"),
    revision=None,
    title="Danqing sample model (emoji)",
    capabilities=_capabilities(
        TrainedSizes(sizes=((128, 128), (144, 112), (112, 144), (160, 96), (96, 160))), (SAMPLE_CONTROLNET,)
    ),
    defaults=DEFAULTS,
    licence="Apache-2.0",
    companions=(SAMPLE_CONTROLNET,),
    served_with=("sample-edit",),
)
SAMPLE_UINT4 = replace(SAMPLE, id="sample-uint4", title=f"{SAMPLE.title}, uint4", precision="sdnq-uint4")
SAMPLE_INT8 = replace(SAMPLE, id="sample-int8", title=f"{SAMPLE.title}, int8", precision="sdnq-int8")
# Of 2.1 the version that keeps Turbo's few steps: with the others its pictures grow blurry at that many.
TURBO_CONTROLNET = Companion(
    mode=Mode.CONTROLNET,
    source="alibaba-pai/Z-Image-Turbo-Fun-Controlnet-Union-2.1",
    file="Z-Image-Turbo-Fun-Controlnet-Union-2.1-8steps.safetensors",
)
TURBO = ModelCard(
    id="z-image-turbo",
    family=FAMILY,
    source="Tongyi-MAI/Z-Image-Turbo",
    revision=None,
    title="Z-Image-Turbo",
    capabilities=_capabilities(
        FreeSizes(multiple_of=16, min_side=MIN_SIDE, max_pixels=MAX_PIXELS), (TURBO_CONTROLNET,)
    ),
    defaults=DEFAULTS,
    companions=(TURBO_CONTROLNET,),
    memory_bytes=20_500_000_000,
    licence="Apache-2.0",
)
# Quantised already; the precision says what they are.
TURBO_UINT4 = replace(
    TURBO,
    id="z-image-turbo-uint4",
    source="Disty0/Z-Image-Turbo-SDNQ-uint4-svd-r32",
    title="Z-Image-Turbo, uint4",
    precision="sdnq-uint4",
    memory_bytes=6_500_000_000,
)
TURBO_INT8 = replace(
    TURBO,
    id="z-image-turbo-int8",
    source="Disty0/Z-Image-Turbo-SDNQ-int8",
    title="Z-Image-Turbo, int8",
    precision="sdnq-int8",
    memory_bytes=10_800_000_000,
)
Z_IMAGE = FamilyDescription(
    id=FAMILY,
    pipeline_classes=("ZImagePipeline",),
    known_models=(SAMPLE, SAMPLE_UINT4, SAMPLE_INT8, TURBO, TURBO_UINT4, TURBO_INT8),
    describe_folder=describe_folder,
    description_files=(VAE_CONFIG,),
    optional_files=(OWN_DESCRIPTION,),
    adapter="danqing.engine.families.z_image.model:z_image_adapter",
    companion_modes=frozenset({Mode.CONTROLNET}),
)
