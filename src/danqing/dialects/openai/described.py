"""What the OpenAPI document says of the endpoints: bodies, which routes read by themselves, answers and failures.

Each function makes its parts anew, because FastAPI writes into what it is given.
"""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from pydantic import BaseModel
from starlette.exceptions import HTTPException

from danqing.core.errors import (
    BodyTooSlow,
    Forbidden,
    MissingParameter,
    ModelNotReady,
    NotFound,
    OutOfMemory,
    QueueFull,
    SubmitKeyReused,
    Unauthorized,
)
from danqing.dialects.openai import examples
from danqing.dialects.openai.bodies import MAX_JSON_BYTES
from danqing.dialects.openai.errors import openai_error, problem_of
from danqing.dialects.openai.examples import Examples
from danqing.dialects.openai.schemas import (
    MAX_BATCH_IMAGES,
    MAX_INPUT_IMAGES,
    EditBody,
    EditParameters,
    GenerationParameters,
    OpenAIError,
    VariationParameters,
    VendorError,
)
from danqing.http.errors import BodyTooLarge
from danqing.http.openapi import example, self_contained
from danqing.http.submit_keys import takes_submit_key

_FILE = {"type": "string", "contentMediaType": "application/octet-stream"}
_FILES = {"type": "array", "items": _FILE, "minItems": 1}
_EVENT = {  # OpenAPI describes a stream by one event; `data` is JSON: PartialImage, CompletedImage or OpenAIError
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string", "contentMediaType": "application/json"}},
    "required": ["event", "data"],
}
_FAILURES: Mapping[int, Exception] = {
    400: MissingParameter("Image is required", parameter="image"),
    401: Unauthorized(),
    403: Forbidden(),
    404: NotFound(),
    405: HTTPException(405),
    408: BodyTooSlow(),
    413: BodyTooLarge(MAX_JSON_BYTES),
    422: SubmitKeyReused(),
    429: QueueFull(),
    500: OutOfMemory(),
    503: ModelNotReady(),
}


def generation_body() -> dict[str, Any]:
    """For FastAPI's `openapi_extra`."""
    return _body("application/json", GenerationParameters, {}, examples.GENERATIONS, required=["prompt"])


def edit_body() -> dict[str, Any]:
    """For FastAPI's `openapi_extra`."""
    files = {
        "images": {**_FILES, "maxItems": MAX_BATCH_IMAGES, "description": "Each is edited on its own."},
        "image": {**_FILE, "description": "One picture is made out of it."},
        "image[]": {
            **_FILES,
            "maxItems": MAX_INPUT_IMAGES,
            "description": "One picture is made out of all of them.",
        },
        "mask": {**_FILE, "description": "What is transparent in it is made anew."},
    }
    form = _body(
        "multipart/form-data",
        EditParameters,
        files,
        examples.EDITS,
        required=["prompt"],
        description="One of `images`, `image` and `image[]` is needed; `images` goes with neither of the others.",
        anyOf=[{"required": ["images"]}, {"required": ["image"]}, {"required": ["image[]"]}],
    )
    as_json = _body("application/json", EditBody, {}, examples.EDITS_AS_JSON, required=["prompt", "images"])
    form["requestBody"]["content"] |= as_json["requestBody"]["content"]
    return form


def variation_body() -> dict[str, Any]:
    """For FastAPI's `openapi_extra`."""
    files = {"image": _FILE}
    return _body("multipart/form-data", VariationParameters, files, examples.VARIATIONS, required=["image"])


def pictures(answers: Examples, *, event: Mapping[str, object] | None = None) -> dict[int | str, dict[str, Any]]:
    """For FastAPI's `responses`: what is answered with 200. event: of a stream; None: there is none."""
    content: dict[str, Any] = {"application/json": {"examples": _named(answers)}}
    if event is None:
        return {200: {"content": content, "description": "All pictures."}}
    content["text/event-stream"] = {"schema": _EVENT, "example": event}
    return {200: {"content": content, "description": "All pictures, or with `stream` server-sent events."}}


def failures() -> dict[int | str, dict[str, Any]]:
    """For FastAPI's `responses`: every failure, in both shapes."""
    return {
        status: {
            "model": OpenAIError | VendorError,
            "content": {"application/json": {"examples": _in_both_shapes(error)}},
        }
        for status, error in _FAILURES.items()
    }


def _in_both_shapes(error: Exception) -> dict[str, Any]:
    problem = problem_of(error)
    vendors = VendorError(error=problem.code, message=problem.message)
    return _named({"The vendor's": vendors.model_dump(), "OpenAI's": openai_error(problem).model_dump()})


def _named(shown: Examples) -> dict[str, Any]:
    return {name: {"value": example(value)} for name, value in shown.items()}


def _body(
    media_type: str,
    parameters: type[BaseModel],
    files: Mapping[str, object],
    shown: Examples,
    *,
    required: list[str],
    **further: object,
) -> dict[str, Any]:
    """These parameters, and these files. further: keywords of the schema."""
    schema = deepcopy(_schema_of(parameters))
    schema |= {"properties": {**schema["properties"], **files}, "required": required, **further}
    content = {media_type: {"schema": schema, "examples": _named(shown)}}
    return takes_submit_key({"requestBody": {"required": True, "content": content}})


@cache
def _schema_of(parameters: type[BaseModel]) -> dict[str, Any]:
    return self_contained(parameters.model_json_schema())
