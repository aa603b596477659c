"""Events as bytes, from one process to another, which may be of an older or a newer version.

A message is a letter for the kind, the name of the process that sent it, and the event as JSON; a preview's picture
follows its JSON, after a line break. What is not understood is no event: fields that are unknown do not matter.
"""

import json

from pydantic import TypeAdapter, ValidationError

from danqing.core.events import Event, PreviewMade, ProgressMade, StateChanged
from danqing.core.types import EncodedPicture, Job, Progress

ORIGIN_BYTES = 16
_STATE, _PROGRESS, _PREVIEW = b"s", b"p", b"v"
_JOB = TypeAdapter(Job)
_STEP = TypeAdapter(Progress)


def encoded(event: Event, origin: bytes) -> bytes:
    """origin: of ORIGIN_BYTES, different for each process."""
    match event:
        case StateChanged():
            return _STATE + origin + _JOB.dump_json(event.job)
        case ProgressMade():
            return _PROGRESS + origin + _STEP.dump_json(event.progress)
        case PreviewMade():
            picture = event.picture
            head = {
                "step": event.step,
                "total_steps": event.total_steps,
                "width": picture.width,
                "height": picture.height,
                "media_type": picture.media_type,
            }
            return b"%b%b%b\n%b" % (_PREVIEW, origin, json.dumps(head).encode(), picture.content)


def origin_of(message: bytes) -> bytes:
    """Who sent it."""
    return message[1 : 1 + ORIGIN_BYTES]


def decoded(job_id: str, message: bytes) -> Event | None:
    """job_id: of the job that it is about. None for what this version does not understand."""
    kind, body = message[:1], message[1 + ORIGIN_BYTES :]
    try:
        match kind:
            case b"s":
                job = _JOB.validate_json(body)
                return StateChanged(job=job) if job.id == job_id else None
            case b"p":
                return ProgressMade(job_id=job_id, progress=_STEP.validate_json(body))
            case b"v":
                return _preview(job_id, body)
            case _:
                return None
    except (ValidationError, ValueError, KeyError, TypeError):
        return None


def progress_in(message: bytes) -> Progress | None:
    """What a message about progress says; None for any other."""
    event = decoded("", message) if message[:1] == _PROGRESS else None
    return event.progress if isinstance(event, ProgressMade) else None


def _preview(job_id: str, body: bytes) -> PreviewMade:
    head, _, content = body.partition(b"\n")
    said = json.loads(head)
    picture = EncodedPicture(
        width=int(said["width"]),
        height=int(said["height"]),
        media_type=str(said["media_type"]),
        content=content,
    )
    return PreviewMade(
        job_id=job_id,
        step=int(said["step"]),
        total_steps=int(said["total_steps"]),
        picture=picture,
    )
