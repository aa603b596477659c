"""In the worker process: enlarges pictures, which takes so long that nobody's original may have to wait for it."""

import time
from collections.abc import Callable

from danqing.core.engine_port import Engine, ReadImage
from danqing.core.types import ArtifactKind, RawPicture
from danqing.core.upscaling import FACTOR
from danqing.workers.inbox import Inbox
from danqing.workers.making import Making
from danqing.workers.picture_thread import PictureThread


class Enlarger:
    """One thread. Copies of pictures that were made, in order, of which the server limits how many wait here
    (`WorkerRules.max_enlarging`); and jobs of mode upscale, of which it sends the next when one is done. So they take
    turns: such a job waits for one copy at most, and between two of them a copy is made.
    """

    def __init__(self, *, engine: Engine, read_image: ReadImage, inbox: Inbox) -> None:
        self._engine = engine
        self._read_image = read_image
        self._thread = PictureThread("enlarger", inbox=inbox)

    @property
    def poisoned(self) -> bool:
        """See `PictureThread`."""
        return self._thread.poisoned

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def add(self, making: Making, picture: RawPicture) -> None:
        """Takes over a finished picture whose original is stored; does not wait."""
        self._thread.add(making, lambda: self._enlarge(making, picture))

    def add_input(self, making: Making) -> None:
        """Takes over a job of mode upscale; does not wait."""
        making.awaits_enlarging()
        self._thread.add(making, lambda: self._enlarge_input(making), next_up=True)

    def close(self) -> None:
        """Returns when every picture added is enlarged. To be called after the finisher's."""
        self._thread.close()

    def _enlarge(self, making: Making, picture: RawPicture) -> None:
        request, started = making.job.request, time.monotonic()
        enlarged = self._enlarged(making, lambda: picture)
        making.store(enlarged, ArtifactKind.UPSCALED, size=(FACTOR * request.width, FACTOR * request.height))
        making.done(upscale_s=time.monotonic() - started)

    def _enlarge_input(self, making: Making) -> None:
        request, started = making.job.request, time.monotonic()
        enlarged = self._enlarged(making, lambda: self._engine.to_enlarge(request, read_image=self._read_image))
        making.store(enlarged, ArtifactKind.ORIGINAL, size=(request.width, request.height))
        if ArtifactKind.PREVIEW in request.further:
            making.store(enlarged, ArtifactKind.PREVIEW)
        making.done(upscale_s=time.monotonic() - started)

    def _enlarged(self, making: Making, picture: Callable[[], RawPicture]) -> RawPicture:
        making.go_on()
        making.enlarging_began()
        enlarged = self._engine.enlarge(picture(), on_part=making.part_done)
        making.note(enlarged.adjustments)
        return enlarged
