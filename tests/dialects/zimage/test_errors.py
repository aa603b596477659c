"""Every error of the core, of the HTTP layer and of tasks has its status and a sentence."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from danqing.core.errors import (
    DanqingError,
    Forbidden,
    InternalError,
    InvalidRequest,
    JobNotFound,
    MissingParameter,
    ParameterOutOfRange,
    QueueFull,
    Unauthorized,
)
from danqing.core.states import JobState
from danqing.core.types import JobFailure
from danqing.dialects.zimage.errors import CORE_ERRORS, error_fields, render_error
from danqing.dialects.zimage.failure_texts import CANCELLED, JOB_FAILURES, OTHER_FAILURE, failure_text
from danqing.http.errors import HOUSE_STATUSES, BodyTooLarge
from tests.fakes.domain import a_job


def family(kind: type[DanqingError]) -> Iterator[type[DanqingError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


def rendered(error: Exception) -> tuple[int, object]:
    response = render_error(error)
    return response.status_code, json.loads(bytes(response.body))


@pytest.mark.parametrize("kind", [k for k in family(DanqingError) if not issubclass(k, InvalidRequest)])
def test_every_core_error_is_mapped(kind: type[DanqingError]) -> None:
    # Given an error whose own message may be a library's
    status, answer = rendered(kind("secret of a library"))

    # Then the answer has a sentence of its own (Forbidden tells the operator what to set), and the house's status
    assert isinstance(answer, dict)
    assert list(answer) == ["detail"]
    assert answer["detail"]
    assert ("secret" in answer["detail"]) == (kind is Forbidden)
    assert status == next(HOUSE_STATUSES[each] for each in kind.__mro__ if each in HOUSE_STATUSES)


@pytest.mark.parametrize("kind", [k for k in family(DanqingError) if not issubclass(k, InternalError | InvalidRequest)])
def test_errors_that_clients_can_act_on_have_messages_of_their_own(kind: type[DanqingError]) -> None:
    assert kind in CORE_ERRORS


@pytest.mark.parametrize("kind", list(family(InvalidRequest)))
def test_a_refused_parameter_is_told_as_fastapi_does(kind: type[InvalidRequest]) -> None:
    assert rendered(kind("prompt is wrong.", parameter="prompt")) == (
        422,
        {"detail": [{"type": kind.code, "loc": ["body", "prompt"], "msg": "prompt is wrong."}]},
    )


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (Unauthorized(), 401, "Invalid or missing API key"),
        (JobNotFound(), 404, "Task not found"),
        (QueueFull(), 503, "The queue is full; try again later"),
        (InvalidRequest("No."), 422, [{"type": "invalid_request", "loc": ["body"], "msg": "No."}]),
        (HTTPException(404), 404, "Not Found"),
        (HTTPException(405), 405, "Method Not Allowed"),
        (HTTPException(400, "what a parser says"), 400, "There was an error parsing the body"),
        (BodyTooLarge(1024 * 1024), 413, "The body is larger than 1024 KiB"),
        (HTTPException(418, "teapot"), 418, "The request failed"),
        (ZeroDivisionError("division by zero"), 500, "Internal Server Error"),
    ],
)
def test_errors(error: Exception, status: int, detail: object) -> None:
    assert rendered(error) == (status, {"detail": detail})
    assert error_fields(error, 404) == {"detail": detail}


def test_what_pydantic_found_is_told_without_what_was_sent() -> None:
    found = {"type": "int_type", "loc": ("body", "seed"), "msg": "Input should be a valid integer", "input": "x" * 9999}

    assert rendered(RequestValidationError([found], body={})) == (
        422,
        {"detail": [{"type": "int_type", "loc": ["body", "seed"], "msg": "Input should be a valid integer"}]},
    )


def test_a_later_error_class_is_answered_as_its_nearest_ancestor() -> None:
    class TaskHidden(JobNotFound):
        pass

    class PromptForbidden(MissingParameter):
        pass

    assert rendered(TaskHidden()) == (404, {"detail": "Task not found"})
    assert rendered(PromptForbidden("No."))[0] == rendered(ParameterOutOfRange("No."))[0] == 422


@pytest.mark.parametrize("kind", list(family(InternalError)))
def test_every_failure_says_why_and_what_to_do(kind: type[InternalError]) -> None:
    text = JOB_FAILURES[kind.code]

    assert text.code.isupper()
    assert text.error.endswith(".")
    assert text.hint.endswith(".")


def test_which_text_a_job_gets() -> None:
    job = a_job(state=JobState.FAILED, failure=JobFailure(code="something_new", message="secret of a library"))

    assert failure_text(job) is OTHER_FAILURE
    assert failure_text(replace(job, failure=None)) is OTHER_FAILURE
    assert failure_text(replace(job, state=JobState.CANCELLED, failure=None)) is CANCELLED
    for state in (JobState.PENDING, JobState.PROCESSING, JobState.GENERATED, JobState.COMPLETED):
        assert failure_text(replace(job, state=state)) is None
