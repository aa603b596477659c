"""Reads the JSON body of `POST /generate`, which may be two hundred megabytes long, outside the event loop."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import Message

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import Request

from danqing.core.errors import InvalidRequest
from danqing.dialects.genserve.schemas import IMAGE_NAMES, GenerateRequest, ImageName, Wanted
from danqing.http.dialect import Services


@dataclass(frozen=True, kw_only=True)
class ReadBody:
    """texts: base64 of the pictures that were sent, by field."""

    wanted: Wanted
    texts: dict[ImageName, str]


@asynccontextmanager
async def read_body(request: Request, services: Services) -> AsyncGenerator[ReadBody]:
    """The body, which takes its room in memory until the context is left.

    Raises InvalidRequest, RequestValidationError, TooBusy or RequestTimeout.
    """
    async with services.bodies.read(request, timeout_s=services.options.request_timeout_s) as body:
        if not body:
            raise InvalidRequest("the body must be a JSON object.")
        if not _is_json(request.headers.get("content-type", "")):
            raise InvalidRequest("Content-Type must be application/json.")
        yield await services.bodies.parse(lambda: _parsed(body))


def _is_json(content_type: str) -> bool:
    header = Message()
    header["content-type"] = content_type
    subtype = header.get_content_subtype()
    return header.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))


def _parsed(body: bytearray) -> ReadBody:
    """Empties body. Blocking."""
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        body.clear()
        given: object = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest("the body is not valid JSON.") from exc
    try:
        wire, wanted = GenerateRequest.model_validate(given), Wanted.model_validate(given)
    except ValidationError as exc:
        problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in exc.errors(include_url=False)]
        raise RequestValidationError(problems, body=given) from exc
    texts: dict[ImageName, str] = {name: sent for name in IMAGE_NAMES if (sent := getattr(wire, name))}
    return ReadBody(wanted=wanted, texts=texts)
