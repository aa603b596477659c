"""From the core to the studio's wire: the machine. Pure."""

from danqing.core.callers import Caller
from danqing.core.studio import QueueStatus
from danqing.core.types import WorkerStatus
from danqing.core.upscaling import UPSCALER
from danqing.dialects.studio.machine_schemas import HostView, QueueView, SampleView, WorkerView
from danqing.http.machine_log import MachineLog, MachineSample


def from_worker(worker: WorkerStatus) -> WorkerView:
    """A worker and its device."""
    device = worker.device
    return WorkerView(
        id=worker.id,
        state=worker.state.value,
        restarts=worker.restarts,
        models=[model for model in (device and device.models) or worker.models if model != UPSCALER],
        device=device.id if device else None,
        device_name=device.name if device else None,
        memory_used_bytes=(device.memory_reserved_bytes or device.memory_allocated_bytes) if device else None,
        memory_total_bytes=device.memory_total_bytes if device else None,
        failure=worker.failure.message if worker.failure else None,
        failure_code=worker.failure.code if worker.failure else None,
    )


def from_queue(queue: QueueStatus) -> QueueView:
    """Jobs by state."""
    return QueueView(
        pending=queue.pending,
        processing=queue.processing,
        completed=queue.completed,
        failed=queue.failed,
        cancelled=queue.cancelled,
        max_pending=queue.max_queue_size,
    )


def from_log(log: MachineLog, caller: Caller) -> HostView:
    """The host, as of its last look."""
    load = log.latest
    return HostView(
        id=log.host_id,
        name=log.host_name if caller.sees_all else None,
        cpu_percent=load.cpu_percent,
        memory_used_bytes=load.memory_used_bytes,
        memory_total_bytes=load.memory_total_bytes,
        since=log.began_at,
    )


def from_sample(sample: MachineSample) -> SampleView:
    """One of what it remembers."""
    return SampleView(
        at=sample.at,
        cpu_percent=sample.host.cpu_percent,
        memory_used_bytes=sample.host.memory_used_bytes,
        pending=sample.pending,
        processing=sample.processing,
        completed=sample.completed,
        worker_memory_bytes=sample.workers,
    )
