"""Which jobs a worker has in its hands, as told by the messages that went to and fro. Pure bookkeeping."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from danqing.workers.messages import (
    AwaitsEnlarging,
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
    """One batch is on the device. One more may be reserved, or sent and next, once the device will soon be free; a few
    more may be off the device and not all stored yet, and some more pictures stored and not enlarged yet. Of the jobs
    that only enlarge a picture (`AwaitsEnlarging`) one is to be in the hands: others wait where they keep their order,
    and where another worker may be quicker.
    """

    def __init__(self, *, max_finishing: int, max_enlarging: int) -> None:
        """max_finishing: batches. max_enlarging: pictures that are stored."""
        self._max_finishing = max_finishing
        self._max_enlarging = max_enlarging
        self._reserved: dict[str, bool] = {}  # job id → whether it was stopped since
        self._stopped: set[str] = set()  # others, while something is reserved: one may be what is being claimed
        self._batch = 0  # number of the one on the device
        self._on_device: list[JobAttempt] = []
        self._next: list[JobAttempt] = []  # sent, and made as soon as the device is free
        self._is_soon_free = False
        self._is_spoilt = False  # the process takes nothing more, for an error has shown that it cannot be trusted
        self._finishing: dict[JobAttempt, int] = {}  # → its batch
        self._to_enlarge: set[JobAttempt] = set()
        self._enlarging: set[JobAttempt] = set()
        self._only_enlarged: set[JobAttempt] = set()  # those of both that the device had nothing to do with

    @property
    def have_room(self) -> bool:
        """True when another batch may be reserved."""
        is_free = not self._on_device or (self._is_soon_free and not self._next)
        if not is_free or self._reserved or self._is_spoilt:
            return False
        generated = len((self._to_enlarge | self._enlarging) - self._only_enlarged)
        finishing = len(set(self._finishing.values())) + bool(self._on_device)
        return finishing < self._max_finishing and generated < self._max_enlarging

    @property
    def only_enlarge(self) -> bool:
        """True while a job is in the hands of which a picture is enlarged and nothing else."""
        return bool(self._only_enlarged)

    @property
    def attempts(self) -> list[JobAttempt]:
        """Everything that was sent and has not ended, in the order in which it will."""
        return [*self._enlarging, *self._to_enlarge, *self._finishing, *self._on_device, *self._next]

    @property
    def are_empty(self) -> bool:
        """True when everything that was sent has ended."""
        return not (self._on_device or self._finishing or self._next or self._to_enlarge or self._enlarging)

    @property
    def next_up(self) -> list[JobAttempt]:
        """The jobs that were sent, and with which nothing is done before the device is free."""
        return list(self._next)

    def expect_free(self, is_soon: bool) -> None:
        """Whether the jobs on the device are as good as done, and the next may be sent."""
        self._is_soon_free = is_soon and bool(self._on_device)

    def trails(self, attempt: JobAttempt) -> bool:
        """True for the last of the jobs on the device: of those that are made in parts, it is in the last one."""
        return self._on_device[-1:] == [attempt]

    def awaits_enlarging(self, attempt: JobAttempt) -> bool:
        """True while nothing is done about the attempt, for others are enlarged before it."""
        return attempt in self._to_enlarge

    @property
    def device_busy(self) -> bool:
        """True while jobs are on the device."""
        return bool(self._on_device)

    @property
    def on_device(self) -> list[JobAttempt]:
        """The jobs that are on the device."""
        return list(self._on_device)

    def leads(self, attempt: JobAttempt) -> bool:
        """True for the first of the jobs on the device: all of a batch make each step together."""
        return self._on_device[:1] == [attempt]

    def reserve(self, job_id: str) -> None:
        """Keeps the device for a job that is being claimed; for each of a batch once."""
        self._reserved[job_id] = job_id in self._stopped

    @property
    def has_reservation(self) -> bool:
        """True while the device is kept for anybody."""
        return bool(self._reserved)

    def reserved_for(self, job_id: str) -> bool:
        """True while the device is kept for this job."""
        return job_id in self._reserved

    def release(self) -> None:
        """Nothing comes of what is still reserved."""
        self._reserved.clear()
        self._stopped.clear()

    def stop_reserved(self, job_id: str) -> bool:
        """Notes that a job being claimed is not wanted any more; False if it is none of those, as far as is known."""
        if job_id not in self._reserved:
            if self._reserved:
                self._stopped.add(job_id)
            return False
        self._reserved[job_id] = True
        return True

    def reserved_was_stopped(self, job_id: str) -> bool:
        """True when the job being claimed is not wanted any more."""
        return self._reserved.get(job_id, False)

    def sent(self, jobs: Sequence[RunJob]) -> None:
        """These are on their way, and nothing is reserved any more."""
        self.release()
        self._next = [JobAttempt(job.job_id, job.attempt) for job in jobs]
        self._turn_to_next()

    def never_begun(self) -> list[JobAttempt]:
        """Takes out what was sent to a process that begins with nothing more."""
        never_begun = [*self._on_device, *self._next]
        self._on_device, self._next = [], []
        return never_begun

    def told(self, message: FromWorker) -> bool:
        """Moves the job that the message is about. True when the device turned to the next ones by that."""
        self._is_spoilt = self._is_spoilt or (isinstance(message, JobFailed) and message.poisoned)
        self._move(message)
        return self._turn_to_next()

    def _turn_to_next(self) -> bool:
        if self._on_device:
            return False
        self._is_soon_free = False
        if not self._next or self._is_spoilt:
            return False
        self._batch += 1
        self._on_device, self._next = self._next, []
        return True

    def _move(self, message: FromWorker) -> None:
        match message:
            case DeviceFree() if (attempt := JobAttempt(message.job_id, message.attempt)) in self._on_device:
                self._on_device.remove(attempt)
                self._finishing[attempt] = self._batch
            case AwaitsEnlarging() if (attempt := JobAttempt(message.job_id, message.attempt)) in self._on_device:
                self._on_device.remove(attempt)
                self._to_enlarge.add(attempt)
                self._only_enlarged.add(attempt)
            case JobGenerated():
                attempt = JobAttempt(message.job_id, message.attempt)
                del self._finishing[attempt]
                self._to_enlarge.add(attempt)
            case EnlargingBegan():
                attempt = JobAttempt(message.job_id, message.attempt)
                self._to_enlarge.remove(attempt)
                self._enlarging.add(attempt)
            case JobDone() | JobStopped() | JobFailed():
                self._end(JobAttempt(message.job_id, message.attempt))
            case _:
                pass

    def _end(self, attempt: JobAttempt) -> None:
        self._finishing.pop(attempt, None)
        for waiting in (self._to_enlarge, self._enlarging, self._only_enlarged):
            waiting.discard(attempt)
        for making in (self._on_device, self._next):
            if attempt in making:
                making.remove(attempt)
