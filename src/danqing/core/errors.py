"""Every error of the house, each with a code, whether trying again helps, and a message safe for anyone.

    DanqingError
    ├── InvalidRequest            the request cannot be honoured as it stands
    │   ├── MissingParameter
    │   ├── ParameterOutOfRange
    │   ├── NotSupported          the model cannot do what was asked
    │   ├── InvalidImage          a picture sent in cannot be used
    │   ├── BatchFull             the batch has as many jobs as a batch may have
    │   └── UnknownModel
    ├── Unauthorized              no key, or one that nobody has
    ├── Forbidden                 known, and not allowed
    ├── NotFound
    │   ├── JobNotFound
    │   ├── BatchNotFound
    │   └── ArtifactNotFound      the picture was stored once and is gone
    ├── Unavailable               right request, wrong moment
    │   ├── ModelNotReady
    │   ├── QueueFull
    │   ├── RateLimited           this owner has asked for more than he may in so short a time
    │   ├── QuotaExceeded         this owner has had, or keeps, as much as he may
    │   ├── TooManyJobs           as many of this owner's jobs wait as one owner may have waiting
    │   ├── TooBusy               as many requests are being read, or pictures encoded, as may be at once
    │   └── ShuttingDown
    ├── RequestTimeout            waited as long as the server waits; the job was cancelled
    │   └── BodyTooSlow           the request had not come whole by then; there is no job
    ├── Conflict
    │   ├── JobNotCancellable
    │   ├── SubmitKeyReused       another request was sent under the same Idempotency-Key
    │   └── AmbiguousBatch
    └── InternalError             our fault; details are in the log only
        ├── EngineFailure         a picture could not be made
        │   ├── OutOfMemory
        │   │   └── TooLargeForDevice  it would not fit, so it was not tried
        │   ├── ModelLoadFailure
        │   ├── LoraFailure       one of the request's LoRAs cannot be used; the message names it
        │   ├── ModelNotServed    accepted for a model that the server has no more
        │   └── JobTimeout
        ├── WorkerLost            the process died or hung under the job
        ├── WorkerReplaced        the process ended, and not because of this job
        ├── ServerRestarted       the server ended under the job
        ├── StorageFailure
        │   ├── StorageAway       it does not answer just now; trying again later helps
        │   │   └── StorageInDoubt    nor did it say whether it had done what was asked
        │   └── JobUnreadable     a stored job is a newer version's; asking again helps nothing
        └── DataDirectoryInUse    start-up only

Dialects map classes, nearest ancestor first, to statuses and wordings of their own.
"""

from collections.abc import Mapping
from typing import ClassVar, TypeVar

T = TypeVar("T")


class DanqingError(Exception):
    """Base of all. `public_message` may be shown to clients as it is. retry_after_s: when whoever asked may try again,
    in whole seconds; None where that helps nothing, or nobody can say when.
    """

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False
    retry_after_s: int | None = None
    default_message: ClassVar[str] = "Something went wrong inside the server."

    def __init__(self, public_message: str | None = None) -> None:
        # A name that a client gave, and that is told again, may have half a surrogate pair, which cannot be sent.
        self.public_message = (public_message or self.default_message).encode("utf-8", "ignore").decode()
        super().__init__(self.public_message)


class InvalidRequest(DanqingError):
    """The request cannot be honoured as it stands. parameter: the core name of what is wrong, if one is."""

    code = "invalid_request"
    default_message = "The request is not valid."

    def __init__(self, public_message: str | None = None, *, parameter: str | None = None) -> None:
        super().__init__(public_message)
        self.parameter = parameter


class MissingParameter(InvalidRequest):
    """A required parameter is absent or empty."""

    code = "missing_parameter"


class ParameterOutOfRange(InvalidRequest):
    """A parameter is outside the range that the model, or the server's limits, allow."""

    code = "parameter_out_of_range"


class NotSupported(InvalidRequest):
    """The chosen model cannot do this; the message names the model and what it lacks."""

    code = "not_supported"


