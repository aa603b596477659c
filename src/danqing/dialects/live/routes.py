"""Live's endpoints."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket

from danqing.core.errors import ArtifactNotFound
from danqing.dialects.live.clients import Client, Clients
from danqing.dialects.live.connection import POLICY_VIOLATION
from danqing.dialects.live.elsewhere import Elsewhere
from danqing.dialects.live.feeds import Feeds
from danqing.dialects.live.names import fingerprint_prefix, named_picture
from danqing.dialects.live.outbox import OutboxLimits
from danqing.dialects.live.schemas import Detail, Error, Health
from danqing.dialects.live.session import Session
from danqing.dialects.live.socket_description import SOCKET_DESCRIPTION
from danqing.dialects.live.translate_out import IMAGE_PATH, to_text
from danqing.http.callers import known_caller
from danqing.http.dialect import Services
from danqing.http.pictures import picture_response, viewer_of

HEALTH_PATH, SOCKET_PATH = "/api/health", "/api/ws"
MAX_CLIENT_ID_CHARS = 128


class LiveRoutes:
    """Handlers and where they are mounted. Errors are left to the app."""

    def __init__(self, *, services: Services, limits: OutboxLimits) -> None:
        self._services = services
        self._clients = Clients()
        self._feeds = Feeds(studio=services.studio, sign=services.links.sign)
        self._elsewhere = Elsewhere(services=services, clients=self._clients)
        self._limits = limits

    def router(self) -> APIRouter:
        """The routes, with what each answers."""
        failed = {"model": Detail}
        router = APIRouter(tags=["live"], responses={"4XX": failed, "5XX": failed})
        router.add_api_route(HEALTH_PATH, self.health, methods=["GET"], response_model=Health, summary="健康检查")
        router.add_api_route(
            IMAGE_PATH + "/{filename}",
            self.image,
            methods=["GET"],
            response_class=Response,
            responses={200: {"content": {"image/png": {}}, "description": "PNG图像"}},
            summary="获取图片",
        )
        router.add_api_route(
            SOCKET_PATH,
            self.no_socket,
            methods=["GET"],
            response_model=Detail,
            status_code=404,
            summary="WebSocket",
            description=SOCKET_DESCRIPTION,
        )
        router.add_api_websocket_route(SOCKET_PATH, self.socket)
        return router

    async def health(self) -> Health:
        """服务是否运行"""
        return Health(status="ok")

    async def image(self, filename: str, request: Request) -> Response:
        """返回生成的图片文件（PNG）"""
        caller = viewer_of(request, self._services.links, f"{IMAGE_PATH}/{filename}")
        prefix = fingerprint_prefix(filename)
        if prefix is None:
            raise ArtifactNotFound
        for job in await self._services.studio.with_fingerprint(prefix, caller=caller):
            if picture := named_picture(job, filename):
                return await picture_response(self._services.artifacts, picture, filename=filename)
        raise ArtifactNotFound

    async def no_socket(self) -> Response:
        """For a client that asks without the handshake of a WebSocket."""
        detail = Detail(detail="Connect to this path with a WebSocket.")
        return JSONResponse(detail.model_dump(), status_code=404)

    async def socket(self, websocket: WebSocket) -> None:
        """A connection, from its acceptance to its end."""
        caller = known_caller(websocket)
        name = websocket.query_params.get("client_id", "")
        await websocket.accept()
        if len(name) > MAX_CLIENT_ID_CHARS:
            message = f"client_id must have at most {MAX_CLIENT_ID_CHARS} characters."
            await websocket.send_text(to_text(Error(type="error", message=message, request_id=None)))
            await websocket.close(POLICY_VIOLATION)
            return
        session = Session(
            websocket,
            services=self._services,
            clients=self._clients,
            feeds=self._feeds,
            elsewhere=self._elsewhere,
            caller=caller,
            client=Client(owner=caller.owner, name=name) if name else None,
            limits=self._limits,
        )
        await session.run()
