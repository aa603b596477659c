"""Reads the JSON body of `POST /generate`, which may be two hundred megabytes long, and never holds it as a whole."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import Request

from danqing.core.errors import InvalidRequest
from danqing.dialects.genserve.schemas import IMAGE_NAMES, GenerateRequest, ImageName, Wanted
from danqing.http.content_type import is_json
from danqing.http.dialect import Services
from danqing.http.json_pictures import JsonBody, PictureFields, SentPicture, json_body

# Of a field that is there twice the later one counts.
_PICTURES = PictureFields(names=IMAGE_NAMES, most=2 * len(IMAGE_NAMES))


@dataclass(frozen=True, kw_only=True)
class ReadBody:
    """pictures: those that were sent, by field; their files are gone after the context."""

    wanted: Wanted
    pictures: Mapping[ImageName, SentPicture]


@asynccontextmanager
async def read_body(request: Request, services: Services) -> AsyncGenerator[ReadBody]:
    """Raises InvalidRequest, RequestValidationError, TooBusy, BodyTooSlow or StorageFailure."""
    content_type = request.headers.get("content-type", "").strip()
    # Who says nothing of it may have sent JSON. Strange pages are kept out by their origin, whatever they say.
    if content_type and not is_json(content_type):
        raise InvalidRequest("Content-Type must be application/json; forms go to /generate/img2img.")
    timeout_s = services.options.request_timeout_s
    async with json_body(request, services.artifacts, pictures=_PICTURES, timeout_s=timeout_s) as body:
        yield _validated(body)


def _validated(body: JsonBody) -> ReadBody:
    try:
        said = GenerateRequest.model_validate(body.value)
        wanted = Wanted.model_validate(body.value)
    except ValidationError as exc:
        problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in exc.errors(include_url=False)]
        raise RequestValidationError(problems, body=body.value) from exc
    texts: dict[ImageName, str] = {name: getattr(said, name) or "" for name in IMAGE_NAMES}
    return ReadBody(
        wanted=wanted,
        pictures={name: body.pictures[text] for name, text in texts.items() if text in body.pictures},
    )