class InvalidImage(InvalidRequest):
    """A picture that was sent in is none, or of a kind or size that is not taken; the message says which and why."""

    code = "invalid_image"
    default_message = "The image cannot be read; send a PNG, JPEG or WebP file."


class BatchFull(InvalidRequest):
    """A job was to join a batch that has as many as one may have (`core/batches.py`)."""

    code = "batch_full"
    default_message = "The batch is full; begin another one."


class UnknownModel(InvalidRequest):
    """No model of that id is configured."""

    code = "unknown_model"


class Unauthorized(DanqingError):
    """Authentication is on, and the request carries no key, or one that nobody has."""

    code = "unauthorized"
    default_message = "Invalid API key."


class Forbidden(DanqingError):
    """The request comes from where none is taken from (a page of a foreign origin, say). reason: a word for the log."""

    code = "forbidden"
    default_message = "Not allowed."

    def __init__(self, public_message: str | None = None, *, reason: str = "forbidden") -> None:
        super().__init__(public_message)
        self.reason = reason


class NotFound(DanqingError):
    """Nothing of that id that the caller may see."""

    code = "not_found"
    default_message = "Not found."


class JobNotFound(NotFound):
    """No such job, or it belongs to somebody else."""

    code = "job_not_found"
    default_message = "No such job."


class BatchNotFound(NotFound):
    """No such batch, or it belongs to somebody else."""

    code = "batch_not_found"
    default_message = "No such batch."


class ArtifactNotFound(NotFound):
    """The artifact store holds no picture of that name."""

    code = "artifact_not_found"
    default_message = "The picture is not there any more."


class Unavailable(DanqingError):
    """The server cannot take the request now; trying again later helps: after retry_after_s, whole seconds."""

    code = "unavailable"
    retryable = True
    retry_after_s = 5

    def __init__(self, public_message: str | None = None, *, retry_after_s: int | None = None) -> None:
        super().__init__(public_message)
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class ModelNotReady(Unavailable):
    """No worker has the model loaded yet."""

    code = "model_not_ready"
    default_message = "The model is still loading; try again in a moment."


class QueueFull(Unavailable):
    """As many jobs wait as the server is configured to hold."""

    code = "queue_full"
    default_message = "The queue is full; try again later."


class TooManyJobs(Unavailable):
    """As many jobs of this owner wait as the server is configured to hold for one."""

    code = "too_many_jobs"
    default_message = "Too many of your jobs are waiting; try again when some of them are done."


class RateLimited(Unavailable):
    """The owner has asked for more work than he may in a while (`core/rate_limits.py`)."""

    code = "rate_limited"
    default_message = "Too much was asked for in a short time; try again later."


class QuotaExceeded(Unavailable):
    """The owner has had as many pictures as he may have in a day, or keeps as many bytes as he may."""

    code = "quota_exceeded"
    default_message = "You have had as much as you may; try again later."


class TooBusy(Unavailable):
    """Others' requests and pictures take all the room there is to read, check or encode them in."""

    code = "too_busy"
    default_message = "The server is busy with other requests; try again in a moment."


class ShuttingDown(Unavailable):
    """The server is draining and takes no new jobs."""

    code = "shutting_down"
    default_message = "The server is shutting down."


class RequestTimeout(DanqingError):
    """The client's request waited for its picture as long as the server allows; the job was cancelled."""

    code = "request_timeout"
    default_message = "The picture was not ready in time; try fewer steps or a smaller size."


class BodyTooSlow(RequestTimeout):
    """The request's body came too slowly, or not to its end."""

    code = "body_too_slow"
    retryable = True
    default_message = "The request's body did not come in time; send it again."


class Conflict(DanqingError):
    """The thing exists but is not in a state that allows this."""

    code = "conflict"


class JobNotCancellable(Conflict):
    """The job's original is stored, and only further artifacts are made of it; or it has ended."""

    code = "job_not_cancellable"
    default_message = "The job has its picture or has already ended; only a pending or processing job can be cancelled."


