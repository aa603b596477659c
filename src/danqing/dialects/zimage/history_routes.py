"""Zimage's endpoints of the history, which shows tasks by batches."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request

from danqing.dialects.zimage.errors import declared
from danqing.dialects.zimage.picture_names import Shelf
from danqing.dialects.zimage.schemas import BatchDetail, DeleteTaskResponse, TaskSummary
from danqing.dialects.zimage.translate_out import from_batch, from_batches, from_forgotten
from danqing.http.callers import known_caller
from danqing.http.dialect import Services

MAX_PAGE = 100  # batches
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Offset = Annotated[int, Query(ge=0, lt=2**31)]


class HistoryRoutes:
    """Handlers and where they are mounted. Errors are left to the app."""

    def __init__(self, services: Services) -> None:
        self._gallery = services.gallery
        self._shelf = Shelf(location=services.artifacts.location, link=services.links.sign)

    def add_to(self, router: APIRouter) -> None:
        """The routes, with what each answers. A batch's id is the client's choice, slashes included."""
        add = router.add_api_route
        add(
            "/v1/history",
            self.newest,
            methods=["GET"],
            responses=declared(401, 403, 422, 500),
            summary="List the batches, newest first",
        )
        add(
            "/v1/history/{batch_id:path}",
            self.batch,
            methods=["GET"],
            responses=declared(401, 403, 404, 422, 500),
            summary="Get a batch with its images",
        )
        add(
            "/v1/history/{batch_id:path}",
            self.forget,
            methods=["DELETE"],
            responses=declared(401, 403, 404, 413, 422, 500),
            summary="Delete a batch from the history",
        )

    async def newest(self, request: Request, limit: Limit = 20, offset: Offset = 0) -> list[TaskSummary]:
        """The caller's own batches; an administrator's are everybody's."""
        batches = await self._gallery.newest(limit=limit, offset=offset, caller=known_caller(request))
        return from_batches(batches, self._shelf)

    async def batch(self, batch_id: str, request: Request) -> BatchDetail:
        """The images by index."""
        return from_batch(await self._gallery.get(batch_id, caller=known_caller(request)), self._shelf)

    async def forget(self, batch_id: str, request: Request) -> DeleteTaskResponse:
        """Only the history forgets: pictures stay where they are, and tasks can still be asked for."""
        await self._gallery.forget(batch_id, caller=known_caller(request))
        return from_forgotten(batch_id)
