"""What the server and a worker process tell each other through their pipe. Frozen and picklable; nothing else crosses.

Order: the worker says `WorkerReady` or `LoadFailed` once. For each `RunJob` it then sends any number of `StepDone`,
and, unless denoising failed or was stopped, one `DeviceFree` (the next `RunJob` is welcome while this job's picture is
finished); at last exactly one of `JobDone`, `JobStopped`, `JobFailed`. `Heartbeat` may come at any time.
"""

from dataclasses import dataclass

from danqing.core.types import Artifact, DeviceStatus, GenerationRequest, JobFailure

# Server to worker


@dataclass(frozen=True, kw_only=True)
class RunJob:
    """Make this picture."""

    job_id: str
    attempt: int
    request: GenerationRequest


@dataclass(frozen=True, kw_only=True)
class StopJob:
    """Drop this job before its next step; unknown or ended ids are ignored."""

    job_id: str


@dataclass(frozen=True, kw_only=True)
class Shutdown:
    """End the process once the present job is done."""


# Worker to server


@dataclass(frozen=True, kw_only=True)
class WorkerReady:
    """Models are loaded."""

    models: tuple[str, ...]
    device: DeviceStatus
    load_s: float


@dataclass(frozen=True, kw_only=True)
class LoadFailed:
    """Models cannot be loaded; the process ends."""

    failure: JobFailure


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The process lives; sent every second from a thread of its own."""

    device: DeviceStatus


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """A denoising step ended."""

    job_id: str
    attempt: int
    step: int
    total_steps: int


@dataclass(frozen=True, kw_only=True)
class DeviceFree:
    """This job is off the device."""

    job_id: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class JobDone:
    """The picture is stored. Times in seconds, by stage. adjustments: those of the engine's `RawPicture`."""

    job_id: str
    attempt: int
    artifacts: tuple[Artifact, ...]
    denoise_s: float
    finish_s: float
    adjustments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobStopped:
    """The job was dropped as asked."""

    job_id: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class JobFailed:
    """The picture could not be made. poisoned: the process cannot be trusted any more and ends."""

    job_id: str
    attempt: int
    failure: JobFailure
    poisoned: bool = False


ToWorker = RunJob | StopJob | Shutdown
JobNews = StepDone | JobDone | JobStopped | JobFailed
FromWorker = WorkerReady | LoadFailed | Heartbeat | StepDone | DeviceFree | JobDone | JobStopped | JobFailed
