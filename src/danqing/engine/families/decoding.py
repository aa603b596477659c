"""A picture's latents to its pixels: at once, on a device that is not waited for, or when and where somebody asks."""

import weakref
from collections.abc import Callable
from copy import copy
from typing import Any

import structlog
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from danqing.core.sentences import says
from danqing.engine.device import is_out_of_memory
from danqing.engine.families.adapter import MadePicture, UndecodedPicture
from danqing.engine.families.loaded_model import LoadedModel, Size
from danqing.engine.families.one_frame import OneFrameAutoencoder
from danqing.engine.launched import Levels

log = structlog.get_logger(__name__)


def serves_threads(vae: Any) -> bool:  # noqa: ANN401  diffusers is not typed
    """Whether it can decode in one thread while another one uses it: Qwen-Image's, as the library has it, keeps its
    state on itself.
    """
    return isinstance(vae, AutoencoderKL | OneFrameAutoencoder)


def decoded(model: LoadedModel, latents: Tensor, size: Size, adjustments: tuple[str, ...]) -> MadePicture:
    """latents: (1, …). adjustments: of the picture. Raises as what `LoadedModel.decoding` gives."""
    return _read(model.decoding(latents, size)(model.parts.vae), adjustments)


def on_its_way(model: LoadedModel, latents: Tensor, size: Size, adjustments: tuple[str, ...]) -> UndecodedPicture:
    """As `decoded`, by a device that is at it when this returns; whoever asks for the picture waits for that."""
    launched = model.decoding(latents, size)(model.parts.vae)
    return UndecodedPicture(decode=lambda: _read(launched, adjustments), adjustments=adjustments)


def _read(launched: Levels, adjustments: tuple[str, ...]) -> MadePicture:
    return MadePicture(rgb=launched.read(), adjustments=adjustments)


def undecoded(
    model: LoadedModel, latents: Tensor, size: Size, adjustments: tuple[str, ...], *, ended: Callable[[], None]
) -> UndecodedPicture:
    """As `decoded`, later; in tiles where memory runs out, which the picture then says. It keeps nothing of the model
    but its autoencoder. ended: called when it is decoded, or nobody wants it any more; perhaps more than once.
    """
    vae = copy(model.parts.vae)  # of the same weights, but later batches may turn the other one's switches
    decode_with, tiled = model.decoding(latents, size), max(size) > model.tile_side

    def decode() -> MadePicture:
        try:
            with torch.inference_mode():
                return _decoded_later(decode_with, vae, tiled=tiled, adjustments=adjustments)
        finally:
            ended()

    picture = UndecodedPicture(decode=decode, adjustments=adjustments)
    weakref.finalize(picture, ended)
    return picture


def _decoded_later(
    decode_with: Callable[[Any], Levels],
    vae: Any,  # noqa: ANN401
    *,
    tiled: bool,
    adjustments: tuple[str, ...],
) -> MadePicture:
    """tiled: whether it can be."""
    try:
        return _read(decode_with(vae), adjustments)
    except (RuntimeError, MemoryError) as exc:
        if not is_out_of_memory(exc):
            raise
    # Only here, where the error is gone and with it the frames that held the failed try's tensors.
    log.warning("out_of_memory_decoding_in_tiles")
    vae.use_tiling = True
    in_tiles = (says("decoded_in_tiles"),) if tiled else ()
    return _read(decode_with(vae), (*adjustments, *in_tiles))
