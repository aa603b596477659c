"""Z-Image's ControlNet: brought into memory with the first request that needs it, and kept beside the model's parts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers.models.controlnets.controlnet_z_image import ZImageControlNetModel
from diffusers.pipelines.z_image.pipeline_z_image_controlnet import ZImageControlNetPipeline
from safetensors import safe_open

from danqing.core.capabilities import ModelCard
from danqing.core.errors import ModelLoadFailure
from danqing.core.types import Mode
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.families.loading import load_component
from danqing.engine.families.placement import offload_parts
from danqing.engine.families.transformer_attention import set_for_masks

COMPONENT = "controlnet"  # its name among a pipeline's parts
_BEGINNING = "control_noise_refiner.0.before_proj.weight"
_EMBEDDER = "control_all_x_embedder.2-1.weight"
# The layers of the transformer that the control layers of a "Fun Union" file speak into, by how many it has; a file
# does not say it. The lite ones, of three layers, are not among them: they were published with differing places.
_PLACES = {6: list(range(0, 30, 5)), 15: list(range(0, 30, 2))}


def with_controlnet(parts: Any, card: ModelCard, options: AdapterOptions) -> Any:  # noqa: ANN401  diffusers is not typed
    """A pipeline of the same parts and the ControlNet, which shares the transformer's embedders and refiners.

    Raises ModelLoadFailure or OutOfMemory.
    """
    companion = card.companion(Mode.CONTROLNET)
    if companion is None:
        raise ModelLoadFailure(f"Model {card.id} has no ControlNet.")
    network = load_component(ZImageControlNetModel, companion, card, options, config_of=union_config)
    if network.config.dim != parts.transformer.config.dim:
        raise ModelLoadFailure(f"Model {card.id}: its ControlNet belongs to another model.")
    set_for_masks(network, parts, card, options)
    pipeline: Any = ZImageControlNetPipeline(**parts.components, controlnet=network)
    pipeline.set_progress_bar_config(disable=True)
    if options.cpu_offload and options.device.is_cuda:
        offload_parts(pipeline, options.device)
    return pipeline


def union_config(file: Path) -> Mapping[str, object]:
    """How the network of a single "Z-Image-Turbo-Fun-Controlnet-Union" file is built, any version but the lite ones.

    It is read off the weights, as diffusers tells the versions apart: so no other repository has to be asked for it.
    Raises ValueError for another file.
    """
    opened: Any = safe_open(file, "pt")  # safetensors is not typed either
    with opened as weights:
        names: set[str] = set(weights.keys())
        count = len({name.split(".")[1] for name in names if name.startswith("control_layers.")})
        if count not in _PLACES or _EMBEDDER not in names:
            raise ValueError(f"no ControlNet of a known shape: {count} control layers")
        dim, patch = weights.get_slice(_EMBEDDER).get_shape()
        refiner: str | None = None
        if count == max(_PLACES):
            # 2.0 was trained with its control layers in the refiner's place, which 2.1 put right.
            works = _BEGINNING in names and bool(weights.get_tensor(_BEGINNING).any())
            refiner = "control_noise_refiner" if works else "control_layers"
        heads = dim // weights.get_slice("control_layers.0.attention.norm_q.weight").get_shape()[0]
        refiners = len({name.split(".")[1] for name in names if name.startswith("control_noise_refiner.")})
    return {
        "control_layers_places": _PLACES[count],
        "control_refiner_layers_places": None if refiner is None else [0, 1],
        "control_in_dim": patch // 4,  # of patches of 2 x 2
        "add_control_noise_refiner": refiner,
        "dim": dim,
        "n_refiner_layers": refiners,
        "n_heads": heads,
        "n_kv_heads": heads,
    }
