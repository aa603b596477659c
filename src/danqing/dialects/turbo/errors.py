"""Errors in turbo's voice: messages in Chinese, never a library's text.

Statuses 400, 404, 405, 500 and 503, and 401, 403, 408, 422 and 429 for what the vendor's document does not know.
"""

from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from danqing.core.capabilities import Range
from danqing.core.errors import (
    AmbiguousBatch,
    ArtifactNotFound,
    BatchFull,
    BatchNotFound,
    BodyTooSlow,
    Conflict,
    DanqingError,
    EngineFailure,
    Forbidden,
    InternalError,
    InvalidImage,
    InvalidRequest,
    JobNotCancellable,
    JobNotFound,
    JobTimeout,
    LoraFailure,
    MissingParameter,
    ModelLoadFailure,
    ModelNotReady,
    ModelNotServed,
    NotFound,
    NotSupported,
    OutOfMemory,
    ParameterOutOfRange,
    QueueFull,
    QuotaExceeded,
    RateLimited,
    RequestTimeout,
    ServerRestarted,
    ShuttingDown,
    StorageAway,
    StorageFailure,
    StorageInDoubt,
    SubmitKeyReused,
    TooBusy,
    TooLargeForDevice,
    TooManyJobs,
    Unauthorized,
    Unavailable,
    UnknownModel,
    WorkerLost,
    WorkerReplaced,
    nearest,
)
from danqing.core.sentences import meant_by
from danqing.dialects.turbo.envelope import failure, respond
from danqing.dialects.turbo.schemas import SEED, SIDE, STEPS
from danqing.http.errors import BodyTooLarge
from danqing.http.submit_keys import HEADER, MAX_KEY_CHARS

# Class of a core error, nearest ancestor first: status and message. {parameter} is the wrong parameter's name, {said}
# what the error says itself.
CORE_ERRORS: Mapping[type[DanqingError], tuple[int, str]] = {
    InvalidRequest: (400, "请求参数错误"),
    MissingParameter: (400, "{parameter}参数必填且不能为空"),
    ParameterOutOfRange: (400, "{parameter}参数超出模型支持的范围"),
    NotSupported: (400, "当前模型不支持{parameter}参数的取值"),
    InvalidImage: (400, "{parameter}参数不是有效的图像"),
    BatchFull: (400, "该批次的任务数量已达上限，请使用新的批次"),
    UnknownModel: (400, "模型不存在"),
    Unauthorized: (401, "API密钥缺失或无效"),
    Forbidden: (403, "不允许的请求来源：{said}"),
    NotFound: (404, "资源不存在"),
    JobNotFound: (404, "任务不存在"),
    BatchNotFound: (404, "批次不存在"),
    ArtifactNotFound: (404, "图像文件不存在"),
    Unavailable: (503, "服务暂不可用，请稍后重试"),
    ModelNotReady: (503, "模型未加载，请稍后重试"),
    QueueFull: (503, "任务队列已满，请稍后重试"),
    RateLimited: (429, "请求过于频繁，请稍后重试"),
    QuotaExceeded: (429, "已达到配额上限，请稍后重试"),
    TooManyJobs: (429, "等待中的任务过多，请在部分任务完成后重试"),
    ShuttingDown: (503, "服务正在关闭，请稍后重试"),
    RequestTimeout: (408, "请求超时，请重试"),
    BodyTooSlow: (408, "请求体未在规定时间内发送完毕，请重试"),
    Conflict: (400, "任务当前状态不允许此操作"),
    JobNotCancellable: (400, "任务已生成图像或已结束，无法取消"),
    SubmitKeyReused: (422, "该Idempotency-Key已用于其他请求，请为新请求使用新的Idempotency-Key"),
    AmbiguousBatch: (400, "多个用户有同名批次，请指明所有者"),
    TooBusy: (503, "正在接收的图像过多，请稍后重试"),
    InternalError: (500, "服务器内部错误"),
    StorageFailure: (500, "服务器内部错误：数据存储失败"),
    StorageAway: (503, "存储服务暂不可用，请稍后重试"),
    StorageInDoubt: (503, "存储服务未及时响应，任务可能已创建；如需重试，请使用相同的Idempotency-Key"),
    DanqingError: (500, "服务器内部错误"),
}

# What is wrong with a request, by the code of the core's sentence, where its class alone does not tell enough.
REFUSALS: Mapping[str, str] = {
    "between": "{parameter}参数必须在{least}到{most}之间",
    "most_chars": "{parameter}参数不能超过{most}个字符",
    "not_unicode": "{parameter}参数包含无效字符",
    "has_nul": "{parameter}参数包含无效字符",
}
# By the parameter: of a submit key, which is a header, and of a mode, which turbo's clients never name.
OF_PARAMETERS: Mapping[str | None, str] = {
    HEADER: f"请求头{HEADER}必须是1到{MAX_KEY_CHARS}个可打印的ASCII字符",
    "mode": "当前模型不支持文生图",
}

