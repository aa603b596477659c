"""From the core to turbo's wire. Pure."""

from datetime import UTC, datetime
from typing import Literal, NotRequired, TypedDict

from danqing.core.states import JobState
from danqing.core.studio import QueueStatus
from danqing.core.types import DeviceStatus, Job, PoolStatus, Progress, WorkerState
from danqing.dialects.turbo.errors import failure_message
from danqing.dialects.turbo.schemas import (
    CompletedTask,
    FailedTask,
    GpuFigures,
    Health,
    PendingTask,
    ProcessingTask,
    QueueFigures,
    Submitted,
    SystemStatus,
    Task,
    Unfinished,
)

STATUS_WORDS: dict[JobState, Literal["pending", "processing", "completed", "failed"]] = {
    JobState.PENDING: "pending",
    JobState.PROCESSING: "processing",
    JobState.GENERATED: "processing",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
}
CANCELLED_MESSAGE = "任务已取消"


def from_submitted(job: Job, *, queue_position: int) -> Submitted:
    """The answer to a submit."""
    return Submitted(task_id=job.id, status=STATUS_WORDS[job.state], queue_position=queue_position)


def from_job(job: Job, *, queue_position: int, progress: Progress | None, image_path: str) -> Task:
    """The task with exactly the keys that the vendor shows for its state. image_path: used if it is completed."""
    match STATUS_WORDS[job.state]:
        case "pending":
            return PendingTask(
                status="pending",
                **_request(job),
                created_at=_time(job.created_at),
                queue_position=queue_position,
                **_adjustments(job),
            )
        case "processing":
            return ProcessingTask(
                status="processing",
                **_request(job),
                **_started(job),
                queue_position=0,
                progress=progress.percentage if progress else 0,
                **_adjustments(job),
            )
        case "completed":
            return CompletedTask(
                status="completed",
                **_request(job),
                **_ended(job),
                image_path=image_path,
                queue_position=0,
                **_adjustments(job),
            )
        case "failed":
            return FailedTask(
                task_id=job.id,
                status="failed",
                prompt=job.request.prompt,
                error_message=error_message(job),
                **_ended(job),
            )


def error_message(job: Job) -> str:
    """Why a failed or cancelled job has no picture."""
    if job.state is JobState.CANCELLED:
        return CANCELLED_MESSAGE
    return failure_message(job.failure.code if job.failure else "")


def from_unfinished(job: Job) -> Unfinished:
    """What is said of a job whose picture was asked for and that has none."""
    match STATUS_WORDS[job.state]:
        case "pending" | "processing" as status:
            return Unfinished(task_id=job.id, status=status, message="任务尚未完成")
        case _:
            return Unfinished(task_id=job.id, status="failed", message="任务处理失败", error_message=error_message(job))


def from_status(queue: QueueStatus, pool: PoolStatus) -> SystemStatus:
    """The figures of the whole server."""
    return SystemStatus(
        queue=QueueFigures(
            queue_size=queue.pending,
            max_queue_size=queue.max_queue_size,
            pending_tasks=queue.pending,
            processing_tasks=queue.processing,
            completed_tasks=queue.completed,
            failed_tasks=queue.failed + queue.cancelled,
            total_tasks=queue.total,
        ),
        gpu=_gpu(_first_gpu(pool)),
        model_loaded=pool.model_loaded,
    )


def from_health(pool: PoolStatus) -> Health:
    """A server that is still loading is healthy."""
    hopeless = bool(pool.workers) and all(w.state is WorkerState.BROKEN for w in pool.workers)
    return Health(status="unhealthy" if hopeless else "healthy", model_loaded=pool.model_loaded)


def _first_gpu(pool: PoolStatus) -> DeviceStatus | None:
    """One that tells of its memory, else the GPU of a worker that is loading, is down or cannot come up."""
    told = next((w.device for w in pool.workers if w.device and w.device.kind == "cuda"), None)
    silent = next((w.device_id for w in pool.workers if not w.device and w.device_id.startswith("cuda")), None)
    return told or (DeviceStatus(id=silent.partition("+")[0], name="", kind="cuda") if silent else None)


def _gpu(device: DeviceStatus | None) -> GpuFigures:
    allocated = device.memory_allocated_bytes if device else None
    total = device.memory_total_bytes if device else None
    return GpuFigures(
        available=device is not None,
        device=device.id if device else None,
        memory_allocated_gb=_gib(allocated),
        memory_reserved_gb=_gib(device.memory_reserved_bytes if device else None),
        memory_total_gb=_gib(total),
        memory_usage_percent=round(100 * allocated / total, 2) if allocated is not None and total else None,
    )


def _gib(count: int | None) -> float | None:
    return None if count is None else round(count / 2**30, 2)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


class _Request(TypedDict):
    task_id: str
    prompt: str
    height: int
    width: int
    num_inference_steps: int
    seed: int


class _Adjustments(TypedDict, total=False):
    adjustments: list[str]


class _Started(TypedDict):
    created_at: str
    started_at: NotRequired[str]


class _Ended(_Started):
    completed_at: NotRequired[str]


def _request(job: Job) -> _Request:
    request = job.request
    return {
        "task_id": job.id,
        "prompt": request.prompt,
        "height": request.height,
        "width": request.width,
        "num_inference_steps": request.num_inference_steps,
        "seed": request.seed,
    }


def _started(job: Job) -> _Started:
    """A time that is not known is left out, here and below."""
    times: _Started = {"created_at": _time(job.created_at)}
    if job.started_at:
        times["started_at"] = _time(job.started_at)
    return times


def _ended(job: Job) -> _Ended:
    times: _Ended = {**_started(job)}
    if job.finished_at:
        times["completed_at"] = _time(job.finished_at)
    return times


def _adjustments(job: Job) -> _Adjustments:
    return {"adjustments": list(job.adjustments)} if job.adjustments else {}
