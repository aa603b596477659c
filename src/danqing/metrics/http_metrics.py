"""HTTP exchanges and WebSocket connections, counted. Implements `http.exchange.ExchangeWitness`."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import Scope

from danqing.metrics.labels import ByLabels, KnownLabels

REQUEST_BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
UNMATCHED = "unmatched"
REFUSED_FOR_NOW = 503  # the queue is full, or the process ends: no fault


class HttpMetrics:
    """For one event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._methods = KnownLabels(METHODS)
        self._requests = ByLabels(
            Counter(
                "danqing_http_requests_total",
                "Answered requests. route: the template, or unmatched (there is none, or it was refused before one was "
                "looked for); status: the class, 503 by itself, or none where the connection broke before an answer.",
                ("method", "route", "status"),
                registry=registry,
            )
        )
        self._seconds = ByLabels(
            Histogram(
                "danqing_http_request_seconds",
                "From the request's head to the end of the answer, streams and waiting for pictures included.",
                ("method", "route"),
                buckets=REQUEST_BUCKETS_S,
                registry=registry,
            )
        )
        self._in_progress = Gauge(
            "danqing_http_requests_in_progress", "Requests that are being answered.", registry=registry
        )
        self._received = Counter(
            "danqing_http_received_bytes_total", "Bytes of request bodies that were read.", registry=registry
        )
        self._sent = Counter("danqing_http_sent_bytes_total", "Bytes of bodies of answers.", registry=registry)
        self._sockets = Gauge("danqing_websocket_connections", "Open WebSocket connections.", registry=registry)
        self._sockets_total = Counter(
            "danqing_websocket_opened_total",
            "WebSocket connections that came, refused ones included.",
            registry=registry,
        )

    def began(self, scope: Scope) -> "_Exchange | _Socket":
        """See `ExchangeWitness`."""
        if scope["type"] == "websocket":
            self._sockets.inc()
            self._sockets_total.inc()
            return _Socket(self._sockets)
        self._in_progress.inc()
        return _Exchange(self, self._methods.of(scope["method"]))

    def answered(
        self, method: str, *, route: str | None, status: int | None, seconds: float, received: int, sent: int
    ) -> None:
        """route: the template; None if there is none. status: None if no answer began."""
        self._in_progress.dec()
        route = route or UNMATCHED
        self._requests.of(method, route, _class_of(status)).inc()
        self._seconds.of(method, route).observe(seconds)
        self._received.inc(received)
        self._sent.inc(sent)


def _class_of(status: int | None) -> str:
    if status is None:
        return "none"
    return str(status) if status == REFUSED_FOR_NOW else f"{status // 100}xx"


@dataclass(frozen=True)
class _Exchange:
    metrics: HttpMetrics
    method: str

    def ended(self, *, route: str | None, status: int | None, seconds: float, received: int, sent: int) -> None:
        """See `ExchangeInHand`."""
        self.metrics.answered(self.method, route=route, status=status, seconds=seconds, received=received, sent=sent)


@dataclass(frozen=True)
class _Socket:
    open: Gauge

    def ended(self, *, route: str | None, status: int | None, seconds: float, received: int, sent: int) -> None:
        """See `ExchangeInHand`."""
        self.open.dec()
