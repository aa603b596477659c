"""In which order an autoencoder keeps its numbers, and whether its decoder is compiled: what is quicker, where known.

Only of an `AutoencoderKL`, whose convolutions are two-dimensional. On a CPU channels last pays (`bench/vae_format.py`);
on a GPU it does so compiled, and otherwise that depends on the GPU's kernels for normalisation, so it is measured.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from danqing.engine.device import Device

MEASURED_SIDE = 512  # pixels
ROUNDS = 3
HARDLY = 1.03  # times as quick: not worth a picture that is rounded differently
WARM_UP_SIDES = (24, 32)  # of latents, not a square: else what is compiled would be for squares only

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
    compiled: bool,
    clock: Callable[[], float] = time.perf_counter,
) -> VaeFormat:
    """For an autoencoder where it is to run. Raises what torch raises.

    whole: it stays there; else it comes and goes as its hooks will have it, and nothing is changed. compiled: wanted,
    which takes up to minutes here, so that nobody waits for it later. clock: in seconds.
    """
    if not _is_two_dimensional(vae) or not whole:
        return VaeFormat()
    if compiled:
        _to(vae, torch.channels_last)
        vae.decoder.compile(dynamic=True)
        with torch.inference_mode():
            vae.decode(_latents(vae, WARM_UP_SIDES))
        return VaeFormat(channels_last=True, compiled=True)
    if device.is_cuda and not _is_quicker(vae, device, clock):
        return VaeFormat()
    _to(vae, torch.channels_last)
    return VaeFormat(channels_last=True)


def _is_two_dimensional(vae: Any) -> bool:  # noqa: ANN401
    return isinstance(vae, AutoencoderKL)


def _is_quicker(vae: Any, device: Device, clock: Callable[[], float]) -> bool:  # noqa: ANN401
    """Whether channels last is. The autoencoder is as it was afterwards."""
    side = MEASURED_SIDE // 2 ** (len(vae.config.block_out_channels) - 1)
    latents = _latents(vae, (side, side))
    try:
        before = _seconds(vae, latents, device, clock)
        _to(vae, torch.channels_last)
        after = _seconds(vae, latents, device, clock)
    except torch.OutOfMemoryError:
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


def _latents(vae: Any, sides: tuple[int, int]) -> Tensor:  # noqa: ANN401
    return torch.zeros((1, vae.config.latent_channels, *sides), device=vae.device, dtype=vae.dtype)


def _to(vae: Any, memory_format: torch.memory_format) -> None:  # noqa: ANN401
    vae.to(memory_format=memory_format)


def _synchronise(device: Device) -> None:
    if device.torch_device.type == "cuda":
        torch.cuda.synchronize(device.torch_device)
