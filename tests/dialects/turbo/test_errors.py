"""Every error of the core, of the HTTP layer and of jobs has turbo's envelope and a Chinese message."""

import json
from collections.abc import Iterator

import pytest
from starlette.exceptions import HTTPException

from danqing.core.errors import (
    BodyTooSlow,
    DanqingError,
    EngineFailure,
    Forbidden,
    InternalError,
    InvalidImage,
    InvalidRequest,
    ModelNotServed,
    QuotaExceeded,
    RateLimited,
    RequestTimeout,
    ServerRestarted,
    StorageFailure,
    SubmitKeyReused,
    TooManyJobs,
    Unauthorized,
    WorkerLost,
)
from danqing.dialects.turbo.errors import (
    CORE_ERRORS,
    JOB_FAILURES,
    OTHER_FAILURE,
    error_fields,
    failure_message,
    render_error,
)
from danqing.http.errors import BodyTooLarge

DOCUMENTED_CODES = {400, 404, 500, 503}
# For what the vendor's server did not have.
FURTHER_CODES = {
    Unauthorized: 401,
    Forbidden: 403,
    RequestTimeout: 408,
    BodyTooSlow: 408,
    SubmitKeyReused: 422,
} | dict.fromkeys((TooManyJobs, RateLimited, QuotaExceeded), 429)


def family(kind: type[DanqingError]) -> Iterator[type[DanqingError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


def rendered(error: Exception) -> tuple[int, dict[str, object]]:
    response = render_error(error)
    return response.status_code, json.loads(bytes(response.body))


@pytest.mark.parametrize("kind", list(family(DanqingError)))
def test_every_core_error_is_mapped(kind: type[DanqingError]) -> None:
    # Given an error whose own message is not for turbo's clients; only Forbidden's tells its operator what to set
    error = kind("secret of a library")

    status, envelope = rendered(error)

    # Then the envelope is whole and in Chinese
    assert list(envelope) == ["code", "message", "data"]
    assert envelope["code"] == status
    assert status == FURTHER_CODES[kind] if kind in FURTHER_CODES else status in DOCUMENTED_CODES
    assert envelope["data"] == {}
    assert ("secret" in str(envelope["message"])) == (kind is Forbidden)
    assert any("\u4e00" <= sign <= "\u9fff" for sign in str(envelope["message"]))


@pytest.mark.parametrize("kind", [k for k in family(DanqingError) if not issubclass(k, InternalError)])
def test_errors_that_clients_can_act_on_have_messages_of_their_own(kind: type[DanqingError]) -> None:
    assert kind in CORE_ERRORS


@pytest.mark.parametrize("kind", list(family(EngineFailure)))
def test_every_engine_failure_says_why_a_job_failed(kind: type[DanqingError]) -> None:
    assert kind.code in JOB_FAILURES


def test_a_later_error_class_is_answered_as_its_nearest_ancestor() -> None:
    class PromptForbidden(InvalidRequest):
        pass

    assert rendered(PromptForbidden()) == (400, {"code": 400, "message": "请求参数错误", "data": {}})


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (HTTPException(404), 404, "接口不存在"),
        (HTTPException(405), 405, "请求方法不允许"),
        (HTTPException(400, "There was an error parsing the body"), 400, "请求体不是有效的JSON"),
        (BodyTooLarge(1024 * 1024), 400, "请求体过大，不能超过1024KB"),
        (HTTPException(418, "teapot"), 418, "请求失败"),
        (ZeroDivisionError("division by zero"), 500, "服务器内部错误"),
        (InvalidRequest("x", parameter="height"), 400, "请求参数错误"),
        (InvalidImage("x", parameter="image"), 400, "image参数不是有效的图像"),
        (Unauthorized(), 401, "API密钥缺失或无效"),
        (RequestTimeout(), 408, "请求超时，请重试"),
        (BodyTooSlow(), 408, "请求体未在规定时间内发送完毕，请重试"),
    ],
)
def test_other_errors(error: Exception, status: int, message: str) -> None:
    assert rendered(error) == (status, {"code": status, "message": message, "data": {}})


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (HTTPException(404), 404, "接口不存在"),
        (BodyTooLarge(64 * 1024), 413, "请求体过大，不能超过64KB"),
        (ZeroDivisionError("division by zero"), 500, "服务器内部错误"),
    ],
)
def test_on_paths_of_no_dialect_the_code_is_the_answers_status(error: Exception, status: int, message: str) -> None:
    assert error_fields(error, status) == {"code": status, "message": message, "data": {}}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("out_of_memory", "CUDA out of memory：显存不足，请降低图像分辨率后重试"),
        ("job_timeout", "任务超时"),
        (WorkerLost.code, "生成进程意外退出，任务处理失败"),
        (ModelNotServed.code, "任务所需的模型已不再提供服务"),
        (ServerRestarted.code, "服务曾重启，任务处理失败"),
        (StorageFailure.code, "图像保存失败"),
        ("something_new", OTHER_FAILURE),
    ],
)
def test_failure_messages(code: str, message: str) -> None:
    assert failure_message(code) == message
