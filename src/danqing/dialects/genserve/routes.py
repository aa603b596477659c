"""GenServe's endpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from danqing.core.errors import ArtifactNotFound
from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.dialects.genserve.bodies import read_body
from danqing.dialects.genserve.echo import Echo, echoing
from danqing.dialects.genserve.errors import job_error, respond_error
from danqing.dialects.genserve.forms import read_form
from danqing.dialects.genserve.inputs import StagedInputs, stage_files, stage_sent
from danqing.dialects.genserve.schemas import (
    DEFAULT_MODE,
    GenerateForm,
    GenerateRequest,
    GenerationResult,
    ImageName,
    ModelEntry,
    ServiceStatus,
    Wanted,
)
from danqing.dialects.genserve.translate_in import ignored_images, model_meant, to_order
from danqing.dialects.genserve.translate_out import from_job, from_models, from_status, gpu_of
from danqing.http.callers import known_caller
from danqing.http.dialect import Services
from danqing.http.embedded_pictures import Embedded
from danqing.http.openapi import self_contained
from danqing.http.submit_keys import submit_key, takes_submit_key
from danqing.http.uploads import staging
from danqing.http.waiting import wait_for_jobs
from danqing.http.warnings import warning_headers

# Each error of any path, with the words of the document where it has some.
ERRORS = {
    400: "参数验证失败",
    401: "未授权",
    403: "禁止访问",
    404: "资源不存在",
    405: "请求方法不允许",
    408: "请求超时",
    413: "请求体过大",
    422: "Idempotency-Key已用于其他请求",
    429: "任务过多",
    500: "内部服务器错误",
    503: "服务未就绪",
}


@dataclass(frozen=True, kw_only=True)
class _Accepted:
    """All that is kept of a request while its picture is waited for. sent: names of the pictures that came with it."""

    wanted: Wanted
    sent: Sequence[ImageName]
    job: Job


class GenServeRoutes:
    """Handlers and where they are mounted. Errors are left to the app."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._studio = services.studio
        self._artifacts = services.artifacts

    def router(self) -> APIRouter:
        """The routes, with what each answers."""
        errors = {code: {"model": GenerationResult, "description": words} for code, words in ERRORS.items()}
        # Naming 4XX keeps FastAPI from declaring its own 422.
        router = APIRouter(tags=["genserve"], responses={**errors, "4XX": {"model": GenerationResult}})
        router.add_api_route(
            "/generate",
            self.generate,
            methods=["POST"],
            response_model=GenerationResult,
            openapi_extra=takes_submit_key(_body("application/json", GenerateRequest)),
            summary="生成图片 (JSON方式)",
        )
        router.add_api_route(
            "/generate/img2img",
            self.generate_from_form,
            methods=["POST"],
            response_model=GenerationResult,
            openapi_extra=takes_submit_key(_body("multipart/form-data", GenerateForm)),
            summary="生成图片 (Form-data方式)",
        )
        router.add_api_route(
            "/status", self.status, methods=["GET"], response_model=ServiceStatus, summary="获取服务状态信息"
        )
        router.add_api_route(
            "/models", self.models, methods=["GET"], response_model=list[ModelEntry], summary="获取支持的模型列表"
        )
        return router

    async def generate(self, request: Request) -> Response:
        """使用JSON格式和base64编码的图片数据生成图片"""
        return await self._answer(request, await self._accepted_json(request))

    async def generate_from_form(self, request: Request) -> Response:
        """使用Form-data格式和文件上传生成图片（推荐用于大图片）"""
        return await self._answer(request, await self._accepted_form(request))

    async def status(self) -> ServiceStatus:
        """获取服务状态信息"""
        queue = await self._studio.queue_status()
        return from_status(self._studio.pool_status(), waiting=queue.pending, draining=self._studio.is_draining)

    async def models(self) -> list[ModelEntry]:
        """获取支持的模型列表"""
        return from_models(self._studio.catalogue, self._studio.pool_status())

    async def _accepted_json(self, request: Request) -> _Accepted:
        async with read_body(request, self._services) as body:
            with echoing(Echo.of(body.wanted)):
                async with staging(request, self._services) as pictures:
                    job = await self._submit(request, body.wanted, await stage_sent(body.pictures, pictures))
        return _Accepted(wanted=body.wanted, sent=tuple(body.pictures), job=job)

    async def _accepted_form(self, request: Request) -> _Accepted:
        async with read_form(request) as form:
            with echoing(Echo.of(form.wanted)):
                async with staging(request, self._services) as pictures:
                    job = await self._submit(request, form.wanted, await stage_files(form.files, pictures))
        return _Accepted(wanted=form.wanted, sent=tuple(form.files), job=job)

    async def _submit(self, request: Request, wanted: Wanted, inputs: StagedInputs) -> Job:
        card = model_meant(wanted, self._studio.catalogue)
        order = to_order(wanted, card, inputs)
        key = submit_key(request, wanted, inputs, lifetime=self._services.options.submit_key_lifetime)
        return await self._studio.submit(order, caller=known_caller(request), key=key)

    async def _answer(self, request: Request, accepted: _Accepted) -> Response:
        """Waits for the picture. A client that waits too long, or hangs up, leaves its job (`Studio.leave`)."""
        echo = Echo.of(accepted.wanted, task_id=accepted.job.id)
        with echoing(echo):
            (job,) = await wait_for_jobs(
                request,
                self._studio,
                [accepted.job],
                caller=known_caller(request),
                timeout_s=self._services.options.request_timeout_s,
            )
            if job.state is not JobState.COMPLETED:
                return respond_error(*job_error(job), echo)
            if job.original is None:
                raise ArtifactNotFound
            gpu_id = gpu_of(job, self._studio.pool_status())
            with Embedded() as embedded:
                picture = embedded.add(await self._artifacts.open(job.original.name))
                result = from_job(job, echo=echo, image_base64=picture, gpu_id=gpu_id)
                return embedded.response(result.model_dump_json(), headers=_warnings(accepted.wanted, accepted.sent))


def _warnings(wanted: Wanted, sent: Sequence[ImageName]) -> dict[str, str]:
    """Headers that tell what of a request had no effect."""
    texts = [f"{name} ignored: mode {wanted.mode or DEFAULT_MODE} uses none" for name in ignored_images(wanted, sent)]
    return warning_headers(texts)


def _body(media_type: str, model: type[BaseModel]) -> dict[str, Any]:
    """A request body in the OpenAPI document: FastAPI knows nothing of those that are read here."""
    schema = self_contained(model.model_json_schema())
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}
