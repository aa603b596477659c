"""What zimage tells people about a task that ended without a picture: code, what happened, what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass

from danqing.core.errors import (
    DataDirectoryInUse,
    EngineFailure,
    InternalError,
    JobTimeout,
    LoraFailure,
    ModelLoadFailure,
    ModelNotServed,
    OutOfMemory,
    ServerRestarted,
    StorageAway,
    StorageFailure,
    StorageInDoubt,
    TooLargeForDevice,
    WorkerLost,
    WorkerReplaced,
)
from danqing.core.states import JobState
from danqing.core.types import Job


@dataclass(frozen=True, kw_only=True)
class FailureText:
    """code: for programs. error, hint: for people, a sentence or two each."""

    code: str
    error: str
    hint: str


CANCELLED = FailureText(
    code="CANCELLED",
    error="The task was cancelled.",
    hint="Submit the request again if you still want the image.",
)
OTHER_FAILURE = FailureText(
    code="INTERNAL_ERROR",
    error="The server failed while it worked on the task.",
    hint="Try again. If it happens again, ask the operator to look into the server's log.",
)
# By the code of a job's failure.
JOB_FAILURES: Mapping[str, FailureText] = {
    OutOfMemory.code: FailureText(
        code="OUT_OF_MEMORY",
        error="The device has not enough memory for this image.",
        hint="Choose a smaller width and height.",
    ),
    TooLargeForDevice.code: FailureText(
        code="TOO_LARGE_FOR_DEVICE",
        error="The device cannot hold an image of this size.",
        hint="Choose a smaller width and height.",
    ),
    JobTimeout.code: FailureText(
        code="TIMEOUT",
        error="The image took longer than the server allows.",
        hint="Choose fewer num_inference_steps or a smaller width and height.",
    ),
    ModelLoadFailure.code: FailureText(
        code="MODEL_LOAD_FAILED",
        error="The model could not be loaded.",
        hint="Ask the operator to check the model's files; trying again does not help before.",
    ),
    LoraFailure.code: FailureText(
        code="LORA_FAILED",
        error="A LoRA of the task could not be used with the model.",
        hint="Ask the operator to check the LoRA's file; trying again does not help before.",
    ),
    ModelNotServed.code: FailureText(
        code="MODEL_NOT_SERVED",
        error="The model that the task was accepted for is not served any more.",
        hint="Submit the request again; it will be made with the model that is served now.",
    ),
    EngineFailure.code: FailureText(
        code="GENERATION_FAILED",
        error="The image could not be generated.",
        hint="Try again, with another size or seed if it happens again.",
    ),
    WorkerLost.code: FailureText(
        code="WORKER_LOST",
        error="The process that made the image ended unexpectedly, every time that it was tried.",
        hint="Try again later, with a smaller width and height if it happens again.",
    ),
    WorkerReplaced.code: FailureText(
        code="WORKER_REPLACED",
        error="The process that made the image was replaced because of another task.",
        hint="Submit the request again.",
    ),
    ServerRestarted.code: FailureText(
        code="SERVER_RESTARTED",
        error="The server was restarted while it made the image, and no further try was left.",
        hint="Submit the request again.",
    ),
    StorageFailure.code: FailureText(
        code="STORAGE_FAILED",
        error="The image could not be stored.",
        hint="Ask the operator whether the server's disk is full, then submit the request again.",
    ),
    StorageAway.code: FailureText(
        code="STORAGE_AWAY",
        error="The image could not be stored, for the server did not reach its storage.",
        hint="Submit the request again in a moment.",
    ),
    InternalError.code: OTHER_FAILURE,
    DataDirectoryInUse.code: OTHER_FAILURE,
    StorageInDoubt.code: OTHER_FAILURE,
}


def failure_text(job: Job) -> FailureText | None:
    """Why a failed or cancelled job has no picture; None for any other."""
    match job.state:
        case JobState.CANCELLED:
            return CANCELLED
        case JobState.FAILED:
            return JOB_FAILURES.get(job.failure.code, OTHER_FAILURE) if job.failure else OTHER_FAILURE
        case _:
            return None
