"""Errors in GenServe's voice: the words of its document, what is wrong in detail, never a library's text."""

from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from danqing.core.errors import (
    Conflict,
    DanqingError,
    EngineFailure,
    Forbidden,
    InternalError,
    InvalidRequest,
    JobTimeout,
    LoraFailure,
    ModelLoadFailure,
    ModelNotServed,
    NotFound,
    OutOfMemory,
    QuotaExceeded,
    RateLimited,
    RequestTimeout,
    ServerRestarted,
    StorageAway,
    StorageFailure,
    SubmitKeyReused,
    TooLargeForDevice,
    TooManyJobs,
    Unauthorized,
    Unavailable,
    WorkerLost,
    WorkerReplaced,
    nearest,
)
from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.dialects.genserve.echo import Echo, echo_of
from danqing.dialects.genserve.schemas import (
    MAX_CFG,
    MAX_CONDITIONING,
    MAX_LORA_SCALE,
    MAX_LORAS,
    MAX_PRIORITY,
    MIN_PRIORITY,
    SEEDS,
)
from danqing.dialects.genserve.translate_out import from_error
from danqing.http.errors import BodyTooLarge

INVALID, TIMED_OUT, NOT_READY, OUR_FAULT = "参数验证失败", "请求超时", "服务未就绪", "内部服务器错误"

# Class of a core error, nearest ancestor first: status and the document's words. The error's own message follows them,
# but for a fault of ours.
CORE_ERRORS: Mapping[type[DanqingError], tuple[int, str]] = {
    InvalidRequest: (400, INVALID),
    Conflict: (400, INVALID),
    SubmitKeyReused: (422, INVALID),
    Unauthorized: (401, "未授权"),
    Forbidden: (403, "禁止访问"),
    NotFound: (404, "资源不存在"),
    RequestTimeout: (408, TIMED_OUT),
    Unavailable: (503, NOT_READY),
    RateLimited: (429, "请求过于频繁"),
    QuotaExceeded: (429, "超出配额"),
    TooManyJobs: (429, "任务过多"),
    InternalError: (500, OUR_FAULT),
    StorageAway: (503, NOT_READY),
    DanqingError: (500, OUR_FAULT),
}

ITS_LORAS = "{loras}"  # stands for the names of the job's

# Why a job failed, by its failure's code: status and message.
JOB_FAILURES: Mapping[str, tuple[int, str]] = {
    EngineFailure.code: (500, f"{OUR_FAULT}: the picture could not be made."),
    TooLargeForDevice.code: (500, f"{OUR_FAULT}: the GPU cannot hold a picture of that size; try a smaller one."),
    OutOfMemory.code: (500, f"{OUR_FAULT}: GPU memory is not enough; try a smaller height and width."),
    ModelLoadFailure.code: (500, f"{OUR_FAULT}: the model could not be loaded."),
    LoraFailure.code: (500, f"{OUR_FAULT}: a LoRA cannot be used with this model: {ITS_LORAS}."),
    ModelNotServed.code: (500, f"{OUR_FAULT}: the model is not served any more."),
    JobTimeout.code: (408, f"{TIMED_OUT}: making the picture took too long; try fewer steps or a smaller size."),
    WorkerLost.code: (500, f"{OUR_FAULT}: the GPU process was lost more often than it is tried again."),
    WorkerReplaced.code: (500, f"{OUR_FAULT}: the GPU process was replaced; try again."),
    ServerRestarted.code: (500, f"{OUR_FAULT}: the server was restarted; try again."),
    StorageFailure.code: (500, f"{OUR_FAULT}: the picture could not be stored."),
    StorageAway.code: (500, f"{OUR_FAULT}: the server did not reach its storage; try again."),
}
OTHER_FAILURE = (500, f"{OUR_FAULT}: the picture could not be made.")
CANCELLED = (503, "任务已取消: the task was cancelled before its picture was made.")

