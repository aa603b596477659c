"""The one way from an exception to an answer: the dialect that owns the path renders it, or all of them together.

A renderer meets four kinds: core errors; `RequestValidationError` (the body or a parameter does not fit the wire
model); starlette's `HTTPException` with status 400 (a body that cannot be read, or a form beyond `forms.FORM_LIMITS`),
404 (no such route), 405 or 413 (`BodyTooLarge`); and anything else, which is a fault of ours. A client that hung up
(`ClientGone`) gets no renderer's work.
"""

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import JSONResponse, Response

from danqing.core.errors import (
    Conflict,
    DanqingError,
    Forbidden,
    InternalError,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    RateLimited,
    RequestTimeout,
    StorageAway,
    SubmitKeyReused,
    TooManyJobs,
    Unauthorized,
    Unavailable,
    nearest,
)
from danqing.http.dialect import Dialect, DialectsByPath
from danqing.http.joint_answer import join
from danqing.http.methods import methods_of
from danqing.http.route_path import route_path
from danqing.http.waiting import ClientGone

_log = structlog.get_logger(__name__)

HOUSE_STATUSES: dict[type[DanqingError], int] = {
    DanqingError: 500,
    InvalidRequest: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    RequestTimeout: 408,
    Conflict: 409,
    SubmitKeyReused: 422,
    Unavailable: 503,
    TooManyJobs: 429,
    RateLimited: 429,
    QuotaExceeded: 429,
    InternalError: 500,
    StorageAway: 503,
}

CLIENT_GONE_STATUS = 499  # nobody reads it; the log does


class BodyTooLarge(HTTPException):
    """The request body exceeds what the path's dialect allows."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(status_code=413)
        self.max_bytes = max_bytes


class LinkExpired(HTTPException):
    """The address of a picture was signed for a time that is over, and there is no key beside it."""

    def __init__(self) -> None:
        super().__init__(status_code=401)


class ErrorDesk:
    """Answers every exception of an app. alone: the app speaks only its one dialect, on every path."""

    def __init__(self, *, dialects: tuple[Dialect, ...], alone: bool) -> None:
        self._dialects = dialects
        self._by_path = DialectsByPath(dialects)
        self._alone = alone

    async def answer(self, request: HTTPConnection, error: Exception) -> Response:
        """Logs faults of ours with their traceback and answers in the shape that the path's clients know."""
        if isinstance(error, ClientGone | ClientDisconnect):
            _log.debug("client_gone")
            return Response(status_code=CLIENT_GONE_STATUS)
        if _is_our_fault(error):
            _log.error("request_failed", error=type(error).__name__, exc_info=error)
        dialect = self.dialect(route_path(request.scope))
        response = render_jointly(error, self._dialects) if dialect is None else dialect.render_error(error)
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        if isinstance(error, HTTPException) and error.status_code == 405:
            response.headers["Allow"] = ", ".join(methods_of(request.scope))
        if isinstance(error, DanqingError) and error.retry_after_s is not None:
            response.headers["Retry-After"] = str(error.retry_after_s)
        if isinstance(error, Unauthorized | LinkExpired):
            response.headers.setdefault("WWW-Authenticate", _challenge(request))
        return response

    def dialect(self, path: str) -> Dialect | None:
        """Who answers for path; None: the house itself."""
        return self._dialects[0] if self._alone else self._by_path.of(path)


def _challenge(request: HTTPConnection) -> str:
    """Basic, at which a browser asks its user for a password, is for who came with one, or for a page."""
    asked_so = request.headers.get("authorization", "").lower().startswith("basic ")
    wants_page = "text/html" in request.headers.get("accept", "")
    bearer, basic = 'Bearer realm="danqing"', 'Basic realm="danqing", charset="UTF-8"'
    return f"{bearer}, {basic}" if asked_so or wants_page else bearer


def _is_our_fault(error: Exception) -> bool:
    match error:
        case StorageAway():  # who found it away has logged that, once; and each request would say it again
            return False
        case DanqingError():
            return isinstance(error, InternalError) or type(error) is DanqingError
        case RequestValidationError() | HTTPException():
            return False
        case _:
            return True


def render_jointly(error: Exception, dialects: tuple[Dialect, ...]) -> Response:
    """For paths that belong to no dialect: `{"error": {"code", "message"}}`, and what each dialect's clients look for.

    A dialect that has an `error` of its own has it instead of the house's, which no vendor's client knows.
    """
    status, code, message = _plainly(error)
    parts = {d.name: d.error_fields(error, status) for d in dialects if d.error_fields is not None}
    body = join(parts)
    body.setdefault("error", {"code": code, "message": message})
    return JSONResponse(body, status_code=status)


def _plainly(error: Exception) -> tuple[int, str, str]:
    """Status, code and message of the house."""
    match error:
        case DanqingError():
            status = nearest(HOUSE_STATUSES, error)
            return status, error.code, error.public_message
        case RequestValidationError():
            return 422, "invalid_request", "The request is not valid."
        case HTTPException():
            return error.status_code, f"http_{error.status_code}", error.detail
        case _:
            return 500, DanqingError.code, DanqingError.default_message
