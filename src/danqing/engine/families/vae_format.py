"""In which order an autoencoder keeps its numbers, and whether its decoder is compiled: what is quicker, where known.

Only of those whose convolutions are two-dimensional. On a CPU channels last pays (`bench/vae_format.py`); on a GPU that
depends on its kernels for normalisation, so it is measured, and what is compiled is so in any case. Compiled is an
`AutoencoderKL` only: of the other kind nobody has measured that it pays.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from danqing.engine.device import Device, is_out_of_memory
from danqing.engine.families.compiling import compile_for_one
from danqing.engine.families.one_frame import OneFrameAutoencoder

MEASURED_SIDE = 512  # pixels
ROUNDS = 3
HARDLY = 1.03  # times as quick: not worth a picture that is rounded differently

log = structlog.get_logger(__name__)

# diffusers is not typed: an autoencoder is Any.


@dataclass(frozen=True, kw_only=True)
class VaeFormat:
    """What is in force."""

    channels_last: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        words = ("channels_last" if self.channels_last else "contiguous", "compiled" if self.compiled else "")
        return ", ".join(word for word in words if word)


def set_vae_format(
    vae: Any,  # noqa: ANN401
    device: Device,
    *,
    whole: bool,
    compiled_for: tuple[int, int] | None,
    clock: Callable[[], float] = time.perf_counter,
) -> VaeFormat:
    """For an autoencoder where it is to run. Raises what torch raises.

    whole: it stays there; else it comes and goes as its hooks will have it, and nothing is changed. compiled_for: the
    (width, height) in pixels that it is compiled for, which takes half a minute here, so that nobody waits for that
    later. clock: in seconds.
    """
    if not isinstance(vae, AutoencoderKL | OneFrameAutoencoder) or not whole:
        return VaeFormat()
    channels_last = not device.is_cuda or _is_quicker(vae, device, clock)
    if channels_last:
        _to(vae, torch.channels_last)
    if compiled_for is None or not isinstance(vae, AutoencoderKL):
        return VaeFormat(channels_last=channels_last)
    _compile(vae, compiled_for)
    return VaeFormat(channels_last=channels_last, compiled=True)


def _compile(vae: Any, size: tuple[int, int]) -> None:  # noqa: ANN401
    with torch.inference_mode():  # the latents, too: for others it would be compiled once more
        latents = _latents(vae, size)
        compile_for_one(vae.decoder, latents.shape)
        vae.decode(latents)


def _is_quicker(vae: Any, device: Device, clock: Callable[[], float]) -> bool:  # noqa: ANN401
    """Whether channels last is. The autoencoder is as it was afterwards."""
    latents = _latents(vae, (MEASURED_SIDE, MEASURED_SIDE))
    try:
        before = _seconds(vae, latents, device, clock)
        _to(vae, torch.channels_last)
        after = _seconds(vae, latents, device, clock)
    except (RuntimeError, MemoryError) as exc:
        if not is_out_of_memory(exc):
            raise
        log.warning("no_memory_to_measure_vae")
        return False
    finally:
        _to(vae, torch.contiguous_format)
    milliseconds = {"contiguous": round(1000 * before, 2), "channels_last": round(1000 * after, 2)}
    log.info("vae_measured", pixels=MEASURED_SIDE**2, milliseconds=milliseconds)
    return after * HARDLY < before


@torch.inference_mode()
def _seconds(vae: Any, latents: Tensor, device: Device, clock: Callable[[], float]) -> float:  # noqa: ANN401
    """The least of several; the first one, which chooses kernels, does not count."""
    vae.decode(latents)
    seconds: list[float] = []
    for _ in range(ROUNDS):
        _synchronise(device)
        began = clock()
        vae.decode(latents)
        _synchronise(device)
        seconds.append(clock() - began)
    return min(seconds)


def _latents(vae: Any, size: tuple[int, int]) -> Tensor:  # noqa: ANN401
    """size: (width, height) of their picture."""
    if isinstance(vae, OneFrameAutoencoder):
        channels, times = (vae.z_dim, 1), vae.spatial_compression_ratio
    else:
        channels, times = (vae.config.latent_channels,), 2 ** (len(vae.config.block_out_channels) - 1)
    width, height = (side // times for side in size)
    return torch.zeros((1, *channels, height, width), device=vae.device, dtype=vae.dtype)


def _to(vae: Any, memory_format: torch.memory_format) -> None:  # noqa: ANN401
    vae.to(memory_format=memory_format)


def _synchronise(device: Device) -> None:
    if device.torch_device.type == "cuda":
        torch.cuda.synchronize(device.torch_device)
