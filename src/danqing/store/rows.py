"""Jobs to rows and back. Rows never leave the store."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import RowMapping

from danqing.core.errors import JobUnreadable
from danqing.core.images import ImageRef
from danqing.core.states import JobState
from danqing.core.types import Artifact, ArtifactKind, Attempt, GenerationRequest, Job, JobFailure, Lora, Mode

Values = dict[str, object]
Row = RowMapping | Mapping[str, Any]  # Any: what a column's type says


def job_values(job: Job) -> Values:
    """The row of a new job, without the sequence, which the database gives. Raises ValueError or TypeError for
    metadata that are no JSON.
    """
    return {
        "id": job.id,
        "owner": job.owner,
        "batch_id": job.batch_id,
        "batch_index": job.batch_index,
        "metadata": _dump(dict(job.metadata)),
        "state": JobState.PENDING.value,
        "priority": job.priority,
        "fingerprint": job.fingerprint,
        "model": job.request.model,
        "mode": job.request.mode.value,
        "prompt": job.request.prompt,
        "request": _request_text(job.request),
        "adjustments": adjustments_text(job.adjustments),
        "attempt_count": 0,
        "created_at": job.created_at,
    }


def artifact_values(job_id: str, artifact: Artifact) -> Values:
    """The row of an artifact."""
    return {
        "job_id": job_id,
        "kind": artifact.kind.value,
        "name": artifact.name,
        "media_type": artifact.media_type,
        "width": artifact.width,
        "height": artifact.height,
        "size_bytes": artifact.size_bytes,
    }


def failure_values(failure: JobFailure | None) -> Values:
    """The three failure columns of a job or an attempt."""
    if failure is None:
        return {"failure_code": None, "failure_message": None, "failure_retryable": None}
    return {
        "failure_code": failure.code,
        "failure_message": failure.message,
        "failure_retryable": failure.retryable,
    }


def adjustments_text(adjustments: Sequence[str]) -> str:
    """The adjustments column."""
    return _dump(list(adjustments))


def job_from(row: Row, attempts: Sequence[Row], artifacts: Sequence[Row]) -> Job:
    """The job of a row. Raises JobUnreadable for one that this version cannot read, a newer version's for instance."""
    try:
        return Job(
            id=row["id"],
            owner=row["owner"],
            request=_request_from(row["request"]),
            fingerprint=row["fingerprint"],
            created_at=row["created_at"],
            state=JobState(row["state"]),
            priority=row["priority"],
            batch_id=row["batch_id"],
            batch_index=row["batch_index"],
            metadata=_metadata_from(row["metadata"]),
            turn=row["turn"],
            sequence=row["sequence"],
            started_at=row["started_at"],
            finished_at=row["finished_at"],
            attempts=tuple(_attempt_from(attempt) for attempt in attempts),
            artifacts=tuple(_artifact_from(artifact) for artifact in artifacts),
            adjustments=tuple(json.loads(row["adjustments"])),
            failure=_failure_from(row),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise JobUnreadable from exc


def request_from(text: str) -> GenerationRequest:
    """The request of a row. Raises JobUnreadable likewise."""
    try:
        return _request_from(text)
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise JobUnreadable from exc


def _request_text(request: GenerationRequest) -> str:
    """All that the request says, and what it holds. What it does not say (None, nothing in it) is left out, as it is
    the default: so a field that a newer version adds keeps no older one from reading a request that does not use it.
    """
    said = {name: value for name, value in vars(request).items() if value is not None and value != ()}
    return json.dumps(said, default=vars, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _request_from(text: str) -> GenerationRequest:
    """A field that is missing was added after the request was stored: it has its default."""
    fields = json.loads(text)
    return GenerationRequest(**(fields | {name: read(fields[name]) for name, read in _READ.items() if name in fields}))


def _image_from(fields: dict[str, Any]) -> ImageRef:  # Any: JSON values
    return ImageRef(**fields)


def _image_or_none(fields: dict[str, Any] | None) -> ImageRef | None:  # Any: JSON values
    return None if fields is None else _image_from(fields)


# How the fields of a request are read whose values are no plain JSON.
_READ: Mapping[str, Callable[[Any], object]] = {  # Any: JSON values
    "mode": Mode,
    "input_images": lambda images: tuple(map(_image_from, images)),
    "mask": _image_or_none,
    "control_image": _image_or_none,
    "loras": lambda loras: tuple(Lora(**lora) for lora in loras),
    "further": lambda kinds: tuple(map(ArtifactKind, kinds)),
}


def _metadata_from(text: str) -> Mapping[str, object]:
    metadata = json.loads(text)
    if not isinstance(metadata, dict):
        raise TypeError("metadata that are no JSON object")
    return cast(dict[str, object], metadata)


def _attempt_from(row: Row) -> Attempt:
    return Attempt(
        number=row["number"],
        worker=row["worker"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        failure=_failure_from(row),
    )


def _artifact_from(row: Row) -> Artifact:
    return Artifact(
        kind=ArtifactKind(row["kind"]),
        name=row["name"],
        media_type=row["media_type"],
        width=row["width"],
        height=row["height"],
        size_bytes=row["size_bytes"],
    )


def _failure_from(row: Row) -> JobFailure | None:
    if row["failure_code"] is None:
        return None
    return JobFailure(code=row["failure_code"], message=row["failure_message"], retryable=row["failure_retryable"])


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
