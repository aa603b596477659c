"""The studio's endpoints."""

import re
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from danqing import __version__
from danqing.core.batches import Batch
from danqing.core.errors import ArtifactNotFound, NotSupported
from danqing.core.sentences import says
from danqing.core.types import Artifact, ArtifactKind, Job, Mode
from danqing.dialects.studio.errors import declared
from danqing.dialects.studio.forms import read_form, staged
from danqing.dialects.studio.key_routes import KeyRoutes
from danqing.dialects.studio.machine_schemas import MachineView
from danqing.dialects.studio.machine_words import from_log, from_queue, from_sample, from_worker
from danqing.dialects.studio.picture_names import FOLDER, picture_path
from danqing.dialects.studio.schemas import BatchForm, BatchPage, BatchView, JobView, ModelList
from danqing.dialects.studio.stream import JobStream
from danqing.dialects.studio.translate_in import to_filter, to_orders
from danqing.dialects.studio.translate_out import (
    Teller,
    from_caller,
    from_card,
    inputs_of,
    upscaler_of,
)
from danqing.http.callers import known_caller
from danqing.http.dialect import Services
from danqing.http.openapi import self_contained
from danqing.http.pictures import picture_response, viewer_of
from danqing.http.submit_keys import submit_key, takes_submit_key
from danqing.http.uploads import staging

MAX_PAGE = 200  # batches
MAX_STREAMED = 200  # jobs
_STREAM_HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache"}
_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "The path of the batch's first job"}}
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9.-]")