class SubmitKeyReused(Conflict):
    """The owner has sent another request under this key, not long ago."""

    code = "idempotency_key_reused"
    default_message = "Another request was sent with this Idempotency-Key; use a new key for a new request."


class AmbiguousBatch(Conflict):
    """Several owners have a batch of this id, and the caller, who sees them all, named none."""

    code = "ambiguous_batch"
    default_message = "Several owners have a batch of this id; name the owner."


class InternalError(DanqingError):
    """Our fault. The log has the details; the client gets a general message."""

    code = "internal_error"


class EngineFailure(InternalError):
    """The engine could not make the picture."""

    code = "engine_failure"
    default_message = "The picture could not be made."


class OutOfMemory(EngineFailure):
    """The device's memory does not hold this request, and did not after everything else was freed."""

    code = "out_of_memory"
    default_message = "Out of device memory; try a smaller size."


class TooLargeForDevice(OutOfMemory):
    """The request needs more memory than the whole device has; the message names the largest size that fits."""

    code = "too_large_for_device"
    default_message = "The picture does not fit on this device; try a smaller size."


class ModelLoadFailure(EngineFailure):
    """The model's files are missing, damaged or of an unknown kind."""

    code = "model_load_failure"
    default_message = "The model could not be loaded."


class LoraFailure(EngineFailure):
    """A LoRA's file is gone, damaged, of an unknown kind or made for another model; the message names the LoRA."""

    code = "lora_failure"
    default_message = "A LoRA could not be used."


class ModelNotServed(EngineFailure):
    """The job was accepted for a model that no worker of this server has any more; the message names the model."""

    code = "model_not_served"
    default_message = "The model is not served any more."


class JobTimeout(EngineFailure):
    """The job ran longer than the server allows."""

    code = "job_timeout"
    default_message = "The job took longer than the server allows."


class WorkerLost(InternalError):
    """The worker process died or hung under the job; another attempt may succeed."""

    code = "worker_lost"
    retryable = True
    default_message = "The worker process was lost."


class WorkerReplaced(InternalError):
    """The worker process was ended because of another job, or before it had this one, which gets another attempt."""

    code = "worker_replaced"
    retryable = True
    default_message = "The worker process was replaced."


class ServerRestarted(InternalError):
    """The server ended while the job ran; another attempt may succeed."""

    code = "server_restarted"
    retryable = True
    default_message = "The server was restarted."


class StorageFailure(InternalError):
    """The database or the artifact store did not do its work (a full disk, say)."""

    code = "storage_failure"
    default_message = "The server could not store the result."


class StorageAway(StorageFailure):
    """The database or the artifact store does not answer, and may soon do so again."""

    code = "storage_away"
    retryable = True
    retry_after_s = 5
    default_message = "The server cannot reach its storage; try again in a moment."


class StorageInDoubt(StorageAway):
    """The database went away in the midst of storing what was asked: who asks again without a key may get it twice."""

    code = "storage_in_doubt"
    retryable = False
    retry_after_s = None
    default_message = (
        "The database did not answer in time. What was asked may have been done; ask again under the same key."
    )


class JobUnreadable(StorageFailure):
    """A stored job cannot be read by this version of the server: it is left to a newer one, or damaged."""

    default_message = "A stored job cannot be read by this version of the server."


class DataDirectoryInUse(InternalError):
    """Another server holds the data directory; this one must not start on it."""

    code = "data_directory_in_use"
    default_message = "The data directory is in use by another server."


def nearest(table: Mapping[type[DanqingError], T], error: DanqingError) -> T:
    """What the table has for the error's class, or else for the nearest of its ancestors.

    Raises LookupError if it has none of them: a table that is to answer for every error has DanqingError.
    """
    for kind in type(error).__mro__:
        if kind in table:
            return table[kind]
    raise LookupError(f"No entry for {type(error).__name__}")
