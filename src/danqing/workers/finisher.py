"""In the worker process: turns raw pictures into stored ones while the device works on the next job."""

import time

from danqing.core.engine_port import Denoised, Engine, ReadImage
from danqing.core.types import ArtifactKind
from danqing.workers.enlarger import Enlarger
from danqing.workers.inbox import Inbox
from danqing.workers.making import Making
from danqing.workers.picture_thread import PictureThread


class Finisher:
    """One thread, pictures in order. The server limits how many wait here (`WorkerRules.max_finishing`)."""

    def __init__(self, *, engine: Engine, read_image: ReadImage, enlarger: Enlarger, inbox: Inbox) -> None:
        self._engine = engine
        self._read_image = read_image
        self._enlarger = enlarger
        self._thread = PictureThread("finisher", inbox=inbox)

    @property
    def poisoned(self) -> bool:
        """See `PictureThread`."""
        return self._thread.poisoned

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def add(self, making: Making, raw: Denoised) -> None:
        """Takes over a picture; does not wait."""
        self._thread.add(making, lambda: self._finish(making, raw))

    def close(self) -> None:
        """Returns when every picture added is finished, or handed on to the enlarger."""
        self._thread.close()

    def _finish(self, making: Making, raw: Denoised) -> None:
        request, started = making.job.request, time.monotonic()
        making.go_on()
        picture = self._engine.finish(raw, request, read_image=self._read_image)
        making.note((*raw.adjustments, *picture.adjustments))
        making.store(picture, ArtifactKind.ORIGINAL, size=(request.width, request.height))
        if ArtifactKind.PREVIEW in request.further:
            making.store(picture, ArtifactKind.PREVIEW)
        making.finish_s = time.monotonic() - started
        if ArtifactKind.UPSCALED in request.further:
            making.generated()
            self._enlarger.add(making, picture)
        else:
            making.done()
