"""From the core to zimage's wire. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, TypedDict

from danqing.core.batches import Batch, BatchState
from danqing.core.callers import LOCAL, Caller
from danqing.core.states import JobState
from danqing.core.types import Artifact, ArtifactKind, Job, Progress, Stage
from danqing.dialects.zimage.failure_texts import failure_text
from danqing.dialects.zimage.picture_names import Shelf, relative_path, task_id_of
from danqing.dialects.zimage.schemas import (
    BatchDetail,
    BatchHeader,
    BatchItem,
    BatchStatus,
    CancelTaskResponse,
    DeleteTaskResponse,
    GenerateImageResponse,
    ImageResult,
    TaskStatus,
    TaskStatusResponse,
    TaskSummary,
)

BATCH_STATUS: dict[BatchState, BatchStatus] = {
    BatchState.PENDING: "PENDING",
    BatchState.RUNNING: "PENDING",
    BatchState.SUCCESS: "SUCCESS",
    BatchState.PARTIAL: "SUCCESS",
    BatchState.ERROR: "FAILURE",
    BatchState.CANCELLED: "FAILURE",
}
ITEM_STATUS: dict[JobState, Literal["pending", "running", "success", "error", "cancelled"]] = {
    JobState.PENDING: "pending",
    JobState.PROCESSING: "running",
    JobState.GENERATED: "running",
    JobState.COMPLETED: "success",
    JobState.FAILED: "error",
    JobState.CANCELLED: "cancelled",
}
NOT_CANCELLABLE: dict[TaskStatus, str] = {
    "SUCCESS": "Task has already succeeded and cannot be cancelled",
    "FAILURE": "Task has already failed and cannot be cancelled",
    "REVOKED": "Task has already been cancelled",
}
ALMOST_DONE = "The image is made and being stored; the task cannot be cancelled any more"


def from_submitted(job: Job) -> GenerateImageResponse:
    """The answer to a submit."""
    task_id = task_id_of(job)
    return GenerateImageResponse(task_id=task_id, status_url=f"/v1/tasks/{task_id}", image_url=None)


def task_status(job: Job, progress: Progress | None) -> TaskStatus:
    """progress: the newest of a running job, None before its first step."""
    match job.state:
        case JobState.PENDING:
            return "RETRY" if job.attempts else "PENDING"
        case JobState.PROCESSING:
            return "PROGRESS" if progress else "STARTED"
        case JobState.GENERATED:
            return "PROGRESS"
        case JobState.COMPLETED:
            return "SUCCESS"
        case JobState.FAILED:
            return "FAILURE"
        case JobState.CANCELLED:
            return "REVOKED"


def from_job(job: Job, *, progress: Progress | None, shelf: Shelf, auth_key: str | None) -> TaskStatusResponse:
    """auth_key: see `ImageResult`."""
    text, original = failure_text(job), job.original
    return TaskStatusResponse(
        task_id=task_id_of(job),
        status=task_status(job, progress),
        result=_result(job, original, shelf, auth_key) if original and job.state is JobState.COMPLETED else None,
        error=text.error if text else None,
        error_code=text.code if text else None,
        error_hint=text.hint if text else None,
        image_url=_image_url(job, shelf),
        progress=_percentage(job, progress),
    )


def from_cancelled(job: Job) -> CancelTaskResponse:
    """The answer to a cancel that came in time."""
    return CancelTaskResponse(task_id=task_id_of(job), status="CANCELLED", message="Cancellation requested")


def from_uncancellable(job: Job) -> CancelTaskResponse:
    """The answer to a cancel of a job that has ended, or all but ended, by itself."""
    status = task_status(job, None)
    return CancelTaskResponse(task_id=task_id_of(job), status=status, message=NOT_CANCELLABLE.get(status, ALMOST_DONE))


def from_batches(batches: Sequence[Batch], shelf: Shelf, *, now: datetime, caller: Caller) -> list[TaskSummary]:
    """A page of the history, as it is now, for this caller."""
    return [_summary(batch, shelf, now, caller) for batch in batches]


def from_batch(batch: Batch, shelf: Shelf, *, now: datetime, caller: Caller) -> BatchDetail:
    """A batch with its images, as it is now, for this caller."""
    header = _summary(batch, shelf, now, caller).model_dump(exclude={"relative_path"}, exclude_unset=True)
    return BatchDetail(batch=BatchHeader(**header), items=[_item(job, shelf) for job in batch.jobs])


def from_forgotten(batch_id: str) -> DeleteTaskResponse:
    """The answer to a delete."""
    return DeleteTaskResponse(task_id=batch_id, status="deleted", message="Batch deleted from history")


def _result(job: Job, original: Artifact, shelf: Shelf, auth_key: str | None) -> ImageResult:
    request, preview = job.request, job.artifact(ArtifactKind.PREVIEW)
    return ImageResult(
        image_id=task_id_of(job),
        prompt=request.prompt,
        height=request.height,
        width=request.width,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        seed=request.seed,
        negative_prompt=request.negative_prompt,
        cfg_normalization=_switch(request.cfg_normalization),
        cfg_truncation=request.cfg_truncation,
        max_sequence_length=request.max_sequence_length,
        created_at=_time(job.created_at),
        auth_key=auth_key,
        metadata=dict(job.metadata),
        output_path=shelf.location(original.name),
        relative_path=relative_path(job, ArtifactKind.ORIGINAL),
        preview_output_path=shelf.location(preview.name) if preview else None,
        preview_relative_path=relative_path(job, ArtifactKind.PREVIEW) if preview else None,
        **_adjustments(job),
    )


def _summary(batch: Batch, shelf: Shelf, now: datetime, caller: Caller) -> TaskSummary:
    first, counts = batch.jobs[0], batch.counts
    request = first.request
    shown = next((job for job in batch.jobs if job.state is JobState.COMPLETED), None)
    return TaskSummary(
        task_id=batch.id,
        status=BATCH_STATUS[batch.state_at(now)],
        created_at=_time(batch.created_at),
        prompt=request.prompt,
        height=request.height,
        width=request.width,
        relative_path=relative_path(shown, ArtifactKind.ORIGINAL) if shown else None,
        image_url=_image_url(shown, shelf) if shown else None,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        seed=request.seed,
        batch_size=batch.size,
        success_count=counts[JobState.COMPLETED],
        failed_count=counts[JobState.FAILED] + counts[JobState.CANCELLED],
        base_seed=request.seed,
        **_owner(batch, caller),
    )


def _item(job: Job, shelf: Shelf) -> BatchItem:
    text = failure_text(job)
    return BatchItem(
        task_id=task_id_of(job),
        index=job.batch_index,
        status=ITEM_STATUS[job.state],
        image_url=_image_url(job, shelf),
        width=job.request.width,
        height=job.request.height,
        seed=job.request.seed,
        error_code=text.code if text else None,
        error_hint=text.hint if text else None,
    )


def _image_url(job: Job, shelf: Shelf) -> str | None:
    """The preview's address, else the picture's own; None before the job is completed."""
    if job.state is not JobState.COMPLETED:
        return None
    kind = ArtifactKind.PREVIEW if job.artifact(ArtifactKind.PREVIEW) else ArtifactKind.ORIGINAL
    return shelf.address(relative_path(job, kind))


def _percentage(job: Job, progress: Progress | None) -> int | None:
    """Never goes back within an attempt: what comes after denoising counts as 100."""
    match job.state:
        case JobState.PENDING:
            return 0
        case JobState.PROCESSING:
            if progress is None:
                return 0
            return progress.percentage if progress.stage is Stage.DENOISING else 100
        case JobState.GENERATED | JobState.COMPLETED:
            return 100
        case JobState.FAILED | JobState.CANCELLED:
            return None


def _switch(strength: float | None) -> bool | float | None:
    """See `ImageResult`."""
    return strength if strength is None else {0.0: False, 1.0: True}.get(strength, strength)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


class _Owner(TypedDict, total=False):
    owner: str


def _owner(batch: Batch, caller: Caller) -> _Owner:
    """See `TaskSummary`."""
    return {"owner": batch.owner} if caller.history is None and batch.owner != LOCAL.owner else {}


class _Adjustments(TypedDict, total=False):
    adjustments: list[str]


def _adjustments(job: Job) -> _Adjustments:
    return {"adjustments": list(job.adjustments)} if job.adjustments else {}
