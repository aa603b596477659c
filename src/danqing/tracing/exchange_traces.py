"""Requests as spans."""

from contextvars import Token
from dataclasses import dataclass

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import Scope

UNTRACED_PATHS = ("/health", "/livez", "/metrics", "/ready", "/readyz")  # asked every few seconds


class ExchangeTraces:
    """Implements `http.exchange.ExchangeWitness`. WebSocket connections, which last, have no span."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()

    def began(self, scope: Scope) -> "_Exchange":
        """See `ExchangeWitness`."""
        if scope["type"] != "http" or scope["path"] in UNTRACED_PATHS:
            return _Exchange(None, "", None)
        headers = Headers(scope=scope)
        carrier = {name: headers[name] for name in self._propagator.fields if name in headers}
        method: str = scope["method"]
        span = self._tracer.start_span(
            method,
            context=self._propagator.extract(carrier, Context()),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method},
        )
        return _Exchange(span, method, contexts.attach(trace.set_span_in_context(span)))


@dataclass(frozen=True)
class _Exchange:
    span: Span | None
    method: str
    token: Token[Context] | None

    def ended(self, *, route: str | None, status: int | None, seconds: float, received: int, sent: int) -> None:
        """See `ExchangeInHand`."""
        if self.span is None:
            return
        if self.token is not None:
            contexts.detach(self.token)
        if route is not None:
            self.span.update_name(f"{self.method} {route}")
            self.span.set_attribute("http.route", route)
        if status is not None:
            self.span.set_attribute("http.response.status_code", status)
        self.span.set_attribute("http.request.body.size", received)
        self.span.set_attribute("http.response.body.size", sent)
        if status is None or status >= 500:
            self.span.set_status(StatusCode.ERROR)
        self.span.end()
