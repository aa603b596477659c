"""FastAPI without the outer ones of its layers, of which the house has its own: for faults, telemetry and sizes."""

from typing import Any

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send


class BareFastAPI(FastAPI):
    """Its middleware must answer what nobody handles (`Exchange`), for which no handler is to be added here, and limit
    bodies (`BodyLimit`). It has no lifespan, no root path of its own and no telemetry.
    """

    def build_middleware_stack(self) -> ASGIApp:
        """See `FastAPI`; so for all below."""
        handlers: dict[Any, Any] = dict(self.exception_handlers)  # Any: as Starlette has them
        app: ASGIApp = ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers=handlers)
        for middleware, args, kwargs in reversed(self.user_middleware):
            app = middleware(app, *args, **kwargs)
        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        await self.middleware_stack(scope, receive, send)
