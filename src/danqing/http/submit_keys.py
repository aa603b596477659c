"""`Idempotency-Key`: with it a client may send a submit again, and is answered with the jobs of the first time."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request

from danqing.core.errors import InvalidRequest
from danqing.core.images import StagedImage
from danqing.core.submitting import KEY_LIFETIME, SubmitKey

HEADER = "Idempotency-Key"
MAX_KEY_CHARS = 255
_KEY = re.compile(rf"[ -~]{{1,{MAX_KEY_CHARS}}}")


def submit_key(request: Request, *said: object, lifetime: timedelta = KEY_LIFETIME) -> SubmitKey | None:
    """The request's key; None if it names none. said: everything else that it says, as far as it was understood.

    Pictures count by their pixels, and nothing by how it was packed: a form has other boundaries each time.
    Raises InvalidRequest.
    """
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise InvalidRequest(f"{HEADER} must be 1 to {MAX_KEY_CHARS} printable ASCII characters.", parameter=HEADER)
    whole = [request.method, request.scope["path"], *said]
    canonical = json.dumps(whole, default=_plain, sort_keys=True, separators=(",", ":"))
    return SubmitKey(text=given[0], digest=hashlib.sha256(canonical.encode()).hexdigest(), lifetime=lifetime)


def _plain(value: object) -> object:
    match value:
        case BaseModel():
            return value.model_dump(mode="python", exclude_unset=True)
        case StagedImage():
            return [value.sha256, value.width, value.height]
        case _:
            raise TypeError(f"{type(value).__name__} is nothing that a request says")


def takes_submit_key(described: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """For FastAPI's `openapi_extra`: what else is described of a route, and the header."""
    header = {
        "name": HEADER,
        "in": "header",
        "required": False,
        "description": "Sent again with the same key and content, the request is answered with the jobs that it made "
        "the first time; with another content, with 422.",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS, "pattern": "^[ -~]+$"},
    }
    return {**(described or {}), "parameters": [header]}
