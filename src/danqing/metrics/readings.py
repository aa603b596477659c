"""What the store knows of jobs, read when somebody asks; never waited for longer than for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from danqing.core.errors import StorageFailure
from danqing.core.shared_store import Waiting
from danqing.core.states import JobState
from danqing.metrics.labels import OTHER

log = structlog.get_logger(__name__)

FRESH_S = 1.0  # how long a reading is good enough for everybody who asks
PATIENCE_S = 0.5  # how long a scrape waits for the store
FIRST_PATIENCE_S = 5.0  # and for its first answer, which connections may have to be opened for
STALE_S = 30.0  # how long a reading is told, if the store does not give a new one
PART_OF_TIME = 20  # counting ended jobs, where it fails, is tried again so that it takes a 20th of the time at most

ReadCounts = Callable[[], Awaitable[Mapping[JobState, int]]]
ReadWaiting = Callable[[], Awaitable[Mapping[str, Waiting]]]


@dataclass(frozen=True, kw_only=True)
class Times:
    """See the constants."""

    fresh_s: float = FRESH_S
    patience_s: float = PATIENCE_S
    first_patience_s: float = FIRST_PATIENCE_S
    stale_s: float = STALE_S


@dataclass(frozen=True, kw_only=True)
class _Queue:
    unfinished: Mapping[JobState, int]
    waiting: Mapping[str, Waiting]


class JobReadings:
    """Implements prometheus-client's `Collector`, from what `refresh` read last. For one event loop.

    There are two parts: what waits and runs, which decides how many workers there are, and how many have ended, which
    is slow to count where they are many. When the store does not give one in time, its `danqing_scrape_failed` is 1;
    what it said last is told for a while, then nothing.
    """

    def __init__(
        self,
        *,
        unfinished: ReadCounts,
        waiting: ReadWaiting,
        counts: ReadCounts,
        models: Sequence[str],
        clock: Callable[[], datetime],
        times: Times | None = None,
    ) -> None:
        """models: each is told, also while none of its jobs wait, so that it can be scaled to nothing."""
        self._unfinished = unfinished
        self._waiting = waiting
        self._models = tuple(models)
        self._clock = clock
        times = times or Times()
        self._queue = _Part("queue", self._read_queue, times=times)
        self._ended = _Part("ended", counts, times=times, pauses=PART_OF_TIME)

    async def refresh(self) -> None:
        """Reads, unless what is there is new enough, for a moment at most. Whoever asks meanwhile shares the reading,
        also one that a scrape before gave up waiting for.
        """
        await asyncio.gather(self._queue.refresh(), self._ended.refresh())

    async def _read_queue(self) -> _Queue:
        unfinished, waiting = await asyncio.gather(self._unfinished(), self._waiting())
        return _Queue(unfinished=unfinished, waiting=waiting)

    def close(self) -> None:
        """Gives up a reading that is under way."""
        self._queue.close()
        self._ended.close()

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        failed = GaugeMetricFamily(
            "danqing_scrape_failed",
            "1 if the store did not tell this part in time. queue: danqing_queue_* and danqing_jobs of states that do "
            "not end a job; ended: of those that do. They are then up to half a minute old, or left out.",
            labels=("part",),
        )
        for part in (self._queue, self._ended):
            failed.add_metric((part.name,), float(part.failed))
        yield failed
        queue, ended = self._queue.told(), self._ended.told()
        jobs = GaugeMetricFamily("danqing_jobs", "Jobs that the store knows, by state.", labels=("state",))
        for state in JobState:
            numbers = ended if state.is_final else queue and queue.unfinished
            if numbers is not None:
                jobs.add_metric((state.value,), numbers[state])
        yield jobs
        if queue is not None:
            yield from self._of(queue.waiting)

    def _of(self, found: Mapping[str, Waiting]) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            "danqing_queue_jobs",
            "Jobs that wait for a worker; other: of models that are not on offer. Of a shared store: of all machines, "
            "so take the max over instances.",
            labels=("model",),
        )
        age = GaugeMetricFamily(
            "danqing_queue_oldest_age_seconds",
            "How long ago the oldest of the waiting jobs was accepted; 0 if none waits. As danqing_queue_jobs.",
            labels=("model",),
        )
        now = self._clock()
        for model in self._models:
            there = found.get(model)
            waiting.add_metric((model,), there.jobs if there else 0)
            age.add_metric((model,), _age_s(now, there.oldest) if there else 0)
        if others := [there for model, there in found.items() if model not in self._models]:
            waiting.add_metric((OTHER,), sum(there.jobs for there in others))
            age.add_metric((OTHER,), _age_s(now, min(there.oldest for there in others)))
        yield waiting
        yield age


def _age_s(now: datetime, then: datetime) -> float:
    return max(0.0, (now - then).total_seconds())


_T = TypeVar("_T")


@dataclass(frozen=True)
class _Reading(Generic[_T]):
    value: _T
    read_at: float


@dataclass
class _Part(Generic[_T]):
    """What is read, waited for, told and failed by itself."""

    name: str
    read: Callable[[], Awaitable[_T]]
    times: Times = field(kw_only=True)
    pauses: int = field(default=0, kw_only=True)  # after a failure, so many times as long as that took
    failed: bool = field(default=False, init=False)
    _reading: _Reading[_T] | None = field(default=None, init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)
    _again_at: float = field(default=0.0, init=False)

    async def refresh(self) -> None:
        """See `JobReadings.refresh`."""
        if self._is_younger_than(self.times.fresh_s):
            return
        if self._task is None or self._task.done():
            if time.monotonic() < self._again_at:
                return
            first = self._task is None
            self._task = asyncio.create_task(self._read(), name=f"metrics-{self.name}")
        else:
            first = False
        patience_s = self.times.first_patience_s if first else self.times.patience_s
        done, _ = await asyncio.wait([self._task], timeout=patience_s)
        if not done:
            self.failed = True

    async def _read(self) -> None:
        began = time.monotonic()
        try:
            value = await self.read()
        except StorageFailure:
            now = time.monotonic()
            self.failed, self._again_at = True, now + self.pauses * (now - began)
            log.warning("metrics_not_read", part=self.name)
        else:
            self.failed = False
            self._reading = _Reading(value, time.monotonic())

    def told(self) -> _T | None:
        """What the store said last, unless that was too long ago."""
        there = self._is_younger_than(self.times.stale_s)
        return self._reading.value if there and self._reading is not None else None

    def _is_younger_than(self, seconds: float) -> bool:
        return self._reading is not None and time.monotonic() - self._reading.read_at <= seconds

    def close(self) -> None:
        """Gives up a reading that is under way."""
        if self._task is not None:
            self._task.cancel()
