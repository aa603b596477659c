"""Every error of the core and of the HTTP layer in live's words, and nothing of a library's."""

import json
from collections.abc import Iterator

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from danqing.core.errors import (
    DanqingError,
    Forbidden,
    InternalError,
    InvalidRequest,
    NotSupported,
    ParameterOutOfRange,
    UnknownModel,
)
from danqing.dialects.live.errors import CORE_ERRORS, error_message, render_error
from danqing.http.errors import BodyTooLarge


def family(kind: type[DanqingError]) -> Iterator[type[DanqingError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


def rendered(error: Exception) -> tuple[int, dict[str, object]]:
    response = render_error(error)
    return response.status_code, json.loads(bytes(response.body))


@pytest.mark.parametrize("kind", list(family(DanqingError)))
def test_every_core_error_is_mapped(kind: type[DanqingError]) -> None:
    # Given an error that says something which is for its client only if the request was wrong
    error = kind("secret of a library")

    status, body = rendered(error)

    assert list(body) == ["detail"]
    assert 400 <= status < 600
    says_itself = issubclass(kind, InvalidRequest | Forbidden) and kind is not UnknownModel
    assert ("secret" in str(body["detail"])) == says_itself
    told = json.loads(error_message(error, "r").model_dump_json())
    assert told == {"type": "error", "message": body["detail"], "request_id": "r"}


@pytest.mark.parametrize("kind", [k for k in family(DanqingError) if not issubclass(k, InternalError | InvalidRequest)])
def test_errors_that_clients_can_act_on_have_messages_of_their_own(kind: type[DanqingError]) -> None:
    assert kind in CORE_ERRORS


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ParameterOutOfRange("num_inference_steps must be between 1 and 50.", parameter="num_inference_steps"),
            "steps must be between 1 and 50.",
        ),
        (ParameterOutOfRange("width must be between 64 and 2048.", parameter="width"), None),
        (NotSupported("Not supported: text2img by model x.", parameter="mode"), None),
    ],
)
def test_parameters_have_their_wire_names(error: DanqingError, message: str | None) -> None:
    assert error_message(error, None).message == (message or error.public_message)


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (HTTPException(404), 404, "Not found."),
        (HTTPException(405), 405, "Method not allowed."),
        (BodyTooLarge(1), 413, "The request failed."),
        (RequestValidationError([]), 422, "The request is not valid."),
        (ZeroDivisionError("division by zero"), 500, "Internal server error."),
    ],
)
def test_other_errors_over_http(error: Exception, status: int, detail: str) -> None:
    assert rendered(error) == (status, {"detail": detail})
