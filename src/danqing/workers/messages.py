"""What the server and a worker process tell each other through their pipe. Frozen and picklable; nothing else crosses.

Order: the worker says `WorkerReady` or `LoadFailed` once. For each job given it then sends any number of `StepDone`,
each but the last with a `PreviewReady` before it where previews are wanted, and, unless denoising failed or was
stopped, one `DeviceFree`. One more `RunJobs` is welcome while jobs are on the device; it is begun once all of them are
off it, while their pictures are finished. If the picture is to be enlarged as well, `JobGenerated` follows once the
original is stored; instead of all that, `AwaitsEnlarging` if the job's mode is upscale. `EnlargingBegan` comes when
those before it are enlarged, and then a `PartDone` for each part. At last comes exactly one of `JobDone`, `JobStopped`,
`JobFailed`. That is the order for each job; news of one that is enlarged mix with those of later ones. `Heartbeat` may
come at any time.
"""

from dataclasses import dataclass

from danqing.core.types import Artifact, DeviceStatus, EncodedPicture, GenerationRequest, JobFailure

# Server to worker


@dataclass(frozen=True, kw_only=True)
class RunJob:
    """A picture to be made. previews: as after `SendPreviews`."""

    job_id: str
    attempt: int
    request: GenerationRequest
    previews: bool = False


@dataclass(frozen=True, kw_only=True)
class RunJobs:
    """Make these pictures together. jobs: at least one, all of the same `batching.batch_key`."""

    jobs: tuple[RunJob, ...]


@dataclass(frozen=True, kw_only=True)
class StopJob:
    """Drop this job before its next step, or part; unknown or ended ids are ignored."""

    job_id: str


@dataclass(frozen=True, kw_only=True)
class SendPreviews:
    """Send previews of this job from its next step on; unknown or ended ids are ignored."""

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
class Ending:
    """The process begins with nothing more. What it has not told to be off the device by now it has not begun."""


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
class PreviewReady:
    """What the picture looks like after this step, whose `StepDone` follows. Left out while the pipe is full."""

    job_id: str
    attempt: int
    step: int
    total_steps: int
    picture: EncodedPicture


@dataclass(frozen=True, kw_only=True)
class DeviceFree:
    """This job is off the device."""

    job_id: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class JobGenerated:
    """The original picture is stored, and will be enlarged. adjustments: those of the engine's `RawPicture`s."""

    job_id: str
    attempt: int
    artifacts: tuple[Artifact, ...]
    adjustments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AwaitsEnlarging:
    """This job, of mode upscale, is off the device, which has nothing to do with it."""

    job_id: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class EnlargingBegan:
    """The picture waits no longer to be enlarged."""

    job_id: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class PartDone:
    """A part of the picture is enlarged, 1 ≤ part ≤ parts."""

    job_id: str
    attempt: int
    part: int
    parts: int


@dataclass(frozen=True, kw_only=True)
class JobDone:
    """Everything is stored. artifacts, adjustments: those that `JobGenerated` did not tell. Times in seconds, by stage,
    without the waits between them: finish_s until what is made of the picture's own size is stored, upscale_s from the
    beginning of its enlarging.
    """

    job_id: str
    attempt: int
    artifacts: tuple[Artifact, ...]
    denoise_s: float
    finish_s: float
    upscale_s: float = 0.0
    adjustments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobStopped:
    """The job was dropped as asked. artifacts: stored before that, and not told yet."""

    job_id: str
    attempt: int
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobFailed:
    """The picture could not be made. poisoned: the process cannot be trusted any more and ends.

    artifacts: stored before that, and not told yet.
    """

    job_id: str
    attempt: int
    failure: JobFailure
    poisoned: bool = False
    artifacts: tuple[Artifact, ...] = ()


ToWorker = RunJobs | StopJob | SendPreviews | Shutdown
JobProgress = StepDone | PreviewReady | AwaitsEnlarging | EnlargingBegan | PartDone
JobNews = JobProgress | JobGenerated | JobDone | JobStopped | JobFailed
FromWorker = WorkerReady | LoadFailed | Ending | Heartbeat | DeviceFree | JobNews
