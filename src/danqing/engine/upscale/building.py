"""The upscaler that was chosen, made ready for a device."""

import torch

from danqing.engine.device import Device
from danqing.engine.upscale.by_torch import LANCZOS_REACH, TorchUpscaler
from danqing.engine.upscale.choice import UpscalerFile, find_upscaler
from danqing.engine.upscale.ncnn_files import read_layout, read_numbers
from danqing.engine.upscale.networks import build_network
from danqing.engine.upscale.real_esrgan import RealEsrgan
from danqing.engine.upscale.spandrel_files import load_spandrel_network
from danqing.engine.upscale.tiles import BORDER, MOST_CONTEXT, Tiling, context_of, cpu_tile
from danqing.engine.upscale.upscaler import SCALE, Upscaler

GPU_TILE = 512  # at which the results of RRDBNet's last layers take some 2 GB of the device's memory


def build_upscaler(wanted: str, device: Device, *, cpu_threads: int) -> Upscaler:
    """wanted: as for `find_upscaler`. cpu_threads: of ncnn, which runs its own files where there is no GPU.

    Blocking. Raises ModelLoadFailure.
    """
    found = find_upscaler(wanted)
    if found.for_spandrel:
        return _by_spandrel(found, device)
    if device.is_cuda:
        return upscaler_by_torch(found, device)
    return RealEsrgan(found.path, name=found.name, threads=cpu_threads)


def upscaler_by_torch(found: UpscalerFile, device: Device) -> TorchUpscaler:
    """ncnn's file in torch. Half precision on a GPU: as exact as the weights, which are stored in it."""
    layout = read_layout(found.path)
    return TorchUpscaler(
        build_network(layout, read_numbers(found.path.with_suffix(".bin"), layout)),
        name=found.name,
        device=device,
        dtype=torch.float16 if device.is_cuda else torch.float32,
        tiling=_tiling(device, context_of(layout.reach)),
    )


def _by_spandrel(found: UpscalerFile, device: Device) -> TorchUpscaler:
    network = load_spandrel_network(found.path)
    return TorchUpscaler(
        network,
        name=found.name,
        device=device,
        dtype=network.best_dtype(device.torch_device),
        tiling=_tiling(device, MOST_CONTEXT + (LANCZOS_REACH if network.scale != SCALE else 0)),
        scale=network.scale,
    )


def _tiling(device: Device, context: int) -> Tiling:
    return Tiling(tile=GPU_TILE if device.is_cuda else cpu_tile(context), context=context, border=BORDER)
