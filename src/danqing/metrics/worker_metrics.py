"""What the workers say of themselves, read when somebody asks. Implements prometheus-client's `Collector`."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from danqing.core.types import DeviceStatus, PoolStatus, WorkerState, WorkerStatus

_LABELS = ("worker",)


class WorkerMetrics:
    """Of the processes of this machine each is told; of workers elsewhere only how many there are: their own machines
    tell the rest.
    """

    def __init__(self, pool: Callable[[], PoolStatus]) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        pool = self._pool()
        yield _by_state(pool)
        if not pool.elsewhere:
            yield from _each(pool.workers)


def _by_state(pool: PoolStatus) -> Metric:
    workers = GaugeMetricFamily(
        "danqing_workers", "Workers by state. Where they are elsewhere: all that are alive.", labels=("state",)
    )
    for state in WorkerState:
        workers.add_metric((state.value,), sum(worker.state is state for worker in pool.workers))
    return workers


def _each(workers: tuple[WorkerStatus, ...]) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "danqing_worker_device_info", "1: the worker has this device.", labels=(*_LABELS, "device", "kind", "name")
    )
    ready = GaugeMetricFamily("danqing_worker_ready", "1 while the worker has its models loaded.", labels=_LABELS)
    restarts = CounterMetricFamily(
        "danqing_worker_restarts_total", "Processes of the worker after the first.", labels=_LABELS
    )
    busy = CounterMetricFamily(
        "danqing_worker_device_busy_seconds_total", "For how long the device had jobs.", labels=_LABELS
    )
    load = GaugeMetricFamily(
        "danqing_worker_load_seconds", "How long the newest process took to load its models.", labels=_LABELS
    )
    memory = GaugeMetricFamily(
        "danqing_worker_device_memory_bytes",
        "Memory of the device: allocated by weights and work, reserved by the process, total. A CPU has none.",
        labels=(*_LABELS, "kind"),
    )
    models = GaugeMetricFamily(
        "danqing_worker_model_on_device",
        "1: the model is on the device; 0: it waits in the host's memory. Left out while it is not loaded.",
        labels=(*_LABELS, "model"),
    )
    hits = CounterMetricFamily(
        "danqing_worker_prompt_cache_hits_total", "Prompts that were encoded already.", labels=_LABELS
    )
    misses = CounterMetricFamily(
        "danqing_worker_prompt_cache_misses_total", "Prompts that had to be encoded.", labels=_LABELS
    )
    for worker in workers:
        labels = (worker.id.rpartition("/")[2],)  # without its node, whose starts are without number
        ready.add_metric(labels, worker.state in (WorkerState.READY, WorkerState.BUSY))
        restarts.add_metric(labels, worker.restarts)
        busy.add_metric(labels, worker.busy_s)
        if worker.load_s is not None:
            load.add_metric(labels, worker.load_s)
        if worker.device is None:
            continue
        info.add_metric((*labels, worker.device.id, worker.device.kind, worker.device.name), 1)
        for kind, size in _memory(worker.device).items():
            if size is not None:
                memory.add_metric((*labels, kind), size)
        for model in worker.device.loaded:
            models.add_metric((*labels, model.id), model.on_device)
        hits.add_metric(labels, worker.device.prompt_cache_hits)
        misses.add_metric(labels, worker.device.prompt_cache_misses)
    yield from (info, ready, restarts, busy, load, memory, models, hits, misses)


def _memory(device: DeviceStatus) -> dict[str, int | None]:
    return {
        "allocated": device.memory_allocated_bytes,
        "reserved": device.memory_reserved_bytes,
        "total": device.memory_total_bytes,
    }
