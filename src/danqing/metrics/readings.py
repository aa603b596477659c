"""What the store knows of jobs, read when somebody asks; never waited for longer than for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from danqing.core.errors import StorageFailure
from danqing.core.shared_store import Waiting
from danqing.core.states import JobState

log = structlog.get_logger(__name__)

FRESH_S = 1.0  # how long a reading is good enough for everybody who asks
PATIENCE_S = 0.5  # how long a scrape waits for the store
STALE_S = 30.0  # how long a reading is told, if the store does not give a new one

ReadCounts = Callable[[], Awaitable[Mapping[JobState, int]]]
ReadWaiting = Callable[[], Awaitable[Mapping[str, Waiting]]]


@dataclass(frozen=True, kw_only=True)
class _Reading:
    counts: Mapping[JobState, int]
    waiting: Mapping[str, Waiting]
    read_at: float


class JobReadings:
    """Implements prometheus-client's `Collector`, from what `refresh` read last. For one event loop.

    When the store does not answer in time, `danqing_scrape_failed` is 1; what it said last is told for a while, then
    nothing.
    """

    def __init__(
        self,
        *,
        counts: ReadCounts,
        waiting: ReadWaiting,
        models: Sequence[str],
        clock: Callable[[], datetime],
        fresh_s: float = FRESH_S,
        patience_s: float = PATIENCE_S,
        stale_s: float = STALE_S,
    ) -> None:
        """models: each is told, also while none of its jobs wait, so that it can be scaled to nothing."""
        self._counts = counts
        self._waiting = waiting
        self._models = tuple(models)
        self._clock = clock
        self._fresh_s = fresh_s
        self._patience_s = patience_s
        self._stale_s = stale_s
        self._reading: _Reading | None = None
        self._task: asyncio.Task[None] | None = None
        self._failed = False

    async def refresh(self) -> None:
        """Reads, unless what is there is new enough, for at most patience_s. Whoever asks meanwhile shares the reading,
        also one that a scrape before gave up waiting for.
        """
        if self._is_younger_than(self._fresh_s):
            return
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._read(), name="metrics-reading")
        done, _ = await asyncio.wait([self._task], timeout=self._patience_s)
        if not done:
            self._failed = True

    async def _read(self) -> None:
        try:
            counts, waiting = await asyncio.gather(self._counts(), self._waiting())
        except StorageFailure:
            self._failed = True
            log.warning("metrics_not_read")
        else:
            self._failed = False
            self._reading = _Reading(counts=counts, waiting=waiting, read_at=time.monotonic())

    def _is_younger_than(self, seconds: float) -> bool:
        return self._reading is not None and time.monotonic() - self._reading.read_at <= seconds

    def close(self) -> None:
        """Gives up a reading that is under way."""
        if self._task is not None:
            self._task.cancel()

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        yield GaugeMetricFamily(
            "danqing_scrape_failed",
            "1 if the store did not tell in time what it knows of jobs: danqing_jobs and danqing_queue_* are then up "
            "to half a minute old, or left out.",
            value=float(self._failed),
        )
        if self._reading is not None and self._is_younger_than(self._stale_s):
            yield from self._of(self._reading)

    def _of(self, reading: _Reading) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("danqing_jobs", "Jobs that the store knows, by state.", labels=("state",))
        for state, number in reading.counts.items():
            jobs.add_metric((state.value,), number)
        yield jobs
        waiting = GaugeMetricFamily(
            "danqing_queue_jobs",
            "Jobs that wait for a worker. Of a shared store: of all machines, so take the max over instances.",
            labels=("model",),
        )
        age = GaugeMetricFamily(
            "danqing_queue_oldest_age_seconds",
            "How long ago the oldest of the waiting jobs was accepted; 0 if none waits. As danqing_queue_jobs.",
            labels=("model",),
        )
        now = self._clock()
        for model in self._models:
            there = reading.waiting.get(model)
            waiting.add_metric((model,), there.jobs if there else 0)
            age.add_metric((model,), max(0.0, (now - there.oldest).total_seconds()) if there else 0)
        yield waiting
        yield age
