"""Errors in live's voice: `{"type": "error", …}` on the WebSocket, `{"detail": …}` over HTTP."""

from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

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
    UnknownModel,
    nearest,
)
from danqing.dialects.live.schemas import REQUEST_ID, REQUEST_ID_TYPE, Detail, Error, RequestId, is_integer

OWN_WORDS = ""  # the error says itself what is wrong, in words for its client

# Class of a core error, nearest ancestor first: status over HTTP, and message.
CORE_ERRORS: Mapping[type[DanqingError], tuple[int, str]] = {
    InvalidRequest: (400, OWN_WORDS),
    UnknownModel: (400, "This server has no model of that model_type."),
    Unauthorized: (401, "Invalid API key."),
    Forbidden: (403, OWN_WORDS),
    NotFound: (404, "Not found."),
    JobNotFound: (404, "Job not found."),
    BatchNotFound: (404, "Not found."),
    ArtifactNotFound: (404, "Image not found."),
    RequestTimeout: (408, "The request took too long."),
    BodyTooSlow: (408, "The request's body did not come in time; send it again."),
    Conflict: (409, "The job is not in a state that allows this."),
    JobNotCancellable: (409, "Only a pending or processing job can be cancelled."),
    SubmitKeyReused: (422, "Another request was sent with this Idempotency-Key."),
    AmbiguousBatch: (409, "Several owners have a batch of this id."),
    Unavailable: (503, "The server cannot take the request now; try again later."),
    ModelNotReady: (503, "The model is not ready; try again later."),
    QueueFull: (503, "The queue is full; try again later."),
    RateLimited: (429, "Too much was asked for in a short time; try again later."),
    QuotaExceeded: (429, "You have had as many images as you may, or keep as many; try again later."),
    TooManyJobs: (429, "Too many of your jobs are waiting; try again when some of them are done."),
    TooBusy: (503, "Too many images are being taken in; try again in a moment."),
    ShuttingDown: (503, "The server is shutting down."),
    InternalError: (500, "Internal server error."),
    StorageFailure: (500, "The server could not store the job; try again later."),
    StorageAway: (503, "The server cannot reach its storage; try again in a moment."),
    StorageInDoubt: (503, "The storage did not answer in time; the job may have been accepted all the same."),
    DanqingError: (500, "Internal server error."),
}
# Names of the core that are others on the wire.
WIRE_NAMES: Mapping[str, str] = {"num_inference_steps": "steps", "model": "model_type"}

HTTP_ERRORS: Mapping[int, str] = {400: "Bad request.", 404: "Not found.", 405: "Method not allowed."}

# Kind of a pydantic error in a field of a message.
FIELD_ERRORS: Mapping[str, str] = {
    "missing": "{name} is required.",
    "int_type": "{name} must be an integer.",
    "float_type": "{name} must be a number.",
    "string_type": "{name} must be a text.",
    "bool_type": "{name} must be true or false.",
    "model_type": "{name} must be a JSON object.",
    "string_too_long": "{name} must have at most {max_length} characters.",
    "string_unicode": "{name} is not valid Unicode text.",
    "literal_error": "{name} must be one of {expected}.",
    REQUEST_ID_TYPE: "{name} must be a text or an integer.",
    "greater_than_equal": "{name} must be at least {ge}.",
    "less_than_equal": "{name} must be at most {le}.",
}
OUT_OF_RANGE = "{name} is out of range."  # an integer that no float holds


class Malformed(Exception):
    """A client's frame cannot be understood, or asks for what cannot be; the message is for the client."""

    def __init__(self, message: str, *, request_id: RequestId | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id


def error_message(error: DanqingError, request_id: RequestId | None) -> Error:
    """A core error on the WebSocket."""
    return Error(type="error", message=core_error(error)[1], request_id=request_id)


def render_error(error: Exception) -> Response:
    """Any exception as an answer over HTTP."""
    status, message = _status_and_message(error)
    return Response(Detail(detail=message).model_dump_json(), status_code=status, media_type="application/json")


def _status_and_message(error: Exception) -> tuple[int, str]:
    match error:
        case DanqingError():
            return core_error(error)
        case RequestValidationError():
            return 422, "The request is not valid."
        case HTTPException():
            return error.status_code, HTTP_ERRORS.get(error.status_code, "The request failed.")
        case _:
            return CORE_ERRORS[DanqingError]


def core_error(error: DanqingError) -> tuple[int, str]:
    """Status and message of the nearest ancestor in the table."""
    status, message = nearest(CORE_ERRORS, error)
    return status, message or _wire_words(error)


def _wire_words(error: DanqingError) -> str:
    parameter = error.parameter if isinstance(error, InvalidRequest) else None
    wire_name = WIRE_NAMES.get(parameter or "")
    return error.public_message.replace(str(parameter), wire_name) if wire_name else error.public_message


def field_error(error: ValidationError) -> str:
    """The first thing wrong with the fields of a message."""
    first = error.errors(include_url=False)[0]
    where = first["loc"][:1] if REQUEST_ID in first["loc"][:1] else first["loc"]  # its kind comes after it
    words = FIELD_ERRORS.get(first["type"], "{name} is not valid.")
    if first["type"] == "float_type" and is_integer(first["input"]):
        words = OUT_OF_RANGE
    return words.format(name=".".join(str(part) for part in where), **first.get("ctx", {}))
