"""In the worker process: makes upscaled copies, which takes so long that nobody's original may have to wait for it."""

import time

from danqing.core.engine_port import Engine
from danqing.core.types import ArtifactKind, RawPicture
from danqing.workers.inbox import Inbox
from danqing.workers.making import Making
from danqing.workers.picture_thread import PictureThread

UPSCALING = 4  # times, each way


class Enlarger:
    """One thread, pictures in order. The server limits how many wait here (`WorkerRules.max_enlarging`)."""

    def __init__(self, *, engine: Engine, inbox: Inbox) -> None:
        self._engine = engine
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

    def close(self) -> None:
        """Returns when every picture added is enlarged. To be called after the finisher's."""
        self._thread.close()

    def _enlarge(self, making: Making, picture: RawPicture) -> None:
        request, started = making.job.request, time.monotonic()
        making.go_on()
        making.enlarging_began()
        enlarged = self._engine.enlarge(picture, on_part=making.part_done)
        making.note(enlarged.adjustments)
        making.store(enlarged, ArtifactKind.UPSCALED, size=(UPSCALING * request.width, UPSCALING * request.height))
        making.done(upscale_s=time.monotonic() - started)
