"""Which jobs a worker has in its hands, as told by the messages that went to and fro. Pure bookkeeping."""

from dataclasses import dataclass
from enum import Enum

from danqing.workers.messages import (
    DeviceFree,
    EnlargingBegan,
    FromWorker,
    JobDone,
    JobFailed,
    JobGenerated,
    JobStopped,
    RunJob,
)


@dataclass(frozen=True)
class JobAttempt:
    """One attempt at one job."""

    job_id: str
    attempt: int


class Handover(Enum):
    """What became of a job that was to be sent to a process."""

    SENT = "sent"
    STOPPED = "stopped"  # not sent: it was stopped while it was being claimed
    LOST = "lost"  # not sent: the process was lost since the reservation
    ENDING = "ending"  # not sent: the server ends


class Hands:
    """At most one job is reserved or on the device; a few more may be off the device and not stored yet, and some more
    stored and not enlarged yet.
    """

    def __init__(self, *, max_finishing: int, max_enlarging: int) -> None:
        self._max_finishing = max_finishing
        self._max_enlarging = max_enlarging
        self._reserved: str | None = None
        self._stop_reserved = False
        self._on_device: JobAttempt | None = None
        self._finishing: set[JobAttempt] = set()
        self._to_enlarge: set[JobAttempt] = set()
        self._enlarging: set[JobAttempt] = set()

    @property
    def have_room(self) -> bool:
        """True when one more job may be reserved."""
        idle = self._reserved is None and self._on_device is None
        generated = len(self._to_enlarge) + len(self._enlarging)
        return idle and len(self._finishing) < self._max_finishing and generated < self._max_enlarging

    @property
    def attempts(self) -> list[JobAttempt]:
        """Everything that was sent and has not ended, the one on the device last."""
        off_device = (*self._enlarging, *self._to_enlarge, *self._finishing)
        return [*off_device, *([self._on_device] if self._on_device else [])]

    def awaits_enlarging(self, attempt: JobAttempt) -> bool:
        """True while nothing is done about the attempt, for others are enlarged before it."""
        return attempt in self._to_enlarge

    @property
    def device_busy(self) -> bool:
        """True while a job is on the device."""
        return self._on_device is not None

    @property
    def reserved_was_stopped(self) -> bool:
        """True when the job being claimed is not wanted any more."""
        return self._stop_reserved

    def reserve(self, job_id: str) -> None:
        """Keeps the device for a job that is being claimed."""
        self._reserved, self._stop_reserved = job_id, False

    def reserved_for(self, job_id: str) -> bool:
        """True while the device is kept for this job."""
        return self._reserved == job_id

    def release(self) -> None:
        """The claim came to nothing."""
        self._reserved = None

    def stop_reserved(self, job_id: str) -> bool:
        """Notes that the job being claimed is not wanted any more; False if it is another one."""
        if self._reserved != job_id:
            return False
        self._stop_reserved = True
        return True

    def sent(self, message: RunJob) -> None:
        """The reserved job is on its way."""
        self._reserved = None
        self._on_device = JobAttempt(message.job_id, message.attempt)

    def told(self, message: FromWorker) -> None:
        """Moves the job that the message is about."""
        match message:
            case DeviceFree() if self._on_device is not None:
                self._finishing.add(self._on_device)
                self._on_device = None
            case JobGenerated():
                _move(JobAttempt(message.job_id, message.attempt), self._finishing, self._to_enlarge)
            case EnlargingBegan():
                _move(JobAttempt(message.job_id, message.attempt), self._to_enlarge, self._enlarging)
            case JobDone() | JobStopped() | JobFailed():
                ended = JobAttempt(message.job_id, message.attempt)
                for off_device in (self._finishing, self._to_enlarge, self._enlarging):
                    off_device.discard(ended)
                if self._on_device == ended:
                    self._on_device = None
            case _:
                pass


def _move(attempt: JobAttempt, origin: set[JobAttempt], target: set[JobAttempt]) -> None:
    origin.remove(attempt)
    target.add(attempt)
