"""In the worker: the zoo's engine, quick, with strikes in its steps and around the writing of pictures."""

import errno
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from danqing.blobs import local, s3
from danqing.core.engine_port import Observer, Outcome, ReadImage
from danqing.core.errors import EngineFailure
from danqing.core.types import EncodedPicture, GenerationRequest
from tests.chaos.points import ClusterPoint, Point, die, kill_parent, note_write, wrap
from tests.zoo.engines import Zoo, ZooEngine

STEP_S = 0.002
FULL_S = 0.5
KILLER = "kills every worker"
SLOW = "takes its time"


def build_engine(folder: Path) -> "ChaosEngine":
    """The factory's target; puts the strikes into this process."""
    _strike_writes(folder)
    return ChaosEngine(folder)


class ChaosEngine(ZooEngine):
    """Strikes at the second step of a batch."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Zoo(folder=folder, step_s=STEP_S))
        self._folder = folder

    def denoise(
        self, requests: Sequence[GenerationRequest], *, read_image: ReadImage, observers: Sequence[Observer]
    ) -> Sequence[Outcome]:
        watched = [
            _Struck(observer, self._folder, request.prompt)
            for observer, request in zip(observers, requests, strict=True)
        ]
        return super().denoise(requests, read_image=read_image, observers=watched)


@dataclass(frozen=True)
class _Struck:
    """An observer whose second step strikes."""

    observer: Observer
    folder: Path
    prompt: str

    def step_done(self, step: int, total_steps: int) -> None:
        self.observer.step_done(step, total_steps)
        if step != 2:
            return
        if self.prompt.startswith(KILLER):
            die()
        if self.prompt.startswith(SLOW):
            time.sleep(0.3)
        if Point.STEP_WORKER.strikes(self.folder):
            die()
        if Point.STEP_SERVER.strikes(self.folder):
            kill_parent()
        if Point.STOPPED.strikes(self.folder):
            os.kill(os.getpid(), signal.SIGSTOP)
        if Point.POISONED.strikes(self.folder):
            raise EngineFailure from RuntimeError("CUDA error: an illegal memory access was encountered")

    def stopped(self) -> bool:
        return self.observer.stopped()

    def wants_preview(self) -> bool:
        return self.observer.wants_preview()

    def preview_made(self, step: int, total_steps: int, picture: EncodedPicture) -> None:
        self.observer.preview_made(step, total_steps, picture)


def _strike_writes(folder: Path) -> None:
    """The store of pictures as it is, but for the strikes before, in and after a write."""
    wrap(local, "write_new", partial(_struck_file, folder))
    wrap(local.LocalArtifactStore, "write", partial(_struck_write, folder))
    wrap(s3.S3ArtifactStore, "write", partial(_struck_write, folder))


def _struck_file(folder: Path, write: Callable[[Path, bytes], None]) -> Callable[[Path, bytes], None]:
    full_until = 0.0

    def struck(path: Path, content: bytes) -> None:
        nonlocal full_until
        if Point.PICTURES_FULL.strikes(folder):
            full_until = time.monotonic() + FULL_S
        is_full, dies = time.monotonic() < full_until, Point.HALF_WRITTEN.strikes(folder)
        if is_full or dies:
            write(path, content[: len(content) // 2])
        if dies:
            die()
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    return struck


Write = Callable[[object, str, bytes], None]


def _struck_write(folder: Path, write: Write) -> Write:
    def struck(store: object, name: str, content: bytes) -> None:
        if ClusterPoint.BEFORE_WRITE.strikes(folder):
            die()
        write(store, name, content)
        note_write(folder, name)
        if Point.WRITTEN_WORKER.strikes(folder):
            die()
        if Point.WRITTEN_SERVER.strikes(folder):
            kill_parent()

    return struck
