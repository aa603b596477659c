"""What a watcher is told of a picture that is being made, and shown of it."""

import numpy as np
import numpy.typing as npt

from danqing.core.engine_port import Observer
from danqing.core.sizes import SizePlan
from danqing.engine.codecs.small import encode_jpeg
from danqing.engine.input_pictures import InputPicture
from danqing.engine.masks import keep_masked
from danqing.engine.picture import centre

MAX_SIDE = 512  # pixels


class PreviewingWatcher:
    """A `StepWatcher` for an `Observer`: shows of a preview what the finished picture will show."""

    def __init__(self, observer: Observer, plan: SizePlan, start: InputPicture | None) -> None:
        self._observer = observer
        self._plan = plan
        self._start = start

    def step_done(self, step: int, total_steps: int) -> None:
        """See `Observer`."""
        self._observer.step_done(step, total_steps)

    def stopped(self) -> bool:
        """See `Observer`."""
        return self._observer.stopped()

    def wants_preview(self) -> bool:
        """See `Observer`."""
        return self._observer.wants_preview()

    def preview_made(self, step: int, total_steps: int, rgb: npt.NDArray[np.uint8]) -> None:
        """rgb: uint8 (H, W, 3), of the size that the model makes."""
        if self._start is not None and self._start.mask is not None:
            rgb = keep_masked(rgb, self._start.rgb, self._start.mask)
        picture = encode_jpeg(centre(rgb, self._plan.kept), max_side=MAX_SIDE)
        self._observer.preview_made(step, total_steps, picture)
