"""All figures of a process, and the page that Prometheus reads."""

from collections.abc import Callable, Collection, Iterator, Mapping

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from danqing import __version__
from danqing.core.types import PoolStatus
from danqing.metrics.http_metrics import HttpMetrics
from danqing.metrics.job_metrics import JobMetrics
from danqing.metrics.readings import JobReadings
from danqing.metrics.store_metrics import StoreMetrics
from danqing.metrics.text_format import text_of
from danqing.metrics.worker_metrics import WorkerMetrics


class MetricsPanel:
    """One a process. What is counted begins at once; what is read, once somebody says where."""

    def __init__(self, *, models: Collection[str]) -> None:
        """models: ids of those on offer."""
        self._registry = CollectorRegistry(auto_describe=False)
        build = Gauge("danqing_build_info", "1: this version runs.", ("version",), registry=self._registry)
        build.labels(__version__).set(1)
        ProcessCollector(registry=self._registry)
        self._unsent = _Unsent()
        self._registry.register(self._unsent)
        self.jobs = JobMetrics(self._registry, models=models)
        self.http = HttpMetrics(self._registry)
        self.store = StoreMetrics(self._registry)
        self._readings: JobReadings | None = None

    def watch_pool(self, pool: Callable[[], PoolStatus]) -> None:
        """Workers are told from now on."""
        self._registry.register(WorkerMetrics(pool))

    def watch_jobs(self, readings: JobReadings) -> None:
        """What the store knows is told from now on."""
        self._readings = readings
        self._registry.register(readings)

    def watch_events(self, dropped: Callable[[], Mapping[str, int]]) -> None:
        """dropped: how many events of each kind slow watchers were not told."""
        self._registry.register(_DroppedEvents(dropped))

    def watch_unsent(self, messages: Callable[[], int], oldest_s: Callable[[], float]) -> None:
        """messages: how many are still to be sent to the broker. oldest_s: for how long the oldest of them has been."""
        self._unsent.messages, self._unsent.oldest_s = messages, oldest_s

    async def page(self) -> bytes:
        """As of now, in Prometheus' text format. Waits for the store for a moment only."""
        if self._readings is not None:
            await self._readings.refresh()
        return text_of(self._registry.collect())

    def close(self) -> None:
        """Gives up what is being read."""
        if self._readings is not None:
            self._readings.close()


class _Unsent:
    """None, where nothing goes over a broker."""

    def __init__(self) -> None:
        self.messages: Callable[[], int] = lambda: 0
        self.oldest_s: Callable[[], float] = lambda: 0.0

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "danqing_unsent_messages",
            "Messages for workers that are still to be sent: the broker is away, or slow. Their jobs are stored.",
            value=self.messages(),
        )
        yield GaugeMetricFamily(
            "danqing_unsent_messages_oldest_age_seconds",
            "For how long the oldest of them has been.",
            value=self.oldest_s(),
        )


class _DroppedEvents:
    def __init__(self, dropped: Callable[[], Mapping[str, int]]) -> None:
        self._dropped = dropped

    def collect(self) -> Iterator[Metric]:
        events = CounterMetricFamily(
            "danqing_events_dropped_total", "Events that watchers who read too slowly were not told.", labels=("kind",)
        )
        for kind, number in self._dropped().items():
            events.add_metric((kind,), number)
        yield events
