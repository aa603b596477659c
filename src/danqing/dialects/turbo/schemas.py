"""Turbo's wire models, in the vendor's field order and spelling.

What its document leaves open, and what is done here:
- Unknown fields of a request are ignored, as the vendor's server did. `negative_prompt`, `guidance_scale` and the like
  are not turbo's. null means "not given".
- An integer is a whole JSON number, such as 512 or 512.0; true and "512" are refused. Seeds go from 0 to 2**63 - 1.
- A prompt of blanks only counts as empty.
- The defaults are the document's, whichever model is served.
- Times are UTC, to the second, without an offset.
- `queue_size` counts the waiting tasks, which is what `max_queue_size` limits; `failed_tasks` includes cancelled ones.
- `gpu` is the first GPU in use; without one `available` is false and the rest null. While its worker loads, or is down,
  the figures of its memory are null.
- `started_at` is absent from a task that ended before it started.
Beyond the document: `progress`, `adjustments`.
"""

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from danqing.core.capabilities import Range

SIDE = Range(minimum=64, maximum=2048)  # pixels
STEPS = Range(minimum=1, maximum=50)
SEED = Range(minimum=0, maximum=2**63 - 1)
DEFAULT_SIDE = 1024  # pixels
DEFAULT_STEPS = 9

DataT = TypeVar("DataT")


class GenerateRequest(BaseModel):
    """Body of `POST /api/generate`. Sizes in pixels; no seed is a random one. null is the default, too."""

    model_config = ConfigDict(
        extra="ignore",
        strict=True,
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "prompt": "A beautiful sunset over the ocean",
                    "height": 1024,
                    "width": 1024,
                    "num_inference_steps": 9,
                    "seed": 42,
                }
            ]
        },
    )

    # The pattern is told only: the core refuses blanks and NULs.
    prompt: str = Field(min_length=1, json_schema_extra={"pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"})
    height: int | None = Field(default=DEFAULT_SIDE, ge=SIDE.minimum, le=SIDE.maximum)
    width: int | None = Field(default=DEFAULT_SIDE, ge=SIDE.minimum, le=SIDE.maximum)
    num_inference_steps: int | None = Field(default=DEFAULT_STEPS, ge=STEPS.minimum, le=STEPS.maximum)
    seed: int | None = Field(default=None, ge=SEED.minimum, lt=SEED.maximum + 1)  # OpenAPI holds 2**63, not 2**63 - 1

    @field_validator("height", "width", "num_inference_steps", "seed", mode="before")
    @classmethod
    def _whole(cls, value: object) -> object:
        return int(value) if isinstance(value, float) and value.is_integer() else value


class _Answer(BaseModel):
    """What is sent holds exactly the fields that were set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Envelope(_Answer, Generic[DataT]):
    """Every JSON answer. code equals the HTTP status."""

    code: int
    message: str
    data: DataT


class Empty(_Answer):
    """`data` of an error."""


class Health(_Answer):
    """unhealthy: no worker could load the model, several times in a row."""

    status: Literal["healthy", "unhealthy"]
    model_loaded: bool


class Submitted(_Answer):
    """queue_position: 1 for the task that is next, 0 for one that waits no more."""

    task_id: str
    status: Literal["pending", "processing", "completed", "failed"]
    queue_position: int


class PendingTask(_Answer):
    """adjustments: what is done to honour the size, one sentence each; absent if nothing is."""

    task_id: str
    status: Literal["pending"]
    prompt: str
    height: int
    width: int
    num_inference_steps: int
    seed: int
    created_at: str
    queue_position: int
    adjustments: list[str] = []


class ProcessingTask(_Answer):
    """progress: 0 to 100."""

    task_id: str
    status: Literal["processing"]
    prompt: str
    height: int
    width: int
    num_inference_steps: int
    seed: int
    created_at: str
    started_at: str = ""
    queue_position: int
    progress: int
    adjustments: list[str] = []


class CompletedTask(_Answer):
    """image_path: where the server keeps the file."""

    task_id: str
    status: Literal["completed"]
    prompt: str
    height: int
    width: int
    num_inference_steps: int
    seed: int
    created_at: str
    started_at: str = ""
    completed_at: str = ""
    image_path: str
    queue_position: int
    adjustments: list[str] = []


class FailedTask(_Answer):
    """A task that failed or was cancelled."""

    task_id: str
    status: Literal["failed"]
    prompt: str
    error_message: str
    created_at: str
    started_at: str = ""
    completed_at: str = ""


Task = PendingTask | ProcessingTask | CompletedTask | FailedTask


class Unfinished(_Answer):
    """What `/api/result` says of a task without a picture. error_message: only of failed ones."""

    task_id: str
    status: Literal["pending", "processing", "failed"]
    message: str
    error_message: str = ""


class QueueFigures(_Answer):
    """Tasks by state."""

    queue_size: int
    max_queue_size: int
    pending_tasks: int
    processing_tasks: int
    completed_tasks: int
    failed_tasks: int
    total_tasks: int


class GpuFigures(_Answer):
    """Memory in GiB, usage in percent of the total."""

    available: bool
    device: str | None
    memory_allocated_gb: float | None
    memory_reserved_gb: float | None
    memory_total_gb: float | None
    memory_usage_percent: float | None


class SystemStatus(_Answer):
    """`data` of `/api/status`."""

    queue: QueueFigures
    gpu: GpuFigures
    model_loaded: bool
