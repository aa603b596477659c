"""Builds the ASGI apps: one for the shared port that speaks every dialect, or one that speaks exactly one."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from danqing import __version__
from danqing.core.errors import DanqingError
from danqing.http.body_limit import BodyLimit
from danqing.http.branch import Branch
from danqing.http.dialect import Dialect, Services
from danqing.http.direct import DirectCalls
from danqing.http.docs_page import DocsPage
from danqing.http.errors import ErrorDesk
from danqing.http.exchange import Exchange, ExchangeWitness
from danqing.http.forms import FORM_LIMITS, bound_forms
from danqing.http.gate import HOUSE_OPEN_PATHS, Cors, Gate, GateParts, is_below
from danqing.http.health import HealthRoutes, ProbeRoutes
from danqing.http.metrics import MetricsRoute
from danqing.http.openapi import ExactFastAPI
from danqing.http.start_page import RootAnswer, StartPage
from danqing.http.tickets import TicketRoutes

HOUSE_BODY_BYTES = 64 * 1024  # on paths of no dialect


@dataclass(frozen=True, kw_only=True)
class Watching:
    """What the operator sees of an app. exchanges: who hears of its requests. metrics: the page on the shared port."""

    exchanges: Sequence[ExchangeWitness] = ()
    metrics: MetricsRoute | None = None


UNWATCHED = Watching()


def build_app(
    services: Services, *, gate: GateParts, dialects: Sequence[Dialect], watching: Watching = UNWATCHED
) -> FastAPI:
    """The shared port: every dialect, the start page, `/health` for all of them, `/livez`, `/readyz`, `/metrics`."""
    app = _build(services, gate=gate, dialects=tuple(dialects), alone=False, watching=watching)
    if watching.metrics is not None:
        app.include_router(watching.metrics.router())
    app.include_router(_start_page(services, dialects).router())
    studio = services.studio
    app.include_router(ProbeRoutes(pool=studio.pool_status, draining=lambda: studio.is_draining).router())
    return app


def build_dialect_app(
    services: Services, *, gate: GateParts, dialect: Dialect, watching: Watching = UNWATCHED
) -> FastAPI:
    """A port of its own: this dialect's paths, `/docs` and `/tickets`, nothing else; every answer is in its shape."""
    app = _build(services, gate=gate, dialects=(dialect,), alone=True, watching=watching)
    if dialect.root is not None:
        app.include_router(RootAnswer(dialect.root).router())
    return app


def _start_page(services: Services, dialects: Sequence[Dialect]) -> StartPage:
    return StartPage(studio=services.studio, dialects=dialects, public_url=services.options.public_url)


def _build(
    services: Services, *, gate: GateParts, dialects: tuple[Dialect, ...], alone: bool, watching: Watching
) -> FastAPI:
    bound_forms()
    # The pages of FastAPI at /docs load scripts from elsewhere, so they are off.
    app = ExactFastAPI(
        title=dialects[0].title if alone else "Danqing",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        form_limits=FORM_LIMITS,
    )
    parts = [Branch(dialect.build_router(services), covers=dialect.covers) for dialect in dialects]
    app.router.routes.extend(parts)
    if health := {dialect.name: dialect.health for dialect in dialects if dialect.health is not None}:
        app.include_router(
            HealthRoutes(pool=services.studio.pool_status, options=services.options, parts=health).router()
        )
    app.include_router(TicketRoutes(gate.tickets).router())
    app.include_router(DocsPage(title=app.title).router())

    desk = ErrorDesk(dialects=dialects, alone=alone)
    for kind in (DanqingError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, desk.answer)

    def body_limit(path: str) -> int:
        dialect = desk.dialect(path)
        return HOUSE_BODY_BYTES if dialect is None else dialect.max_body_bytes

    def is_open(path: str) -> bool:
        dialect = desk.dialect(path)
        return is_below(path, HOUSE_OPEN_PATHS) or (dialect is not None and is_below(path, dialect.open_paths))

    app.is_open = is_open if gate.keys.enabled else None
    app.add_middleware(DirectCalls, parts=parts)
    app.add_middleware(BodyLimit, limit_for=body_limit, budget=services.bodies)
    app.add_middleware(Gate, parts=gate, is_open=is_open, answer_error=desk.answer)
    app.add_middleware(Exchange, answer_error=desk.answer, witnesses=watching.exchanges)
    app.add_middleware(Cors, rules=gate.rules)  # added last, so outermost
    return app
