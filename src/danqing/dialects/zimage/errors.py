"""Errors as a FastAPI server tells them: `{"detail": …}`, a sentence, or for 422 a list of what is wrong where."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from danqing.core.errors import (
    AmbiguousBatch,
    ArtifactNotFound,
    BatchNotFound,
    BodyTooSlow,
    Conflict,
    DanqingError,
    Forbidden,
    InternalError,
    InvalidRequest,
    JobNotCancellable,
    JobNotFound,
    ModelNotReady,
    NotFound,
    QueueFull,
    QuotaExceeded,
    RateLimited,
    RequestTimeout,
    ShuttingDown,
    StorageAway,
    StorageFailure,
    StorageInDoubt,
    SubmitKeyReused,
    TooBusy,
    TooManyJobs,
    Unauthorized,
    Unavailable,
    nearest,
)
from danqing.dialects.zimage.schemas import ErrorDetail, FieldError, ValidationErrors
from danqing.http.errors import BodyTooLarge, LinkExpired
from danqing.http.submit_keys import HEADER

INVALID = 422

# Class of a core error, nearest ancestor first: status and detail. An InvalidRequest says what is wrong by itself.
CORE_ERRORS: Mapping[type[DanqingError], tuple[int, str]] = {
    Unauthorized: (401, "Invalid or missing API key"),
    Forbidden: (403, "Not allowed"),
    NotFound: (404, "Not found"),
    JobNotFound: (404, "Task not found"),
    BatchNotFound: (404, "Batch not found"),
    ArtifactNotFound: (404, "Image not found"),
    RequestTimeout: (408, "The image was not ready in time"),
    BodyTooSlow: (408, "The request's body did not come in time; send it again"),
    Conflict: (409, "The task's status does not allow this"),
    JobNotCancellable: (409, "The task has its image or has already ended"),
    AmbiguousBatch: (
        409,
        "Several owners have a batch of this id; say whose with ?owner=, as /v1/history tells it",
    ),
    Unavailable: (503, "The server cannot take requests now; try again later"),
    ModelNotReady: (503, "The model is not loaded yet; try again in a moment"),
    QueueFull: (503, "The queue is full; try again later"),
    SubmitKeyReused: (INVALID, "Another request was sent with this Idempotency-Key; use a new one for a new request"),
    RateLimited: (429, "Too much was asked for in a short time; try again later"),
    QuotaExceeded: (429, "You have had as many images as you may, or keep as many; try again later"),
    TooManyJobs: (429, "Too many of your tasks are waiting; try again when some of them are done"),
    TooBusy: (503, "Too many images are being taken in; try again in a moment"),
    ShuttingDown: (503, "The server is shutting down; try again later"),
    InternalError: (500, "Internal Server Error"),
    StorageFailure: (500, "The server could not store or read its data"),
    StorageAway: (503, "The server cannot reach its storage; try again later"),
    StorageInDoubt: (
        503,
        "The storage did not answer in time; the task may be there: try again only under the same Idempotency-Key",
    ),
    DanqingError: (500, "Internal Server Error"),
}

# Statuses that the HTTP layer raises by itself.
HTTP_ERRORS: Mapping[int, str] = {
    400: "There was an error parsing the body",
    404: "Not Found",
    405: "Method Not Allowed",
}
OTHER_HTTP_ERROR = "The request failed"
LINK_EXPIRED = "The link has expired; ask /v1/tasks or /v1/history for a new image_url, or send your key"


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These errors as FastAPI's `responses`, for the OpenAPI document."""
    return {
        status: {
            "model": ValidationErrors if status == INVALID else ErrorDetail,
            "description": HTTPStatus(status).phrase,
        }
        for status in statuses
    }


def render_error(error: Exception) -> Response:
    """Any exception as `{"detail": …}`."""
    status, answer = _status_and_answer(error)
    return JSONResponse(answer.model_dump(), status_code=status)


def error_fields(error: Exception, status: int) -> Mapping[str, object]:
    """The same for an answer that has the status already."""
    return _status_and_answer(error)[1].model_dump()


def _status_and_answer(error: Exception) -> tuple[int, ErrorDetail | ValidationErrors]:
    match error:
        case InvalidRequest():
            wrong = FieldError(type=error.code, loc=_place(error), msg=error.public_message)
            return INVALID, ValidationErrors(detail=[wrong])
        case SubmitKeyReused():
            wrong = FieldError(type=error.code, loc=["header", HEADER], msg=CORE_ERRORS[SubmitKeyReused][1])
            return INVALID, ValidationErrors(detail=[wrong])
        case Forbidden():  # what it says is for whoever runs the server
            return CORE_ERRORS[Forbidden][0], ErrorDetail(detail=error.public_message)
        case DanqingError():
            status, detail = nearest(CORE_ERRORS, error)
            return status, ErrorDetail(detail=detail)
        case RequestValidationError():
            return INVALID, ValidationErrors(detail=_field_errors(error))
        case BodyTooLarge():
            return error.status_code, ErrorDetail(detail=f"The body is larger than {error.max_bytes // 1024} KiB")
        case LinkExpired():
            return error.status_code, ErrorDetail(detail=LINK_EXPIRED)
        case HTTPException():
            return error.status_code, ErrorDetail(detail=HTTP_ERRORS.get(error.status_code, OTHER_HTTP_ERROR))
        case _:
            status, detail = CORE_ERRORS[DanqingError]
            return status, ErrorDetail(detail=detail)


def _place(error: InvalidRequest) -> list[str | int]:
    if error.parameter is None:
        return ["body"]
    if error.parameter == "batch_id":
        return ["body", "metadata", error.parameter]
    return ["header" if error.parameter == HEADER else "body", error.parameter]


def _field_errors(error: RequestValidationError) -> list[FieldError]:
    """As FastAPI has them, without `input` and `ctx`: what the client sent is of any size, and it has it already."""
    if isinstance(error.body, bytes):  # FastAPI has not read it as JSON, since it was not said to be
        return [FieldError(type="content_type", loc=["header", "content-type"], msg="Should be application/json")]
    return [FieldError(type=one["type"], loc=list(one["loc"]), msg=one["msg"]) for one in error.errors()]
