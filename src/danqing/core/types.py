"""What the house talks about: requests, jobs, attempts, artifacts, progress.

Everything here is frozen. A request is resolved once (`resolve.py`) and never changes afterwards.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from danqing.core.images import ImageRef, StagedImage
from danqing.core.states import JobState

ControlPreprocess = Literal["canny"]  # what is made of a photo that is sent as the control image: its edges


class Mode(StrEnum):
    """What kind of picture-making a request asks for."""

    TEXT2IMG = "text2img"
    IMG2IMG = "img2img"  # a new picture that begins with another one; strength says how much of it goes
    FILL = "fill"  # the white part of a mask is made anew, the rest stays
    CONTROLNET = "controlnet"  # a control image says where things are
    EDIT = "edit"  # the prompt says what to change in one picture, or what to make from several
    UPSCALE = "upscale"  # the picture itself, four times as large each way (`upscaling.py`)


class ArtifactKind(StrEnum):
    """Which of a job's stored pictures."""

    ORIGINAL = "original"
    PREVIEW = "preview"  # a WebP for looking at
    UPSCALED = "upscaled"  # enlarged four times each way


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A small addition to a model's weights, for one picture. scale: 1 as it was trained, 0 none, below 0 reversed."""

    name: str
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class RequestDraft:
    """What a client said; None means "not said", and the model's defaults are filled in by `resolve`.

    width, height: pixels. seed: 0 ≤ seed < 2**63. model: a model id, or None for the server's default model.
    strength: 0 (the first input image stays) to 1 (nothing of it does). mask: of the first input image's size; white
    where it is made anew or, if it has transparent parts, transparent there. further: what is to be stored beside the
    original picture.
    control_preprocess: None if the control image is a map already. controlnet_conditioning_scale: how strongly the map
    is followed, 0 to 2. cfg_normalization, cfg_truncation, max_sequence_length: of Z-Image's pipeline.
    step_cache: up to how large a change, from 0 to 1, most of a step may be taken from the one before it; 0 is off.
    """

    prompt: str
    mode: Mode = Mode.TEXT2IMG
    model: str | None = None
    negative_prompt: str | None = None
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    strength: float | None = None
    input_images: tuple[StagedImage, ...] = ()
    mask: StagedImage | None = None
    control_image: StagedImage | None = None
    cfg_normalization: float | None = None
    cfg_truncation: float | None = None
    max_sequence_length: int | None = None
    control_preprocess: ControlPreprocess | None = None
    controlnet_conditioning_scale: float | None = None
    loras: tuple[Lora, ...] = ()
    step_cache: float | None = None
    further: tuple[ArtifactKind, ...] = ()

    @property
    def staged(self) -> tuple[StagedImage, ...]:
        """Every picture that the client sent."""
        return tuple(image for image in (*self.input_images, self.mask, self.control_image) if image)


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What a picture needs, complete: equal requests give equal pictures.

    width, height: pixels of the finished picture. guidance_scale: 0 means no guidance. strength: None where no picture
    is begun with. step_cache: None is off. The rest as in `RequestDraft`; None is the model's own. A field that a later
    version adds has a default, with which a request that was stored before is read.
    """

    model: str
    mode: Mode
    prompt: str
    negative_prompt: str
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    seed: int
    strength: float | None = None
    input_images: tuple[ImageRef, ...] = ()
    mask: ImageRef | None = None
    control_image: ImageRef | None = None
    cfg_normalization: float | None = None
    cfg_truncation: float | None = None
    max_sequence_length: int | None = None
    control_preprocess: ControlPreprocess | None = None
    controlnet_conditioning_scale: float | None = None
    loras: tuple[Lora, ...] = ()
    step_cache: float | None = None
    further: tuple[ArtifactKind, ...] = ()

    @property
    def inputs(self) -> tuple[ImageRef, ...]:
        """Every picture that it starts from."""
        return tuple(image for image in (*self.input_images, self.mask, self.control_image) if image)


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A stored picture. name: its key in the artifact store, never made from client text."""

    kind: ArtifactKind
    name: str
    media_type: str
    width: int
    height: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class JobFailure:
    """Why an attempt, or a job, ended badly. message is safe to show to anyone."""

    code: str
    message: str
    retryable: bool = False


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try of a worker at a job. number starts at 1."""

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None = None
    failure: JobFailure | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One request on its way to pictures. Times are aware, in UTC.

    priority: higher first. turn: between owners, see `fairness.py`. sequence: order of acceptance. Both are given by
    the store (0 before it is stored).
    started_at: when the newest attempt began; None while the job waits.
    adjustments: what was done to honour the request that its caller may want to know, one sentence each.
    batch_id: the batch that shows it, its own for a job that came alone; unique within an owner. metadata: JSON values
    that the client gave to be told again.
    """

    id: str
    owner: str
    request: GenerationRequest
    fingerprint: str
    created_at: datetime
    state: JobState = JobState.PENDING
    priority: int = 0
    batch_id: str = ""
    batch_index: int = 0
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    turn: int = 0
    sequence: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    adjustments: tuple[str, ...] = ()
    failure: JobFailure | None = None

    @property
    def age(self) -> tuple[int, int]:
        """Grows with every move of the job, so of two readings the later one is known."""
        return age_of(len(self.attempts), self.state)

    @property
    def original(self) -> Artifact | None:
        """The picture itself, once it is stored."""
        return self.artifact(ArtifactKind.ORIGINAL)

    def artifact(self, kind: ArtifactKind) -> Artifact | None:
        """The stored picture of this kind; None while, or where, there is none."""
        return next((a for a in self.artifacts if a.kind is kind), None)


