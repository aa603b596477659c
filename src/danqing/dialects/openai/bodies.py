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
from danqing.http.json_members import check_members

MAX_JSON_BYTES = 1024 * 1024
_SHOWN_NAME = 64  # characters

_LISTS = frozenset({"loras"})  # of objects
# A member of one of them: `loras[][name]`, as OpenAI's client writes it, or `loras[0][name]`.
_MEMBER = re.compile(r"\w+\[(?P<place>\d{0,4})\]\[(?P<name>\w+)\]", re.ASCII)

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
    text = bytes(body)
    check_members(text)
    try:
        return wire.model_validate_json(text)
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
    lists: dict[str, dict[int, dict[str, str]]] = {}  # objects by their places
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) or not value:
            continue
        field = name.partition("[")[0]
        is_known = field in wire.model_fields
        if is_known and field in _LISTS and (member := _MEMBER.fullmatch(name)) is not None:
            entry = _entry(lists.setdefault(field, {}), member["place"], member["name"])
            if member["name"] in entry:
                raise InvalidRequest(f"{_shown(name)} is given more than once.", parameter=field)
            entry[member["name"]] = value
        elif name not in fields:
            fields[name] = value
        elif is_known:  # of those that nobody knows it does not matter
            raise InvalidRequest(f"{_shown(name)} is given more than once.", parameter=_shown(name))
    for field, entries in lists.items():
        if field in fields:
            raise InvalidRequest(f"{field} is given in two ways.", parameter=field)
        fields[field] = json.dumps([entries[place] for place in sorted(entries)])
    try:
        return wire.model_validate_strings(fields)
    except ValidationError as exc:
        raise _wrong(exc) from exc


def _entry(entries: dict[int, dict[str, str]], place: str, name: str) -> dict[str, str]:
    """The object at that place; where none is said, the last one, or another where that has such a member."""
    if place:
        return entries.setdefault(int(place), {})
    last = max(entries, default=0)
    return entries.setdefault(last + (name in entries.get(last, {})), {})


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
