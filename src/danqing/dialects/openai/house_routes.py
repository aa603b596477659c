"""The endpoints beside those that make pictures: models, readiness, and pictures by address."""

import time
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from danqing.core.errors import ArtifactNotFound, ModelNotReady, UnknownModel
from danqing.core.states import JobState
from danqing.dialects.openai.delivery import picture_bytes
from danqing.dialects.openai.described import failures
from danqing.dialects.openai.picture_cache import PictureCache
from danqing.dialects.openai.picture_files import FOLDER, MEDIA_TYPES, parse_name
from danqing.dialects.openai.schemas import ModelEntry, ModelList, NotReady, Ready
from danqing.dialects.openai.translate_out import OPENAI_NAMES, model_entry, timestamp
from danqing.http.dialect import Services
from danqing.http.pictures import picture_headers, picture_response, viewer_of

NOT_READY = "Model is not ready yet"
_CACHE = {"Cache-Control": "private, max-age=3600, immutable"}


class HouseRoutes:
    """Handlers and where they are mounted. Errors are left to the app."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._studio = services.studio
        self._cache = PictureCache()
        self._created = int(time.time())

    def add_to(self, router: APIRouter) -> None:
        """The routes, with what each answers."""
        add = router.add_api_route
        add(
            "/v1/models",
            self.models,
            methods=["GET"],
            response_model=ModelList,
            responses=failures(),
            summary="The models",
        )
        add(
            "/v1/models/{model:path}",
            self.model,
            methods=["GET"],
            response_model=ModelEntry,
            responses=failures(),
            summary="One model",
        )
        add(
            f"{FOLDER}/{{name}}",
            self.picture,
            methods=["GET"],
            response_class=Response,
            responses={200: {"content": {media_type: {} for media_type in MEDIA_TYPES.values()}}, **failures()},
            summary="A picture that was answered with `url`",
        )
        add(
            "/ready",
            self.ready,
            methods=["GET"],
            response_model=Ready,
            responses={**failures(), 503: {"model": NotReady}},
            summary="Whether a model is loaded",
        )

    async def models(self) -> JSONResponse:
        """Those that are served, then the names of OpenAI's that stand for one of them."""
        catalogue = self._studio.catalogue
        entries = [model_entry(card.id, card, created=self._created) for card in catalogue.cards()]
        own = {entry.id for entry in entries}
        entries += [entry for name in OPENAI_NAMES if name not in own and (entry := self._entry(name))]
        return JSONResponse(ModelList(data=entries).model_dump())

    async def model(self, model: str) -> JSONResponse:
        """By its id, or by any name that stands for it."""
        entry = self._entry(model)
        if entry is None:
            raise UnknownModel(f"The model {model[:100]} does not exist.", parameter="model")
        return JSONResponse(entry.model_dump())

    def _entry(self, name: str) -> ModelEntry | None:
        try:
            return model_entry(name, self._studio.catalogue.card(name), created=self._created)
        except UnknownModel:
            return None

    async def ready(self) -> JSONResponse:
        """200 once a worker has its models loaded; 503 before, and from the first request to stop.

        Where workers are elsewhere, 200 also before the first one has come: `model_loaded` tells whether one has.
        """
        pool = self._studio.pool_status()
        if pool.is_ready and not self._studio.is_draining:
            return JSONResponse(
                Ready(model_loaded=pool.model_loaded, timestamp=timestamp(datetime.now(UTC))).model_dump()
            )
        return JSONResponse(
            NotReady(message=NOT_READY).model_dump(),
            status_code=503,
            headers={"Retry-After": str(ModelNotReady.retry_after_s)},
        )

    async def picture(self, request: Request, name: str) -> Response:
        """For whoever has its signed address, or may see its job."""
        file = parse_name(name)
        if file is None:
            raise ArtifactNotFound
        caller = viewer_of(request, self._services.links, file.path)
        job = await self._studio.get(file.job_id, caller=caller)
        if job.state is not JobState.COMPLETED or job.original is None:
            raise ArtifactNotFound
        if file.output_format == "png":
            return await picture_response(self._services.artifacts, job.original, filename=file.name)
        services, lane = self._services, self._services.encoding.addresses
        picture = await self._cache.get(
            file.name,
            lambda: picture_bytes(services.artifacts, lane, job, file.output_format, file.compression),
        )
        headers = {**_CACHE, "ETag": picture.etag, **picture_headers(file.name)}
        return Response(picture.content, media_type=MEDIA_TYPES[file.output_format], headers=headers)
