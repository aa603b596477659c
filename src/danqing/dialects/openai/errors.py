"""Errors with the vendor's codes, in the shape of whoever asks; never a library's text.

The vendor's clients read `{"error": CODE, "message": text}`, OpenAI's read an object in `error`. No body is both, so it
is made when it is sent, for the client at hand: see `speaks_openai`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from danqing.core.errors import (
    BodyTooSlow,
    Conflict,
    DanqingError,
    EngineFailure,
    Forbidden,
    InternalError,
    InvalidRequest,
    ModelNotReady,
    NotFound,
    QueueFull,
    QuotaExceeded,
    RateLimited,
    RequestTimeout,
    StorageAway,
    StorageInDoubt,
    SubmitKeyReused,
    TooManyJobs,
    Unauthorized,
    Unavailable,
    UnknownModel,
    WorkerLost,
    nearest,
)
from danqing.core.types import Job
from danqing.dialects.openai.schemas import OpenAIError, OpenAIErrorDetail, VendorError
from danqing.http.content_type import is_json
from danqing.http.errors import BodyTooLarge
from danqing.http.route_path import route_path
from danqing.http.submit_keys import HEADER

NO_RETRY = {"x-should-retry": "false"}  # OpenAI's clients obey it
FAILED = "Image generation failed: {reason}"

_OPENAI_FORM = "danqing.openai_form"  # key of an ASGI scope
_EDITS = "/v1/images/edits"
_VENDORS_PATHS = frozenset({_EDITS, "/ready", "/health"})
_OPENAI_AGENTS = ("openai/", "asyncopenai/")
# The vendor's API is one of Basic: a client of it may send its password only when asked for it so.
_VENDORS_CHALLENGE = 'Basic realm="danqing", charset="UTF-8", Bearer realm="danqing"'

# What core calls a parameter, where clients call it otherwise.
_PARAMETERS: Mapping[str, str] = {
    "input_image": "image",
    "mask_image": "mask",
    "width": "size",
    "height": "size",
    "mode": "model",  # paths say the mode; another model may have it
}

_INVALID = "invalid_request_error"
_SERVER = "server_error"


class GenerationFailed(EngineFailure):
    """A job of the request ended without a picture. may_retry: whether the same request may do better."""

    def __init__(self, public_message: str | None = None, *, may_retry: bool = False) -> None:
        super().__init__(public_message)
        self.may_retry = may_retry


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An error as clients are told it. code: the vendor's; openai_code: where OpenAI's clients know a better one.

    message: `{reason}` stands for the error's own. retry: false for what fails again in the same way.
    """

    status: int
    code: str
    type: str
    message: str = "{reason}"
    openai_code: str | None = None
    retry: bool = True
    param: str | None = None


# Class of a core error, nearest ancestor first.
CORE_ERRORS: Mapping[type[DanqingError], Problem] = {
    InvalidRequest: Problem(status=400, code="INVALID_INPUT", type=_INVALID, retry=False),
    UnknownModel: Problem(
        status=404, code="INVALID_INPUT", type=_INVALID, openai_code="model_not_found", retry=False, param="model"
    ),
    Unauthorized: Problem(
        status=401, code="UNAUTHORIZED", type="authentication_error", message="Invalid API key", retry=False
    ),
    Forbidden: Problem(status=403, code="FORBIDDEN", type="permission_error", retry=False),
    NotFound: Problem(status=404, code="NOT_FOUND", type=_INVALID, retry=False),
    Unavailable: Problem(status=503, code="MODEL_NOT_READY", type=_SERVER),
    ModelNotReady: Problem(status=503, code="MODEL_NOT_READY", type=_SERVER, message="Model is not ready yet"),
    QueueFull: Problem(status=429, code="QUEUE_FULL", type="rate_limit_error"),
    RateLimited: Problem(status=429, code="RATE_LIMITED", type="rate_limit_error", openai_code="rate_limit_exceeded"),
    QuotaExceeded: Problem(
        status=429, code="QUOTA_EXCEEDED", type="insufficient_quota", openai_code="insufficient_quota", retry=False
    ),
    TooManyJobs: Problem(status=429, code="TOO_MANY_JOBS", type="rate_limit_error", openai_code="rate_limit_exceeded"),
    RequestTimeout: Problem(status=500, code="GENERATION_ERROR", type=_SERVER, message=FAILED, retry=False),
    BodyTooSlow: Problem(status=408, code="REQUEST_TIMEOUT", type=_INVALID),
    Conflict: Problem(status=409, code="CONFLICT", type=_INVALID, retry=False),
    SubmitKeyReused: Problem(
        status=422,
        code="IDEMPOTENCY_KEY_REUSED",
        type=_INVALID,
        openai_code="idempotency_key_reused",
        retry=False,
        param=HEADER,
    ),
    EngineFailure: Problem(status=500, code="GENERATION_ERROR", type=_SERVER, message=FAILED, retry=False),
    WorkerLost: Problem(status=500, code="GENERATION_ERROR", type=_SERVER, message=FAILED),
    InternalError: Problem(status=500, code="INTERNAL_ERROR", type=_SERVER, message="Internal server error"),
    StorageAway: Problem(status=503, code="STORAGE_UNAVAILABLE", type=_SERVER),
    StorageInDoubt: Problem(status=503, code="STORAGE_UNAVAILABLE", type=_SERVER, retry=False),
    DanqingError: Problem(status=500, code="INTERNAL_ERROR", type=_SERVER, message="Internal server error"),
}

