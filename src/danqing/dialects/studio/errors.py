"""Errors in the studio's voice: `{"error": {"code", "message", "parameter", "sentence"}}`, in the core's words."""

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from danqing.core.errors import DanqingError, InvalidRequest, nearest
from danqing.dialects.studio.schemas import ErrorAnswer, Problem
from danqing.dialects.studio.sentence_views import sentence_of
from danqing.http.errors import HOUSE_STATUSES

HTTP_ERRORS: Mapping[int, str] = {
    400: "The request's body cannot be read.",
    404: "There is nothing at this address.",
    405: "Method not allowed.",
    413: "The request is too large.",
}


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These errors as FastAPI's `responses`, for the OpenAPI document."""
    return {status: {"model": ErrorAnswer} for status in statuses}


def render_error(error: Exception) -> Response:
    """Any exception as an answer."""
    status, problem = _status_and_problem(error)
    return JSONResponse(ErrorAnswer(error=problem).model_dump(), status_code=status)


def problem_of(error: DanqingError) -> Problem:
    """What a core error says."""
    parameter = error.parameter if isinstance(error, InvalidRequest) else None
    message = error.public_message
    return Problem(code=error.code, message=message, parameter=parameter, sentence=sentence_of(message))


def _status_and_problem(error: Exception) -> tuple[int, Problem]:
    match error:
        case DanqingError():
            status = nearest(HOUSE_STATUSES, error)
            return status, problem_of(error)
        case RequestValidationError():
            return 422, _first_problem(error)
        case HTTPException():
            message = HTTP_ERRORS.get(error.status_code, "The request failed.")
            return error.status_code, Problem(code=f"http_{error.status_code}", message=message)
        case _:
            return 500, Problem(code=DanqingError.code, message=DanqingError.default_message)


def _first_problem(error: RequestValidationError) -> Problem:
    """The first thing that does not fit."""
    first = next(iter(error.errors()), {"loc": (), "msg": "The request is not valid."})
    name = ".".join(str(part) for part in first["loc"][1:])
    return Problem(
        code="invalid_request", message=f"{name}: {first['msg']}" if name else str(first["msg"]), parameter=name or None
    )
