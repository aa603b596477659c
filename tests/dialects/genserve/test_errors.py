"""Every error of the core, of the HTTP layer and of jobs has the documented body."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from danqing.core.errors import (
    DanqingError,
    EngineFailure,
    InternalError,
    InvalidRequest,
    ParameterOutOfRange,
    RequestTimeout,
    ServerRestarted,
    StorageAway,
    StorageFailure,
    WorkerLost,
)
from danqing.core.states import JobState
from danqing.core.types import JobFailure
from danqing.dialects.genserve.echo import Echo, echoing
from danqing.dialects.genserve.errors import (
    CANCELLED,
    CORE_ERRORS,
    JOB_FAILURES,
    OTHER_FAILURE,
    job_error,
    render_error,
)
from danqing.dialects.genserve.routes import ERRORS
from danqing.http.errors import BodyTooLarge
from tests.dialects.genserve.seed_document import example
from tests.fakes.domain import a_job

BODY = example("#### 错误响应")


def family(kind: type[DanqingError]) -> Iterator[type[DanqingError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


def rendered(error: Exception) -> tuple[int, dict[str, object]]:
    response = render_error(error)
    return response.status_code, json.loads(bytes(response.body))


@pytest.mark.parametrize("kind", list(family(DanqingError)))
def test_every_core_error_is_mapped(kind: type[DanqingError]) -> None:
    # Given an error with a message of its own
    status, body = rendered(kind("the details."))

    # Then the body is the documented one, with a task of its own
    assert list(body) == list(BODY)
    assert status in ERRORS
    uuid.UUID(str(body["task_id"]))
    assert body | {"task_id": "uuid-string", "error": "错误描述"} == BODY
    # And the details are told, unless it is a fault of ours
    ours = kind is DanqingError or (issubclass(kind, InternalError) and not issubclass(kind, StorageAway))
    assert ("the details." in str(body["error"])) == (not ours)


def test_each_class_has_its_status() -> None:
    statuses = {kind: rendered(kind())[0] for kind in family(DanqingError)}

    for kind, status in statuses.items():
        nearest = next(ancestor for ancestor in kind.__mro__ if ancestor in CORE_ERRORS)
        assert status == CORE_ERRORS[nearest][0]


@pytest.mark.parametrize("kind", [*family(EngineFailure), WorkerLost, ServerRestarted, StorageFailure, StorageAway])
def test_every_failure_of_a_job_has_a_text_and_leaks_none(kind: type[DanqingError]) -> None:
    assert kind.code in JOB_FAILURES

    status, message = job_error(replace(a_job(), failure=JobFailure(code=kind.code, message="secret of a library")))

    assert status in (408, 500)
    assert "secret" not in message
    assert ": " in message


def test_other_ends_of_a_job() -> None:
    assert job_error(replace(a_job(), state=JobState.CANCELLED)) == CANCELLED
    assert job_error(replace(a_job(), failure=JobFailure(code="new", message="secret"))) == OTHER_FAILURE


def test_a_parameter_is_named_as_the_client_named_it() -> None:
    error = ParameterOutOfRange("guidance_scale must be between 0 and 100.", parameter="guidance_scale")

    assert rendered(error)[1]["error"] == "参数验证失败: cfg must be between 0 and 100."


@pytest.mark.parametrize(
    ("error", "status", "part"),
    [
        (HTTPException(404), 404, "接口不存在"),
        (HTTPException(405), 405, "请求方法不允许"),
        (HTTPException(400, "There was an error parsing the body"), 400, "not valid JSON"),
        (BodyTooLarge(200 * 1024**2), 413, "200 MiB"),
        (HTTPException(418, "teapot"), 418, "请求失败"),
        (ZeroDivisionError("division by zero"), 500, "内部服务器错误"),
    ],
)
def test_other_errors(error: Exception, status: int, part: str) -> None:
    found, body = rendered(error)

    assert found == status
    assert part in str(body["error"])
    assert "teapot" not in str(body["error"])
    assert "zero" not in str(body["error"])


@pytest.mark.parametrize(
    ("body", "model_id", "mode"),
    [
        ({"model_id": "mine", "mode": "bogus"}, "mine", "bogus"),
        ({"model_id": 3, "mode": None}, "flux1-dev", "text2img"),
        ({"model_id": "half \ud800 a pair", "mode": "x" * 1000}, "half  a pair", "text2img"),
        ([1], "flux1-dev", "text2img"),
        (b"no json", "flux1-dev", "text2img"),
        (None, "flux1-dev", "text2img"),
    ],
)
def test_what_could_be_read_of_a_refused_body_is_told_again(body: object, model_id: str, mode: str) -> None:
    problem = {"type": "int_type", "loc": ("body", "seed"), "msg": "", "input": "x"}

    answer = rendered(RequestValidationError([problem], body=body))[1]

    assert (answer["model_id"], answer["mode"]) == (model_id, mode)


def test_an_error_keeps_the_task_that_it_was_raised_for() -> None:
    inner = Echo(model_id="m", mode="fill", task_id="the job's")

    with pytest.raises(RequestTimeout) as caught, echoing(Echo()), echoing(inner):
        raise RequestTimeout

    status, body = rendered(caught.value)
    assert (status, body["task_id"], body["model_id"], body["mode"]) == (408, "the job's", "m", "fill")


def test_a_later_error_class_is_answered_as_its_nearest_ancestor() -> None:
    class PromptForbidden(InvalidRequest):
        pass

    assert rendered(PromptForbidden("no."))[0] == 400