HTTP_ERRORS: Mapping[int, Problem] = {
    400: Problem(
        status=400,
        code="INVALID_INPUT",
        type=_INVALID,
        message="The request body cannot be read: it is damaged, or has too many files or fields, or a field too long.",
        retry=False,
    ),
    404: Problem(status=404, code="NOT_FOUND", type=_INVALID, message="There is no such path.", retry=False),
    405: Problem(
        status=405, code="METHOD_NOT_ALLOWED", type=_INVALID, message="This path has no such method.", retry=False
    ),
    413: Problem(
        status=413,
        code="INVALID_INPUT",
        type=_INVALID,
        message="The request is larger than the {reason} that are taken.",
        retry=False,
    ),
}


def failure_of(job: Job) -> GenerationFailed:
    """Why a job that has ended has no picture."""
    if job.failure is None:
        return GenerationFailed("The job was cancelled.")
    return GenerationFailed(job.failure.message, may_retry=job.failure.retryable)


def problem_of(error: Exception) -> Problem:
    """Any exception, worded."""
    match error:
        case DanqingError():
            return _core_problem(error)
        case RequestValidationError():
            return replace(CORE_ERRORS[InvalidRequest], message="The request is not valid.")
        case BodyTooLarge():
            return _worded(HTTP_ERRORS[413], f"{error.max_bytes // 2**20} MiB")
        case HTTPException():
            other = replace(HTTP_ERRORS[400], status=error.status_code, message="The request failed.")
            return HTTP_ERRORS.get(error.status_code, other)
        case _:
            return CORE_ERRORS[DanqingError]


def _core_problem(error: DanqingError) -> Problem:
    problem = nearest(CORE_ERRORS, error)
    if isinstance(error, GenerationFailed):
        problem = replace(problem, retry=error.may_retry)
    if isinstance(error, InvalidRequest) and error.parameter is not None:
        problem = replace(problem, param=_PARAMETERS.get(error.parameter, error.parameter))
    return _worded(problem, error.public_message)


def _worded(problem: Problem, reason: str) -> Problem:
    return replace(problem, message=problem.message.replace("{reason}", reason))


def openai_error(problem: Problem) -> OpenAIError:
    """As OpenAI's clients read it; in a stream, too."""
    return OpenAIError(
        error=OpenAIErrorDetail(
            message=problem.message,
            type=problem.type,
            param=problem.param,
            code=problem.openai_code or problem.code,
        )
    )


class ProblemResponse(Response):
    """Chooses its body when it is sent, by who asked."""

    media_type = "application/json"

    def __init__(self, problem: Problem) -> None:
        headers = {} if problem.retry else NO_RETRY
        super().__init__(
            VendorError(error=problem.code, message=problem.message).model_dump_json(), problem.status, headers
        )
        self._for_openai = openai_error(problem).model_dump_json().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] == "http" and speaks_openai(scope):
            self.body = self._for_openai
            self.headers["Content-Length"] = str(len(self.body))
        elif self.status_code == 401:
            self.headers["WWW-Authenticate"] = _VENDORS_CHALLENGE
        await super().__call__(scope, receive, send)


def render_error(error: Exception) -> Response:
    """Any exception as an answer."""
    return ProblemResponse(problem_of(error))


def note_openai_form(request: HTTPConnection, *, meant: bool = True) -> None:
    """The body shows whether this client means OpenAI's API, on a path that the vendor has, too."""
    request.scope[_OPENAI_FORM] = meant


def speaks_openai(scope: Scope) -> bool:
    """OpenAI's own clients say so; of others, all but those that use what the vendor's document has.

    That has edits as forms only, so JSON is OpenAI's, read or not; which form it is nobody knows before it is read.
    """
    headers, path = Headers(scope=scope), route_path(scope)
    if "x-stainless-lang" in headers or headers.get("user-agent", "").lower().startswith(_OPENAI_AGENTS):
        return True
    sends_json = path == _EDITS and is_json(headers.get("content-type", ""))
    return path not in _VENDORS_PATHS or scope.get(_OPENAI_FORM, sends_json) is True
