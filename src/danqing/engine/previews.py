"""What a watcher is told of a picture that is being made, and shown of it."""

import numpy as np
from PIL import Image

from danqing.core.engine_port import Observer
from danqing.core.sizes import SizePlan
from danqing.engine.codecs.small import encode_jpeg
from danqing.engine.input_pictures import InputPicture, Pixels
from danqing.engine.masks import keep_masked

MAX_SIDE = 512  # pixels


class PreviewingWatcher:
    """A `StepWatcher` for an `Observer`: shows of a preview what the finished picture will show.

    Each is as large as the part that is kept of what the model makes, or made smaller to MAX_SIDE.
    """

    def __init__(self, observer: Observer, plan: SizePlan, start: InputPicture | None) -> None:
        self._observer = observer
        self._plan = plan
        self._start = start
        self._kept: tuple[Pixels, Pixels] | None = None  # what the mask keeps, and the mask, as they are shown

    def step_done(self, step: int, total_steps: int) -> None:
        """See `Observer`."""
        self._observer.step_done(step, total_steps)

    def stopped(self) -> bool:
        """See `Observer`."""
        return self._observer.stopped()

    def wants_preview(self) -> bool:
        """See `Observer`."""
        return self._observer.wants_preview()

    def preview_made(self, step: int, total_steps: int, rgb: Pixels) -> None:
        """rgb: uint8 (h, w, 3), of the shape that the model makes but of any size."""
        shown = self._shown(rgb, Image.Resampling.BICUBIC)
        if self._start is not None and self._start.mask is not None:
            if self._kept is None:
                kept = self._shown(self._start.rgb, Image.Resampling.BICUBIC)
                # Not by the other one, which leaves a trace of each edge beside it.
                self._kept = kept, self._shown(self._start.mask, Image.Resampling.BILINEAR)
            shown = keep_masked(shown, *self._kept)
        self._observer.preview_made(step, total_steps, encode_jpeg(shown, max_side=MAX_SIDE))

    def _shown(self, pixels: Pixels, method: Image.Resampling) -> Pixels:
        """Of pixels, uint8 (h, w) or (h, w, 3), which show the whole that the model makes: the part that is kept."""
        kept, native = self._plan.kept, self._plan.native
        shrink = min(1.0, MAX_SIDE / max(kept))
        width, height = (max(1, round(side * shrink)) for side in kept)
        left, top = ((whole - part) // 2 for whole, part in zip(native, kept, strict=True))
        across, down = pixels.shape[1] / native[0], pixels.shape[0] / native[1]
        box = (left * across, top * down, (left + kept[0]) * across, (top + kept[1]) * down)
        return np.asarray(Image.fromarray(pixels).resize((width, height), method, box=box))
