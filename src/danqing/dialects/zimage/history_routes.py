"""Zimage's endpoints of the history, which shows tasks by batches."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request

from danqing.core.clock import utc_now
from danqing.dialects.zimage.errors import declared
from danqing.dialects.zimage.examples import BATCH, DELETED, HISTORY, shown
from danqing.dialects.zimage.picture_names import Shelf
from danqing.dialects.zimage.schemas import BatchDetail, DeleteTaskResponse, TaskSummary
from danqing.dialects.zimage.translate_out import from_batch, from_batches, from_forgotten
from danqing.http.callers import known_caller
from danqing.http.dialect import Services

MAX_PAGE = 1000  # batches
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Offset = Annotated[int, Query(ge=0, lt=2**31)]
Owner = Annotated[
    str | None,
    Query(
        description="Whose batch, where several have one of this id: `owner` of the history's list, or `local`. "
        "For the administrator; to another key, what is not its own is not there."
    ),
]


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
            response_model_exclude_unset=True,
            responses=shown(HISTORY) | declared(401, 403, 422, 500),
            summary="List the batches, newest first",
        )
        # Else it would be a batch without an id.
        add(
            "/v1/history/",
            self.newest,
            methods=["GET"],
            response_model_exclude_unset=True,
            include_in_schema=False,
        )
        add(
            "/v1/history/{batch_id:path}",
            self.batch,
            methods=["GET"],
            response_model_exclude_unset=True,
            responses=shown(BATCH) | declared(401, 403, 404, 422, 500),
            summary="Get a batch with its images",
        )
        add(
            "/v1/history/{batch_id:path}",
            self.forget,
            methods=["DELETE"],
            responses=shown(DELETED) | declared(401, 403, 404, 409, 413, 422, 500),
            summary="Delete a batch from the history",
        )

    async def newest(self, request: Request, limit: Limit = 20, offset: Offset = 0) -> list[TaskSummary]:
        """The caller's own batches; an administrator's are everybody's."""
        caller = known_caller(request)
        batches = await self._gallery.newest(limit=limit, offset=offset, caller=caller)
        return from_batches(batches, self._shelf, now=utc_now(), caller=caller)

    async def batch(self, batch_id: str, request: Request, owner: Owner = None) -> BatchDetail:
        """The images by index. Of several owners' batches of this id, if none is named, the newest."""
        caller = known_caller(request)
        batch = await self._gallery.get(batch_id, caller=caller, owner=owner)
        return from_batch(batch, self._shelf, now=utc_now(), caller=caller)

    async def forget(self, batch_id: str, request: Request, owner: Owner = None) -> DeleteTaskResponse:
        """Only the history forgets: pictures stay where they are, and tasks can still be asked for."""
        await self._gallery.forget(batch_id, caller=known_caller(request), owner=owner)
        return from_forgotten(batch_id)