# The vendor's own text, which clients look for. Ours to say whatever a library has said.
_OUT_OF_MEMORY = "CUDA out of memory"

# Why a job failed, by its failure's code.
JOB_FAILURES: Mapping[str, str] = {
    EngineFailure.code: "图像生成失败",
    OutOfMemory.code: f"{_OUT_OF_MEMORY}：显存不足，请降低图像分辨率后重试",
    TooLargeForDevice.code: f"{_OUT_OF_MEMORY}：图像尺寸超出当前设备显存所能支持的范围，请降低图像分辨率后重试",
    ModelLoadFailure.code: "模型加载失败",
    LoraFailure.code: "LoRA加载失败",
    ModelNotServed.code: "任务所需的模型已不再提供服务",
    JobTimeout.code: "任务超时",
    WorkerLost.code: "生成进程意外退出，任务处理失败",
    WorkerReplaced.code: "生成进程被替换，任务处理失败",
    ServerRestarted.code: "服务曾重启，任务处理失败",
    StorageFailure.code: "图像保存失败",
    StorageAway.code: "存储服务暂不可用，图像保存失败",
}
OTHER_FAILURE = "任务处理失败"

# Statuses that the HTTP layer raises by itself: status and message here.
HTTP_ERRORS: Mapping[int, tuple[int, str]] = {
    400: (400, "请求体不是有效的JSON"),
    404: (404, "接口不存在"),
    405: (405, "请求方法不允许"),
}

# Kind of a pydantic error in a field of the body: message.
FIELD_ERRORS: Mapping[str, str] = {
    "int_type": "{name}参数必须是整数",
    "string_type": "{name}参数必须是字符串",
    "string_unicode": "{name}参数包含无效字符",
    "greater_than_equal": "{name}参数必须在{range.minimum}到{range.maximum}之间",
    "less_than_equal": "{name}参数必须在{range.minimum}到{range.maximum}之间",
    "less_than": "{name}参数必须在{range.minimum}到{range.maximum}之间",
}
RANGES: Mapping[str, Range] = {"height": SIDE, "width": SIDE, "num_inference_steps": STEPS, "seed": SEED}


def render_error(error: Exception) -> Response:
    """Any exception as an envelope."""
    status, message = _status_and_message(error)
    return respond(failure(status, message))


def error_fields(error: Exception, status: int) -> Mapping[str, object]:
    """The envelope's fields for an answer that has the status already."""
    return failure(status, _status_and_message(error)[1]).model_dump()


def _status_and_message(error: Exception) -> tuple[int, str]:
    match error:
        case DanqingError():
            return core_error(error)
        case RequestValidationError():
            return 400, validation_message(error)
        case BodyTooLarge():
            return 400, f"请求体过大，不能超过{error.max_bytes // 1024}KB"
        case HTTPException():
            return HTTP_ERRORS.get(error.status_code, (error.status_code, "请求失败"))
        case _:
            return CORE_ERRORS[DanqingError]


def core_error(error: DanqingError) -> tuple[int, str]:
    """Status and message of the nearest ancestor in the table; the message may be a more telling one."""
    status, message = nearest(CORE_ERRORS, error)
    if not isinstance(error, InvalidRequest):
        return status, message.format(said=error.public_message)
    if error.parameter in OF_PARAMETERS:
        return status, OF_PARAMETERS[error.parameter]
    meant = meant_by(error.public_message)
    if meant is not None and meant.code in REFUSALS:
        return status, REFUSALS[meant.code].format(**meant.values)
    return status, message.format(parameter=error.parameter or "")


def failure_message(code: str) -> str:
    """Why a job of this failure code has no picture."""
    return JOB_FAILURES.get(code, OTHER_FAILURE)


def validation_message(error: RequestValidationError) -> str:
    """The first thing wrong with a body."""
    if isinstance(error.body, bytes):
        return "请求头Content-Type必须是application/json"
    first = error.errors()[0]
    kind, place = first["type"], first["loc"]
    if kind == "json_invalid":
        return HTTP_ERRORS[400][1]
    if len(place) < 2:
        return "请求体必须是JSON对象"
    name = str(place[1])
    if name == "prompt" and (kind in ("missing", "string_too_short") or first["input"] is None):
        return CORE_ERRORS[MissingParameter][1].format(parameter=name)
    return FIELD_ERRORS.get(kind, CORE_ERRORS[InvalidRequest][1]).format(name=name, range=RANGES.get(name))
