"""A network that enlarges pictures, run by torch on the device that the models are on."""

import threading

import numpy as np
import structlog
import torch
from PIL import Image
from torch import nn

from danqing.core.sentences import says
from danqing.engine.device import Device, is_out_of_memory
from danqing.engine.launched import apart, mark, sent
from danqing.engine.upscale.tiles import Tiling, enlarge_in_tiles
from danqing.engine.upscale.upscaler import SCALE, OnPart, Pixels, UpscalerTraits, unheard

LANCZOS_REACH = 3  # pixels of the picture, at most, around one that depends on them when the results are resized

log = structlog.get_logger(__name__)


class TorchUpscaler:
    """An `Upscaler`. The network goes to the device with the first picture, and stays there. A GPU that is denoising
    works at both, and a part waits for no step.

    Beside both pictures, memory use is bounded by the tile; where the device has not that much left, a tile is made in
    smaller parts.
    """

    def __init__(
        self, network: nn.Module, *, name: str, device: Device, dtype: torch.dtype, tiling: Tiling, scale: int = SCALE
    ) -> None:
        """network: RGB from 0 to 1, (1, 3, H, W) → (1, 3, scale * H, scale * W), in evaluation mode. dtype: it runs in.

        Where scale is another than four, its results are brought there by Lanczos.
        """
        adjustments: tuple[str, ...] = ()
        if scale != SCALE:
            adjustments = (says("enlarged_otherwise", scale=scale, name=name, factor=SCALE),)
        self.traits = UpscalerTraits(name=name, margin=tiling.context, adjustments=adjustments)
        self._network = network
        self._device = device
        self._dtype = dtype
        self._tiling = tiling
        self._scale = scale
        self._apart = apart(device.torch_device)
        self._moving = threading.Lock()
        self._moved = False

    def enlarge(self, rgb: Pixels, *, on_part: OnPart = unheard) -> Pixels:
        """See `Upscaler`. Blocking; raises what torch raises."""
        with self._device.side_work.going_on(), self._apart():
            self._move()
            return enlarge_in_tiles(rgb, self._enlarge_tile, self._tiling, on_part=on_part)

    def _move(self) -> None:
        with self._moving:
            if not self._moved:
                self._network.to(self._device.torch_device, self._dtype)
                self._network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
                self._moved = True

    def _enlarge_tile(self, rgb: Pixels) -> Pixels:
        """uint8 (h, w, 3) → uint8 (4h, 4w, 3). Nothing is mirrored around it: it is framed already."""
        longest = max(rgb.shape[:2])
        half = Tiling(tile=longest // 2, context=self._tiling.context, border=0)
        try:
            return self._to_scale(self._run(rgb))
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc) or half.tile + 2 * half.context >= longest:
                raise
            log.warning("out_of_memory_enlarging_smaller_parts", upscaler=self.traits.name, tile=half.tile)
        # Only here, where the error is gone and with it the frames that held the failed try's tensors.
        self._device.free_unused_memory()
        return enlarge_in_tiles(rgb, self._enlarge_tile, half)

    @torch.inference_mode()
    def _run(self, rgb: Pixels) -> Pixels:
        """uint8 (h, w, 3) → uint8 (scale * h, scale * w, 3)."""
        device = self._device.torch_device
        tile = sent(torch.as_tensor(np.ascontiguousarray(rgb)), device)  # (h, w, 3)
        planes = tile.permute(2, 0, 1)[None].to(self._dtype, memory_format=torch.channels_last) / 255  # (1, 3, h, w)
        made = self._network(planes)[0].float().mul(255).round().clamp(0, 255)  # (3, scale * h, scale * w)
        pixels = made.to(torch.uint8).permute(1, 2, 0).contiguous()  # (scale * h, scale * w, 3)
        on_host = pixels.to("cpu", non_blocking=True)  # from a GPU into pinned memory
        mark(device)()
        return on_host.numpy()

    def _to_scale(self, made: Pixels) -> Pixels:
        if self._scale == SCALE:
            return made
        height, width = (side // self._scale * SCALE for side in made.shape[:2])
        return np.asarray(Image.fromarray(np.ascontiguousarray(made)).resize((width, height), Image.Resampling.LANCZOS))
