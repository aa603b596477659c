"""Turbo's endpoints."""

from datetime import timedelta

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from danqing.core.errors import ArtifactNotFound
from danqing.core.orders import Order
from danqing.core.picture_ports import ArtifactStore
from danqing.core.states import JobState
from danqing.core.studio import Studio
from danqing.dialects.turbo.envelope import success
from danqing.dialects.turbo.schemas import Empty, Envelope, GenerateRequest, Submitted, SystemStatus, Task, Unfinished
from danqing.dialects.turbo.translate_in import to_draft
from danqing.dialects.turbo.translate_out import from_job, from_status, from_submitted, from_unfinished
from danqing.http.callers import known_caller
from danqing.http.pictures import picture_response
from danqing.http.submit_keys import submit_key, takes_submit_key


class TurboRoutes:
    """Handlers and where they are mounted. Errors are left to the app."""

    def __init__(self, *, studio: Studio, artifacts: ArtifactStore, key_lifetime: timedelta) -> None:
        """key_lifetime: how long an `Idempotency-Key` counts."""
        self._studio = studio
        self._key_lifetime = key_lifetime
        self._artifacts = artifacts

    def router(self) -> APIRouter:
        """The routes, with what each answers."""
        failed = {"model": Envelope[Empty]}
        router = APIRouter(
            tags=["turbo"],
            responses={"4XX": failed, "5XX": failed},
        )
        add = router.add_api_route
        add(
            "/api/generate",
            self.generate,
            methods=["POST"],
            response_model=Envelope[Submitted],
            openapi_extra=takes_submit_key(),
            summary="提交生成任务",
        )
        add("/api/task/{task_id}", self.task, methods=["GET"], response_model=Envelope[Task], summary="查询任务状态")
        add(
            "/api/result/{task_id}",
            self.result,
            methods=["GET"],
            response_model=Envelope[Unfinished],
            responses={200: {"content": {"image/png": {}}, "description": "PNG图像，或未完成任务的状态信息"}},
            summary="获取生成结果",
        )
        add("/api/status", self.status, methods=["GET"], response_model=Envelope[SystemStatus], summary="查询系统状态")
        return router

    async def generate(self, request: Request, wire: GenerateRequest) -> Response:
        """提交图像生成任务，返回任务ID"""
        key = submit_key(request, wire, lifetime=self._key_lifetime)
        job = await self._studio.submit(Order(draft=to_draft(wire)), caller=known_caller(request), key=key)
        return success(from_submitted(job, queue_position=await self._studio.queue_position(job)))

    async def task(self, request: Request, task_id: str) -> Response:
        """查询指定任务的状态和详细信息"""
        job = await self._studio.get(task_id, caller=known_caller(request))
        return success(
            from_job(
                job,
                queue_position=await self._studio.queue_position(job),
                progress=await self._studio.progress(job.id) if job.state.is_running else None,
                image_path=self._artifacts.location(job.original.name) if job.original else "",
            )
        )

    async def result(self, request: Request, task_id: str) -> Response:
        """获取生成的图像文件（任务完成时）或状态信息"""
        job = await self._studio.get(task_id, caller=known_caller(request))
        if job.state is not JobState.COMPLETED:
            return success(from_unfinished(job))
        if job.original is None:
            raise ArtifactNotFound
        return await picture_response(self._artifacts, job.original, filename=f"{job.id}.png")

    async def status(self) -> Response:
        """查询系统整体状态，包括队列信息、GPU使用情况等"""
        return success(from_status(await self._studio.queue_status(), self._studio.pool_status()))
