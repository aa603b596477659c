"""Zimage's endpoints: tasks and pictures. The history's are in `history_routes.py`."""

from contextlib import suppress

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from danqing.core.callers import LOCAL, Caller
from danqing.core.errors import ArtifactNotFound, JobNotCancellable, JobNotFound
from danqing.core.types import ArtifactKind, Job, Mode
from danqing.dialects.zimage.errors import declared
from danqing.dialects.zimage.examples import CANCELLED, SUBMITTED, TASK, shown
from danqing.dialects.zimage.model_limits import limits_of
from danqing.dialects.zimage.picture_names import (
    FOLDER,
    Shelf,
    job_id_of,
    parse,
    relative_path,
    signed_path,
)
from danqing.dialects.zimage.schemas import (
    CancelTaskResponse,
    GenerateImageRequest,
    GenerateImageResponse,
    TaskStatusResponse,
)
from danqing.dialects.zimage.translate_in import to_order
from danqing.dialects.zimage.translate_out import from_cancelled, from_job, from_submitted, from_uncancellable
from danqing.http.callers import known_caller
from danqing.http.dialect import Services
from danqing.http.keys import key_in
from danqing.http.pictures import known_viewer, picture_response
from danqing.http.submit_keys import submit_key, takes_submit_key


class TaskRoutes:
    """Handlers and where they are mounted. Errors are left to the app."""

    def __init__(self, services: Services) -> None:
        self._studio = services.studio
        self._artifacts = services.artifacts
        self._key_lifetime = services.options.submit_key_lifetime
        self._links = services.links
        self._shelf = Shelf(location=services.artifacts.location, link=services.links.sign)

    def add_to(self, router: APIRouter) -> None:
        """The routes, with what each answers."""
        add = router.add_api_route
        add(
            "/v1/images/generate",
            self.generate,
            methods=["POST"],
            responses=shown(SUBMITTED) | declared(400, 401, 403, 413, 422, 429, 500, 503),
            openapi_extra=takes_submit_key(limits_of(self._studio.catalogue.default(mode=Mode.TEXT2IMG))),
            summary="Create a generation task",
        )
        add(
            "/v1/tasks/{task_id}",
            self.task,
            methods=["GET"],
            response_model_exclude_unset=True,
            responses=shown(TASK) | declared(401, 403, 404, 422, 500),
            summary="Get a task's status and result",
        )
        add(
            "/v1/tasks/{task_id}/cancel",
            self.cancel,
            methods=["POST"],
            responses=shown(CANCELLED) | declared(401, 403, 404, 413, 422, 500),
            summary="Cancel a task",
        )
        add(
            f"{FOLDER}/{{relative_path:path}}",
            self.picture,
            methods=["GET"],
            response_class=Response,
            responses={
                200: {"content": {"image/png": {}, "image/webp": {}}, "description": "The picture or its preview"},
                **declared(401, 403, 404, 422, 500),
            },
            summary="Get a generated picture",
        )

    async def generate(self, wire: GenerateImageRequest, request: Request) -> GenerateImageResponse:
        """Answers as soon as the task is stored; its status is then asked for at `status_url`."""
        key = submit_key(request, wire, lifetime=self._key_lifetime)
        return from_submitted(await self._studio.submit(to_order(wire), caller=known_caller(request), key=key))

    async def task(self, task_id: str, request: Request) -> TaskStatusResponse:
        """The task as it is now."""
        caller = known_caller(request)
        job = await self._job(task_id, caller)
        return from_job(
            job,
            progress=await self._studio.progress(job.id) if job.state.is_running else None,
            shelf=self._shelf,
            auth_key=_auth_key(request, caller, job),
        )

    async def cancel(self, task_id: str, request: Request) -> CancelTaskResponse:
        """A task that has ended already stays as it is, and the answer says so."""
        caller = known_caller(request)
        job = await self._job(task_id, caller)
        with suppress(JobNotCancellable):
            return from_cancelled(await self._studio.cancel(job.id, caller=caller))
        return from_uncancellable(await self._job(task_id, caller))

    async def picture(self, relative_path: str, request: Request) -> Response:
        """Needs a key that may see the task, or the signature that the addresses in answers carry."""
        viewer = known_viewer(request, self._links, signed_path(relative_path))
        job, kind = await self._pictured(relative_path, viewer)
        artifact = job.artifact(kind)
        if artifact is None:
            raise ArtifactNotFound
        return await picture_response(self._artifacts, artifact, filename=relative_path.rpartition("/")[2])

    async def _job(self, task_id: str, caller: Caller) -> Job:
        job_id = job_id_of(task_id)
        if job_id is None:
            raise JobNotFound
        return await self._studio.get(job_id, caller=caller)

    async def _pictured(self, path: str, caller: Caller) -> tuple[Job, ArtifactKind]:
        """The job whose picture has this path."""
        found = parse(path)
        if found is None:
            raise ArtifactNotFound
        with suppress(JobNotFound):
            job = await self._studio.get(found[0], caller=caller)
            if relative_path(job, found[1]) == path:
                return job, found[1]
        raise ArtifactNotFound


def _auth_key(request: Request, caller: Caller, job: Job) -> str | None:
    """See `ImageResult`. The key itself is nowhere but in this request's header."""
    if job.owner != caller.owner:
        return None if job.owner == LOCAL.owner else job.owner
    key = key_in(request.headers)
    return key.decode(errors="replace") if key else None
