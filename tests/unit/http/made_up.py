"""A made-up dialect, and an app around it, for tests of what all dialects share."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import httpx2
from fastapi import APIRouter, File, Form, UploadFile
from pydantic import create_model
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from danqing.core.errors import Forbidden, QueueFull, Unauthorized
from danqing.http.callers import caller_of, known_caller
from danqing.http.dialect import Dialect, HealthPart, Services
from danqing.http.errors import BodyTooLarge
from tests.dialects.house import House


def a_dialect(
    name: str,
    *prefixes: str,
    health: Mapping[str, object] | None = None,
    error: Mapping[str, object] | None = None,
    max_body_bytes: int = 100,
    example: str = "",
    leads: Iterable[str] = (),
    open_paths: tuple[str, ...] = (),
    root: Mapping[str, object] | None = None,
) -> Dialect:
    """Echoes bodies at `<first prefix>/echo`, fails at `/full` and `/broken`, takes a form at `/form`, says who calls
    at `/who` and, by WebSocket, at `/ws`, where it also echoes; its errors say its name.

    error: what it adds to the house's own errors.
    """

    def build_router(services: Services) -> APIRouter:
        router = APIRouter()
        router.add_api_route(f"{prefixes[0]}/echo", echo, methods=["POST"])
        router.add_api_route(f"{prefixes[0]}/full", full, methods=["GET"])
        router.add_api_route(f"{prefixes[0]}/broken", broken, methods=["GET"])
        for method in ("GET", "POST", "DELETE"):
            router.add_api_route(f"{prefixes[0]}/who", who, methods=[method])
        router.add_api_route(f"{prefixes[0]}/form", form, methods=["POST"])
        router.add_api_websocket_route(f"{prefixes[0]}/ws", ws)
        return router

    def render_error(error: Exception) -> Response:
        status = {BodyTooLarge: 413, Unauthorized: 401, Forbidden: 403}.get(type(error), 400)
        return JSONResponse({name: type(error).__name__}, status_code=status)

    def part(health: Mapping[str, object]) -> HealthPart:
        model = create_model(name.title(), **{field: (type(value), ...) for field, value in health.items()})  # type: ignore[call-overload]
        return HealthPart(fields=lambda pool, options: health, model=model, leads=frozenset(leads))

    return Dialect(
        name=name,
        title=f"The <{name}> API",
        prefixes=prefixes,
        build_router=build_router,
        render_error=render_error,
        error_fields=None if error is None else lambda exc, status: {"status": status, **error},
        health=None if health is None else part(health),
        max_body_bytes=max_body_bytes,
        curl_example=example,
        open_paths=open_paths,
        root=root,
    )


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def full() -> Response:
    raise QueueFull


async def broken() -> Response:
    raise ZeroDivisionError("secret")


async def who(request: Request) -> Response:
    caller = caller_of(request)
    return JSONResponse({"owner": caller and caller.owner, "sees_all": caller and caller.sees_all})


async def form(image: Annotated[UploadFile, File()], prompt: Annotated[str, Form()] = "") -> Response:
    return JSONResponse({"size": image.size, "prompt": len(prompt)})


async def ws(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(known_caller(websocket).owner)
    with suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(await websocket.receive_text())


async def ask(
    root: Path,
    method: str,
    path: str,
    *dialects: Dialect,
    alone: bool = False,
    house: House | None = None,
    **options: Any,  # noqa: ANN401 - httpx2's
) -> httpx2.Response:
    """One request to a fresh app."""
    async with (house or House(root)).client(*dialects, alone=alone) as client:
        return await client.request(method, path, **options)
