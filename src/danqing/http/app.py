"""Builds the ASGI apps: one for the shared port that speaks every dialect, or one that speaks exactly one."""

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from danqing import __version__
from danqing.core.errors import DanqingError
from danqing.core.ports import ArtifactStore
from danqing.core.studio import Studio
from danqing.http.body_limit import BodyLimit
from danqing.http.dialect import Dialect, Services
from danqing.http.errors import ErrorDesk
from danqing.http.exchange import Exchange
from danqing.http.health import HealthRoutes, ProbeRoutes
from danqing.http.openapi import ExactFastAPI
from danqing.http.start_page import StartPage

HOUSE_BODY_BYTES = 64 * 1024  # on paths of no dialect


def build_app(*, studio: Studio, artifacts: ArtifactStore, dialects: Sequence[Dialect]) -> FastAPI:
    """The shared port: every dialect, the start page, `/health` for all of them, `/livez` and `/readyz`."""
    app = _build(studio=studio, artifacts=artifacts, dialects=tuple(dialects), alone=False)
    app.include_router(StartPage(studio=studio, dialects=dialects).router())
    app.include_router(ProbeRoutes(studio=studio).router())
    return app


def build_dialect_app(*, studio: Studio, artifacts: ArtifactStore, dialect: Dialect) -> FastAPI:
    """A port of its own: this dialect's paths and nothing else; every answer is in its shape."""
    return _build(studio=studio, artifacts=artifacts, dialects=(dialect,), alone=True)


def _build(*, studio: Studio, artifacts: ArtifactStore, dialects: tuple[Dialect, ...], alone: bool) -> FastAPI:
    # The pages of FastAPI at /docs load scripts from elsewhere, so they are off.
    app = ExactFastAPI(title="Danqing", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    services = Services(studio=studio, artifacts=artifacts)
    for dialect in dialects:
        app.include_router(dialect.build_router(services))
    if health := {dialect.name: dialect.health for dialect in dialects if dialect.health is not None}:
        app.include_router(HealthRoutes(studio=studio, parts=health).router())

    desk = ErrorDesk(dialects=dialects, alone=alone)
    for kind in (DanqingError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, desk.answer)

    def body_limit(path: str) -> int:
        dialect = desk.dialect(path)
        return HOUSE_BODY_BYTES if dialect is None else dialect.max_body_bytes

    app.add_middleware(BodyLimit, limit_for=body_limit)
    app.add_middleware(Exchange, answer_error=desk.answer)  # added last, so outermost
    return app