def age_of(attempts: int, state: JobState) -> tuple[int, int]:
    """The `age` of a job that has so many."""
    order = {JobState.PROCESSING: 0, JobState.GENERATED: 1, JobState.PENDING: 2}
    return attempts, order.get(state, 3)


class Stage(StrEnum):
    """What a worker is doing with a job."""

    DENOISING = "denoising"
    UPSCALING = "upscaling"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a running attempt is. step counts finished steps of the stage, 0 ≤ step ≤ total_steps.

    elapsed_s: seconds since the stage began.
    """

    stage: Stage
    step: int
    total_steps: int
    elapsed_s: float = 0.0

    @property
    def percentage(self) -> int:
        """0 to 100."""
        return 100 * self.step // self.total_steps if self.total_steps else 0


@dataclass(frozen=True, kw_only=True)
class RawPicture:
    """Pixels: uint8 RGB, rows from the top, height * width * 3 bytes.

    adjustments: as in `Job`, for what only showed while the picture was made (a prompt cut to the model's length, say).
    """

    width: int
    height: int
    rgb: bytes
    adjustments: tuple[str, ...] = ()

    def computed(self) -> "RawPicture":
        """Itself; see `LatentPicture`."""
        return self


@dataclass(frozen=True, kw_only=True)
class LatentPicture:
    """A `RawPicture` to be, which is computed by whoever asks for it, in his thread.

    compute: its adjustments are these and perhaps others. May raise EngineFailure, or a library's error.
    """

    compute: Callable[[], RawPicture]
    adjustments: tuple[str, ...] = ()

    def computed(self) -> RawPicture:
        """Raises as `compute` does."""
        return self.compute()


@dataclass(frozen=True, kw_only=True)
class EncodedPicture:
    """A finished picture as a file's bytes."""

    width: int
    height: int
    media_type: str
    content: bytes


@dataclass(frozen=True, kw_only=True)
class ModelStatus:
    """A model in memory, and how it is run.

    on_device: False while it waits in the host's memory. placement: how its weights share the device with the work.
    dtype: what is computed in. attention: diffusers' name of the kernel. compiled: the transformer's blocks are. vae:
    how the autoencoder keeps its numbers, and whether it is compiled. step_cache: whether requests may ask for one.
    """

    id: str
    placement: str
    precision: str
    dtype: str
    attention: str
    compiled: bool
    vae: str
    step_cache: bool
    on_device: bool = True


@dataclass(frozen=True, kw_only=True)
class DeviceStatus:
    """A device and its memory; the byte counts are None where the device has no memory of its own (a CPU).

    id: as torch names it ("cuda:0", "cpu"); name: the maker's, for people. models: ids of those that are on it.
    loaded: how those are run that are in memory. prompt_cache_bytes: within which encoded prompts are remembered;
    prompt_cache_hits, prompt_cache_misses: how often one was found there since the process began, or was not.
    """

    id: str
    name: str
    kind: str  # "cuda", "cpu", …
    memory_allocated_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    memory_total_bytes: int | None = None
    models: tuple[str, ...] = ()
    loaded: tuple[ModelStatus, ...] = ()
    prompt_cache_bytes: int | None = None
    prompt_cache_hits: int = 0
    prompt_cache_misses: int = 0


class WorkerState(StrEnum):
    """What a worker process is doing."""

    STARTING = "starting"  # it has not been ready yet: its models are loading
    READY = "ready"  # idle, models loaded
    BUSY = "busy"
    RESTARTING = "restarting"  # it was ready and its process is gone; the next one is started, or loads already
    BROKEN = "broken"  # its models could not be loaded several times in a row; it is tried again now and then


# Loaded, or only away for a restart: what is accepted now will be made.
ACCEPTING = (WorkerState.READY, WorkerState.BUSY, WorkerState.RESTARTING)


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """One worker as the supervisor sees it. restarts counts processes after the first.

    device: as its process tells it; None until it has loaded. device_id: the device that it is for, at all times
    ("cuda:0", "cpu"; with + between those of a group). busy_s: how long it had jobs, over all processes. load_s: how
    long the newest process took to be ready.
    """

    id: str
    state: WorkerState
    pid: int | None
    restarts: int
    models: tuple[str, ...]
    device: DeviceStatus | None = None
    device_id: str = ""  # of a node of an older version
    failure: JobFailure | None = None
    busy_s: float = 0.0
    load_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class PoolStatus:
    """All workers.

    elsewhere: they are other machines', which come and go; what is accepted waits for them. out_of_sight: and the store
    that would tell of them has not answered for a while.
    """

    workers: tuple[WorkerStatus, ...] = field(default=())
    elsewhere: bool = False
    out_of_sight: bool = False

    @property
    def model_loaded(self) -> bool:
        """True when at least one worker could take a job now or as soon as its present one ends."""
        return any(w.state in (WorkerState.READY, WorkerState.BUSY) for w in self.workers)

    @property
    def accepts_jobs(self) -> bool:
        """Whether what is accepted now will be made."""
        return self.elsewhere or any(w.state in ACCEPTING for w in self.workers)

    @property
    def is_ready(self) -> bool:
        """What a load balancer asks: jobs can be sent here. Of workers elsewhere there may be none yet."""
        return self.model_loaded or (self.elsewhere and not self.out_of_sight)

    @property
    def is_coming_up(self) -> bool:
        """True while some worker loads its models for the first time, and has not failed to yet."""
        return any(w.state is WorkerState.STARTING and w.failure is None for w in self.workers)
