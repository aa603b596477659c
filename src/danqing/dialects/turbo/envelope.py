"""Turbo's envelope `{code, message, data}` as an HTTP response; code equals the status."""

from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from danqing.dialects.turbo.schemas import Empty, Envelope


def success(data: BaseModel) -> Response:
    """200 with the fields of data that were set."""
    return respond(Envelope(code=200, message="success", data=data))


def failure(status: int, message: str) -> Envelope[Empty]:
    """An error: `data` is empty."""
    return Envelope(code=status, message=message, data=Empty())


def respond(envelope: Envelope[Any]) -> Response:
    """The envelope as a response; fields that were not set are left out."""
    content = envelope.model_dump_json(exclude_unset=True)
    return Response(content, status_code=envelope.code, media_type="application/json")
