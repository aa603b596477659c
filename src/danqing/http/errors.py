"""The one way from an exception to an answer: the dialect that owns the path renders it.

A renderer meets four kinds: core errors; `RequestValidationError` (the body or a parameter does not fit the wire
model); starlette's `HTTPException` with status 400 (unreadable body), 404 (no such route), 405 or 413 (`BodyTooLarge`);
and anything else, which is a fault of ours.
"""

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from danqing.core.errors import Conflict, DanqingError, InternalError, InvalidRequest, NotFound, Unavailable
from danqing.http.dialect import Dialect, dialect_of

_log = structlog.get_logger(__name__)

HOUSE_STATUSES: dict[type[DanqingError], int] = {
    DanqingError: 500,
    InvalidRequest: 400,
    NotFound: 404,
    Conflict: 409,
    Unavailable: 503,
    InternalError: 500,
}


class BodyTooLarge(HTTPException):
    """The request body exceeds what the path's dialect allows."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(status_code=413)
        self.max_bytes = max_bytes


class ErrorDesk:
    """Answers every exception of an app. alone: the app speaks only its one dialect, on every path."""

    def __init__(self, *, dialects: tuple[Dialect, ...], alone: bool) -> None:
        self._dialects = dialects
        self._alone = alone

    async def answer(self, request: Request, error: Exception) -> Response:
        """Logs faults of ours with their traceback and answers in the shape that the path's clients know."""
        if _is_our_fault(error):
            _log.error("request_failed", error=type(error).__name__, exc_info=error)
        dialect = self.dialect(request.scope["path"])
        response = render_plainly(error) if dialect is None else dialect.render_error(error)
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        if isinstance(error, Unavailable):
            response.headers["Retry-After"] = str(error.retry_after_s)
        return response

    def dialect(self, path: str) -> Dialect | None:
        """Who answers for path; None: the house itself."""
        return self._dialects[0] if self._alone else dialect_of(path, self._dialects)


def _is_our_fault(error: Exception) -> bool:
    match error:
        case DanqingError():
            return isinstance(error, InternalError) or type(error) is DanqingError
        case RequestValidationError() | HTTPException():
            return False
        case _:
            return True


def render_plainly(error: Exception) -> Response:
    """For paths that belong to no dialect: `{"error": {"code", "message"}}`."""
    match error:
        case DanqingError():
            status = next(HOUSE_STATUSES[kind] for kind in type(error).__mro__ if kind in HOUSE_STATUSES)
            code, message = error.code, error.public_message
        case RequestValidationError():
            status, code, message = 422, "invalid_request", "The request is not valid."
        case HTTPException():
            status, code, message = error.status_code, f"http_{error.status_code}", error.detail
        case _:
            status, code, message = 500, DanqingError.code, DanqingError.default_message
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
