"""The networks that stand beside FLUX's own: brought into memory with the first request that needs them, and kept."""

from typing import Any

from diffusers.models.controlnets.controlnet_flux import FluxControlNetModel
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.pipelines.flux.pipeline_flux_controlnet import FluxControlNetPipeline
from diffusers.pipelines.flux.pipeline_flux_fill import FluxFillPipeline

from danqing.core.capabilities import Companion, ModelCard
from danqing.core.errors import ModelLoadFailure
from danqing.core.types import Mode
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.families.compiling import compile_blocks
from danqing.engine.families.flux.pipelines import FOR_PICTURE_PROMPTS
from danqing.engine.families.loading import load_component
from danqing.engine.families.transformer_attention import set_kernel


def with_companion(parts: Any, mode: Mode, card: ModelCard, options: AdapterOptions) -> Any:  # noqa: ANN401
    """A pipeline of the parts of a FluxPipeline and the companion of the mode, which is controlnet or fill.

    Raises ModelLoadFailure or OutOfMemory.
    """
    companion = card.companion(mode)
    if companion is None:
        raise ModelLoadFailure(f"Model {card.id} has nothing for {mode}.")
    own = {name: part for name, part in parts.components.items() if name not in FOR_PICTURE_PROMPTS}
    if mode is Mode.CONTROLNET:
        pipeline: Any = FluxControlNetPipeline(**own, controlnet=_controlnet(parts, companion, card, options))
    else:
        pipeline = FluxFillPipeline(**own | {"transformer": _fill_transformer(parts, companion, card, options)})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _controlnet(parts: Any, companion: Companion, card: ModelCard, options: AdapterOptions) -> Any:  # noqa: ANN401
    network = load_component(FluxControlNetModel, companion, card, options)
    if network.union:
        raise ModelLoadFailure(f"Model {card.id}: its ControlNet has to be told the kind of each map.")
    _check_fit(network, parts, card)
    set_kernel(network, parts, card, options)
    return network


def _fill_transformer(parts: Any, companion: Companion, card: ModelCard, options: AdapterOptions) -> Any:  # noqa: ANN401
    """From a whole pipeline's folder, of which the rest is the model's own."""
    network = load_component(FluxTransformer2DModel, companion, card, options, subfolder="transformer")
    # It sees the latents, those of the picture that is left, and the mask of every pixel of a token.
    seen = 2 * parts.transformer.config.in_channels + (2 * parts.vae_scale_factor) ** 2
    if network.config.in_channels != seen:
        raise ModelLoadFailure(f"Model {card.id}: its fill checkpoint does not see masks as FLUX.1-Fill does.")
    _check_fit(network, parts, card)
    set_kernel(network, parts, card, options)
    if options.compile:
        compile_blocks(network)
    return network


def _check_fit(network: Any, parts: Any, card: ModelCard) -> None:  # noqa: ANN401
    """Both read the same prompts. Raises ModelLoadFailure."""
    for name in ("joint_attention_dim", "pooled_projection_dim"):
        if network.config[name] != parts.transformer.config[name]:
            raise ModelLoadFailure(f"Model {card.id}: what it needs beside itself belongs to another model.")
