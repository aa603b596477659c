"""In the worker process: turns raw pictures into stored ones while the device works on the next job."""

import threading
import time
from queue import SimpleQueue
from typing import NamedTuple

import structlog

from danqing.core.engine_port import Engine
from danqing.core.errors import EngineFailure, StorageFailure
from danqing.core.ports import ArtifactStore
from danqing.core.types import Artifact, ArtifactKind, EncodedPicture, RawPicture
from danqing.workers.inbox import Inbox
from danqing.workers.input_images import reader_of
from danqing.workers.messages import JobDone, JobGenerated, JobStopped, PartDone, RunJob
from danqing.workers.outbox import Outbox

log = structlog.get_logger(__name__)

FIRST_PAUSE_S = 1.0  # after a picture could not be stored; doubles up to MAX_PAUSE_S
MAX_PAUSE_S = 30.0
STOP_CHECK_S = 0.05
UPSCALING = 4  # times, each way
NAMES = {
    ArtifactKind.ORIGINAL: "{job_id}.png",
    ArtifactKind.PREVIEW: "{job_id}.webp",
    ArtifactKind.UPSCALED: "{job_id}-upscaled.png",
}


class _Work(NamedTuple):
    job: RunJob
    raw: RawPicture
    denoise_s: float


class _Stopped(Exception):
    """The job is not wanted any more."""


class Finisher:
    """One thread, pictures in order. The server limits how many wait here (`WorkerRules.max_finishing`)."""

    def __init__(self, *, engine: Engine, artifacts: ArtifactStore, inbox: Inbox, outbox: Outbox) -> None:
        self._engine = engine
        self._artifacts = artifacts
        self._inbox = inbox
        self._outbox = outbox
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="finisher", daemon=True)
        self.poisoned = False

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def add(self, job: RunJob, raw: RawPicture, denoise_s: float) -> None:
        """Takes over a picture; does not wait."""
        self._work.put(_Work(job, raw, denoise_s))

    def close(self) -> None:
        """Returns when every picture added is finished."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            finishing = _Finishing(work, self._engine, self._artifacts, self._inbox, self._outbox)
            try:
                finishing.run()
            except _Stopped:
                job_id, attempt = work.job.job_id, work.job.attempt
                self._outbox.send(JobStopped(job_id=job_id, attempt=attempt, artifacts=finishing.untold))
            except Exception as error:
                if self._outbox.send_failure(work.job, error, finishing.untold):
                    self.poisoned = True
                    self._inbox.shut_down()
            finally:
                self._inbox.ended(work.job.job_id)


class _Finishing:
    """One picture's way from raw to stored. Raises _Stopped once it is not wanted any more."""

    def __init__(self, work: _Work, engine: Engine, artifacts: ArtifactStore, inbox: Inbox, outbox: Outbox) -> None:
        self._job = work.job
        self._raw = work.raw
        self._denoise_s = work.denoise_s
        self._engine = engine
        self._artifacts = artifacts
        self._inbox = inbox
        self._outbox = outbox
        self._started = time.monotonic()
        self.untold: tuple[Artifact, ...] = ()  # stored, and the server does not know

    def run(self) -> None:
        """Stores everything that was asked for, and tells of it."""
        job, request = self._job, self._job.request
        self._go_on()
        picture = self._engine.finish(self._raw, request, read_image=reader_of(self._artifacts))
        adjustments = tuple(dict.fromkeys((*self._raw.adjustments, *picture.adjustments)))
        self._store(picture, ArtifactKind.ORIGINAL, size=(request.width, request.height))
        if ArtifactKind.PREVIEW in request.further:
            self._store(picture, ArtifactKind.PREVIEW)
        finished = time.monotonic()
        if ArtifactKind.UPSCALED in request.further:
            self._outbox.send(
                JobGenerated(job_id=job.job_id, attempt=job.attempt, artifacts=self.untold, adjustments=adjustments)
            )
            self.untold = ()
            enlarged = self._engine.enlarge(picture, on_part=self._part_done)
            adjustments = tuple(told for told in enlarged.adjustments if told not in adjustments)
            self._store(enlarged, ArtifactKind.UPSCALED, size=(UPSCALING * request.width, UPSCALING * request.height))
        self._outbox.send(
            JobDone(
                job_id=job.job_id,
                attempt=job.attempt,
                artifacts=self.untold,
                adjustments=adjustments,
                denoise_s=self._denoise_s,
                finish_s=finished - self._started,
                upscale_s=time.monotonic() - finished,
            )
        )

    def _part_done(self, part: int, parts: int) -> None:
        self._outbox.send(PartDone(job_id=self._job.job_id, attempt=self._job.attempt, part=part, parts=parts))
        self._go_on()

    def _store(self, picture: RawPicture, kind: ArtifactKind, *, size: tuple[int, int] | None = None) -> None:
        """size: what the file must have; None for a preview, whose size is the engine's business."""
        self._go_on()
        encoded = self._engine.encode(picture, self._job.request, kind)
        if size is not None:
            check_size(encoded, size)
        self._go_on()
        artifact = Artifact(
            kind=kind,
            name=NAMES[kind].format(job_id=self._job.job_id),
            media_type=encoded.media_type,
            width=encoded.width,
            height=encoded.height,
            size_bytes=len(encoded.content),
        )
        self._write(artifact.name, encoded.content)
        self.untold = (*self.untold, artifact)

    def _write(self, name: str, content: bytes) -> None:
        """Tries until the picture is stored: a volume may be full for a while."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                self._artifacts.write(name, content)
            except StorageFailure:
                log.warning(
                    "picture_not_stored", job_id=self._job.job_id, attempt=self._job.attempt, again_in_s=pause_s
                )
            else:
                return
            self._sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._go_on()
            time.sleep(STOP_CHECK_S)

    def _go_on(self) -> None:
        if self._inbox.is_stopped(self._job.job_id):
            raise _Stopped


def check_size(picture: EncodedPicture, size: tuple[int, int]) -> None:
    """Raises EngineFailure unless the picture has this size, (width, height)."""
    made = (picture.width, picture.height)
    if made != size:
        raise EngineFailure(f"The engine made {made[0]}x{made[1]} pixels instead of {size[0]}x{size[1]}.")
