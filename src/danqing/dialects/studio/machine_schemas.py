"""The studio's wire models of the machine: its workers, its queue, and what both did of late."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WorkerView(_Answer):
    """Bytes are None where the device has no memory of its own."""

    id: str
    state: str
    restarts: int
    models: list[str]
    device: str | None
    device_name: str | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    failure: str | None
    failure_code: str | None


class QueueView(_Answer):
    """Jobs by state."""

    pending: int
    processing: int
    completed: int
    failed: int
    cancelled: int
    max_pending: int


class HostView(_Answer):
    """The machine that answers. id: the same from each of its processes. name: told to who sees everybody's jobs.

    cpu_percent: of all its cores, within the last seconds. since: how far back it remembers.
    """

    id: str
    name: str | None
    cpu_percent: float
    memory_used_bytes: int
    memory_total_bytes: int
    since: datetime | None


class SampleView(_Answer):
    """How it was at a moment. worker_memory_bytes: in use, of those workers whose devices have memory of their own."""

    at: datetime
    cpu_percent: float
    memory_used_bytes: int
    pending: int
    processing: int
    completed: int
    worker_memory_bytes: dict[str, int]


class MachineView(_Answer):
    """As of now. samples: what the host that answers remembers, oldest first: an hour at most."""

    version: str
    draining: bool
    workers: list[WorkerView]
    queue: QueueView
    host: HostView
    samples: list[SampleView]
