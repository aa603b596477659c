"""Real-ESRGAN, four times each way, on the CPU by ncnn.

Runs on one thread by default: rounding then depends on nothing but the picture, and the denoiser keeps its cores.
"""

from pathlib import Path

import ncnn
import numpy as np

from danqing.core.errors import EngineFailure, ModelLoadFailure
from danqing.engine.upscale.ncnn_files import read_layout
from danqing.engine.upscale.tiles import BORDER, Tiling, context_of, cpu_tile, enlarge_in_tiles
from danqing.engine.upscale.upscaler import OnPart, Pixels, UpscalerTraits, unheard


class RealEsrgan:
    """An `Upscaler`. Beside both pictures, memory use is bounded by the tile. Threads may share it: every tile has an
    extractor of its own, and the net is only read.
    """

    def __init__(self, param: Path, *, name: str, threads: int = 1, tile: int | None = None) -> None:
        """param: its .param file, with the .bin file of the same name beside it. tile: longest side of a part;
        None: what suits a CPU. Raises ModelLoadFailure.
        """
        context = context_of(read_layout(param).reach)
        self._tiling = Tiling(tile=tile or cpu_tile(context), context=context, border=BORDER)
        self.traits = UpscalerTraits(name=name, margin=context)
        self._net = ncnn.Net()
        self._net.opt.num_threads = threads
        self._net.opt.use_vulkan_compute = False
        for load, file in ((self._net.load_param, param), (self._net.load_model, param.with_suffix(".bin"))):
            if not file.is_file() or load(str(file)) != 0:
                raise ModelLoadFailure("The upscaler's weights are missing or damaged.")

    def enlarge(self, rgb: Pixels, *, on_part: OnPart = unheard) -> Pixels:
        """See `Upscaler`. Blocking; holds no lock of Python's while the network runs."""
        return enlarge_in_tiles(rgb, self._run, self._tiling, on_part=on_part)

    def _run(self, rgb: Pixels) -> Pixels:
        """One tile, uint8 (h, w, 3) → uint8 (4h, 4w, 3)."""
        planes = np.ascontiguousarray(rgb.transpose(2, 0, 1), dtype=np.float32) / 255.0  # (3, h, w), 0 to 1
        extractor = self._net.create_extractor()
        extractor.input("data", ncnn.Mat(planes))
        status, output = extractor.extract("output")
        if status != 0:
            raise EngineFailure("The picture could not be enlarged.")
        scaled = np.array(output) * 255.0  # (3, 4h, 4w)
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8).transpose(1, 2, 0)
