"""A made-up dialect, and an app around it, for tests of what all dialects share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from fastapi import APIRouter
from pydantic import create_model
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from danqing.core.errors import QueueFull
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
) -> Dialect:
    """Echoes bodies at `<first prefix>/echo`, fails at `/full` and `/broken`; its errors say its name.

    error: what it adds to the house's own errors.
    """

    def build_router(services: Services) -> APIRouter:
        router = APIRouter()
        router.add_api_route(f"{prefixes[0]}/echo", echo, methods=["POST"])
        router.add_api_route(f"{prefixes[0]}/full", full, methods=["GET"])
        router.add_api_route(f"{prefixes[0]}/broken", broken, methods=["GET"])
        return router

    def render_error(error: Exception) -> Response:
        status = 413 if isinstance(error, BodyTooLarge) else 400
        return JSONResponse({name: type(error).__name__}, status_code=status)

    def part(health: Mapping[str, object]) -> HealthPart:
        model = create_model(name.title(), **{field: (type(value), ...) for field, value in health.items()})  # type: ignore[call-overload]
        return HealthPart(fields=lambda pool: health, model=model)

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
    )


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def full() -> Response:
    raise QueueFull


async def broken() -> Response:
    raise ZeroDivisionError("secret")


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
