"""In the worker process: one attempt at a job from its raw picture on, whichever thread has it in hand."""

import time

import structlog

from danqing.core.engine_port import Engine
from danqing.core.errors import EngineFailure, StorageFailure
from danqing.core.picture_names import picture_name
from danqing.core.picture_ports import ArtifactStore
from danqing.core.types import Artifact, ArtifactKind, EncodedPicture, RawPicture
from danqing.workers.inbox import Inbox
from danqing.workers.messages import (
    AwaitsEnlarging,
    EnlargingBegan,
    JobDone,
    JobGenerated,
    JobStopped,
    PartDone,
    RunJob,
)
from danqing.workers.outbox import Outbox

log = structlog.get_logger(__name__)

FIRST_PAUSE_S = 1.0  # after a picture could not be stored; doubles up to MAX_PAUSE_S
MAX_PAUSE_S = 30.0
STOP_CHECK_S = 0.05


class Stopped(Exception):
    """The job is not wanted any more."""


class Making:
    """Stores pictures and tells the server of them, each once; the last word is one of `done`, `stopped`, `failed`.

    For one thread at a time, which may hand it on to another.
    """

    def __init__(
        self,
        job: RunJob,
        *,
        denoise_s: float,
        engine: Engine,
        artifacts: ArtifactStore,
        inbox: Inbox,
        outbox: Outbox,
    ) -> None:
        self.job = job
        self.finish_s = 0.0  # set by who finishes it
        self._denoise_s = denoise_s
        self._engine = engine
        self._artifacts = artifacts
        self._inbox = inbox
        self._outbox = outbox
        self._untold: tuple[Artifact, ...] = ()  # stored, and the server does not know
        self._adjustments: tuple[str, ...] = ()
        self._adjustments_told = 0  # how many of them the server knows

    def go_on(self) -> None:
        """Raises Stopped if the job is not wanted any more."""
        if self._inbox.is_stopped(self.job.job_id):
            raise Stopped

    def store(self, picture: RawPicture, kind: ArtifactKind, *, size: tuple[int, int] | None = None) -> None:
        """Encodes and stores it, however long the store cannot take it. Raises Stopped, or what the engine raises.

        size: (width, height) that the file must have, else EngineFailure; None for a preview, whose size is the
        engine's business.
        """
        self.go_on()
        encoded = self._engine.encode(picture, self.job.request, kind)
        if size is not None:
            _check_size(encoded, size)
        self.go_on()
        artifact = Artifact(
            kind=kind,
            name=picture_name(self.job.job_id, kind),
            media_type=encoded.media_type,
            width=encoded.width,
            height=encoded.height,
            size_bytes=len(encoded.content),
        )
        self._write(artifact.name, encoded.content)
        self._untold = (*self._untold, artifact)

    def note(self, adjustments: tuple[str, ...]) -> None:
        """Has them told with the next news, those that are known already apart."""
        self._adjustments = tuple(dict.fromkeys((*self._adjustments, *adjustments)))

    def generated(self) -> None:
        """What is stored by now is told; more follows."""
        artifacts, adjustments = self._news()
        self._outbox.send(
            JobGenerated(job_id=self.job.job_id, attempt=self.job.attempt, artifacts=artifacts, adjustments=adjustments)
        )

    def awaits_enlarging(self) -> None:
        """The device has nothing to do for it."""
        self._outbox.send(AwaitsEnlarging(job_id=self.job.job_id, attempt=self.job.attempt))

    def enlarging_began(self) -> None:
        """It is this picture's turn."""
        self._outbox.send(EnlargingBegan(job_id=self.job.job_id, attempt=self.job.attempt))

    def part_done(self, part: int, parts: int) -> None:
        """For `Engine.enlarge`. Raises Stopped."""
        self._outbox.send(PartDone(job_id=self.job.job_id, attempt=self.job.attempt, part=part, parts=parts))
        self.go_on()

    def done(self, *, upscale_s: float = 0.0) -> None:
        """Everything is stored."""
        self._inbox.ended(self.job.job_id)
        artifacts, adjustments = self._news()
        self._outbox.send(
            JobDone(
                job_id=self.job.job_id,
                attempt=self.job.attempt,
                artifacts=artifacts,
                adjustments=adjustments,
                denoise_s=self._denoise_s,
                finish_s=self.finish_s,
                upscale_s=upscale_s,
            )
        )

    def stopped(self) -> None:
        """The rest is dropped."""
        self._inbox.ended(self.job.job_id)
        self._outbox.send(JobStopped(job_id=self.job.job_id, attempt=self.job.attempt, artifacts=self._untold))

    def failed(self, error: Exception) -> None:
        """It is over."""
        self._inbox.ended(self.job.job_id)
        self._outbox.send_failure(self.job, error, self._untold)

    def _news(self) -> tuple[tuple[Artifact, ...], tuple[str, ...]]:
        """What the server does not know yet; from now on it does."""
        news = self._untold, self._adjustments[self._adjustments_told :]
        self._untold, self._adjustments_told = (), len(self._adjustments)
        return news

    def _write(self, name: str, content: bytes) -> None:
        """Tries until the picture is stored: a volume may be full for a while."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                self._artifacts.write(name, content)
            except StorageFailure:
                log.warning("picture_not_stored", job_id=self.job.job_id, attempt=self.job.attempt, again_in_s=pause_s)
            else:
                return
            self._sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.go_on()
            time.sleep(STOP_CHECK_S)


def _check_size(picture: EncodedPicture, size: tuple[int, int]) -> None:
    made = (picture.width, picture.height)
    if made != size:
        raise EngineFailure(f"The engine made {made[0]}x{made[1]} pixels instead of {size[0]}x{size[1]}.")
