"""From the core to live's wire. Pure."""

import base64
from collections.abc import Callable, Sequence
from typing import Literal
from urllib.parse import quote

from danqing.core.states import JobState
from danqing.core.types import ArtifactKind, EncodedPicture, Job, Progress, Stage
from danqing.dialects.live.names import file_name
from danqing.dialects.live.schemas import (
    TASK_TYPE,
    ClientJob,
    ClientJobs,
    CompletedResult,
    GeneratedResult,
    JobProgress,
    JobStatus,
    ProgressFigures,
    RequestId,
    ServerMessage,
)

IMAGE_PATH = "/api/image"
STAGES: dict[Stage, Literal["generating", "upscaling"]] = {
    Stage.DENOISING: "generating",
    Stage.UPSCALING: "upscaling",
}
# The way of a job that goes well.
_WAY = (JobState.PENDING, JobState.PROCESSING, JobState.GENERATED, JobState.COMPLETED)

Sign = Callable[[str], str]  # a path to an address that works without a key (`PictureLinks.sign`)


def to_text(message: ServerMessage) -> str:
    """The frame; fields that were not set are left out, and `type` never is."""
    return message.model_dump_json(exclude_unset=True)


def from_job(job: Job, *, request_id: RequestId | None, sign: Sign, state: JobState | None = None) -> JobStatus:
    """The job in its state, or as it was in an earlier one of its states."""
    status = state or job.state
    fields: dict[str, object] = {
        "type": "job_status",
        "job_id": job.fingerprint,
        "status": status,
        "request_id": request_id,
    }
    if result := _result(job, status, sign):
        fields["result"] = result
    if status is JobState.FAILED:
        fields["error"] = _why(job)
    return JobStatus.model_validate(fields)


def states_since(told: JobState, now: JobState) -> Sequence[JobState]:
    """The states to tell a client that knows the first of a job that is in the second, in the order of happening."""
    if told is now:
        return ()
    if told in _WAY and now in _WAY and _WAY.index(told) < _WAY.index(now):
        return _WAY[_WAY.index(told) + 1 : _WAY.index(now) + 1]
    return (now,)


def from_progress(job_id: str, progress: Progress, preview: EncodedPicture | None) -> JobProgress:
    """job_id: as on the wire."""
    figures = ProgressFigures(
        stage=STAGES[progress.stage],
        percentage=progress.percentage,
        current_step=progress.step,
        total_steps=progress.total_steps,
        elapsed=_clock(progress.elapsed_s),
        remaining=_clock(_remaining_s(progress)),
        speed=f"{_seconds_per_step(progress):.2f}s/it",
        type="progress",
    )
    if preview is None:
        return JobProgress(type="job_progress", job_id=job_id, progress=figures)
    return JobProgress(type="job_progress", job_id=job_id, progress=figures, preview=_data_url(preview))


def from_jobs(jobs: Sequence[Job], *, request_id: RequestId | None, sign: Sign) -> ClientJobs:
    """jobs: the newest first; of equal requests only the newest job is told, because they have one job_id."""
    newest = {job.fingerprint: job for job in reversed(jobs)}
    lines = [_line(job, sign) for job in jobs if newest[job.fingerprint] is job]
    return ClientJobs(type="client_jobs", jobs=lines, request_id=request_id)


def _line(job: Job, sign: Sign) -> ClientJob:
    fields: dict[str, object] = {
        "job_id": job.fingerprint,
        "task_type": TASK_TYPE,
        "status": job.state,
        "created_at": job.created_at.timestamp(),
        "result": _result(job, job.state, sign),
    }
    if job.state is JobState.FAILED:
        fields["error"] = _why(job)
    return ClientJob.model_validate(fields)


def _result(job: Job, state: JobState, sign: Sign) -> GeneratedResult | CompletedResult | None:
    """None for a job without a picture. One that failed while it was enlarged has its original."""
    has_original = job.artifact(ArtifactKind.ORIGINAL) is not None
    if state not in (JobState.GENERATED, JobState.COMPLETED) and not (state is JobState.FAILED and has_original):
        return None
    name = file_name(job, ArtifactKind.ORIGINAL)
    fields: dict[str, object] = {"filename": name}
    if state is JobState.GENERATED:
        fields["local_path"] = f"outputs/{name}"
    else:
        fields["path"] = f"outputs/{name}"
    upscaled = file_name(job, ArtifactKind.UPSCALED)
    has_upscaled = state is JobState.COMPLETED and job.artifact(ArtifactKind.UPSCALED) is not None
    if has_upscaled:
        fields["upscaled_filename"] = upscaled
    if job.adjustments:
        fields["adjustments"] = list(job.adjustments)
    if url := _signed(name, sign):
        fields["url"] = url
        if has_upscaled:
            fields["upscaled_url"] = _signed(upscaled, sign)
    return (GeneratedResult if state is JobState.GENERATED else CompletedResult).model_validate(fields)


def _signed(name: str, sign: Sign) -> str:
    """Empty while no signature is needed."""
    path = f"{IMAGE_PATH}/{name}"
    address = sign(path)
    return "" if address == quote(path) else address


def _why(job: Job) -> str:
    return job.failure.message if job.failure else "The job failed."


def _seconds_per_step(progress: Progress) -> float:
    return progress.elapsed_s / progress.step if progress.step else 0.0


def _remaining_s(progress: Progress) -> float:
    return (progress.total_steps - progress.step) * _seconds_per_step(progress)


def _clock(seconds: float) -> str:
    """`MM:SS`; from 100 minutes on the minutes have more digits."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02}:{rest:02}"


def _data_url(picture: EncodedPicture) -> str:
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.content).decode()}"
