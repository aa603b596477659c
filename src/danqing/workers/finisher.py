"""In the worker process: turns raw pictures into stored ones while the device works on the next job."""

import threading
import time
from queue import SimpleQueue
from typing import NamedTuple

import structlog

from danqing.core.errors import EngineFailure, StorageFailure
from danqing.core.ports import ArtifactStore, Engine
from danqing.core.types import Artifact, ArtifactKind, EncodedPicture, GenerationRequest, RawPicture
from danqing.workers.inbox import Inbox
from danqing.workers.messages import JobDone, JobStopped, RunJob
from danqing.workers.outbox import Outbox

log = structlog.get_logger(__name__)

FIRST_PAUSE_S = 1.0  # after a picture could not be stored; doubles up to MAX_PAUSE_S
MAX_PAUSE_S = 30.0
STOP_CHECK_S = 0.05


class _Work(NamedTuple):
    job: RunJob
    raw: RawPicture
    denoise_s: float


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
            try:
                self._finish(work)
            except Exception as error:
                if self._outbox.send_failure(work.job, error):
                    self.poisoned = True
                    self._inbox.shut_down()
            finally:
                self._inbox.ended(work.job.job_id)

    def _finish(self, work: _Work) -> None:
        job, started = work.job, time.monotonic()
        picture = None if self._inbox.is_stopped(job.job_id) else self._engine.finish(work.raw, job.request)
        if picture is None or self._inbox.is_stopped(job.job_id):
            self._outbox.send(JobStopped(job_id=job.job_id, attempt=job.attempt))
            return
        check_size(picture, job.request)
        artifact = Artifact(
            kind=ArtifactKind.ORIGINAL,
            name=f"{job.job_id}.png",
            media_type=picture.media_type,
            width=picture.width,
            height=picture.height,
            size_bytes=len(picture.content),
        )
        if not self._write(job, artifact.name, picture.content):
            self._outbox.send(JobStopped(job_id=job.job_id, attempt=job.attempt))
            return
        finish_s = time.monotonic() - started
        self._outbox.send(
            JobDone(
                job_id=job.job_id,
                attempt=job.attempt,
                artifacts=(artifact,),
                adjustments=work.raw.adjustments,
                denoise_s=work.denoise_s,
                finish_s=finish_s,
            )
        )

    def _write(self, job: RunJob, name: str, content: bytes) -> bool:
        """Tries until the picture is stored (a volume may be full for a while); False once the job was stopped."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                self._artifacts.write(name, content)
            except StorageFailure:
                log.warning("picture_not_stored", job_id=job.job_id, attempt=job.attempt, again_in_s=pause_s)
            else:
                return True
            if self._stopped_within(pause_s, job.job_id):
                return False
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _stopped_within(self, seconds: float, job_id: str) -> bool:
        deadline = time.monotonic() + seconds
        while not self._inbox.is_stopped(job_id):
            if time.monotonic() >= deadline:
                return False
            time.sleep(STOP_CHECK_S)
        return True


def check_size(picture: EncodedPicture, request: GenerationRequest) -> None:
    """Raises EngineFailure unless the picture has the size that was asked for."""
    made, asked = (picture.width, picture.height), (request.width, request.height)
    if made != asked:
        raise EngineFailure(f"The engine made {made[0]}x{made[1]} pixels instead of {asked[0]}x{asked[1]}.")