class StudioRoutes:
    """Handlers and where they are mounted. Errors are left to the app."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._studio = services.studio
        self._gallery = services.gallery
        self._teller = Teller(link=services.links.sign)

    def router(self) -> APIRouter:
        """The routes, with what each answers."""
        # Naming 4XX keeps FastAPI from declaring its own 422.
        router = APIRouter(tags=["studio"], responses=declared(401, 403, 500) | {"4XX": declared(400)[400]})
        add = router.add_api_route
        add("/studio/models", self.models, methods=["GET"], response_model=ModelList, summary="Models and caller")
        add("/studio/machine", self.machine, methods=["GET"], response_model=MachineView, summary="Workers and queue")
        add(
            "/studio/batches",
            self.submit,
            methods=["POST"],
            status_code=202,
            response_model=BatchView,
            responses={202: {"headers": _LOCATION}, **declared(400, 422, 429, 503)},
            openapi_extra=takes_submit_key(_form()),
            summary="Make a batch of pictures",
        )
        add("/studio/batches", self.batches, methods=["GET"], response_model=BatchPage, summary="Look for batches")
        add(
            "/studio/jobs/{job_id}",
            self.job,
            methods=["GET"],
            response_model=JobView,
            responses=declared(404),
            summary="A job",
        )
        add(
            "/studio/jobs/{job_id}/cancel",
            self.cancel,
            methods=["POST"],
            response_model=JobView,
            responses=declared(404, 409),
            summary="Cancel a job that waits or is being made",
        )
        add(
            "/studio/jobs/{job_id}",
            self.remove,
            methods=["DELETE"],
            status_code=204,
            response_class=Response,
            responses=declared(404, 409),
            summary="Remove a job that has ended, with its pictures, for good",
        )
        add(
            "/studio/events",
            self.events,
            methods=["GET"],
            response_class=Response,
            responses={200: {"content": {"text/event-stream": {}}}},
            summary="Jobs as they go on, as server-sent events",
        )
        add(
            f"{FOLDER}/{{job_id}}/{{name}}",
            self.picture,
            methods=["GET"],
            response_class=Response,
            responses={200: {"content": {"image/png": {}, "image/webp": {}}}, **declared(404)},
            summary="A picture of a job, or one that it starts from",
        )
        KeyRoutes(self._services).add_to(router)
        return router

    async def models(self, request: Request) -> ModelList:
        """The default first; and who asks."""
        pool = self._studio.pool_status()
        caller = known_caller(request)
        models = [from_card(card, pool) for card in self._studio.catalogue.cards()]
        return ModelList(
            models=models,
            upscaler=upscaler_of(pool),
            caller=from_caller(caller, manages_keys=self._services.options.needs_key and caller.sees_all),
        )

    async def machine(
        self, request: Request, since: Annotated[AwareDatetime | None, Query(description="Samples after this")] = None
    ) -> MachineView:
        """As of now, and for the last hour. Of several processes behind one address each tells of its own host."""
        log = self._services.machine_log
        return MachineView(
            version=__version__,
            draining=self._studio.is_draining,
            workers=[from_worker(worker) for worker in self._studio.pool_status().workers],
            queue=from_queue(await self._studio.queue_status()),
            host=from_log(log, known_caller(request)),
            samples=[from_sample(sample) for sample in log.since(since)],
        )

    async def submit(self, request: Request, response: Response) -> BatchView:
        """A job for each picture, all or none."""
        caller = known_caller(request)
        async with read_form(request) as form, staging(request, self._services) as pictures:
            if form.wanted.mode is Mode.UPSCALE and upscaler_of(self._studio.pool_status()) is None:
                raise NotSupported(says("no_upscaler"), parameter="mode")
            inputs = await staged(form.files, pictures)
            orders = to_orders(form.wanted, inputs, batch_id=uuid.uuid4().hex)
            said = (form.wanted, inputs.input_images, inputs.mask, inputs.control_image)
            key = submit_key(request, *said, lifetime=self._services.options.submit_key_lifetime)
            jobs = await self._studio.submit_all(orders, caller=caller, key=key)
        batch = Batch(
            id=jobs[0].batch_id, owner=caller.owner, created_at=jobs[0].created_at, size=len(jobs), jobs=tuple(jobs)
        )
        response.headers["Location"] = f"/studio/jobs/{jobs[0].id}"
        return self._teller.batch(batch, caller)

    async def batches(
        self,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
        text: Annotated[str, Query(max_length=1000, description="Words of the prompt")] = "",
        model: Annotated[str | None, Query(max_length=255)] = None,
        mode: Mode | None = None,
        failed: Annotated[bool, Query(description="Those too of which nothing came")] = False,
    ) -> BatchPage:
        """Newest first: those that show a job of which all of this is true."""
        caller, wanted = known_caller(request), to_filter(text, model, mode, failed=failed)
        found = await self._gallery.newest(limit=limit, offset=offset, caller=caller, wanted=wanted)
        return self._teller.page(found, caller, offset=offset, limit=limit)

    async def job(self, job_id: str, request: Request) -> JobView:
        """As it is now."""
        return await self._told(await self._studio.get(job_id, caller=known_caller(request)))

    async def cancel(self, job_id: str, request: Request) -> JobView:
        """409 for one that has its picture, or has ended."""
        return await self._told(await self._studio.cancel(job_id, caller=known_caller(request)))

    async def remove(self, job_id: str, request: Request) -> Response:
        """409 for one that has not ended."""
        await self._services.removal.remove(job_id, caller=known_caller(request))
        return Response(status_code=204)

    async def events(
        self, request: Request, job: Annotated[list[str], Query(min_length=1, max_length=MAX_STREAMED)]
    ) -> StreamingResponse:
        """`job`, `position`, `progress`, `preview`, `gone`; `end` once all have ended."""
        stream = JobStream(
            job,
            studio=self._studio,
            teller=self._teller,
            caller=known_caller(request),
            standing=self._services.standing,
        )
        return StreamingResponse(stream.texts(), media_type="text/event-stream", headers=_STREAM_HEADERS)

    async def picture(self, job_id: str, name: str, request: Request) -> Response:
        """With a key, or under an address that was told."""
        viewer = viewer_of(request, self._services.links, picture_path(job_id, name))
        job = await self._studio.get(job_id, caller=viewer)
        artifact = _artifact(job, name)
        suffix = artifact.media_type.rpartition("/")[2]
        filename = f"{job.created_at:%Y%m%d-%H%M%S}-{_NOT_PLAIN.sub('', job.id)[:8]}-{name}.{suffix}"
        # The page's policy lets it load from this server only.
        artifacts = self._services.artifacts
        return await picture_response(artifacts, artifact, filename=filename, through_server=True)

    async def _told(self, job: Job) -> JobView:
        return self._teller.job(job, queue_position=await self._studio.queue_position(job))


def _artifact(job: Job, name: str) -> Artifact:
    """Raises ArtifactNotFound."""
    if name in set(ArtifactKind):
        found = job.artifact(ArtifactKind(name))
        if found is None:
            raise ArtifactNotFound
        return found
    image = inputs_of(job.request).get(name)
    if image is None:
        raise ArtifactNotFound
    return Artifact(
        kind=ArtifactKind.ORIGINAL,
        name=image.name,
        media_type="image/png",
        width=image.width,
        height=image.height,
        size_bytes=0,
    )


def _form() -> dict[str, Any]:
    """A request body in the OpenAPI document: FastAPI knows nothing of those that are read here."""
    schema = self_contained(BatchForm.model_json_schema())
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
