"""Live's wire models, in the vendor's field order and spelling.

What its document leaves open, and what is done here:
- Unknown fields of a message are ignored. null means "not given". An integer is a JSON integer: true, "1024" and 1024.0
  are refused. `request_id` is a text or an integer, and is told as it came; a message without one is answered with
  `request_id: null`.
- `get_status` and `cancel_job` are answered with a `job_status` that has their own request_id.
- `result` of a job without a picture is null in `client_jobs` and absent elsewhere.
- Failed jobs have `error`, why, and a `result` without `upscaled_filename` if only the enlarging failed.
Beyond the document: `previews` of `create_job`, `preview` of `job_progress`, `adjustments` of a result, and, while
authentication is on, `url` and `upscaled_url` of a result: addresses that work without a key for an hour.
"""

from typing import Annotated, Literal, TypeGuard

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from danqing.core.states import JobState

TASK_TYPE = "text_to_image"
DEFAULT_SIDE = 1024  # pixels
DEFAULT_STEPS = 9
DEFAULT_GUIDANCE = 0.0
DEFAULT_SEED = 42
MODELS = {"uint4": "z-image-turbo-uint4", "int8": "z-image-turbo-int8"}
DEFAULT_MODEL_TYPE = "uint4"

REQUEST_ID = "request_id"
REQUEST_ID_TYPE = "request_id_type"  # kind of the error for one that is neither
MAX_INTEGER = 2**63 - 1


def is_integer(value: object) -> TypeGuard[int]:
    """Whether it is a JSON integer; to Python true and false are such too."""
    return isinstance(value, int) and not isinstance(value, bool)


def _kind_of_id(value: object) -> str | None:
    if isinstance(value, str):
        return "text"
    return "integer" if is_integer(value) else None


RequestId = str | int
SaidRequestId = Annotated[
    Annotated[str, Field(max_length=256), Tag("text")]
    | Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER), Tag("integer")],
    Discriminator(_kind_of_id, custom_error_type=REQUEST_ID_TYPE, custom_error_message=REQUEST_ID_TYPE),
]
JobId = Annotated[str, Field(max_length=256)]


class _Said(BaseModel):
    """What a client says; what is not known is ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Params(_Said):
    """`params` of `create_job`. Sizes in pixels; ranges are the model's."""

    prompt: str
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    model_type: Literal["uint4", "int8"] | None = None
    previews: bool | None = None


class CreateJob(_Said):
    """Asks for a picture. previews: small pictures of how it is coming along, here or in params."""

    type: Literal["create_job"]
    task_type: Literal["text_to_image"]
    request_id: SaidRequestId | None = None
    params: Params
    previews: bool | None = None


class GetStatus(_Said):
    """Asks for the state of one job."""

    type: Literal["get_status"]
    job_id: JobId
    request_id: SaidRequestId | None = None


class CancelJob(_Said):
    """Ends a pending or processing job."""

    type: Literal["cancel_job"]
    job_id: JobId
    request_id: SaidRequestId | None = None


class GetClientJobs(_Said):
    """Asks for the jobs of this `client_id`."""

    type: Literal["get_client_jobs"]
    request_id: SaidRequestId | None = None


ClientMessage = CreateJob | GetStatus | CancelJob | GetClientJobs
CLIENT_MESSAGES: dict[str, type[ClientMessage]] = {
    "create_job": CreateJob,
    "get_status": GetStatus,
    "cancel_job": CancelJob,
    "get_client_jobs": GetClientJobs,
}


class _Told(BaseModel):
    """What the server says holds exactly the fields that were set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GeneratedResult(_Told):
    """The picture is there, its enlargement not yet."""

    filename: str
    local_path: str
    adjustments: list[str] = []
    url: str = ""


class CompletedResult(_Told):
    """Both pictures are there; of a job that failed while it was enlarged, the original."""

    filename: str
    path: str
    upscaled_filename: str = ""
    adjustments: list[str] = []
    url: str = ""
    upscaled_url: str = ""


class JobStatus(_Told):
    """A state of a job; in the order of happening, never left out."""

    type: Literal["job_status"]
    job_id: str
    status: JobState
    result: GeneratedResult | CompletedResult | None = None
    error: str = ""
    request_id: RequestId | None


class ProgressFigures(_Told):
    """current_step: finished steps of the stage. elapsed, remaining: `MM:SS`. speed: seconds a step, `3.75s/it`."""

    stage: Literal["generating", "upscaling"]
    percentage: int
    current_step: int
    total_steps: int
    elapsed: str
    remaining: str
    speed: str
    type: Literal["progress"]


class JobProgress(_Told):
    """A finished step. preview: a data URL of a JPEG. Left out for a client that reads too slowly."""

    type: Literal["job_progress"]
    job_id: str
    progress: ProgressFigures
    preview: str = ""


class ClientJob(_Told):
    """A line of `client_jobs`. created_at: seconds since 1970."""

    job_id: str
    task_type: Literal["text_to_image"]
    status: JobState
    created_at: float
    result: GeneratedResult | CompletedResult | None
    error: str = ""


class ClientJobs(_Told):
    """The jobs of a client that have not ended, and the newest that have; the newest first."""

    type: Literal["client_jobs"]
    jobs: list[ClientJob]
    request_id: RequestId | None


class Error(_Told):
    """Something a client said cannot be done; the connection stays open."""

    type: Literal["error"]
    message: str
    request_id: RequestId | None


ServerMessage = JobStatus | JobProgress | ClientJobs | Error


class Health(_Told):
    """Answer of `GET /api/health`."""

    status: Literal["ok"] = "ok"


class Detail(_Told):
    """An error over HTTP."""

    detail: str
