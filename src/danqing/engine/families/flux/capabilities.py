"""What FLUX.1 checkpoints can do: the known one, and any in a local folder. Imports no torch."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from danqing.core.capabilities import (
    MAX_PROMPT_CHARS,
    Capabilities,
    Companion,
    FreeSizes,
    ModelCard,
    ModelDefaults,
    Range,
    SizeRules,
)
from danqing.core.types import Mode
from danqing.engine.families.description import FamilyDescription
from danqing.engine.families.own_description import (
    OWN_DESCRIPTION,
    VAE_CONFIG,
    own_companions,
    own_description,
    read_description,
    size_rules,
)

FAMILY = "flux"
TRANSFORMER_CONFIG = "transformer/config.json"
PATCH = 2  # latent pixels that the transformer takes as one token, each way
MIN_SIDE, MAX_SIDE = 64, 2048
MAX_PIXELS = 2048 * 1024  # its makers speak of 2 megapixels
MAX_INPUT_IMAGES = 16  # laid side by side
# Of the T5 encoder. A model that no guidance is embedded into is one distilled to few steps, as FLUX.1-schnell is.
MAX_PROMPT_TOKENS, MAX_PROMPT_TOKENS_DISTILLED = 512, 256
DEFAULTS = ModelDefaults(width=1024, height=1024, num_inference_steps=28, guidance_scale=3.5)
DEFAULTS_DISTILLED = ModelDefaults(width=1024, height=1024, num_inference_steps=4, guidance_scale=0.0)
OWN_MODES = frozenset({Mode.TEXT2IMG, Mode.IMG2IMG, Mode.FILL, Mode.EDIT})  # that need no companion


class _TransformerConfig(BaseModel):
    """What is read of `transformer/config.json`."""

    model_config = ConfigDict(extra="ignore")

    guidance_embeds: bool = False


def describe_folder(folder: Path, model_id: str) -> ModelCard:
    """The card of the checkpoint in `folder`. Raises ModelLoadFailure if its descriptions are missing or wrong."""
    own = own_description(folder)
    rules = size_rules(folder, own, patch=PATCH, min_side=MIN_SIDE, max_pixels=MAX_PIXELS)
    companions = own_companions(folder, own)
    guided = read_description(folder / TRANSFORMER_CONFIG, _TransformerConfig).guidance_embeds
    return ModelCard(
        id=model_id,
        family=FAMILY,
        source=str(folder),
        revision=None,
        title=own.title or model_id,
        capabilities=_capabilities(rules, companions, guided=guided),
        defaults=DEFAULTS if guided else DEFAULTS_DISTILLED,
        companions=companions,
    )


def _capabilities(rules: SizeRules, companions: tuple[Companion, ...], *, guided: bool) -> Capabilities:
    """Its guidance is a number that the transformer reads, so there is nothing that a negative prompt could act on."""
    return Capabilities(
        modes=OWN_MODES | {companion.mode for companion in companions},
        size_rules=rules,
        side=Range(minimum=MIN_SIDE, maximum=MAX_SIDE),
        steps=Range(minimum=1, maximum=100),
        guidance=guided,
        negative_prompt=False,
        max_prompt_chars=MAX_PROMPT_CHARS,
        instruction_edit=False,
        max_input_images=MAX_INPUT_IMAGES,
        sequence_length=Range(minimum=1, maximum=MAX_PROMPT_TOKENS if guided else MAX_PROMPT_TOKENS_DISTILLED),
        cfg_shaping=False,
        step_cache=guided,  # of the few steps of a distilled one each counts
    )


# The first with guidance as its makers show it; with that of the model itself fillings are pale. Gated, like the model:
# the terms of each are accepted on the hub. The second is for edges, depth, poses and grey levels, which it tells apart
# itself; its scale is its makers' for edges. Not gated; both are under the model's own licence.
DEV_COMPANIONS = (
    Companion(mode=Mode.FILL, source="black-forest-labs/FLUX.1-Fill-dev", guidance_scale=30.0),
    Companion(mode=Mode.CONTROLNET, source="Shakker-Labs/FLUX.1-dev-ControlNet-Union-Pro-2.0", conditioning_scale=0.7),
)
DEV = ModelCard(
    id="flux1-dev",
    family=FAMILY,
    source="black-forest-labs/FLUX.1-dev",
    revision=None,
    title="FLUX.1 [dev]",
    capabilities=_capabilities(
        FreeSizes(multiple_of=16, min_side=MIN_SIDE, max_pixels=MAX_PIXELS), DEV_COMPANIONS, guided=True
    ),
    defaults=DEFAULTS,
    companions=DEV_COMPANIONS,
    memory_bytes=33_700_000_000,  # in bfloat16: transformer 23.8, T5 9.5, CLIP and autoencoder 0.4
    licence="FLUX.1 [dev] Non-Commercial License",
)
FLUX = FamilyDescription(
    id=FAMILY,
    pipeline_classes=("FluxPipeline",),
    known_models=(DEV,),
    describe_folder=describe_folder,
    description_files=(VAE_CONFIG, TRANSFORMER_CONFIG),
    optional_files=(OWN_DESCRIPTION,),
    adapter="danqing.engine.families.flux.model:flux_adapter",
    companion_modes=frozenset({Mode.FILL, Mode.CONTROLNET}),
)