# Statuses that the HTTP layer raises by itself.
HTTP_ERRORS: Mapping[int, str] = {
    400: f"{INVALID}: the body is not valid JSON.",
    404: "接口不存在: there is no such path.",
    405: "请求方法不允许: this path does not take that method.",
}

# Kind of a pydantic error in a field: what follows the field's name.
FIELD_ERRORS: Mapping[str, str] = {
    "missing": "is required",
    "string_too_short": "is required and must not be empty",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be a string",
    "string_unicode": "is not valid Unicode text",
    "list_type": "must be a list",
    "too_long": f"must have at most {MAX_LORAS} entries",
}
CHOICES: Mapping[str, str] = {"mode": "one of text2img, img2img, fill, controlnet", "control_preprocess": "canny"}
RANGES: Mapping[str, tuple[int, int]] = {
    "cfg": (0, MAX_CFG),
    "strength": (0, 1),
    "controlnet_conditioning_scale": (0, MAX_CONDITIONING),
    "step_cache": (0, 1),
    "scale": (-MAX_LORA_SCALE, MAX_LORA_SCALE),
    "seed": (0, SEEDS - 1),
    "priority": (MIN_PRIORITY, MAX_PRIORITY),
}
WIRE_NAMES: Mapping[str, str] = {"guidance_scale": "cfg"}  # of core's parameters, where they differ


def render_error(error: Exception) -> Response:
    """Any exception as the documented body."""
    status, message = _status_and_message(error)
    return respond_error(status, message, echo_of(error))


def respond_error(status: int, message: str, echo: Echo) -> Response:
    """The documented body of an error."""
    content = from_error(message, echo=echo).model_dump_json()
    return Response(content, status_code=status, media_type="application/json")


def job_error(job: Job) -> tuple[int, str]:
    """Status and message of a job that ended without a picture."""
    if job.state is JobState.CANCELLED:
        return CANCELLED
    if job.failure is None:
        return OTHER_FAILURE
    status, message = JOB_FAILURES.get(job.failure.code, OTHER_FAILURE)
    return status, message.replace(ITS_LORAS, ", ".join(lora.name for lora in job.request.loras))


def _status_and_message(error: Exception) -> tuple[int, str]:
    match error:
        case DanqingError():
            return core_error(error)
        case RequestValidationError():
            return 400, f"{INVALID}: {_validation_detail(error)}"
        case BodyTooLarge():
            return 413, f"请求体过大: the request may have {error.max_bytes // 1024**2} MiB."
        case HTTPException():
            return error.status_code, HTTP_ERRORS.get(error.status_code, "请求失败: the request failed.")
        case _:
            return CORE_ERRORS[DanqingError]


def core_error(error: DanqingError) -> tuple[int, str]:
    """Status and message of the nearest ancestor in the table."""
    status, words = nearest(CORE_ERRORS, error)
    if words == OUR_FAULT:
        return status, words
    parameter = error.parameter if isinstance(error, InvalidRequest) else None
    detail = error.public_message.replace(parameter, WIRE_NAMES.get(parameter, parameter)) if parameter else None
    return status, f"{words}: {detail or error.public_message}"


def _validation_detail(error: RequestValidationError) -> str:
    """The first thing wrong with a body."""
    first = error.errors()[0]
    kind, place = first["type"], first["loc"]
    if len(place) < 2:
        return "the body must be a JSON object."
    name = str(place[1])
    if len(place) > 3:  # of a list's entry
        name = str(place[3])
    if name == "prompt" and first["input"] is None:
        kind = "missing"
    if kind not in FIELD_ERRORS and name in RANGES:
        least, most = RANGES[name]
        return f"{name} must be between {least} and {most}."
    if kind == "extra_forbidden":
        return f"{place[1]} has a field that is not known."
    if kind == "literal_error" and name in CHOICES:
        return f"{name} must be {CHOICES[name]}."
    return f"{name} {FIELD_ERRORS.get(kind, 'is not valid')}."
