"""How long the database takes, counted."""

import time
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram

STORE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class StoreMetrics:
    """Callable from any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        seconds = Histogram(
            "danqing_store_seconds",
            "How long reads and writes of the database take, waiting for their turn and the commit included.",
            ("operation",),
            buckets=STORE_BUCKETS_S,
            registry=registry,
        )
        failures = Counter(
            "danqing_store_failures_total",
            "Reads and writes that the database failed.",
            ("operation",),
            registry=registry,
        )
        self._of = {each: (seconds.labels(each), failures.labels(each)) for each in ("read", "write")}

    def timed(self, operation: Literal["read", "write"]) -> "_Timed":
        """Around a call."""
        return _Timed(*self._of[operation])


class _Timed:
    def __init__(self, seconds: Histogram, failures: Counter) -> None:
        self._seconds = seconds
        self._failures = failures

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._seconds.observe(time.perf_counter() - self._began)
        if kind is not None and issubclass(kind, Exception):
            self._failures.inc()
