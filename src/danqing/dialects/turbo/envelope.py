"""Turbo's envelope `{code, message, data}` as an HTTP response; code equals the status."""

from pydantic import BaseModel
from starlette.responses import Response

from danqing.dialects.turbo.schemas import Empty, Envelope


def success(data: BaseModel) -> Response:
    """200 with the fields of data that were set."""
    return _respond(200, "success", data)


def failure(status: int, message: str) -> Response:
    """An error: `data` is empty."""
    return _respond(status, message, Empty())


def _respond(status: int, message: str, data: BaseModel) -> Response:
    envelope = Envelope(code=status, message=message, data=data)
    return Response(envelope.model_dump_json(exclude_unset=True), status_code=status, media_type="application/json")
