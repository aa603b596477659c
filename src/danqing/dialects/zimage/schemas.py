"""Zimage's wire models, in the vendor's field order and spelling.

What its document leaves open, and what is done here:
- Unknown fields of a request are ignored, as the vendor's server did. null is taken where the document shows it, for
  `negative_prompt`, which is then empty, and for `metadata` and what is in it.
- Numbers are JSON numbers: "512" and true are refused, 512.0 is 512; those of `metadata` may be text (`metadata.py`).
  Seeds go from 0 to 2**63 - 1, every other number as far as the model can (`model_limits.py`).
- The defaults are the document's, whichever model is served.
- Times are UTC with microseconds; the one in a result, and in the names of pictures, is when the task was accepted.
- `progress` is null for a task that has failed or was cancelled, 0 while it waits.
- In answers about a batch, `height` to `guidance_scale`, `seed` and `base_seed` are those of its image of the lowest
  index, `relative_path` and `image_url` those of the first successful one, null while there is none.
- A picture without a preview (a task of another dialect) is shown as the PNG.
Beyond the document: `adjustments` of a result; `owner` of a batch, for those who see everybody's.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from danqing.dialects.zimage.metadata import Metadata, whole
from danqing.http.openapi import example

DEFAULT_SIDE = 1024  # pixels
DEFAULT_STEPS = 9
SEED_BITS = 63
NO_NUL = r"^[^\u0000]*$"
WHOLE = BeforeValidator(whole)


class GenerateImageRequest(BaseModel):
    """Body of `POST /v1/images/generate`. Sizes in pixels; no seed, or null, is a random one.

    cfg_normalization: true is 1. cfg_truncation: the part of the steps that is guided, 0 to 1. max_sequence_length:
    tokens that the prompt is cut to. null is the model's own.
    """

    model_config = ConfigDict(
        extra="ignore",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                example(
                    {
                        "prompt": "a cat sitting on the chair",
                        "height": 1024,
                        "width": 1024,
                        "num_inference_steps": 9,
                        "guidance_scale": 0.0,
                        "seed": 42,
                        "negative_prompt": "",
                        "cfg_normalization": None,
                        "cfg_truncation": None,
                        "max_sequence_length": None,
                        "metadata": {"batch_id": "uuid-string-of-batch", "batch_index": 0, "batch_size": 4},
                    }
                )
            ]
        },
    )

    prompt: str = Field(min_length=1, json_schema_extra={"pattern": NO_NUL})  # told only: the core refuses it
    height: Annotated[int, Field(ge=1), WHOLE] = DEFAULT_SIDE
    width: Annotated[int, Field(ge=1), WHOLE] = DEFAULT_SIDE
    num_inference_steps: Annotated[int, Field(ge=1), WHOLE] = DEFAULT_STEPS
    guidance_scale: float = Field(default=0.0, ge=0)
    seed: Annotated[int, Field(ge=0, lt=2**SEED_BITS), WHOLE] | None = None
    negative_prompt: str | None = Field(default="", json_schema_extra={"pattern": NO_NUL})
    cfg_normalization: bool | Annotated[float, Field(ge=0)] | None = None
    cfg_truncation: Annotated[float, Field(ge=0, le=1)] | None = None
    max_sequence_length: Annotated[int, Field(ge=1), WHOLE] | None = None
    metadata: Metadata | None = None


class _Answer(BaseModel):
    """What is sent holds exactly the fields that were set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GenerateImageResponse(_Answer):
    """image_url: null, for the task has only begun."""

    task_id: str
    status_url: str
    image_url: str | None


class ImageResult(_Answer):
    """A finished picture.

    cfg_normalization: false for 0, true for 1, other strengths as numbers, whichever way they were asked for.
    auth_key: the asking client's own key, if the task is its own; otherwise what the server calls the owner; null for
    a task that was made without a key. output_path, preview_output_path: where the server keeps the files.
    preview_*: null if there is no preview. adjustments: what was done to honour the request, one sentence each; absent
    if nothing was.
    """

    image_id: str
    prompt: str
    height: int
    width: int
    num_inference_steps: int
    guidance_scale: float
    seed: int
    negative_prompt: str
    cfg_normalization: bool | float | None
    cfg_truncation: float | None
    max_sequence_length: int | None
    created_at: str
    auth_key: str | None
    metadata: dict[str, object]
    output_path: str
    relative_path: str
    preview_output_path: str | None
    preview_relative_path: str | None
    adjustments: list[str] = []


TaskStatus = Literal["PENDING", "STARTED", "PROGRESS", "SUCCESS", "FAILURE", "RETRY", "REVOKED"]


class TaskStatusResponse(_Answer):
    """result, image_url: of a SUCCESS. error, error_code, error_hint: of a FAILURE or REVOKED. progress: 0 to 100."""

    task_id: str
    status: TaskStatus
    result: ImageResult | None
    error: str | None
    error_code: str | None
    error_hint: str | None
    image_url: str | None
    progress: int | None = Field(ge=0, le=100)


class CancelTaskResponse(_Answer):
    """status: CANCELLED, or the status of a task that could not be cancelled any more; message says which."""

    task_id: str
    status: Literal["CANCELLED"] | TaskStatus
    message: str


BatchStatus = Literal["SUCCESS", "FAILURE", "PENDING"]


class BatchHeader(_Answer):
    """`batch` of `BatchDetail`. task_id: the batch's id. owner: as in `TaskSummary`."""

    task_id: str
    status: BatchStatus
    created_at: str
    prompt: str
    height: int
    width: int
    image_url: str | None
    num_inference_steps: int
    guidance_scale: float
    seed: int
    batch_size: int
    success_count: int
    failed_count: int
    base_seed: int
    owner: str | None = None


class TaskSummary(_Answer):
    """A batch in the history. task_id: the batch's id.

    owner: what the server calls whose batch it is; absent unless the caller sees everybody's, and for a batch that was
    made without a key, whose owner is `local`.
    """

    task_id: str
    status: BatchStatus
    created_at: str
    prompt: str
    height: int
    width: int
    relative_path: str | None
    image_url: str | None
    num_inference_steps: int
    guidance_scale: float
    seed: int
    batch_size: int
    success_count: int
    failed_count: int
    base_seed: int
    owner: str | None = None


class BatchItem(_Answer):
    """An image of a batch. error_code, error_hint: of one that failed or was cancelled."""

    task_id: str
    index: int
    status: Literal["pending", "running", "success", "error", "cancelled"]
    image_url: str | None
    width: int
    height: int
    seed: int
    error_code: str | None
    error_hint: str | None


class BatchDetail(_Answer):
    """items: by index."""

    batch: BatchHeader
    items: list[BatchItem]


class DeleteTaskResponse(_Answer):
    """task_id: the batch's id."""

    task_id: str
    status: Literal["deleted"]
    message: str


class ErrorDetail(_Answer):
    """Every error but 422."""

    detail: str


class FieldError(_Answer):
    """One thing wrong with a request. loc: where, from the outside in. type: which kind of wrong."""

    type: str
    loc: list[str | int]
    msg: str


class ValidationErrors(_Answer):
    """Of a 422."""

    detail: list[FieldError]
