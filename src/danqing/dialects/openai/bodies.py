"""Reads the bodies of requests, with limits, into wire models; says what is wrong in plain words."""

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from danqing.core.errors import InvalidRequest
from danqing.http.errors import BodyTooLarge

MAX_JSON_BYTES = 1024 * 1024
_SHOWN_NAME = 64  # characters

_MEMBER = re.compile(r"\w+\[\d*\]\[(?P<name>\w+)\]", re.ASCII)  # of an object in a list, as OpenAI's clients write it

WireT = TypeVar("WireT", bound=BaseModel)

# Kind of a pydantic error: what is wrong with the field.
_WRONG: Mapping[str, str] = {
    "missing": "is required",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_from_float": "must be an integer",
    "int_parsing_size": "is out of range",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a string",
    "string_unicode": "is not valid Unicode text",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "json_invalid": "must be JSON",
    "extra_forbidden": "is not known",
    "too_long": "must have at most {max_length} entries",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be one of {expected}",
}


async def read_json(request: Request, wire: type[WireT]) -> WireT:
    """Raises InvalidRequest, or BodyTooLarge."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise BodyTooLarge(MAX_JSON_BYTES)
    try:
        return wire.model_validate_json(bytes(body))
    except ValidationError as exc:
        raise _wrong(exc) from exc


def validated(value: object, wire: type[WireT]) -> WireT:
    """What a JSON body says. Raises InvalidRequest."""
    try:
        return wire.model_validate(value)
    except ValidationError as exc:
        raise _wrong(exc) from exc


def read_fields(form: FormData, wire: type[WireT]) -> WireT:
    """The fields of a form that are no files; empty ones are left out, and lists of objects put together.

    Raises InvalidRequest.
    """
    fields: dict[str, str] = {}
    lists: dict[str, list[dict[str, str]]] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) or not value:
            continue
        field = name.partition("[")[0]
        if (member := _MEMBER.fullmatch(name)) is not None and field in wire.model_fields:
            _add_member(lists.setdefault(field, []), member["name"], value)
        elif name not in fields:
            fields[name] = value
        elif field in wire.model_fields:  # of those that nobody knows it does not matter
            raise InvalidRequest(f"{_shown(name)} is given more than once.", parameter=_shown(name))
    for field, entries in lists.items():
        if field in fields:
            raise InvalidRequest(f"{field} is given in two ways.", parameter=field)
        fields[field] = json.dumps(entries)
    try:
        return wire.model_validate_strings(fields)
    except ValidationError as exc:
        raise _wrong(exc) from exc


def _add_member(entries: list[dict[str, str]], name: str, value: str) -> None:
    """To the last object of the list, or to another one where that has it."""
    if not entries or name in entries[-1]:
        entries.append({})
    entries[-1][name] = value


def _wrong(error: ValidationError) -> InvalidRequest:
    """The first thing that is wrong."""
    first = error.errors(include_url=False, include_input=False)[0]
    kind, place = first["type"], first["loc"]
    if not place:
        what = "is not JSON" if kind == "json_invalid" else "must be a JSON object"
        return InvalidRequest(f"The request body {what}.")
    context: dict[str, Any] = first.get("ctx", {})
    name, inside = _shown(str(place[0])), "".join(f"[{part}]" for part in place[1:] if isinstance(part, int))
    if len(place) > 1 and isinstance(place[-1], str):
        inside += f": {_shown(place[-1])}"
    return InvalidRequest(f"{name}{inside} {_WRONG.get(kind, 'is not valid').format(**context)}.", parameter=name)


def _shown(name: str) -> str:
    """A name that may be the client's own, bounded."""
    return name[:_SHOWN_NAME]
