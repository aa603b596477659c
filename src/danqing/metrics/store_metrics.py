"""How long the database takes, counted."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram

STORE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class StoreMetrics:
    """Callable from any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "danqing_store_seconds",
            "How long reads and writes of the database take, waiting for their turn and the commit included.",
            ("operation",),
            buckets=STORE_BUCKETS_S,
            registry=registry,
        )
        self._failures = Counter(
            "danqing_store_failures_total",
            "Reads and writes that the database failed.",
            ("operation",),
            registry=registry,
        )
        for operation in ("read", "write"):
            self._seconds.labels(operation)
            self._failures.labels(operation)

    @contextmanager
    def timed(self, operation: Literal["read", "write"]) -> Generator[None]:
        """Around a call."""
        began = time.perf_counter()
        try:
            yield
        except Exception:
            self._failures.labels(operation).inc()
            raise
        finally:
            self._seconds.labels(operation).observe(time.perf_counter() - began)
